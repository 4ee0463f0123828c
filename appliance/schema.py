"""Strict parsing of what people and machines write, and the one way its errors are told."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

Lines = Mapping[tuple[str, ...], int]
"""Key paths to line numbers."""


class Section(BaseModel):
    """A section of a file: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def describe(error: ValidationError, file: str, *, tree: object, lines: Lines, hint: str) -> str:
    """Say each fault of ``error`` as ``file:line: key.path: what is wrong; what would be right``, one a line.

    Args:
        error: what pydantic found.
        file: its name, for the messages.
        tree: what was validated: tells keys of the file from the names that pydantic gives to alternatives.
        lines: key paths to line numbers where they are known (see ``key_lines``).
        hint: where every key is listed, for a key that is not known.
    """
    faults = error.errors(include_url=False)
    told = []
    for fault in faults:
        # A list whose items are wrong is also said to be too short: the items' faults tell it better.
        if fault["type"] == "too_short" and any(_is_below(other["loc"], fault["loc"]) for other in faults):
            continue
        sentence = _sentence(fault, hint)
        path = _path(fault["loc"], tree)
        # What two sections contradict one another in has no place of its own: its sentence begins with the key path.
        sought = path or tuple(sentence.partition(" ")[0].split("."))
        told.append(f"{_place(file, path, _line(sought, lines))}: {sentence}")
    return "\n".join(dict.fromkeys(told))


def _is_below(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Whether ``inner`` is a place inside ``outer``."""
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _path(loc: tuple[int | str, ...], tree: object) -> tuple[str, ...]:
    """The key path of a fault as it stands in the file: without the ``kind`` that chose between alternatives."""
    path: list[str] = []
    for part in loc:
        if isinstance(tree, Mapping) and part not in tree and tree.get("kind") == part:
            continue
        path.append(str(part))
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            tree = None
    return tuple(path)


def _line(path: tuple[str, ...], lines: Lines) -> int | None:
    """The nearest line known."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


def _place(file: str, path: tuple[str, ...], number: int | None) -> str:
    """Name the file, the line, and the key path."""
    where = file if number is None else f"{file}:{number}"
    return f"{where}: {'.'.join(path)}" if path else where


def _sentence(fault: Any, hint: str) -> str:  # noqa: ANN401 - pydantic's ErrorDetails holds values of any type
    """Say what is wrong and what would be right."""
    if fault["type"] == "extra_forbidden":
        return f"unknown key; remove it or correct its spelling ({hint} lists every key)"
    if fault["type"] == "missing":
        return "missing; this key is required"
    if fault["type"] == "union_tag_invalid":
        return f"kind {fault['ctx']['tag']!r} is not known; choose one of {fault['ctx']['expected_tags']}"
    if fault["type"] == "union_tag_not_found":
        return f"kind is missing; it says what this is about ({hint} lists every kind)"
    message = str(fault["msg"]).removeprefix("Value error, ")
    value = fault.get("input")
    if isinstance(value, str):
        value = hide_credentials(value)
    shown = f" (it is {value!r:.80})" if isinstance(value, str | int | float | bool) else ""
    return message[:1].lower() + message[1:] + shown


def hide_credentials(source: str) -> str:
    """Return a URL, or whatever else ``source`` is, as it may be shown, logged and published.

    Of a URL everything up to the last ``@`` goes, because a password may hold any character and a path that is cut
    short harms nobody; and so does the query, where cheap cameras want the password (``?user=admin&pwd=...``).
    """
    return re.sub(r"(://[^?]*)\?.*", r"\1?***", re.sub(r"://.*@", "://***@", source, flags=re.DOTALL), flags=re.DOTALL)


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Map key paths of a TOML text to line numbers, as far as a line-wise reading can tell.

    Covers tables, arrays of tables and one-line keys, which is what people write; a path it misses only costs
    the line number in a message.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in _code_lines(text):
        if line.startswith("[["):
            name = _parts(line[2 : line.find("]]")])
            counts[name] = counts.get(name, -1) + 1
            table = (*name, str(counts[name]))
        elif line.startswith("["):
            table = _parts(line[1 : line.find("]")])
        elif "=" in line:
            found.setdefault(table + _parts(line[: line.index("=")]), number)
            continue
        else:
            continue
        found.setdefault(table, number)
    return found


def _code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that are neither empty nor comments."""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line and not line.startswith("#"):
            yield number, line


def _parts(dotted: str) -> tuple[str, ...]:
    """Split a dotted TOML key; quotes are taken off."""
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
