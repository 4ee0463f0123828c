"""``appliance bench delta``: the pairs come out as they went in, no tool is believed or left out in silence."""

import json
import shutil
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bench.delta import rivals
from appliance.bench.delta.chart import svg
from appliance.bench.delta.measured import (
    BSDIFF4_OVER_OURS_MIN,
    NETWORK,
    OURS,
    OURS_OVER_BEST_MAX,
    Measured,
    figures,
)
from appliance.bench.delta.ours import Ours
from appliance.bench.delta.pairs import INDEX, Pair, Stored, read
from appliance.bench.delta.rivals import BSDIFF4, RIVALS, XZ, Patch, Rival
from appliance.errors import ConfigError
from models.updates.pack import pack
from tests.hub.hubs import retrained
from tests.model_folders import FRAUD

SVG = "{http://www.w3.org/2000/svg}"
BASE = (FRAUD / "model.tflite").read_bytes()
FILES = {"v1": BASE, "lr_1e-4": retrained(BASE, 0.3, 1), "labels": BASE + b"zipped labels"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files as the recipe leaves them, packed."""
    raw = tmp_path_factory.mktemp("raw")
    (raw / NETWORK).mkdir()
    for name, content in FILES.items():
        (raw / NETWORK / f"{name}.tflite").write_bytes(content)
    told = [{"name": name, "base": "" if name == "v1" else "v1", "what": "x", "judged": "y"} for name in FILES]
    (raw / NETWORK / "pairs.json").write_text(json.dumps({"files": told}))
    pack(raw, raw / "pairs")
    return raw / "pairs"


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return Path(shutil.copytree(packed, tmp_path / "pairs"))


def pair(name: str = "lr_1e-4", network: str = NETWORK) -> Pair:
    return Pair(Stored(network, name, "v1", "", "", "tad1", len(FILES["lr_1e-4"]), ""), BASE, FILES["lr_1e-4"])


def measured(ours: int, sizes: dict[str, int | None], *, name: str = "lr_1e-4", network: str = NETWORK) -> Measured:
    cost = Ours("tad1", ours, {"tad1": ours}, ours + 200, 1.0, 0.1, 5 << 20)
    return Measured(pair(name, network), cost, tuple(Patch(tool, size) for tool, size in sizes.items()), None)


# --- the pairs


def test_packed_pairs_come_out_as_the_files_that_went_in(packed: Path) -> None:
    found = {each.stored.name: each for each in read(packed)}
    assert set(found) == {"lr_1e-4", "labels"}
    assert all((each.base, each.result) == (BASE, FILES[name]) for name, each in found.items())
    assert sum(file.stat().st_size for file in packed.rglob("*")) < 0.9 * sum(map(len, FILES.values()))


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_pair_is_not_measured(packed: Path, data: st.DataObject) -> None:
    file = data.draw(
        st.sampled_from(sorted(each for each in packed.rglob("*") if each.is_file() and each.name != INDEX))
    )
    before = file.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    damaged = data.draw(st.sampled_from([before[:at], before[:at] + bytes([before[at] ^ 16]) + before[at + 1 :]]))
    try:
        file.write_bytes(damaged)
        try:
            made = [each.result for each in read(packed)]
        except ConfigError:
            return
        assert made == [FILES["lr_1e-4"], FILES["labels"]], "a bit that does not matter"
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"files": [{}]}', '{"files": [1]}'])
def test_a_folder_without_an_index_names_where_there_is_one(folder: Path, text: str | None) -> None:
    if text is None:
        (folder / INDEX).unlink()
    else:
        (folder / INDEX).write_text(text)
    with pytest.raises(ConfigError, match="models/updates/pairs"):
        read(folder)


def test_a_pair_whose_base_comes_after_it_or_of_an_unknown_kind_is_told(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({"files": index["files"][::-1]}))
    with pytest.raises(ConfigError, match="has to stand before labels"):
        read(folder)
    index["files"][0]["kind"] = "zip"
    (folder / INDEX).write_text(json.dumps(index))
    (folder / NETWORK / "v1.zip").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be applied"):
        read(folder)


# --- the tools


@pytest.mark.parametrize("tool", RIVALS)
@pytest.mark.parametrize("name", ["lr_1e-4", "labels"])
def test_each_tool_that_is_here_makes_the_very_file(tool: str, name: str) -> None:
    patch = rivals.measure(tool, BASE, FILES[name])
    if not RIVALS[tool].present():
        assert patch.size_bytes is None
        assert patch.fault.startswith("missing")
        return
    assert patch.fault == ""
    assert patch.size_bytes
    assert 0 < patch.size_bytes < len(FILES[name])


def test_a_tool_whose_patch_makes_something_else_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    liar = Rival(lambda: True, "", lambda base, _: (1, base))
    monkeypatch.setattr(rivals, "RIVALS", MappingProxyType({"liar": liar}))
    assert rivals.measure("liar", BASE, BASE).size_bytes == 1
    patch = rivals.measure("liar", BASE, FILES["labels"])
    assert (patch.size_bytes, patch.fault) == (None, "its patch makes another file")


def test_a_tool_that_fails_is_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes, __: bytes) -> tuple[int, bytes]:
        message = "no memory"
        raise RuntimeError(message)

    monkeypatch.setattr(rivals, "RIVALS", MappingProxyType({"weak": Rival(lambda: True, "", fail)}))
    assert rivals.measure("weak", BASE, BASE).fault == "failed: no memory"


# --- the aims


@given(st.sampled_from(sorted(BSDIFF4_OVER_OURS_MIN)), st.integers(1, 10**6), st.integers(1, 10**8))
def test_the_aims_are_those_of_the_issue(name: str, ours: int, bsdiff4: int) -> None:
    found = figures([measured(ours, {BSDIFF4: bsdiff4, XZ: bsdiff4 + ours}, name=name)])
    over = next(each for each in found if each.name.endswith("bsdiff4 / ours"))
    assert over.reached == (bsdiff4 / ours >= BSDIFF4_OVER_OURS_MIN[name])
    best = next(each for each in found if each.name.endswith("ours / best other"))
    assert best.reached == (ours / min(bsdiff4, bsdiff4 + ours) <= OURS_OVER_BEST_MAX)


def test_an_aim_that_could_not_be_measured_is_missed() -> None:
    (over, *_) = (each for each in figures([measured(10, {BSDIFF4: None, XZ: 500})]) if "bsdiff4" in each.name)
    assert not over.reached
    assert "missing" in over.note


def test_the_small_network_is_held_against_the_best_other_alone() -> None:
    found = figures([measured(10, {BSDIFF4: 10, XZ: 500}, network="machine")])
    assert all(each.reached for each in found)
    assert not [each for each in found if each.name.endswith("bsdiff4 / ours")]


# --- the chart


def parts(drawing: str, name: str) -> list[ET.Element]:
    return list(ET.fromstring(drawing).iter(f"{SVG}{name}"))  # noqa: S314 - our own


def bars(drawing: str) -> list[ET.Element]:
    return [each for each in parts(drawing, "rect") if each.find(f"{SVG}title") is not None]


def test_the_chart_has_a_bar_for_each_tool_of_each_pair_and_none_for_a_missing_one() -> None:
    whole = {BSDIFF4: 50, "HDiffPatch": None, XZ: 100}
    drawing = svg([measured(10, whole), measured(20, whole, name="a<b", network="machine")])
    assert len(bars(drawing)) == 2 * 3
    widths = [float(each.attrib["width"]) for each in bars(drawing)[:3]]
    assert widths == sorted(widths)
    assert widths[2] == pytest.approx(10 * widths[0])
    texts = [each.text for each in parts(drawing, "text")]
    assert {"10.0%, 0.0 KB", "50.0%", "100.0%", "a<b", OURS} <= set(texts)


def test_an_empty_chart_is_still_one() -> None:
    assert bars(svg([])) == []
