"""A version's optional files are verified with the others, are what their names say, and name no further file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from appliance.adapters.model_folder import read_model
from appliance.errors import ModelError
from appliance.trust import onnx_file
from appliance.trust.model import parse_description, verify
from appliance.trust.networks import networks_of
from appliance.trust.onnx_file import check_onnx
from tests.forge.onnx_graphs import classifier
from tests.model_folders import EDGETPU_OP, FOLDERS, TINY
from tests.networks import as_if_compiled, folder_with
from tests.trust.making import digests, sound, toml, verified

Foreign = Any  # onnx ships no types
COMPILED = EDGETPU_OP.read_bytes()
ONNX = bytes(classifier().SerializeToString())
TFLITE = (TINY / "model.tflite").read_bytes()


class TestAVersionIsAllOfItsFiles:
    def test_the_optional_files_are_the_very_bytes_that_were_verified(self) -> None:
        tree, files = sound("classify")
        files |= {"model_edgetpu.tflite": COMPILED, "model.onnx": ONNX}
        model = verify(parse_description(toml({**tree, "files": digests(files)})), files)
        assert model.tflite_edgetpu is files["model_edgetpu.tflite"]
        assert model.onnx is files["model.onnx"]
        assert model.tflite is files["model.tflite"]

    @pytest.mark.parametrize("listed", ["model_edgetpu.tflite", "model.onnx"])
    def test_one_that_is_not_listed_is_not_looked_at(self, listed: str) -> None:
        tree, files = sound("score")
        every = {**files, "model_edgetpu.tflite": COMPILED, "model.onnx": ONNX}
        both = verify(parse_description(toml(tree)), every)
        assert (both.tflite_edgetpu, both.onnx) == (None, None)
        one = verify(parse_description(toml({**tree, "files": digests({**files, listed: every[listed]})})), every)
        assert (one.tflite_edgetpu is not None, one.onnx is not None) == (
            listed != "model.onnx",
            listed == "model.onnx",
        )

    @pytest.mark.parametrize("path", ["model_edgetpu.tflite", "model.onnx"])
    def test_a_changed_byte_in_one_is_noticed(self, path: str) -> None:
        tree, files = sound("score")
        files |= {"model_edgetpu.tflite": COMPILED, "model.onnx": ONNX}
        description = parse_description(toml({**tree, "files": digests(files)}))
        with pytest.raises(ModelError, match=f"{path}: its sha256 is"):
            verify(description, {**files, path: files[path][:-1] + b"~"})

    def test_the_device_reads_them_from_the_folder(self, tmp_path: Path) -> None:
        stand_in = as_if_compiled(TFLITE)
        model = read_model(folder_with(TINY, tmp_path, {"model_edgetpu.tflite": stand_in, "model.onnx": ONNX}))
        assert (model.tflite_edgetpu, model.onnx) == (stand_in, ONNX)
        assert read_model(TINY).tflite_edgetpu is None


class TestACompiledFile:
    @pytest.mark.parametrize("content", [TFLITE, b"\x1c\0\0\0TFL3"], ids=["the twin", "nothing"])
    def test_one_that_would_run_on_the_cpu_is_refused(self, content: bytes) -> None:
        tree, files = sound("score")
        with pytest.raises(ModelError, match=r"^model_edgetpu\.tflite: not compiled .* `appliance forge compile "):
            verified(tree, {**files, "model_edgetpu.tflite": content})

    @pytest.mark.parametrize("content", [b"", b"edgetpu-custom-op", ONNX + b"edgetpu-custom-op"], ids=len)
    def test_one_of_another_kind_is_refused(self, content: bytes) -> None:
        tree, files = sound("score")
        with pytest.raises(ModelError, match=r"^model_edgetpu\.tflite: not a TFLite flatbuffer"):
            verified(tree, {**files, "model_edgetpu.tflite": content})


def tensor(name: str, *, outside: bool) -> Foreign:
    """A tensor that stands in the file, or in another."""
    made = numpy_helper.from_array(np.arange(3, dtype=np.float32), name)
    if outside:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="weights.bin")
    return made


def node(**attributes: Any) -> Foreign:  # noqa: ANN401 - an attribute of any kind
    return helper.make_node("Anything", ["location"], ["y"], **attributes)


def graph(*nodes: Foreign, weights: list[Foreign] | None = None, sparse: list[Foreign] | None = None) -> Foreign:
    return helper.make_graph(list(nodes), "g", [], [], initializer=weights or [], sparse_initializer=sparse or [])


def model(made: Foreign, functions: list[Foreign] | None = None) -> Foreign:
    return helper.make_model(made, functions=functions or [])


def sparse_of(values: Foreign, indices: Foreign) -> Foreign:
    made = onnx.SparseTensorProto()
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    made.dims.append(9)
    return made


def trained(made: Foreign) -> Foreign:
    """A model whose training graph is ``made``."""
    whole = model(graph(node()))
    whole.training_info.add().algorithm.CopyFrom(made)
    return whole


def function_of(*nodes: Foreign, default: Foreign | None = None) -> Foreign:
    imports = [helper.make_opsetid("", 17)]
    defaults = [] if default is None else [helper.make_attribute("value", default)]
    return helper.make_function("d", "f", ["location"], ["y"], list(nodes), imports, attribute_protos=defaults)


PLACES: dict[str, Callable[[Foreign], Foreign]] = {
    "a weight": lambda each: model(graph(weights=[tensor("a", outside=False), each])),
    "a sparse weight's values": lambda each: model(graph(sparse=[sparse_of(each, tensor("i", outside=False))])),
    "a sparse weight's indices": lambda each: model(graph(sparse=[sparse_of(tensor("v", outside=False), each)])),
    "a constant": lambda each: model(graph(node(value=each))),
    "constants": lambda each: model(graph(node(values=[tensor("a", outside=False), each]))),
    "a sparse constant": lambda each: model(graph(node(value=sparse_of(each, tensor("i", outside=False))))),
    "sparse constants": lambda each: model(graph(node(values=[sparse_of(each, tensor("i", outside=False))]))),
    "a branch": lambda each: model(graph(node(then=graph(weights=[each])))),
    "a branch of a branch": lambda each: model(graph(node(then=graph(node(body=graph(node(value=each))))))),
    "branches": lambda each: model(graph(node(cases=[graph(), graph(weights=[each])]))),
    "a function": lambda each: model(graph(node()), [function_of(node(value=each))]),
    "a function's default": lambda each: model(graph(node()), [function_of(default=each)]),
    "a training graph": lambda each: trained(graph(weights=[each])),
}


class TestAnOnnxFile:
    @pytest.mark.parametrize("place", PLACES)
    def test_one_that_keeps_a_tensor_in_another_file_is_refused_wherever_it_is(self, place: str) -> None:
        networks = {"model.tflite": TFLITE, "model.onnx": PLACES[place](tensor("w", outside=True)).SerializeToString()}
        with pytest.raises(ModelError, match=r"^model\.onnx: keeps weights in another file, .*save it whole"):
            networks_of(networks)
        networks["model.onnx"] = PLACES[place](tensor("location", outside=False)).SerializeToString()
        assert networks_of(networks).onnx is networks["model.onnx"]

    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
    def test_what_the_recipe_makes_of_the_bundled_models_is_whole(self, folder: Path) -> None:
        check_onnx((folder.parent / "evaluation" / "int8.onnx").read_bytes(), "model.onnx")

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "no graph in it"),
            (b"x" * 4096, "no graph in it"),
            (TFLITE, "damaged: "),
            (b"version https://git-lfs.github.com/spec/v1\n", "damaged: "),
            (b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "a number without an end at byte 1"),
            (b"\x3a\x05ab", "field 7 of wire type 2"),
            (b"\x38\x01", "field 7 of a model is a number"),
            (b"\xba\x80\x80\x80\x10\x00", "field 536870919 at byte 5"),
        ],
        ids=["empty", "text", "TFLite", "pointer", "long number", "cut", "a number for a graph", "a key of 33 bits"],
    )
    def test_one_of_another_kind_is_refused(self, content: bytes, told: str) -> None:
        with pytest.raises(ModelError, match=rf"^model\.onnx: not an ONNX model.*{told}"):
            networks_of({"model.tflite": TFLITE, "model.onnx": content})

    def test_one_of_endless_small_parts_is_refused_before_they_are_all_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(onnx_file, "FIELDS_MAX", 1000)
        check_onnx(b"\x08\x01" * 900 + model(graph(node())).SerializeToString(), "a")
        with pytest.raises(ModelError, match="a: not an ONNX model, or damaged: more than 1000 fields"):
            check_onnx(b"\x08\x01" * 1001, "a")

    @settings(max_examples=200)
    @given(seed=st.integers(0, 2**32), outside=st.booleans(), parts=st.integers(1, 40))
    def test_any_nesting_of_graphs_is_looked_through(self, seed: int, outside: bool, parts: int) -> None:  # noqa: FBT001 - drawn
        made = random_model(np.random.default_rng(seed), parts, outside=outside)
        if outside:
            with pytest.raises(ModelError, match="keeps weights in another file"):
                check_onnx(made.SerializeToString(), "a")
        else:
            check_onnx(made.SerializeToString(), "a")

    @settings(max_examples=300)
    @given(data=st.data())
    def test_a_damaged_one_is_taken_or_refused_and_nothing_else(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(ONNX)))
        cut = data.draw(st.integers(0, 4) | st.integers(0, len(ONNX)))
        content = ONNX[:start] + data.draw(st.binary(max_size=12)) + ONNX[start + cut :]
        try:
            check_onnx(content, "a")
        except ModelError as error:
            assert str(error).startswith("a: ")  # noqa: PT017 - either outcome is right; any other error is not


def random_model(choose: np.random.Generator, parts: int, *, outside: bool) -> Foreign:
    """Put graphs within graphs, with tensors in them; one of the tensors stands in another file if ``outside``."""
    chosen = choose.integers(parts)
    graphs = [graph(node())]
    for number in range(parts):
        weight = tensor("location", outside=outside and number == chosen)
        into = graphs[choose.integers(len(graphs))]
        match choose.integers(4):
            case 0:
                into.initializer.append(weight)
            case 1:
                into.node.append(node(value=weight))
            case 2:
                into.sparse_initializer.append(sparse_of(weight, weight))
            case _:
                into.node.append(node(branch=graph(weights=[weight])))
                graphs.append(into.node[-1].attribute[0].g)
    return model(graphs[0])
