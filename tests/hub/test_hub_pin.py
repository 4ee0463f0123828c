"""Scale pinning: the same network in other numbers, more of them the old ones; what it must not touch stays."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hub import pin as pinning
from appliance.hub.agree import AGREE_LSB, by_goldens
from appliance.hub.folder import ModelFolder
from appliance.hub.lighter import Gate, lighten
from appliance.hub.pin import _layers, _rows, _scales, _values, pin
from appliance.hub.reference import record
from appliance.trust.delta.flatbuffer import walk
from appliance.trust.manifest import DESCRIPTION
from tests.hub.hubs import retrained, tuned
from tests.model_folders import FRAUD, HEARTBEAT, MACHINE, PERSON

GOLDENS = Gate(examples=None, loss_max=0.005, dead_zone_lsb=0)


def network(folder: Path) -> bytes:
    return (folder / "model.tflite").read_bytes()


def differing(one: bytes, two: bytes) -> int:
    return int((np.frombuffer(one, np.uint8) != np.frombuffer(two, np.uint8)).sum())


@given(st.sampled_from([HEARTBEAT, FRAUD]), st.floats(0.0, 3.0), st.integers(0, 2**32 - 1))
def test_a_pinned_network_stands_for_the_same_numbers_to_half_a_step(folder: Path, noise: float, seed: int) -> None:
    base = network(folder)
    new = retrained(base, noise, seed)
    pinned = pin(base, new)
    assert pinned is not None
    for before, after in zip(_layers(walk(new), new), _layers(walk(pinned.tflite), pinned.tflite), strict=True):
        scales = _scales(pinned.tflite, after.weights.scale)[:, np.newaxis].astype(np.float64)
        steps = _rows(new, before.weights) * _scales(new, before.weights.scale)[:, np.newaxis] / scales
        off = np.abs(_rows(pinned.tflite, after.weights) - steps)
        clipped = np.abs(steps) > 127.5
        assert off[~clipped].max() <= 0.5 + 1e-6
        assert (off[clipped] <= 127.5 * (pinning.STRETCH_MAX - 1) + 0.5).all()
        bias, wanted = (
            _values(content, layer.bias.data, "<i4") * _scales(content, layer.bias.scale)
            for content, layer in ((pinned.tflite, after), (new, before))
        )
        product = _scales(pinned.tflite, after.weights.scale) * _scales(new, after.given.scale)
        assert (np.abs(bias - wanted) <= 0.5001 * product).all()
        assert np.array_equal(_scales(pinned.tflite, after.bias.scale), product), "a delta need not carry them"


def test_a_fine_tune_on_the_old_scales_shares_more_bytes_with_the_old_version() -> None:
    base = network(MACHINE)
    new = retrained(base, 0.2, seed=1)
    pinned = pin(base, new)
    assert pinned is not None
    assert pinned.channels == pinned.channels_all
    assert differing(base, pinned.tflite) < 0.8 * differing(base, new)


def test_pinning_to_itself_changes_nothing() -> None:
    base = network(PERSON)
    assert pin(base, base) == pinning.Pinned(base, 25_574, 25_574)


def test_another_graph_is_left_alone() -> None:
    assert pin(network(FRAUD), network(HEARTBEAT)) is None
    assert pin(b"no network at all", network(HEARTBEAT)) is None
    assert pin(network(HEARTBEAT), network(HEARTBEAT)[:500]) is None


@pytest.mark.parametrize("factor", [0.3, 1.2])
def test_a_channel_whose_range_went_elsewhere_keeps_its_own_scale(factor: float) -> None:
    """Wider than the old scale can hold, or so much narrower that bits would be lost."""
    base = network(HEARTBEAT)
    new = bytearray(base)
    for layer in _layers(walk(base), base):
        for tensor in (layer.weights, layer.bias):
            pinning._put(new, tensor.scale, (_scales(base, tensor.scale) * np.float32(factor)).astype("<f4"))
    pinned = pin(base, bytes(new))
    assert pinned == pinning.Pinned(bytes(new), 0, 3)


def test_a_dead_zone_leaves_small_changes_out() -> None:
    base = network(HEARTBEAT)
    new = retrained(base, 0.4, seed=2)
    without, within = pin(base, new), pin(base, new, dead_zone_lsb=1)
    assert without is not None
    assert within is not None
    weights = [
        [_rows(each, layer.weights) for layer in _layers(walk(each), each)]
        for each in (base, without.tflite, within.tflite)
    ]
    for was, plain, held in zip(*weights, strict=True):
        assert (np.abs(held - was) != 1).all()
        assert np.array_equal(held[np.abs(plain - was) > 1], plain[np.abs(plain - was) > 1])


def test_the_published_folder_is_sound_and_the_rest_of_its_description_stays(tmp_path: Path) -> None:
    source = tuned(HEARTBEAT, tmp_path, "1.1.0")
    before = {file: file.read_bytes() for file in source.rglob("*") if file.is_file()}
    new, base = ModelFolder.read(source), ModelFolder.read(HEARTBEAT)
    folder, words = lighten(new, base, GOLDENS)
    assert words.startswith("scales of 3 of 3 channels pinned to 1.0.0: on 10 golden inputs scores is ")
    assert folder.model_id != new.model_id
    assert folder.model.golden.tolerance_lsb == new.model.golden.tolerance_lsb
    one, two = (each.files[DESCRIPTION].decode().splitlines() for each in (new, folder))
    changed = [left.partition(" = ")[0] for left, right in zip(one, two, strict=True) if left != right]
    assert sorted(changed) == ['"golden/golden.npz"', '"model.tflite"']
    assert {file: file.read_bytes() for file in before} == before, "the author's folder is untouched"
    assert by_goldens(folder.model, folder.model.tflite).words.startswith("on 10 golden inputs scores is 0 steps off")


def test_golden_vectors_recorded_anew_keep_every_other_byte() -> None:
    """Of an archive of this Python's: others write other versions into its headers, for which a delta is made, too."""
    golden = ModelFolder.read(HEARTBEAT).model.golden
    inputs = {f"input_{number}": each for number, each in enumerate(golden.inputs)}
    same = {f"scores_{number}": each["scores"] for number, each in enumerate(golden.outputs)}
    npz = BytesIO()
    np.savez_compressed(npz, **inputs, **same)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker
    assert record(npz.getvalue(), same) == npz.getvalue()


def test_a_network_that_answers_otherwise_is_published_as_its_author_made_it(tmp_path: Path) -> None:
    new, base = ModelFolder.read(tuned(HEARTBEAT, tmp_path, "1.1.0")), ModelFolder.read(HEARTBEAT)
    other = retrained(new.model.tflite, 20.0, seed=3)
    verdict = by_goldens(new.model, other)
    assert not verdict.passed
    assert f"(allowed: {AGREE_LSB})" in verdict.words or "another label" in verdict.words
    y = np.array([new.model.labels.index("normal")] * 40)
    x = np.zeros((40, 116), np.float32)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    strict = Gate(tmp_path / "test.npz", loss_max=0.0, dead_zone_lsb=0)
    folder, words = lighten(new, base, strict)
    assert words.endswith("on 40 examples; at most 0 may be lost")
    assert ("not pinned" in words) == (folder is new)


def test_a_network_with_a_twin_is_not_pinned(tmp_path: Path) -> None:
    new, base = ModelFolder.read(tuned(HEARTBEAT, tmp_path, "1.1.0")), ModelFolder.read(HEARTBEAT)
    twin = replace(new, files={**new.files, "model_edgetpu.tflite": b""})
    assert lighten(twin, base, GOLDENS) == (
        twin,
        "scales not pinned: model_edgetpu.tflite holds the same network and could not follow",
    )


def test_a_version_already_on_those_scales_is_left_as_it_is() -> None:
    base = ModelFolder.read(HEARTBEAT)
    assert lighten(base, base, GOLDENS) == (base, "scales not pinned: they are those of 1.0.0 already")
