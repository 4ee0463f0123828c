"""Specs of models that are sound, made from the repository's own small folders, to be spoilt one thing at a time."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from appliance.adapters.model_folder import read_model
from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.quant import dequantise
from appliance.forge.package import PackageSpec
from tests.model_folders import CARD, TINY

COMMAND = "python build/train.py --evaluate"
METRIC = ModelMetric("accuracy", 0.98, "2,000 fresh pictures", COMMAND, 0.97, 0.99)


@cache
def spec() -> PackageSpec:
    """A classifier of pictures with everything a spec may say."""
    model = read_model(TINY)
    inputs = [dequantise(tensor, model.input) for tensor in model.golden.inputs]
    return PackageSpec(
        name="colours",
        version="2.0.0",
        task="classify",
        description='Says which "colour" dominates; ünicode, \\backslash and | stay as they are.',
        licence="Apache-2.0",
        source="Trained by tests/data/models/tiny-uint8/build.py.",
        tflite=model.tflite,
        outputs={"scores": (1, 3)},
        preprocess={"kind": "image", "colour": "rgb", "fit": "stretch", "mean": [0.0] * 3, "std": [255.0] * 3},
        decode={"kind": "classify", "activation": "none"},
        golden_inputs=inputs,
        further_inputs=list(np.random.default_rng(0).random((20, *model.input.shape)).astype(np.float32)),
        labels=model.labels,
        papers={"LICENSE": b"free\n"},
        limits=Limits(latency_ms_max=60.0, latency_on="Raspberry Pi 4, one thread", memory_bytes_max=64_000_000),
        metrics=[METRIC, ModelMetric("size", 2856, "the file", COMMAND, unit="bytes")],
        provenance=ModelProvenance("drawn pictures", "own", "build.py", (0, 7), {"tensorflow-cpu": "2.21.0"}),
        data=DataCard("a picture of one colour", "drawn by the recipe", "anything that a camera sees"),
    )


@cache
def score() -> PackageSpec:
    """A scorer of records that says only what it must."""
    model = read_model(CARD)
    numbers = {"mean": list(model.preprocess.mean), "std": list(model.preprocess.std)}
    return PackageSpec(
        name="scorer",
        version="1.0.0",
        task="score",
        description="d",
        licence="MIT",
        source="s",
        tflite=model.tflite,
        outputs={"score": model.outputs["score"].name},
        preprocess={"kind": "record", "features": list(model.preprocess.features), **numbers},
        decode={"kind": "score", "activation": "sigmoid", "label": "fraud"},
        golden_inputs=[dequantise(tensor, model.input) for tensor in model.golden.inputs],
    )


def but(**changes: Any) -> PackageSpec:  # noqa: ANN401 - the value of any field
    """The sound classifier with some fields changed."""
    return replace(spec(), **changes)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quiet(sentence: str) -> None:
    """Hear what should be known, and keep it."""
    assert sentence
