"""A delegate library of ours (``delegate.c``) in libedgetpu's place, and packages that load it in pycoral's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.adapters.backends.exchange import Signature
from appliance.core.model import Dtype, TensorSpec
from appliance.core.types import Array
from tests.model_folders import EDGETPU_OP

SOURCE = Path(__file__).parent / "delegate.c"
ENGINE = "appliance.adapters.backends.edgetpu_engine:EdgeTpuEngine"
LABEL = "BuildLabel(COMPILER=12.2.0), RuntimeVersion(14)"
"""What the library says of itself, without the fields that say nothing."""

_SPECS = {name: TensorSpec(name, (1, 4), Dtype.INT8, 0.5, 0) for name in ("x", "y")}
COMPILED = Signature("edge", "1.0.0", "model_edgetpu.tflite", _SPECS["x"], {"y": _SPECS["y"]})
"""What ``edgetpu-op.tflite`` is: ~x, byte for byte, where the library runs it."""
COMPILED_BYTES = EDGETPU_OP.read_bytes()


def frame(number: int) -> Array:
    """An input of the compiled model that is recognised by its number."""
    return np.array([[number, ~number, 0, 7]], np.int8)


@dataclass(frozen=True, slots=True)
class DelegateLibrary:
    """The library, and a folder where it keeps its journal."""

    file: Path
    folder: Path

    def options(self, fault: str = "", **others: str) -> dict[str, str]:
        """What the engine is given: ``fault`` happens to every delegate."""
        own = {"library": str(self.file), "Test.Journal": str(self._journal), "Test.Once": str(self.folder / "once")}
        return own | {"Test.Fault": fault} | others

    def once(self, fault: str) -> None:
        """Let a fault happen to the next delegate only."""
        (self.folder / "once").write_text(fault)

    def journal(self, what: str) -> list[str]:
        """What it has noted of ``what``, oldest first: ``option``, ``open``, ``prepare`` or ``destroy``."""
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{what} ")]

    @property
    def _journal(self) -> Path:
        return self.folder / "journal"


RUNTIME = """
from ai_edge_litert.interpreter import *
from ai_edge_litert.interpreter import load_delegate as _load

FAULT = {fault!r}

def load_delegate(library, options=None):
    return _load(library, {{**(options or {{}}), "Test.Fault": FAULT, "Test.Loader": __name__}})
"""
"""A package that looks like tflite-runtime and is ai-edge-litert, but for the fault that the library then has."""


def another_runtime(folder: Path, *, fault: str = "", interpreter: str = "") -> Path:
    """Write a package ``tflite_runtime`` below ``folder``; returns the folder for the path of imports.

    Args:
        folder: where there is room.
        fault: what happens to the library with this runtime.
        interpreter: its module, where it shall be another one.
    """
    packages = folder / "packages"
    write(packages / "tflite_runtime" / "__init__.py", "")
    write(packages / "tflite_runtime" / "interpreter.py", interpreter or RUNTIME.format(fault=fault))
    metadata = "Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n"
    write(packages / "tflite_runtime-2.14.0.dist-info" / "METADATA", metadata)
    return packages


def write(file: Path, text: str) -> None:
    """Write a file, and the folders that it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
