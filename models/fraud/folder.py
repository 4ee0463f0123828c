"""What the model folder says of the fraud model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.core.features.card_history import NAMES
from appliance.core.model import CardHistoryExtract
from appliance.forge.package import PackageSpec
from models.fraud.measure import FIGURES, Judged

if TYPE_CHECKING:
    from models.fraud.learning import Part, Scale
    from models.fraud.world import Array

GOLDENS, FURTHER = 12, 300
MEMORY_BYTES_MAX = 8 << 20
"""More than twice what the runtime takes for a network this small."""
MEASURED_ON = "simulated purchases of the 30 days after training and validation, all fraud and half of the honest"
COMMAND = "python models/fraud/measure.py"


def spec_for(
    scale: Scale, training: Part, tflite: bytes, judged: Judged, made_with: tuple[tuple[int, ...], dict[str, str]]
) -> PackageSpec:
    """Describe the folder.

    Args:
        scale: of the features.
        training: what was learned from; golden inputs are taken from it.
        tflite: INT8.
        judged: the test.
        made_with: seeds, and package to version.
    """
    seeds, toolchain = made_with
    goldens = _inputs(scale, training)
    extract = CardHistoryExtract()
    return PackageSpec(
        name="fraud",
        version="1.0.0",
        task="score",
        description="How likely a card purchase is fraud; learned on simulated cards, knows no real one.",
        licence="Apache-2.0",
        source="Trained by models/fraud/build.py on its own seeded simulator.",
        tflite=tflite,
        outputs={"score": (1, 1)},
        preprocess={
            "kind": "record",
            "mean": [float(value) for value in scale.mean],
            "std": [float(value) for value in scale.std],
            "features": list(NAMES),
        },
        extract={
            "kind": "card_history",
            "cards_max": extract.cards_max,
            "terminals_max": extract.terminals_max,
            "history_min": extract.history_min,
        },
        decode={"kind": "score", "activation": "sigmoid", "label": "fraud"},
        golden_inputs=goldens[:GOLDENS],
        further_inputs=goldens[GOLDENS:],
        limits=Limits(memory_bytes_max=MEMORY_BYTES_MAX),
        metrics=[_metric(judged, figure) for figure in FIGURES],
        provenance=ModelProvenance(
            training_data=f"{len(training.pattern)} simulated purchases, {int(training.reported.sum())} reported fraud",
            data_licence="Apache-2.0",
            made_by="python models/fraud/build.py",
            seeds=seeds,
            toolchain=toolchain,
        ),
        data=DataCard(
            what="Purchases of 4500 cards at 1650 terminals in 160 days, as 21 features of card and terminal history.",
            source="models/fraud/simulator.py, seeded; five kinds of fraud, late and missing reports.",
            missing="Every real card; refunds, cash, currencies, time zones, cards shared by several people.",
        ),
    )


def _metric(judged: Judged, figure: str) -> ModelMetric:
    value = judged.estimate(figure, "int8")
    return ModelMetric(
        figure, round(value.value, 4), MEASURED_ON, COMMAND, low=round(value.low, 4), high=round(value.high, 4)
    )


def _inputs(scale: Scale, training: Part) -> list[Array]:
    """Choose inputs from all of the training, every third of them fraud, the goldens first."""
    rng = np.random.default_rng(0)
    fraud = rng.permutation(np.flatnonzero(training.fraud))
    honest = rng.permutation(np.flatnonzero(~training.fraud))
    chosen = [fraud[at // 3] if at % 3 == 0 else honest[at] for at in range(GOLDENS + FURTHER)]
    return [np.asarray(row[np.newaxis]) for row in scale(training.features[np.array(chosen)])]
