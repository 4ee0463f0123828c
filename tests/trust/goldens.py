"""The golden bundles, and applying them. Only what a device has is imported here: it runs on other machines, too."""

import platform
from collections.abc import Mapping
from pathlib import Path

from appliance.trust import bundle
from appliance.trust.bundle import Entry
from appliance.trust.delta import Sink

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "deltas-golden"
GOLDENS = ("copy-add", "full-xz", "sub-xz", "tad1")


def applied(content: bytes, base: Mapping[str, bytes]) -> dict[str, bytes]:
    """Apply as a device does, and prove what came out. Raises BundleError."""
    made: dict[str, bytearray] = {}

    def open_sink(entry: Entry) -> Sink:
        file = made[entry.path] = bytearray(entry.size_bytes)

        def write(offset: int, piece: bytes | memoryview) -> None:
            file[offset : offset + len(piece)] = piece

        return write

    bundle.apply(content, base, open_sink)
    for entry in bundle.read_header(content).entries:
        bundle.check(entry, [made[entry.path]])
    return {path: bytes(file) for path, file in made.items()}


def golden(kind: str) -> tuple[dict[str, bytes], dict[str, bytes], bytes]:
    """Return the base, the result and the bundle of a kind."""
    base, changed = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (GOLDEN / "base", GOLDEN / kind)
    )
    return base, base | changed, (GOLDEN / f"{kind}.bundle").read_bytes()


def main() -> None:
    """Apply every golden bundle and compare; say so, and on what machine."""
    for kind in GOLDENS:
        base, result, content = golden(kind)
        assert applied(content, base) == result, f"{kind} makes something else on {platform.machine()}"
        print(f"{platform.machine()} makes {kind}")
