"""Rules that hold over all rooms: what is catalogued is fed, errors have reactions, imports stay light, waits end."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance import errors
from appliance.cli import EXIT_CODES
from appliance.core.catalogue import METRICS, Metric, MetricKind
from appliance.errors import ApplianceError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "appliance"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text()) for file in FILES}
STAGES = {"capture", "pre", "queue", "invoke", "post", "decide", "publish"}
FEEDING = {"count": MetricKind.COUNTER, "observe": MetricKind.HISTOGRAM, "set": MetricKind.GAUGE}
DEVICE_LIBRARIES = (
    "ai_edge_litert", "tflite_runtime", "amqtt", "paho", "picamera2", "prometheus_client", "serial", "systemd",
    "onnxruntime", "pyudev",
)  # fmt: skip
UNBOUNDED_CALLS = {"join", "wait", "acquire", "get"}
"""Methods that wait for ever when they are given no bound."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A call that feeds a metric."""

    file: str
    name: str
    kind: MetricKind
    stage: str | None
    """The ``stage`` label where it is a literal."""


def feeds() -> Iterator[Feed]:
    """Every call of a meter with a literal name."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            name = node.args[0]
            if node.func.attr in FEEDING and isinstance(name, ast.Constant) and str(name.value).startswith("edge_"):
                stages = [each.value for each in node.keywords if each.arg == "stage"]
                stage = next((str(each.value) for each in stages if isinstance(each, ast.Constant)), None)
                yield Feed(str(file.relative_to(PACKAGE)), str(name.value), FEEDING[node.func.attr], stage)


FEEDS = list(feeds())


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_of_the_catalogue_is_fed_as_its_kind_wants(metric: Metric) -> None:
    found = {feed.kind for feed in FEEDS if feed.name == metric.name}
    assert found == {metric.kind}, f"{metric.name}: a dashboard waits for it in vain"


def test_nothing_is_fed_that_the_catalogue_does_not_know() -> None:
    assert {feed.name for feed in FEEDS} - METRICS.keys() == set()


def test_every_stage_of_the_conventions_is_measured() -> None:
    literal = {feed.stage for feed in FEEDS if feed.name == "edge_stage_duration_seconds"} - {None}
    by_the_loop = set(re.findall(r'self\._stage\("(\w+)"', (PACKAGE / "loop.py").read_text()))
    assert literal | by_the_loop == STAGES


def leaves(kind: type[ApplianceError] = ApplianceError) -> Iterator[type[ApplianceError]]:
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from leaves(below)


@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.__name__)
def test_every_error_has_a_reaction_somewhere(leaf: type[ApplianceError]) -> None:
    """One leaf for each reaction: one that nobody catches by its name is none, but for those that end the process."""
    caught = {name for tree in TREES.values() for name in _caught(tree)}
    assert leaf.__name__ in caught or leaf in EXIT_CODES
    assert leaf.__name__ in str(errors.__doc__), "the tree in errors.py names it"


def test_whoever_catches_everything_raises_it_again() -> None:
    """But for one, which hands it over to be raised on another thread, and one, which makes it an exit code."""
    places = {
        (str(file.relative_to(PACKAGE)), kind)
        for file, tree in TREES.items()
        for kind in {"Exception", "BaseException", "ApplianceError", ""} & set(_swallowed(tree))
    }
    assert places == {("frames.py", "BaseException"), ("cli.py", "ApplianceError")}


def _swallowed(tree: ast.AST) -> Iterator[str]:
    """What handlers catch that do not end by raising the same again; empty for a bare ``except``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):
                yield from _caught_by(node)


def _caught(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            yield from _caught_by(node)


def _caught_by(handler: ast.ExceptHandler) -> Iterator[str]:
    if handler.type is None:
        yield ""
        return
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    yield from (kind.id for kind in kinds if isinstance(kind, ast.Name))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_waits_without_a_bound(file: Path) -> None:
    """A join of a thread that hangs in a driver killed a peer's watchdog for 8 hours (frigate#5186)."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNBOUNDED_CALLS:
            assert node.args or node.keywords, f"line {node.lineno}: {ast.unparse(node)} has no bound"


@pytest.mark.parametrize(
    "module",
    ["appliance.compose", "appliance.adapters.sensors", "appliance.adapters.backends.registry", "appliance.explain"],
)
def test_device_libraries_are_loaded_when_a_device_is_opened_and_not_before(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split()) & set(DEVICE_LIBRARIES)
    assert loaded <= {"paho", "prometheus_client"}, "the broker and the meter are of every start; no device is"


def test_nobody_asks_the_wall_clock_but_the_clock() -> None:
    asking = {
        str(file.relative_to(PACKAGE))
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today", "time_ns"}
        and isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date", "time"}
    }  # fmt: skip
    assert asking <= {"adapters/clock.py", "hub/clock.py"}
