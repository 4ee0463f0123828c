"""``appliance bench delta`` as a whole: what it prints and writes, and the pairs that this repository holds."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from appliance.bench import delta
from appliance.bench.delta.ours import measure
from appliance.bench.delta.pairs import Pair, Stored, read
from appliance.bench.delta.rivals import RIVALS
from models.updates.pack import PAIRS, pack
from tests.hub.hubs import retrained
from tests.model_folders import FRAUD

pytestmark = pytest.mark.slow

REACHED, MISSED = 0, 1
BASE = (FRAUD / "model.tflite").read_bytes()
FILES = {"v1": BASE, "lr_1e-4": retrained(BASE, 0.3, 1), "labels": BASE + b"zipped labels"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files as the recipe leaves them, packed."""
    raw = tmp_path_factory.mktemp("raw")
    (raw / "inspection").mkdir()
    for name, content in FILES.items():
        (raw / "inspection" / f"{name}.tflite").write_bytes(content)
    told = [{"name": name, "base": "" if name == "v1" else "v1", "what": "x", "judged": "y"} for name in FILES]
    (raw / "inspection" / "pairs.json").write_text(json.dumps({"files": told}))
    pack(raw, raw / "pairs")
    return raw / "pairs"


def told(folder: Path, *, chart: Path | None = None, json_file: Path | None = None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=300)
    code = delta.run(folder, json_file=json_file, chart=chart, console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_ours_is_applied_in_a_process_of_its_own_and_what_that_costs_is_told() -> None:
    large = np.random.default_rng(1).integers(0, 256, 3 << 20, np.uint8).tobytes()
    stored = Stored("inspection", "x", "v1", "", "", "tad1", 0, "")
    small = measure(Pair(stored, BASE, FILES["lr_1e-4"]))
    found = measure(Pair(stored, large, large[:-1] + b"x"))
    assert found.size_bytes < 100
    assert found.apply_peak_bytes > max(1 << 20, small.apply_peak_bytes), "the base is read, at least in part"
    assert found.apply_cpu_s > 0


def test_a_missing_tool_is_named_and_the_others_are_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, text = told(folder, chart=tmp_path / "chart.svg", json_file=tmp_path / "figures.json")
    assert "xdelta3 -9 -S lzma is missing: apt-get install xdelta3" in text
    assert "zstd -22 --patch-from is missing: apt-get install zstd" in text
    assert code in {REACHED, MISSED}
    document = json.loads((tmp_path / "figures.json").read_text())
    assert {each["pair"]["name"] for each in document["pairs"]} == {"lr_1e-4", "labels"}
    assert (tmp_path / "chart.svg").read_text().count("<title>") == 2 * (1 + len(RIVALS) - 2)


def test_the_table_says_of_every_pair_what_each_tool_makes_of_it(folder: Path) -> None:
    _, text = told(folder)
    for words in ("inspection lr_1e-4", "inspection labels", *RIVALS, "apply: CPU time", "bsdiff4 / ours"):
        assert words in text


def test_the_pairs_of_this_repository_come_out_with_their_digests() -> None:
    found = {each.name for each in read(PAIRS)}
    kinds = ("last_layer", "lr_1e-5", "lr_1e-4", "lr_1e-3", "recalibrated", "pruned", "labels")
    assert {f"inspection {kind}" for kind in kinds} | {"machine scratch"} <= found
    assert sum(file.stat().st_size for file in PAIRS.rglob("*")) < 8_000_000
