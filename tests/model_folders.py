"""The model folders of this repository, for tests."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
MODELS = _ROOT / "models"
TINY = _ROOT / "tests" / "data" / "models" / "tiny-uint8" / "1.0.0"
PERSON = MODELS / "person" / "1.0.0"
CARD = MODELS / "card-example" / "1.0.0"
VIBRATION = MODELS / "vibration-example" / "1.0.0"
FOLDERS = (TINY, PERSON, CARD, VIBRATION)
