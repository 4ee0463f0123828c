"""The model folders of this repository, for tests."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
MODELS = _ROOT / "models"
TINY = _ROOT / "tests" / "data" / "models" / "tiny-uint8" / "1.0.0"
PERSON = MODELS / "person" / "1.1.0"
_DATA = _ROOT / "tests" / "data" / "models"
CARD = _DATA / "card-example" / "1.0.0"
VIBRATION = _DATA / "vibration-example" / "1.0.0"
FRAUD, HEARTBEAT, MACHINE = (MODELS / name / "1.0.0" for name in ("fraud", "heartbeat", "machine"))
FOLDERS = (TINY, PERSON, CARD, VIBRATION, FRAUD, HEARTBEAT, MACHINE)
EDGETPU_OP = TINY.parent.parent / "edgetpu-op.tflite"
"""int8 [1, 4] through the custom op that edgetpu_compiler leaves."""
TWINS = TINY.parent.parent / "twins.tflite"
"""float32 [1, 2]: ``minus`` is -x, ``plus`` is abs(x); two outputs of one shape and dtype."""
