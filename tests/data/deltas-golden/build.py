"""Build the golden deltas beside this file: a base, and of each kind what changes and the bundle that changes it.

They hold the format still: a decoder that reads them on one machine reads what was published on another, years ago. Run
again only when the format gets a new number, and then beside the old ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2]))
from appliance.hub.bundle import build  # noqa: E402 - found only after the line above
from appliance.hub.delta import KINDS  # noqa: E402 - as above
from appliance.trust.delta import Kind  # noqa: E402 - as above
from appliance.trust.delta.tad_plan import DTYPES, Segment, plan  # noqa: E402 - as above
from appliance.trust.delta.tad_plan import Kind as Typed  # noqa: E402 - as above

SEED = 20_261_126
HEARTBEAT = HERE.parents[2] / "models" / "heartbeat" / "1.0.0" / "model.tflite"
LABELS = tuple(f"beat {number}: {word}" for number, word in enumerate(("normal", "early", "wide", "paced") * 8))


def tuned(model: bytes, rng: np.random.Generator) -> bytes:
    """Change a network as a fine-tune does: some weights by a step, all scales a little, some biases."""
    made = bytearray(model)
    for segment in plan(model):
        values = np.frombuffer(model, DTYPES[segment.kind], segment.base[1], segment.base[0])
        made[segment.base[0] : segment.base_end] = _changed(segment, values, rng).tobytes()
    return bytes(made)


def _changed(segment: Segment, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if segment.kind is Typed.SCALE:
        return values * rng.normal(1.0, 0.002, len(values)).astype(np.float32)
    if segment.kind is Typed.WEIGHT:
        return values + rng.choice(np.array([0, 0, 0, 0, 1, 255], np.uint8), len(values))
    if segment.kind is Typed.BIAS:
        return values + rng.integers(-30, 31, len(values)).astype(np.int32)
    return values


def folders(rng: np.random.Generator) -> dict[str, dict[str, bytes]]:
    """Make a base, and for each kind the files of a result that suit it best."""
    model, labels = HEARTBEAT.read_bytes(), "\n".join(LABELS).encode()
    base = {
        "model.toml": b'version = "1.0.0"\n',
        "model.tflite": model,
        "labels.txt": labels,
        "golden/v.bin": model[:99],
    }
    shaken = np.frombuffer(model, np.uint8) + rng.integers(0, 3, len(model)).astype(np.uint8)
    turned = model[6000:] + rng.bytes(100) + model[:6000]
    return {
        "base": base,
        Kind.FULL_XZ: {"model.tflite": model[:6000] + rng.bytes(2000)},
        Kind.SUB_XZ: {"model.tflite": shaken.tobytes()},
        Kind.COPY_ADD: {"model.tflite": turned, "labels.txt": labels + b"\nnoise\n"},
        Kind.TAD1: {"model.tflite": tuned(model, rng)},
    }


def main() -> None:
    """Write every folder, and the bundle of each kind beside it."""
    made = folders(np.random.default_rng(SEED))
    for kind in KINDS:
        made[kind]["model.toml"] = f'version = "1.1.0"\ndescription = "for {kind}"\n'.encode()
        kinds = {kind, Kind.COPY_ADD} if kind is Kind.TAD1 else {kind}  # a description is no network
        built = build(made["base"], made["base"] | made[kind], kinds=kinds)
        (HERE / f"{kind}.bundle").write_bytes(built.content)
        print(kind, len(built.content), *(f"{row.path}: {row.kind} {row.payload_bytes}" for row in built.entries))
    for name, files in made.items():
        for path, content in files.items():
            file = HERE / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


if __name__ == "__main__":
    main()
