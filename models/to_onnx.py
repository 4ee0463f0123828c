"""Write a model's INT8 network as ONNX, for `appliance bench models` to time on ONNX Runtime: `evaluation/int8.onnx`.

    python models/to_onnx.py models/fraud/1.0.0 models/heartbeat/1.0.0

tf2onnx 1.17 reads the `.tflite` and writes quantise and dequantise nodes around float operators, which ONNX Runtime
fuses back into INT8 ones. It needs an environment of its own, which the forge makes once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from appliance.errors import ForgeError
from appliance.forge.environment import Environment, environment

REQUIREMENTS = (
    "tf2onnx==1.17.0",
    "onnx==1.22.0",
    "tensorflow-cpu==2.19.1",
    "numpy==2.1.3",
    "protobuf==5.29.6",
)
OPSET = "17"
TIMEOUT_S = 600.0


def convert(folder: Path, tools: Environment) -> Path:
    """Convert one model folder's network; gives the file it wrote. Raises ForgeError."""
    file = folder.parent / "evaluation" / "int8.onnx"
    file.parent.mkdir(exist_ok=True)
    words = ["--tflite", str(folder / "model.tflite"), "--output", str(file), "--opset", OPSET]
    tools.run(["-m", "tf2onnx.convert", *words], timeout_s=TIMEOUT_S)
    return file


def main() -> int:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="models/<name>/<version>")
    try:
        tools = environment("tf2onnx", REQUIREMENTS, tell=print)
        for folder in parser.parse_args().folders:
            print(convert(folder, tools))
    except ForgeError as error:
        print(f"to_onnx: {error}", file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
