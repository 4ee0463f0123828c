"""Which output is which after a conversion, and how far off it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from appliance.errors import ForgeError
from appliance.forge.onnx.convert import as_onnx
from appliance.forge.onnx.stages import Match, compare, match, table

Values = NDArray[np.float32]


def _values(*shape: int, seed: int = 0) -> Values:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def test_outputs_of_different_shapes_are_found_whatever_they_are_called() -> None:
    original = {"boxes": _values(9, 20, 4), "scores": _values(9, 20, 2)}
    converted = {"Identity_1": original["boxes"] + 0.01, "Identity": original["scores"]}
    found = match(original, converted)
    assert {output: each.name for output, each in found.items()} == {"boxes": "Identity_1", "scores": "Identity"}
    assert not any(each.is_moved for each in found.values())


@settings(max_examples=25)
@given(order=st.permutations(range(4)), seed=st.integers(0, 9), noise=st.floats(0, 0.2))
def test_outputs_of_one_shape_are_told_apart_by_their_values(order: list[int], seed: int, noise: float) -> None:
    original = {f"output {at}": _values(12, 5, seed=seed * 10 + at) for at in range(4)}
    rows = list(original.values())
    converted = {f"Identity_{place}": rows[at] + noise * _values(12, 5, seed=99) for place, at in enumerate(order)}
    found = match(original, converted)
    assert [found[f"output {at}"].name for at in order] == [f"Identity_{place}" for place in range(4)]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=3), st.integers(0, 5))
def test_channels_that_moved_are_moved_back_even_where_the_shape_does_not_tell(sizes: list[int], seed: int) -> None:
    maps = _values(8, 3, *sizes, seed=seed)
    moved = np.moveaxis(maps, 1, -1)
    found = match({"map": maps}, {"Identity": moved})
    (change,) = compare("float", {"map": maps}, {"Identity": moved}, found)
    assert change.max_error == 0
    assert change.correlation == pytest.approx(1)


def test_outputs_that_do_not_correspond_are_told_with_their_shapes() -> None:
    with pytest.raises(ForgeError, match=r"outputs are Identity \[6\]; the original's scores \[5\]"):
        match({"scores": _values(4, 5)}, {"Identity": _values(4, 6)})
    with pytest.raises(ForgeError, match="2 outputs became 1"):
        match({"a": _values(4, 5), "b": _values(4, 5)}, {"Identity": _values(4, 5)})


def test_a_change_is_measured_in_the_outputs_own_unit() -> None:
    original = np.array([[0.0, 1.0], [1.0, 0.0], [0.4, 0.6], [0.0, 0.0]], np.float32)
    converted = np.array([[0.1, 1.0], [1.0, 0.0], [0.6, 0.4], [0.0, 0.0]], np.float32)
    (change,) = compare("int8", {"scores": original}, {"Identity": converted}, {"scores": Match("Identity", (0, 1))})
    assert change.max_error == pytest.approx(0.2)
    assert change.mean_error == pytest.approx(0.5 / 8)
    assert change.spread == pytest.approx(float(original.std()))
    assert change.correlation == pytest.approx(float(np.corrcoef(original.ravel(), converted.ravel())[0, 1]))
    assert change.agreement is not None
    assert change.agreement.tolist() == [True, True, False, True]


@pytest.mark.parametrize("shape", [(6, 1), (6, 4, 4), (6, 2, 3, 3)])
def test_only_scores_by_class_have_an_agreement(shape: tuple[int, ...]) -> None:
    values = _values(*shape)
    (change,) = compare("int8", {"y": values}, {"Identity": values}, match({"y": values}, {"Identity": values}))
    assert change.agreement is None


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(1.0, 1.0, 1.0), (1.0, 2.0, 0.0)])
def test_constant_outputs_correlate_only_with_themselves(ours: float, theirs: float, expected: float) -> None:
    original, converted = np.full((5, 3), ours, np.float32), np.full((5, 3), theirs, np.float32)
    (change,) = compare("float", {"y": original}, {"i": converted}, {"y": Match("i", (0, 1))})
    assert change.correlation == expected


def test_the_table_tells_every_stage_of_every_output() -> None:
    values = {"scores": _values(10, 3)}
    found = {"scores": Match("i", (0, 1))}
    changes = [*compare("float", values, {"i": values["scores"]}, found)]
    changes += compare("int8", values, {"i": values["scores"] + 0.25}, found)
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(changes))
    for text in ("scores", "float", "int8", "0.25", "100.0%"):
        assert text in captured.get()


@pytest.mark.parametrize("shape", [(2, 5), (2, 6, 3), (2, 4, 5, 3)])
@pytest.mark.parametrize("layout", ["first", "last"])
def test_samples_are_turned_to_where_onnx_has_the_channels(shape: tuple[int, ...], layout: str) -> None:
    samples = _values(*shape)
    turned = as_onnx(samples, layout)  # type: ignore[arg-type]  # one of the two, as the list above says
    moves = layout == "first" and len(shape) > 2
    assert turned.shape == ((shape[0], shape[-1], *shape[1:-1]) if moves else shape)
    assert np.array_equal(np.moveaxis(turned, 1, -1) if moves else turned, samples)
