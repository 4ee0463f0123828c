"""What a machine's model folder says, whoever it was learned from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.features import names_of
from appliance.forge.package import PackageSpec
from models.machine.vectors import SEED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.core.model import SpectrumExtract
    from appliance.forge.report import Estimate
    from models.machine.network import Trained
    from models.machine.simulator import Array

GOLDENS, FURTHER = 8, 200
MADE_BY = "python models/machine/build.py"
MEMORY_BYTES_MAX = 8 << 20
"""More than twice what the runtime takes for a network this small."""


def spec_for(
    trained: Trained,
    features: Array,
    extract: SpectrumExtract,
    *,
    name: str,
    version: str,
    description: str,
    source: str,
    figures: Mapping[str, Estimate],
    measured_on: str,
    command: str,
    training_data: str,
    toolchain: Mapping[str, str],
    missing: str,
) -> PackageSpec:
    """Describe the folder of a network that learned `features`, float [n, features] as extracted.

    Args:
        trained: the network.
        features: what it learned from; golden inputs are taken from it, some of them scaled into the far range.
        extract: how the device makes such vectors.
        name: of the folder.
        version: of the folder.
        description: a sentence.
        source: a sentence.
        figures: metrics by name.
        measured_on: the data of all of them.
        command: what measures them again.
        training_data: a sentence.
        toolchain: package to version.
        missing: what the data do not hold.
    """
    goldens, further = _goldens(trained.normalise(features))
    return PackageSpec(
        name=name,
        version=version,
        task="anomaly",
        description=description,
        licence="Apache-2.0",
        source=source,
        tflite=trained.quantised.int8,
        outputs={"reconstruction": (1, features.shape[1])},
        preprocess={
            "kind": "window",
            "mean": [float(value) for value in trained.mean],
            "std": [float(value) for value in trained.std],
            "features": list(names_of(extract)),
        },
        extract=_section(extract),
        decode={"kind": "anomaly", "label": "anomaly"},
        golden_inputs=goldens,
        further_inputs=further,
        limits=Limits(memory_bytes_max=MEMORY_BYTES_MAX),
        metrics=[
            ModelMetric(key, round(each.value, 4), measured_on, command, round(each.low, 4), round(each.high, 4))
            for key, each in figures.items()
        ],
        provenance=ModelProvenance(
            training_data=training_data,
            data_licence="Apache-2.0",
            made_by=MADE_BY,
            seeds=(SEED,),
            toolchain=toolchain,
        ),
        data=DataCard(
            what=f"Feature vectors of vibration: {training_data}.",
            source=source,
            missing=missing,
        ),
    )


def _goldens(normalised: Array) -> tuple[list[Array], list[Array]]:
    """Choose golden inputs and further ones, each float32 [1, features]; the later, the further beyond healthy."""
    spread = np.linspace(0, len(normalised) - 1, GOLDENS + FURTHER).astype(int)
    chosen = normalised[spread][:, np.newaxis, :] * np.linspace(1.0, 3.0, len(spread))[:, np.newaxis, np.newaxis]
    inputs = [each.astype(np.float32) for each in chosen]
    step = len(inputs) // GOLDENS
    return inputs[::step][:GOLDENS], [each for at, each in enumerate(inputs) if at % step]


def _section(extract: SpectrumExtract) -> dict[str, Any]:
    """Write `[extract]`; TOML has lists where the values have tuples."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(extract).items()}
    return {"kind": "spectrum", **values}
