"""Writes a ``model.toml``. What it may say is decided in ``trust.description``; here is only how it looks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from appliance.core.facts import Facts
from appliance.core.model import TensorSpec

Keys = Mapping[str, object]


def description_toml(
    *,
    head: Keys,
    files: Mapping[str, str],
    tensors: Mapping[str, TensorSpec],
    sections: Mapping[str, Keys | None],
    golden_file: str,
    tolerance_lsb: Mapping[str, int],
    facts: Facts,
) -> bytes:
    """Write the description of a model.

    Args:
        head: the keys before the first section, ``schema`` left out.
        files: path to sha256.
        tensors: ``input`` and each output by role, in the order they are listed.
        sections: ``preprocess``, ``extract`` (None: there is none) and ``decode``.
        golden_file: where the golden vectors are.
        tolerance_lsb: for each role.
        facts: everything beyond tensors.
    """
    outputs = [("[[outputs]]", {"role": role, **_tensor(spec)}) for role, spec in tensors.items() if role != "input"]
    blocks: list[tuple[str, Keys | None]] = [
        ("", {"schema": 1, **head}),
        ("[files]", files),
        ("[input]", _tensor(tensors["input"])),
        ("[preprocess]", sections["preprocess"]),
        ("[extract]", sections["extract"]),
        *outputs,
        ("[decode]", sections["decode"]),
        ("[golden]", {"file": golden_file, **({"runtimes": list(facts.runtimes)} if facts.runtimes else {})}),
        ("[golden.tolerance_lsb]", tolerance_lsb),
        ("[golden.measured_lsb]", facts.measured_lsb or None),
        *_facts(facts),
    ]
    written = [f"{title}\n{_lines(keys)}".strip() for title, keys in blocks if keys]
    return ("\n\n".join(written) + "\n").encode()


def _facts(facts: Facts) -> Iterator[tuple[str, Keys | None]]:
    """Yield the sections beyond tensors that have something to say."""
    yield "[limits]", _said(asdict(facts.limits))
    for metric in facts.metrics:
        yield "[[metrics]]", _said(asdict(metric))
    if facts.provenance is not None:
        told = _said(asdict(facts.provenance))
        toolchain = told.pop("toolchain", None)
        yield "[provenance]", told
        yield "[provenance.toolchain]", toolchain  # type: ignore[misc]  # a mapping, as the field's type says
    if facts.data is not None:
        yield "[data]", asdict(facts.data)


def _said(keys: dict[str, object]) -> dict[str, object]:
    """Leave out what says nothing: None and what is empty. Zero says something."""
    return {key: value for key, value in keys.items() if value is not None and value not in ("", (), {}, [])}


def _tensor(spec: TensorSpec) -> Keys:
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype.value,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


def _lines(keys: Keys) -> str:
    # JSON's strings, numbers, booleans and flat lists are TOML's, but for one character that TOML wants escaped; a key
    # is quoted when it is a path.
    written = {key: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for key, value in keys.items()}
    return "\n".join(f"{_key(key)} = {value}" for key, value in written.items())


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
