"""Put the files that `build.py` made into `pairs/`: each as our own delta against the one it comes from.

To be run anew, on the same files, whenever the format of deltas changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.bench.delta.pairs import INDEX, Stored, read
from appliance.errors import ConfigError
from appliance.hub.delta import encode

PAIRS = Path(__file__).resolve().parent / "pairs"


def pack(raw: Path, folder: Path) -> None:
    """Pack the files of every network under ``raw``, and check that they come out again. Raises ConfigError."""
    stored, toolchain, total = [], {}, 0
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pairs-") as scratch:
        for described in sorted(raw.glob("*/pairs.json")):
            document = json.loads(described.read_text())
            toolchain = document.get("toolchain", {})
            for each in document["files"]:
                result = (described.parent / f"{each['name']}.tflite").read_bytes()
                base = (described.parent / f"{each['base']}.tflite").read_bytes() if each["base"] else None
                made = encode(base, result)
                one = Stored(
                    network=described.parent.name, kind=made.kind, size_bytes=len(result),
                    sha256=hashlib.sha256(result).hexdigest(),
                    **{key: each[key] for key in ("name", "base", "what", "judged")},
                )  # fmt: skip
                file = Path(scratch) / one.payload
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(made.payload)
                stored.append(one)
                total += len(made.payload)
                print(f"{one.payload}: {len(made.payload):,} bytes", flush=True)
        index = {"made_with": toolchain, "files": [asdict(each) for each in stored]}
        (Path(scratch) / INDEX).write_text(json.dumps(index, indent=2) + "\n")
        read(Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch, folder)
        folder.chmod(0o755)  # a temporary folder is its owner's alone
    print(f"{len(stored)} files in {folder}, {total:,} bytes")


def main() -> int:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="the folder that build.py wrote: build/updates")
    parser.add_argument("--out", type=Path, default=PAIRS, help="folder of the pairs")
    options = parser.parse_args()
    try:
        pack(options.raw, options.out)
    except (OSError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
