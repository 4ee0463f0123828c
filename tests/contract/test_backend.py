"""What every backend promises (``ports.Backend``). Runs in an environment with either TFLite runtime, or both.

Which backends there are stands in ``backend_makers``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from appliance.adapters.backends.cpu import RUNTIMES, CpuBackend, Runtime
from appliance.adapters.backends.registry import BACKENDS, make_backend
from appliance.adapters.model_folder import read_model
from appliance.config import ModelConfig
from appliance.core.model import Dtype, Model, TensorSpec
from appliance.core.types import Array
from appliance.errors import BackendError, ModelError
from appliance.inference import prove
from appliance.ports import Backend
from tests.contract.backend_makers import HERE, MAKERS, OPENING_TFLITE, TELLING, Maker
from tests.model_folders import CARD, EDGETPU_OP, FOLDERS, PERSON, TINY, TWINS

DEADLINE_S = 5.0

INSTALLED: list[Runtime] = [
    name for name in ("ai-edge-litert", "tflite-runtime") if find_spec(RUNTIMES[name].partition(".")[0])
]
FLOAT = TensorSpec("x", (1, 2), Dtype.FLOAT32)
BOTH = {"minus": replace(FLOAT, name="minus"), "plus": replace(FLOAT, name="plus")}


@pytest.fixture(params=HERE)
def maker(request: pytest.FixtureRequest) -> Maker:
    return MAKERS[request.param]


@pytest.fixture
def backend(maker: Maker) -> Iterator[Backend]:
    made = maker.make()
    yield made
    made.close()


@pytest.fixture
def tiny(maker: Maker) -> Model:
    return _suited(maker, _read(TINY))


_read = cache(read_model)


def _suited(maker: Maker, model: Model) -> Model:
    """Give a model as this backend opens it."""
    suited = maker.suit(model)
    if suited is None:
        pytest.skip(f"there is no {maker.file} for {model.name}")
    return suited


def _noise(model: Model, seed: int) -> Array:
    numbers = np.random.default_rng(seed)
    if model.input.dtype is Dtype.FLOAT32:
        return numbers.standard_normal(model.input.shape).astype(np.float32)
    low, high = (-128, 127) if model.input.dtype is Dtype.INT8 else (0, 255)
    return numbers.integers(low, high, model.input.shape, endpoint=True).astype(model.input.dtype.numpy)


def _twins(maker: Maker, outputs: Mapping[str, TensorSpec]) -> Model:
    model = replace(_read(TINY), name="twins", input=FLOAT, outputs=dict(outputs), tflite=TWINS.read_bytes())
    return _suited(maker, model)


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[role], other[role]) for role in one)


@pytest.mark.parametrize("name", MAKERS)
def test_a_backend_is_left_out_only_where_its_packages_are_not_installed(name: str) -> None:
    if missing := MAKERS[name].missing():
        pytest.skip(f"the contract does not run on {name}: not installed here: {missing}")
    assert name in HERE


class TestEveryBackend:
    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
    def test_gives_the_golden_outputs_of_every_bundled_model(
        self, maker: Maker, backend: Backend, folder: Path
    ) -> None:
        model = _suited(maker, _read(folder))
        backend.open(model)
        assert prove(backend, model).passed

    def test_gives_every_role_in_the_shape_and_dtype_described(self, maker: Maker, backend: Backend) -> None:
        model = _suited(maker, _read(PERSON))
        backend.open(model)
        outputs = backend.invoke(_noise(model, 1), DEADLINE_S)
        assert {role: (values.shape, values.dtype) for role, values in outputs.items()} == {
            role: (spec.shape, spec.dtype.numpy) for role, spec in model.outputs.items()
        }

    def test_gives_copies_that_a_later_invoke_leaves_alone(self, backend: Backend, tiny: Model) -> None:
        backend.open(tiny)
        first = backend.invoke(tiny.golden.inputs[0], DEADLINE_S)
        kept = {role: values.copy() for role, values in first.items()}
        second = backend.invoke(tiny.golden.inputs[-1], DEADLINE_S)
        assert not _same(first, second)
        assert _same(first, kept)
        backend.close()
        assert _same(first, kept)

    def test_gives_outputs_that_may_be_written_to(self, backend: Backend, tiny: Model) -> None:
        backend.open(tiny)
        first = backend.invoke(tiny.golden.inputs[0], DEADLINE_S)
        kept = {role: values.copy() for role, values in first.items()}
        for values in first.values():
            values.fill(0)
        assert _same(backend.invoke(tiny.golden.inputs[0], DEADLINE_S), kept)

    def test_gives_the_same_output_for_the_same_input_whatever_came_between(
        self, backend: Backend, tiny: Model
    ) -> None:
        backend.open(tiny)
        tensors = [_noise(tiny, seed) for seed in range(5)]
        first = [backend.invoke(tensor, DEADLINE_S) for tensor in tensors]
        again = [backend.invoke(tensor, DEADLINE_S) for tensor in reversed(tensors)]
        assert all(_same(one, other) for one, other in zip(first, reversed(again), strict=True))

    def test_leaves_the_input_alone_and_takes_one_that_is_read_only_or_strided(
        self, backend: Backend, tiny: Model
    ) -> None:
        backend.open(tiny)
        tensor = _noise(tiny, 1)
        kept = tensor.copy()
        expected = backend.invoke(tensor, DEADLINE_S)
        assert np.array_equal(tensor, kept)
        tensor.setflags(write=False)
        assert _same(backend.invoke(tensor, DEADLINE_S), expected)
        strided = np.repeat(tensor, 2, axis=2)[:, :, ::2]
        assert not strided.flags.c_contiguous
        assert _same(backend.invoke(strided, DEADLINE_S), expected)

    @pytest.mark.parametrize(
        "tensor",
        [
            np.zeros((1, 16, 16, 3), np.int8),
            np.zeros((1, 16, 16, 3), np.float32),
            np.zeros((16, 16, 3), np.uint8),
            np.zeros((1, 16, 15, 3), np.uint8),
            np.zeros((2, 16, 16, 3), np.uint8),
        ],
        ids=lambda tensor: f"{tensor.dtype} {tensor.shape}",
    )
    def test_takes_a_tensor_of_another_shape_or_dtype_for_a_bug(
        self, backend: Backend, tiny: Model, tensor: Array
    ) -> None:
        backend.open(tiny)
        with pytest.raises(AssertionError):
            backend.invoke(tensor, DEADLINE_S)

    def test_answers_only_while_it_is_open(self, backend: Backend, tiny: Model) -> None:
        tensor = tiny.golden.inputs[0]
        with pytest.raises(BackendError):
            backend.invoke(tensor, DEADLINE_S)
        backend.open(tiny)
        backend.invoke(tensor, DEADLINE_S)
        backend.close()
        with pytest.raises(BackendError):
            backend.invoke(tensor, DEADLINE_S)

    def test_closes_twice_and_before_it_was_open_and_opens_again(self, backend: Backend, tiny: Model) -> None:
        backend.close()
        for _ in range(2):
            backend.open(tiny)
            assert prove(backend, tiny).passed
            backend.close()
            backend.close()

    def test_opens_another_model_in_place_of_the_first(self, maker: Maker, backend: Backend, tiny: Model) -> None:
        card = _suited(maker, _read(CARD))
        backend.open(tiny)
        backend.open(card)
        assert prove(backend, card).passed

    def test_runs_float_models(self, maker: Maker, backend: Backend) -> None:
        backend.open(_twins(maker, BOTH))
        outputs = backend.invoke(np.array([[1.5, -2.0]], np.float32), DEADLINE_S)
        assert outputs["minus"].tolist() == [[-1.5, 2.0]]
        assert outputs["plus"].tolist() == [[1.5, 2.0]]

    def test_has_a_name_that_fits_a_metric_label(self, backend: Backend) -> None:
        assert backend.name.isidentifier()


WRONG_INPUTS = {
    "shape": {"shape": (1, 16, 15, 3)},
    "dtype": {"dtype": Dtype.INT8},
    "scale": {"scale": 0.0039},
    "zero_point": {"zero_point": 1},
}


class TestTheFileAgainstItsDescription:
    @pytest.mark.parametrize("wrong", ["shape", "dtype"])
    def test_an_input_that_disagrees_is_told_with_both_sides(
        self, maker: Maker, backend: Backend, tiny: Model, wrong: str
    ) -> None:
        spec = replace(tiny.input, **WRONG_INPUTS[wrong])  # type: ignore[arg-type]  # the values fit their names
        with pytest.raises(ModelError) as caught:
            backend.open(replace(tiny, input=spec))
        assert str(caught.value).startswith(f"tiny-uint8 1.0.0: input: {maker.file} has uint8 [1, 16, 16, 3]")
        assert f"; model.toml says {spec.dtype} {list(spec.shape)}" in str(caught.value)

    @pytest.mark.parametrize("maker", TELLING, indirect=True)
    @pytest.mark.parametrize("wrong", ["scale", "zero_point"])
    def test_an_input_of_other_steps_is_told_with_both_sides(
        self, maker: Maker, backend: Backend, tiny: Model, wrong: str
    ) -> None:
        spec = replace(tiny.input, **WRONG_INPUTS[wrong])  # type: ignore[arg-type]  # the values fit their names
        with pytest.raises(ModelError) as caught:
            backend.open(replace(tiny, input=spec))
        assert f": input: {maker.file} has uint8 [1, 16, 16, 3], scale {tiny.input.scale!r}" in str(caught.value)
        assert f"model.toml says uint8 [1, 16, 16, 3], scale {spec.scale!r}, zero_point {spec.zero_point}" in str(
            caught.value
        )

    @pytest.mark.parametrize("maker", TELLING, indirect=True)
    @pytest.mark.parametrize("wrong", ["scale", "zero_point"])
    def test_an_output_of_other_steps_is_told_with_both_sides(
        self, maker: Maker, backend: Backend, tiny: Model, wrong: str
    ) -> None:
        spec = replace(tiny.outputs["scores"], **WRONG_INPUTS[wrong])  # type: ignore[arg-type]  # as above
        with pytest.raises(ModelError, match=rf"output 'scores': {maker.file} has .*; model.toml says uint8"):
            backend.open(replace(tiny, outputs={"scores": spec}))

    @pytest.mark.parametrize("maker", TELLING, indirect=True)
    def test_a_scale_may_be_off_by_what_a_float32_rounds_and_no_more(self, backend: Backend, tiny: Model) -> None:
        scale = float(np.float32(tiny.input.scale))
        backend.open(replace(tiny, input=replace(tiny.input, scale=scale * (1 + 1e-7))))
        with pytest.raises(ModelError, match="input: model"):
            backend.open(replace(tiny, input=replace(tiny.input, scale=scale * (1 + 1e-5))))

    def test_outputs_are_found_by_name_whatever_their_order(self, maker: Maker, backend: Backend) -> None:
        backend.open(_twins(maker, dict(reversed(BOTH.items()))))
        outputs = backend.invoke(np.array([[1.0, -2.0]], np.float32), DEADLINE_S)
        assert outputs["plus"].tolist() == [[1.0, 2.0]]

    def test_outputs_of_other_names_are_found_by_their_shape_where_only_one_has_it(
        self, maker: Maker, backend: Backend
    ) -> None:
        person = _suited(maker, _read(PERSON))
        renamed = {role: replace(spec, name=f"StatefulPartitionedCall:{role}") for role, spec in person.outputs.items()}
        backend.open(replace(person, outputs=renamed))
        assert prove(backend, person).passed

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [
            (
                {"a": replace(FLOAT, name="a"), "b": BOTH["plus"]},
                r"output 'a' cannot be told apart: .*'minus' .*'plus'",
            ),
            ({"a": BOTH["plus"], "b": BOTH["plus"]}, r"two roles .* lead to one tensor"),
            ({"a": BOTH["plus"]}, r"FILE has 2 outputs, model.toml describes 1"),
            ({**BOTH, "c": FLOAT}, r"FILE has 2 outputs, model.toml describes 3"),
            ({**BOTH, "plus": replace(FLOAT, name="p", shape=(1, 3))}, r"'plus' cannot be .* 'p' float32 \[1, 3\]"),
            ({**BOTH, "plus": replace(FLOAT, name="plus", shape=(1, 3))}, r"'plus': FILE has float32 \[1, 2\]"),
        ],
        ids=["ambiguous", "one for two", "too few", "too many", "no such shape", "other shape"],
    )
    def test_outputs_that_cannot_be_told_apart_are_refused(
        self, maker: Maker, backend: Backend, outputs: dict[str, TensorSpec], message: str
    ) -> None:
        with pytest.raises(ModelError, match=message.replace("FILE", maker.file)):
            backend.open(_twins(maker, outputs))

    @pytest.mark.parametrize("maker", OPENING_TFLITE, indirect=True)
    def test_a_file_compiled_for_the_edge_tpu_is_told_as_that(self, backend: Backend, tiny: Model) -> None:
        with pytest.raises(ModelError, match=r"compiled for the Edge TPU .*model_edgetpu\.tflite"):
            backend.open(replace(tiny, tflite=EDGETPU_OP.read_bytes()))

    @pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL2" + bytes(64), b"x" * 4096], ids=len)
    def test_a_file_of_another_kind_is_refused(
        self, maker: Maker, backend: Backend, tiny: Model, content: bytes
    ) -> None:
        with pytest.raises(ModelError, match=rf"tiny-uint8 1\.0\.0: the runtime refuses {maker.file}: ."):
            backend.open(replace(tiny, **{maker.field: content}))  # type: ignore[arg-type]  # a field of bytes

    def test_after_a_refusal_it_is_not_open(self, maker: Maker, backend: Backend, tiny: Model) -> None:
        backend.open(tiny)
        with pytest.raises(ModelError):
            backend.open(replace(tiny, **{maker.field: b""}))  # type: ignore[arg-type]  # a field of bytes
        with pytest.raises(BackendError):
            backend.invoke(tiny.golden.inputs[0], DEADLINE_S)


@pytest.mark.parametrize("runtime", INSTALLED)
def test_a_runtime_can_be_asked_for_by_name(runtime: Runtime) -> None:
    backend = CpuBackend(runtime=runtime)
    backend.open(_read(TINY))
    assert prove(backend, _read(TINY)).passed


@pytest.mark.skipif(len(INSTALLED) == len(RUNTIMES), reason="both runtimes are installed")
def test_a_runtime_that_is_not_installed_is_named() -> None:
    missing = next(name for name in ("ai-edge-litert", "tflite-runtime") if name not in INSTALLED)
    with pytest.raises(BackendError, match=f"cpu: no TFLite runtime .{missing}: .*; pip install ai-edge-litert"):
        CpuBackend(runtime=missing).open(_read(TINY))  # type: ignore[arg-type]  # a key of RUNTIMES


@pytest.mark.parametrize("name", BACKENDS)
def test_the_registry_makes_each_backend_by_the_name_it_gives_itself(name: str) -> None:
    assert make_backend(name, ModelConfig(folder=TINY)).name == name  # type: ignore[arg-type]  # a key of BACKENDS


def test_without_xnnpack_other_kernels_run() -> None:
    model = _read(PERSON)
    tensor, outputs = model.golden.inputs[0], []
    for xnnpack in (True, False):
        backend = make_backend("cpu", ModelConfig(folder=PERSON, xnnpack=xnnpack))
        backend.open(model)
        outputs.append(backend.invoke(tensor, DEADLINE_S))
    if INSTALLED[0] == "ai-edge-litert":
        assert not _same(*outputs), "both ways gave the same numbers: is the setting used?"
