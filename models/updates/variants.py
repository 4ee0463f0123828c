"""What becomes of a model: one function for each kind of update, from the network of an earlier version to the next."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appliance.forge import keras
from appliance.forge.prune import clone, prune
from appliance.forge.quantize import to_int8
from models.updates.network import SEED
from models.updates.subjects import BATCH, Subject, tune

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from appliance.forge.foreign import Foreign
    from appliance.forge.progress import Progress

    Array = NDArray[Any]

RATE_LAST = 1e-3
RATE_PRUNED, SPARSITY = 1e-4, 0.5
AT_ONCE = 1e-6
"""Share of the steps over which weights are pruned: all before the tuning that heals."""
RATE_SCRATCH = 1e-3
RATE_NEXT = 1e-4
ZIP_DATE = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get from a version to the next."""

    name: str
    make: Callable[[Subject, Foreign, Progress], Foreign]
    """From the base's network to another; the base's is left as it was. None where a network has no such variant."""
    what: str
    base: str = "v1"
    recalibrated: bool = False
    labelled: bool = False


def _same(_: Subject, net: Foreign, __: Progress) -> Foreign:
    return net


def _last_layer(subject: Subject, net: Foreign, progress: Progress) -> Foreign:
    return tune(subject, _only_last(clone(net)), RATE_LAST, subject.new, progress)


def _class_added(subject: Subject, net: Foreign, progress: Progress) -> Foreign:
    found = subject.widened(net)
    if found is None:
        return None
    wider, lesson = found
    return tune(subject, _only_last(wider), RATE_LAST, lesson, progress)


def _only_last(net: Foreign) -> Foreign:
    for layer in net.layers[:-1]:
        layer.trainable = False
    return net


def _tuned(rate: float) -> Callable[[Subject, Foreign, Progress], Foreign]:
    return lambda subject, net, progress: tune(subject, clone(net), rate, subject.new, progress)


def _pruned(subject: Subject, net: Foreign, progress: Progress) -> Foreign:
    lesson = subject.new
    return prune(
        net, lesson.inputs, lesson.targets, sparsity=SPARSITY, epochs=subject.epochs, loss=subject.loss(), batch=BATCH,
        learning_rate=RATE_PRUNED, begin=0.0, end=AT_ONCE, seed=SEED, progress=progress,
    ).network  # fmt: skip


def _scratch(subject: Subject, _: Foreign, progress: Progress) -> Foreign:
    net = subject.untrained()
    return None if net is None else tune(subject, net, RATE_SCRATCH, subject.new, progress)


def _next(subject: Subject, net: Foreign, progress: Progress) -> Foreign:
    return tune(subject, clone(net), RATE_NEXT, subject.newer, progress)


BASE = Variant("v1", lambda subject, _, progress: subject.first(progress), "the first version", base="")
VARIANTS = (
    Variant("last_layer", _last_layer, "only the last layer trained on"),
    Variant("lr_1e-5", _tuned(1e-5), "all layers trained on at a rate of 1e-5"),
    Variant("lr_1e-4", _tuned(1e-4), "all layers trained on at a rate of 1e-4"),
    Variant("lr_1e-3", _tuned(1e-3), "all layers trained on at a rate of 1e-3"),
    Variant("recalibrated", _same, "the same float weights, calibrated in the new place", recalibrated=True),
    Variant("pruned", _pruned, "half of the weights of each layer set to zero, the rest trained on at 1e-4"),
    Variant("labels", _same, "labels put into the file", labelled=True),
    Variant("class_added", _class_added, "two classes added, only the last layer trained on"),
    Variant("next", _next, "trained on once more at 1e-4, for a third place", base="lr_1e-4"),
    Variant("scratch", _scratch, "trained from random weights"),
)


def converted(subject: Subject, net: Foreign, variant: Variant) -> bytes:
    """Quantise, per channel where the Edge TPU compiler takes that. Raises ForgeError."""
    lesson = subject.new if variant.recalibrated else subject.old
    int8 = to_int8(keras.freeze(net, subject.shape), lesson.calibration())
    return int8 + _archive(subject.labels) if variant.labelled else int8


def _archive(labels: tuple[str, ...]) -> bytes:
    """Give a zip with the labels: where a ``.tflite`` with metadata has them, after the flatbuffer."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("labels.txt", ZIP_DATE), "".join(f"{label}\n" for label in labels))
    return buffer.getvalue()
