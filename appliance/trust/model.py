"""A model folder's bytes in, a verified model out.

The bytes that were verified are the bytes that run: nothing is opened a second time, so nobody can change a file
between its verification and its use.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping

from pydantic import ValidationError

from appliance.core.facts import Facts
from appliance.core.model import (
    AnomalyDecode,
    ClassifyDecode,
    Decode,
    Dtype,
    Golden,
    Model,
    Preprocess,
    ScoreDecode,
    SsdPostprocessedDecode,
    SsdRawDecode,
    TensorSpec,
)
from appliance.core.types import Array, FrameKind
from appliance.errors import ModelError
from appliance.schema import describe, key_lines
from appliance.trust.arrays import ArraySpec, names_npz, read_npy, read_npz
from appliance.trust.consistency import LABELS_FILE, MODEL_FILE, faults
from appliance.trust.description import (
    AnomalySection,
    ClassifySection,
    Description,
    ImageSection,
    RecordSection,
    ScoreSection,
    SsdPostprocessedSection,
    SsdRawSection,
    TensorSection,
    WindowSection,
)
from appliance.trust.extract import extract_of
from appliance.trust.networks import networks_of

DESCRIPTION_FILE = "model.toml"
DESCRIPTION_BYTES_MAX = 256 * 1024
"""A description larger than this is not one."""
FILE_BYTES_MAX = 64 * 1024 * 1024
"""Largest file of a model folder: the Edge TPU takes models of some 8 MiB, a small Pi has 1 GiB of memory."""
FOLDER_BYTES_MAX = 128 * 1024 * 1024
"""Largest sum of a folder's files."""
GOLDEN_VECTORS_MAX = 64
GOLDEN_BYTES_MAX = 64 * 1024 * 1024
"""Largest sum of all golden tensors, unpacked."""
LABELS_MAX = 10_000
LABEL_CHARACTERS_MAX = 64


def parse_description(raw: bytes, file: str = DESCRIPTION_FILE) -> Description:
    """Read a ``model.toml``.

    Args:
        raw: the file's content, UTF-8.
        file: how the messages name it.

    Raises:
        ModelError: it is too large, not TOML, has an unknown, missing or impossible key, or contradicts itself; one
            line a fault, each with file, line where it is known, key path and what would be right.
    """
    if len(raw) > DESCRIPTION_BYTES_MAX:
        msg = f"{file}: larger than {DESCRIPTION_BYTES_MAX} bytes; this is not a model's description"
        raise ModelError(msg)
    try:
        text = raw.decode("utf-8")
        tree = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"{file}: not TOML: {error}"
        raise ModelError(msg) from error
    lines = key_lines(text)
    try:
        description = Description.model_validate(tree)
    except ValidationError as error:
        raise ModelError(describe(error, file, tree=tree, lines=lines, hint="models/README.md")) from error
    told = [f"{_place(file, key, lines)}: {key}: {sentence}" for key, sentence in faults(description)]
    if told:
        raise ModelError("\n".join(told))
    return description


def _place(file: str, key: str, lines: dict[tuple[str, ...], int]) -> str:
    """Name the file, and the line of ``key`` where it is known."""
    number = lines.get(tuple(key.split(".")))
    return file if number is None else f"{file}:{number}"


def verify(description: Description, files: Mapping[str, bytes]) -> Model:
    """Hold a folder's files against their description.

    Args:
        description: the folder's parsed ``model.toml``.
        files: content by path, as in ``description.files``; what is not listed there is not looked at.

    Returns:
        A model whose ``tflite``, ``tflite_edgetpu`` and ``onnx`` are the very ``bytes`` objects that were verified;
        the latter two are None where the description does not list their file.

    Raises:
        ModelError: a file is missing, too large, has another digest, or is not what the description says of it.
    """
    _check_digests(description, files)
    networks = networks_of({path: files[path] for path in description.files})
    labels = _labels(description, files)
    return Model(
        name=description.name,
        version=description.version,
        task=description.task,
        description=description.description,
        licence=description.licence,
        source=description.source,
        input=_tensor(description.input),
        preprocess=_preprocess(description.preprocess),
        outputs={output.role: _tensor(output) for output in description.outputs},
        decode=_decode(description, files, labels),
        labels=labels,
        golden=_golden(description, files[description.golden.file]),
        tflite=networks.tflite,
        sha256=description.files[MODEL_FILE],
        tflite_edgetpu=networks.edgetpu,
        onnx=networks.onnx,
        extract=extract_of(description.extract) if description.extract else None,
        facts=_facts(description),
    )


def _facts(description: Description) -> Facts:
    return Facts(
        limits=description.limits.fact(),
        metrics=tuple(metric.fact() for metric in description.metrics),
        provenance=description.provenance.fact() if description.provenance else None,
        data=description.data.fact() if description.data else None,
        measured_lsb=dict(description.golden.measured_lsb),
        runtimes=description.golden.runtimes,
    )


def _check_digests(description: Description, files: Mapping[str, bytes]) -> None:
    """Raise ModelError unless every listed file is there, bounded, and has its digest."""
    missing = sorted(set(description.files) - set(files))
    if missing:
        msg = f"{', '.join(missing)}: missing, but listed under [files]; copy the folder again, whole"
        raise ModelError(msg)
    if sum(len(files[path]) for path in description.files) > FOLDER_BYTES_MAX:
        msg = f"the files have more than {FOLDER_BYTES_MAX} bytes together"
        raise ModelError(msg)
    for path, digest in description.files.items():
        if len(files[path]) > FILE_BYTES_MAX:
            msg = f"{path}: larger than {FILE_BYTES_MAX} bytes"
            raise ModelError(msg)
        got = hashlib.sha256(files[path]).hexdigest()
        if got != digest:
            msg = f"{path}: its sha256 is {got}, model.toml says {digest}; the file is damaged or was changed"
            raise ModelError(msg)


def _tensor(section: TensorSection) -> TensorSpec:
    return TensorSpec(section.name, section.shape, section.dtype, section.scale, section.zero_point)


def _array(section: TensorSection) -> ArraySpec:
    return ArraySpec(section.shape, section.dtype.numpy)


def _preprocess(section: ImageSection | WindowSection | RecordSection) -> Preprocess:
    kind = FrameKind(section.kind)
    match section:
        case ImageSection():
            return Preprocess(kind, section.mean, section.std, colour=section.colour, fit=section.fit)
        case RecordSection():
            return Preprocess(kind, section.mean, section.std, features=section.features)
        case WindowSection():
            return Preprocess(kind, section.mean, section.std, features=section.features)


def _decode(description: Description, files: Mapping[str, bytes], labels: tuple[str, ...]) -> Decode:
    """Build the decoder's parameters; classes and labels must agree in number."""
    shapes = {output.role: output.shape for output in description.outputs}
    match description.decode:
        case SsdRawSection() as ssd:
            _check_labels(labels, shapes["scores"][-1] - int(ssd.background))
            return SsdRawDecode(
                anchors=_anchors(files[ssd.anchors], shapes["boxes"][1], ssd.anchors),
                box_scales=ssd.box_scales,
                background=ssd.background,
                score_min=ssd.score_min,
                iou_max=ssd.iou_max,
                max_detections=ssd.max_detections,
            )
        case SsdPostprocessedSection() as ssd:
            return SsdPostprocessedDecode(ssd.score_min, ssd.max_detections)
        case ClassifySection() as classify:
            _check_labels(labels, shapes["scores"][-1])
            return ClassifyDecode(classify.activation)
        case AnomalySection() as anomaly:
            return AnomalyDecode(anomaly.label)
        case ScoreSection() as score:
            return ScoreDecode(score.activation, score.label)


def _anchors(content: bytes, count: int, name: str) -> Array:
    """Read float32 ``[count, 4]``; an anchor without height or width would decode to nothing."""
    anchors = read_npy(content, ArraySpec((count, 4), Dtype.FLOAT32.numpy), name)
    if not (anchors[:, 2:] > anchors[:, :2]).all():
        msg = f"{name}: an anchor has no height or width; each is ymin, xmin, ymax, xmax"
        raise ModelError(msg)
    return anchors


def _labels(description: Description, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Give every label the model can say, in the order of its outputs."""
    if isinstance(description.decode, AnomalySection | ScoreSection):
        return (description.decode.label,)
    try:
        lines = files[LABELS_FILE].decode("utf-8").removesuffix("\n").split("\n", maxsplit=LABELS_MAX)
    except UnicodeDecodeError as error:
        msg = f"{LABELS_FILE}: not UTF-8: {error}"
        raise ModelError(msg) from error
    for number, label in enumerate(lines, start=1):
        if not label.strip() or not label.isprintable() or len(label) > LABEL_CHARACTERS_MAX or number > LABELS_MAX:
            msg = (
                f"{LABELS_FILE}:{number}: {label!r:.80} is no label; write one a line, printable, 1 to "
                f"{LABEL_CHARACTERS_MAX} characters, at most {LABELS_MAX} lines, Unix line ends"
            )
            raise ModelError(msg)
    [(label, times)] = Counter(lines).most_common(1)
    if times > 1:
        msg = f"{LABELS_FILE}: {label!r} stands there {times} times; rules could not tell them apart"
        raise ModelError(msg)
    return tuple(lines)


def _check_labels(labels: tuple[str, ...], classes: int) -> None:
    if len(labels) != classes:
        msg = f"{LABELS_FILE}: {len(labels)} labels, but the scores have {classes} classes (background not counted)"
        raise ModelError(msg)


def _golden(description: Description, content: bytes) -> Golden:
    """Read the golden vectors: ``input_0``, ``<role>_0``, ``input_1``, ..."""
    name = description.golden.file
    tensors = {"input": _array(description.input)}
    tensors |= {output.role: _array(output) for output in description.outputs}
    names = names_npz(content, name, entries_max=GOLDEN_VECTORS_MAX * len(tensors))
    count = sum(key.startswith("input_") for key in names)
    specs = {f"{tensor}_{index}": spec for index in range(count) for tensor, spec in tensors.items()}
    if not specs or set(specs) != set(names):
        wrong = sorted(set(names) ^ set(specs))[:5]
        msg = f"{name}: needs input_0, <role>_0, input_1, ... for at least one vector and no more; look at {wrong}"
        raise ModelError(msg)
    if sum(spec.size_bytes for spec in specs.values()) > GOLDEN_BYTES_MAX:
        msg = f"{name}: {count} vectors have more than {GOLDEN_BYTES_MAX} bytes; record fewer"
        raise ModelError(msg)
    arrays = read_npz(content, specs, name)
    roles = [output.role for output in description.outputs]
    return Golden(
        inputs=tuple(arrays[f"input_{index}"] for index in range(count)),
        outputs=tuple({role: arrays[f"{role}_{index}"] for role in roles} for index in range(count)),
        tolerance_lsb=dict(description.golden.tolerance_lsb),
    )
