"""A network from a stranger is opened only when it is made of Keras' own layers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.errors import ForgeError
from appliance.forge import keras

Foreign = Any  # tensorflow ships no types


def with_lambda(tf: Foreign, marker: Path) -> Foreign:
    """A network whose Lambda writes a file whenever it is built."""
    file = str(marker)

    def telling(x: Foreign) -> Foreign:
        from pathlib import Path  # noqa: PLC0415 - the code travels in the file, without this module

        Path(file).write_text("was here")
        return x

    return tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Lambda(telling), tf.keras.layers.Dense(1)])


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
def test_a_lambda_in_hdf5_is_refused_before_it_runs_whatever_the_file_is_called(
    tf: Foreign, tmp_path: Path, name: str, *, wrapped: bool
) -> None:
    marker = tmp_path / "ran"
    network = with_lambda(tf, marker)
    if wrapped:
        network = tf.keras.Sequential([tf.keras.Input((3,)), network])
    network.save(tmp_path / "made.h5", save_format="h5")
    (tmp_path / "made.h5").rename(tmp_path / name)
    marker.unlink()
    with pytest.raises(ForgeError, match="holds a Lambda layer, which is Python code: opening it runs"):
        keras.load(tmp_path / name)
    assert not marker.exists()


def test_a_lambda_in_a_keras_archive_is_refused_in_the_same_words(tf: Foreign, tmp_path: Path) -> None:
    (tmp_path / "net.keras").write_bytes(keras.saved(with_lambda(tf, tmp_path / "ran")))
    with pytest.raises(ForgeError, match="holds a Lambda layer"):
        keras.load(tmp_path / "net.keras")


@pytest.mark.parametrize(
    ("module", "name", "registered"),
    [("os", "system", None), ("keras.utils", "get_file", None), ("builtins", "exec", None), (None, "shop>Layer", None)],
)
def test_classes_that_are_not_keras_own_are_refused_by_name(
    convolutions: Foreign, tmp_path: Path, module: str | None, name: str, registered: str | None
) -> None:
    file = tmp_path / "net.keras"
    file.write_bytes(keras.saved(convolutions))
    with zipfile.ZipFile(file) as archive:
        content = {each: archive.read(each) for each in archive.namelist()}
    description = json.loads(content["config.json"])
    description["config"]["layers"][1] |= {"module": module, "class_name": name, "registered_name": registered}
    content["config.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for each, data in content.items():
            archive.writestr(each, data)
    with pytest.raises(ForgeError, match=f"not Keras' own .*{name}"):
        keras.load(file)


@pytest.mark.parametrize("name", ["net.h5", "net.keras"])
def test_networks_of_keras_own_layers_are_read_as_before(
    convolutions: Foreign, pictures: Foreign, tmp_path: Path, name: str
) -> None:
    convolutions.save(tmp_path / name)
    again = keras.load(tmp_path / name)
    assert np.array_equal(again.predict(pictures, verbose=0), convolutions.predict(pictures, verbose=0))


def test_hdf5_of_weights_alone_is_told_as_that(convolutions: Foreign, tmp_path: Path) -> None:
    convolutions.save_weights(tmp_path / "net.h5")
    with pytest.raises(ForgeError, match="weights without the network"):
        keras.load(tmp_path / "net.h5")
