"""Teachers and examples read without tensorflow: files of scores, a ``.tflite``, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ForgeError
from appliance.forge.run import Runner
from appliance.forge.teacher import teacher_logits
from appliance.forge.training import read_examples

TINY = Path(__file__).parents[2] / "tests" / "data" / "models" / "card-example" / "1.0.0" / "model.tflite"
INPUTS = np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.file), "w")


def test_a_pickle_is_refused_with_the_reason_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ForgeError, match=r"is a pickle: opening it runs.*save_model"):
        teacher_logits(tmp_path / "model.pkl", INPUTS)
    assert not (tmp_path / "sprung").exists()


def test_scores_computed_elsewhere_teach(tmp_path: Path) -> None:
    logits = np.arange(6.0)
    np.savez(tmp_path / "scores.npz", logits=logits)
    assert (teacher_logits(tmp_path / "scores.npz", INPUTS) == logits).all()


def test_a_tflite_teaches_with_its_dequantised_scores() -> None:
    (scores,) = Runner(TINY.read_bytes()).each(INPUTS).values()
    assert (teacher_logits(TINY, INPUTS) == scores).all()


@pytest.mark.parametrize(
    ("logits", "complaint"),
    [
        (np.arange(5.0), r"gives \[5\] for 6 inputs"),
        (np.full(6, np.nan), "one finite row each"),
        (np.full((6, 2), np.inf), "one finite row each"),
    ],
)
def test_scores_that_are_not_one_finite_row_an_input_are_refused(
    tmp_path: Path, logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]], complaint: str
) -> None:
    np.savez(tmp_path / "scores.npz", logits=logits)
    with pytest.raises(ForgeError, match=complaint):
        teacher_logits(tmp_path / "scores.npz", INPUTS)


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"gbm\.txt: there is no such teacher"):
        teacher_logits(tmp_path / "gbm.txt", INPUTS)


def test_examples_are_read_and_cut_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", inputs=INPUTS.astype(np.float64), targets=np.arange(6), teacher_inputs=INPUTS * 2)
    examples = read_examples(tmp_path / "x.npz")
    assert examples.inputs.dtype == np.float32
    part = examples.part(np.array([1, 4]))
    assert part.targets.tolist() == [1, 4]
    assert np.allclose(part.teacher_inputs, INPUTS[[1, 4]] * 2)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"inputs": INPUTS}, r"no array 'targets'; it holds inputs"),
        ({"inputs": INPUTS, "targets": np.arange(5)}, "6 inputs, 5 targets"),
        ({"inputs": INPUTS.astype(np.uint8), "targets": np.arange(6)}, "uint8; finite normalised floats"),
        ({"inputs": INPUTS * np.nan, "targets": np.arange(6)}, "finite normalised floats"),
        ({"inputs": INPUTS[:0], "targets": np.arange(0)}, "0 inputs"),
    ],
)
def test_examples_without_labels_or_sound_inputs_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], complaint: str
) -> None:
    with (tmp_path / "x.npz").open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker
    with pytest.raises(ForgeError, match=complaint):
        read_examples(tmp_path / "x.npz")
