"""Build tests/data/models/card-example/1.0.0: a small INT8 network that scores card transactions.

An example to exercise the transactions channel from end to end, trained on a small simulator in this file.
It is not the fraud model.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
from tests.data.models import quantise, recipe

if TYPE_CHECKING:
    from tests.data.models.recipe import Array, Foreign

SEED = 20_240_601
LEGITIMATE, FRAUDULENT = 60_000, 1_200
EPOCHS = 20
CLIP_STD = 4.0  # the input's INT8 range: amounts have a long tail, and it would eat the resolution of the rest

FEATURES = (
    "amount",
    "amount_over_mean",
    "hours_since_last",
    "km_from_home",
    "km_from_last",
    "transactions_1h",
    "transactions_24h",
    "amount_24h",
    "hour",
    "weekend",
    "card_present",
    "known_merchant",
)


@dataclass(frozen=True)
class Transactions:
    """Records in the units of the card's README.

    Attributes:
        records: float64 [n, 12], columns as FEATURES.
        fraud: bool [n].
    """

    records: Array
    fraud: Array

    def part(self, chosen: Array) -> Transactions:
        """Give the records at these indices."""
        return Transactions(self.records[chosen], self.fraud[chosen])


def chance(rng: np.random.Generator, share: float, count: int) -> Array:
    """Draw bool [count], true for about this share of them."""
    return rng.random(count) < share


def legitimate(rng: np.random.Generator, count: int) -> Array:
    """Simulate honest cards, with the large purchases and the journeys that look like fraud; float64 [count, 12]."""
    usual = np.exp(rng.normal(3.2, 0.6, count))
    ratio = np.exp(rng.normal(-0.15, 0.55, count))
    ratio = np.where(chance(rng, 0.015, count), ratio * rng.uniform(3, 9, count), ratio)
    travelling = chance(rng, 0.04, count)
    home_km = np.where(travelling, rng.gamma(2, 250, count), rng.gamma(1.2, 6, count))
    last_km = np.where(travelling & chance(rng, 0.3, count), home_km, rng.gamma(1.1, 5, count))
    last_hour = rng.poisson(0.12, count)
    last_day = last_hour + rng.poisson(1.1, count)
    hour = np.where(chance(rng, 0.05, count), rng.uniform(0, 6, count), rng.normal(14.5, 4, count) % 24)
    card_present = chance(rng, 0.75, count)
    columns = (
        usual * ratio,
        ratio,
        np.where(last_hour > 0, rng.uniform(0, 1, count), np.minimum(1 + rng.exponential(18, count), 72)),
        home_km,
        np.where(card_present, last_km, 0.0),
        last_hour,
        last_day,
        usual * ratio + last_day * usual * rng.gamma(4, 0.25, count),
        np.floor(hour),
        chance(rng, 2 / 7, count),
        card_present,
        chance(rng, 0.8, count),
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def stolen(rng: np.random.Generator, count: int) -> Array:
    """Simulate stolen cards: a burst of purchases far from home, some of them tiny tests; float64 [count, 12]."""
    records = legitimate(rng, count)
    usual = records[:, 0] / records[:, 1]
    test = chance(rng, 0.25, count)
    ratio = np.where(test, rng.uniform(0.02, 0.2, count), rng.uniform(1.2, 6, count))
    burst = rng.poisson(1.6, count)
    records[:, 0], records[:, 1] = usual * ratio, ratio
    records[:, 2] = np.where(burst > 0, rng.uniform(0, 0.8, count), np.minimum(rng.exponential(14, count), 72))
    records[:, 3] = rng.gamma(1.4, 90, count)
    records[:, 4] = np.where(burst > 0, rng.gamma(1.1, 25, count), records[:, 3])
    records[:, 5] = burst
    records[:, 6] = burst + rng.poisson(1.5, count)
    records[:, 7] = records[:, 0] + usual * records[:, 6] * rng.uniform(0.6, 3, count)
    records[:, 8] = rng.integers(0, 24, count)
    records[:, 11] = chance(rng, 0.15, count)
    return records


def taken_over(rng: np.random.Generator, count: int) -> Array:
    """Simulate account take-over: quiet purchases without the card, slightly too large; float64 [count, 12]."""
    records = legitimate(rng, count)
    ratio = np.exp(rng.normal(0.5, 0.6, count))
    records[:, 0] *= ratio / records[:, 1]
    records[:, 1] = ratio
    records[:, 4] = 0.0
    records[:, 10] = chance(rng, 0.05, count)
    records[:, 11] = chance(rng, 0.3, count)
    return records


def simulate() -> Transactions:
    """Give LEGITIMATE honest and FRAUDULENT fraudulent records in random order, the same at every call."""
    rng = np.random.default_rng(SEED)
    half = FRAUDULENT // 2
    records = np.concatenate([legitimate(rng, LEGITIMATE), stolen(rng, half), taken_over(rng, half)])
    fraud = np.arange(len(records)) >= LEGITIMATE
    order = rng.permutation(len(records))
    return Transactions(records, fraud).part(order)


def train(tf: Foreign, inputs: Array, fraud: Array) -> Foreign:
    """Train 64-32-1. It ends in the logit: an INT8 sigmoid keeps half the distinct scores."""
    network = tf.keras.Sequential(
        [
            tf.keras.Input((len(FEATURES),)),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(32, activation="relu"),
            tf.keras.layers.Dense(1),
        ]
    )
    batch = 512
    steps = EPOCHS * len(inputs) // batch
    schedule = tf.keras.optimizers.schedules.CosineDecay(2e-3, steps)
    network.compile(tf.keras.optimizers.Adam(schedule), tf.keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(inputs, fraud.astype(np.float32), batch_size=batch, epochs=EPOCHS, verbose=0)
    return network


def report(scores: Array, fraud: Array, title: str) -> None:
    """Print how well the scores (float [n]) separate fraud (bool [n])."""
    limit = np.quantile(scores[~fraud], 0.99)
    found = float((scores[fraud] > limit).mean())
    levels = len(np.unique(scores))
    print(
        f"{title}: ROC-AUC {recipe.roc_auc(scores, fraud):.4f}, recall at 1 % false alarms {found:.3f}, {levels} levels"
    )


def build(out: Path) -> None:
    """Simulate, train, quantise, measure on the held-out third, write the folder."""
    print(f"simulating {LEGITIMATE + FRAUDULENT} transactions")
    data = simulate()
    third = len(data.fraud) // 3
    test, training = data.part(np.arange(third)), data.part(np.arange(third, len(data.fraud)))
    mean, std = training.records.mean(axis=0), training.records.std(axis=0)

    def normalised(records: Array) -> Array:
        inputs: Array = np.clip((records - mean) / std, -CLIP_STD, CLIP_STD).astype(np.float32)
        return inputs

    print(f"training {EPOCHS} epochs")
    tf = quantise.seed(SEED)
    network = train(tf, normalised(training.records), training.fraud)
    print("quantising")
    function = quantise.freeze(network, (1, len(FEATURES)), "record")
    calibration = np.concatenate([training.records[~training.fraud][:1500], training.records[training.fraud][:500]])
    tflite = quantise.to_int8(function, normalised(calibration))

    runner = recipe.Runner(tflite, {"score": (1, 1)})
    inputs = normalised(test.records)
    report(network.predict(inputs, batch_size=4096, verbose=0)[:, 0], test.fraud, "float")
    report(np.array([runner.values(each[np.newaxis])["score"][0, 0] for each in inputs]), test.fraud, "int8 ")

    chosen = [*np.flatnonzero(~test.fraud)[:3], *np.flatnonzero(test.fraud)[:3]]
    recipe.write_folder(
        recipe.Model(
            name="card-example",
            version="1.0.0",
            task="score",
            description="Example: scores card transactions, to exercise the transactions channel; not the fraud model.",
            licence="Apache-2.0",
            source="Trained by tests/data/models/card-example/build.py on its own seeded simulator of transactions.",
            tflite=tflite,
            output_shapes={"score": (1, 1)},
            preprocess={
                "kind": "record",
                "features": list(FEATURES),
                "mean": [round(float(value), 6) for value in mean],
                "std": [round(float(value), 6) for value in std],
            },
            decode={"kind": "score", "activation": "sigmoid", "label": "fraud"},
            tolerance_lsb={"score": 2},
            golden_inputs=[inputs[index][np.newaxis] for index in chosen],
        ),
        out,
    )


def main() -> int:
    """Read the command line and build."""
    options = recipe.arguments("Build tests/data/models/card-example/1.0.0.").parse_args()
    return recipe.carry_out(lambda: build(options.out))


if __name__ == "__main__":
    sys.exit(main())
