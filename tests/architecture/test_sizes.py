"""Sizes and names that keep the house readable; the reason stands in each message."""

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "appliance"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "models").rglob("*.py")])

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
CLASS_LINES_MAX = 250
CODE_LINES_MAX = {"forge": 6_000, "hub": 2_800, "bench": 2_600, "demo": 700, "the device": 22_000}
"""Without blank lines, comments and docstrings. What never runs on a device in the field is counted by itself. The
device grew from 12,000 by the Edge TPU: worker, recovery, two buses, a privileged service, and their simulation; the
bench from 1,200 by the faults that it injects and the soak. From 16,000 it grew by updates: a delta codec, signed
metadata, a store, a fetcher, the trial in the loop."""
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_one_room(file: Path) -> None:
    lines = file.read_text().count("\n")
    assert lines <= FILE_LINES_MAX, f"{lines} lines: what second thing lives here?"
    assert file.stem not in VAGUE_NAMES, "the name does not say what is inside"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_functions_and_classes_fit_in_a_head(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _lines(node) <= FUNCTION_LINES_MAX, f"{node.name} (line {node.lineno}) does more than one thing"
        if isinstance(node, ast.ClassDef):
            assert _lines(node) <= CLASS_LINES_MAX, f"{node.name} (line {node.lineno}) does more than one thing"


def test_the_package_stays_small() -> None:
    counted: Counter[str] = Counter()
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0]
        counted[room if room in CODE_LINES_MAX else "the device"] += _code_lines(file)
    over = {name: lines for name, lines in counted.items() if lines > CODE_LINES_MAX[name]}
    assert not over, f"{over}: what can go? raise the budget only with a reason in the commit"


def test_every_room_says_what_it_is_for() -> None:
    silent = [str(file.relative_to(ROOT)) for file in FILES if not ast.get_docstring(ast.parse(file.read_text()))]
    assert silent == []


def test_every_lint_exception_gives_its_reason() -> None:
    bare = [place for file in FILES for place in _bare_exceptions(file)]
    assert bare == [], "write why beside it: `# noqa: RULE - reason`"


def _bare_exceptions(file: Path) -> Iterator[str]:
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        mark = next((mark for mark in ("# noqa", "# type: ignore") if mark in line), None)
        if mark is not None and " - " not in line.partition(mark)[2] and "#" not in line.partition(mark)[2][2:]:
            yield f"{file.relative_to(ROOT)}:{number}"


def _code_lines(file: Path) -> int:
    """Lines that hold code: not blank, not a comment, not a text that stands by itself."""
    text = file.read_text()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in silent]
    code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            assert node.end_lineno is not None
            code -= set(range(node.lineno, node.end_lineno + 1))
    return len(code)


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Code lines of a definition, its docstring not counted."""
    assert node.end_lineno is not None
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        assert first.end_lineno is not None
        length -= first.end_lineno - first.lineno + 1
    return length
