"""``tad1`` at length: many versions, many damaged deltas under a bound of memory, and a model of 3.8 MB."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hub.delta import tad as encoder
from appliance.trust.delta.tad_plan import Kind, plan
from tests.trust.test_tad import EDITS, PAIRS, delta_of, encoded, files, networks, survives
from tests.trust.tflites import Network, network, tuned

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PERSON = ROOT / "models" / "person" / "1.1.0" / "model.tflite"
MEMORY_KIB = 16 * 1024
"""The issue's bound for a model of 3 MB, beyond the interpreter with NumPy."""
MUTATIONS = 4_000
SECONDS_MAX = 100


@settings(max_examples=60, deadline=None)
@given(networks(), st.lists(st.tuples(st.sampled_from(sorted(EDITS)), st.integers(0, 5)), max_size=4))
def test_many_versions_come_back_from_their_base(old: Network, edits: list[tuple[str, int]]) -> None:
    new = old
    for edit, seed in edits:
        new = EDITS[edit](new, seed)
    encoded(files(old, new))


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit_of_a_network_whose_weights_need_several_lanes(edit: str) -> None:
    old = network(3, layers=2, size=100)
    encoded(files(old, EDITS[edit](old, 3)))


@pytest.mark.parametrize("name", PAIRS)
def test_thousands_of_damaged_deltas_are_refused_or_give_every_byte_once(name: str) -> None:
    (base, result), delta = PAIRS[name], delta_of(name)
    rng = np.random.default_rng(5)
    for _ in range(MUTATIONS // len(PAIRS)):
        damaged = bytearray(delta)
        for _ in range(rng.integers(1, 5)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        survives(bytes(damaged[: rng.integers(1, 4 * len(damaged))]), base, len(result))


MEASURED = """
import json, mmap, os, pathlib, sys
import numpy as np
from appliance.trust.delta.tad import decode
base, delta, size, out = sys.argv[1], open(sys.argv[2], "rb").read(), int(sys.argv[3]), os.open(sys.argv[4], os.O_RDWR)
mapped = mmap.mmap(os.open(base, os.O_RDONLY), 0, prot=mmap.PROT_READ)
peak_kib = lambda: int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here (proc(5)); maxrss is the parent's
before = peak_kib()
decode(delta, mapped, size, lambda offset, content: os.pwrite(out, content, offset))
print(json.dumps(peak_kib() - before))
"""


def test_a_fine_tune_of_the_person_detector_comes_back_within_16_mib(tmp_path: Path) -> None:
    base = PERSON.read_bytes()
    result = bytearray(base)
    rng = np.random.default_rng(5)
    for segment in plan(base):
        at, count = segment.base
        if segment.kind is Kind.WEIGHT:
            old = np.frombuffer(base, np.int8, count, at).astype(np.int32)
            new = (old + np.rint(rng.normal(size=count) * 0.8).astype(np.int32)).clip(-127, 127)
            result[at : at + count] = new.astype(np.int8).tobytes()
        elif segment.kind is Kind.SCALE and segment.factors is None:
            scale = np.frombuffer(base, "<f4", count, at) * rng.uniform(0.99, 1.01, count).astype("<f4")
            result[at : at + 4 * count] = scale.astype("<f4").tobytes()
    delta = encoder.encode(base, bytes(result))
    assert delta is not None
    files_of = {"delta": delta, "out": bytes(len(result))}
    for name, content in files_of.items():
        (tmp_path / name).write_bytes(content)
    arguments = [str(PERSON), str(tmp_path / "delta"), str(len(result)), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], cwd=ROOT, capture_output=True, check=True, timeout=SECONDS_MAX
    )
    assert (tmp_path / "out").read_bytes() == bytes(result)
    print(done.stdout, "KiB")
    assert 0 < json.loads(done.stdout) <= MEMORY_KIB


def test_a_model_that_only_moved_costs_its_table() -> None:
    old = network(1, layers=3, size=60)
    moved = replace(old, text=b"a text of another length")
    assert len(encoded(files(old, moved))) < 100
    assert len(encoded(files(old, tuned(moved, 1, 0.001)))) < 4_000
