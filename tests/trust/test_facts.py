"""What a model says of itself beyond its tensors: optional, strict, and read as it was meant."""

import pytest

from appliance.core.facts import DataCard, Facts, Limits, ModelMetric, ModelProvenance
from appliance.errors import ModelError
from appliance.trust.model import parse_description
from tests.trust.making import REMOVE, Tree, sound, spoil, toml, verified

SECTIONS: Tree = {
    "limits": {"latency_ms_max": 5, "latency_on": "a board, one thread", "memory_bytes_max": 4_000_000},
    "metrics": [
        {"name": "auc", "value": 0.9, "low": 0.8, "high": 0.95, "data": "day 1", "command": "make it"},
        {"name": "size", "value": 512, "unit": "bytes", "data": "the file", "command": "ls -l"},
    ],
    "provenance": {
        "training_data": "own", "data_licence": "CC0-1.0", "made_by": "build.py", "seeds": [0, -1],
        "toolchain": {"tensorflow-cpu": "2.21.0"},
    },
    "data": {"what": "a purchase", "source": "simulated", "missing": "real cards"},
}  # fmt: skip


def told() -> tuple[Tree, dict[str, bytes]]:
    """A sound folder that says everything."""
    tree, files = sound("score")
    tree |= {
        key: [dict(each) for each in part] if isinstance(part, list) else dict(part) for key, part in SECTIONS.items()
    }
    tree["golden"] |= {"measured_lsb": {"score": 1}, "runtimes": ["one 1.0", "two 2.0"]}
    return tree, files


def test_everything_is_read_as_it_was_written() -> None:
    assert verified(*told()).facts == Facts(
        limits=Limits(5.0, "a board, one thread", 4_000_000),
        metrics=(
            ModelMetric("auc", 0.9, "day 1", "make it", 0.8, 0.95),
            ModelMetric("size", 512, "the file", "ls -l", unit="bytes"),
        ),
        provenance=ModelProvenance("own", "CC0-1.0", "build.py", (0, -1), {"tensorflow-cpu": "2.21.0"}),
        data=DataCard("a purchase", "simulated", "real cards"),
        measured_lsb={"score": 1},
        runtimes=("one 1.0", "two 2.0"),
    )


@pytest.mark.parametrize("part", ["limits", "metrics", "provenance", "data", "golden.measured_lsb", "golden.runtimes"])
def test_each_part_may_be_left_out(part: str) -> None:
    tree, files = told()
    spoil(tree, part, REMOVE)
    facts = verified(tree, files).facts
    empty = getattr(Facts(), part.rpartition(".")[2])
    assert getattr(facts, part.rpartition(".")[2]) == empty


SPOILT: list[tuple[str, object, str]] = [
    ("limits.latency_ms_max", 0.0, "limits.latency_ms_max: input should be greater than 0"),
    ("limits.latency_ms_max", "5 ms", "limits.latency_ms_max: input should be a valid number"),
    ("limits.latency_on", REMOVE, "latency_ms_max and latency_on go together"),
    ("limits.latency_on", "  ", "latency_ms_max and latency_on go together"),
    ("limits.latency_ms_max", REMOVE, "latency_ms_max and latency_on go together"),
    ("limits.memory_bytes_max", 0, "limits.memory_bytes_max: input should be greater than or equal to 1"),
    ("limits.memory_bytes_max", 1.5, "limits.memory_bytes_max: input should be a valid integer"),
    ("limits.power_w", 1, "limits.power_w: unknown key"),
    ("metrics.0.command", REMOVE, "metrics.0.command: missing"),
    ("metrics.0.command", "  ", "metrics.0.command: string should match pattern"),
    ("metrics.0.data", REMOVE, "metrics.0.data: missing"),
    ("metrics.0.low", REMOVE, "low and high are the two ends of one interval; give both or neither"),
    ("metrics.0.high", REMOVE, "give both or neither"),
    ("metrics.0.value", 0.96, "value 0.96 is not from low 0.8 to high 0.95"),
    ("metrics.0.value", 0.79, "value 0.79 is not from low"),
    ("metrics.1", {**SECTIONS["metrics"][0], "value": 0.85}, "metrics.1.name: is told twice of 'day 1'; which value"),
    ("provenance.data_licence", REMOVE, "provenance.data_licence: missing"),
    ("provenance.seeds", [1.5], "provenance.seeds.0: input should be a valid integer"),
    ("provenance.toolchain", {"a b": "1"}, "provenance.toolchain.a b.*string should match pattern"),
    ("data.missing", REMOVE, "data.missing: missing"),
    ("data.missing", "", "data.missing: string should have at least 1"),
    (
        "golden.measured_lsb",
        {"scores": 1},
        r"golden.measured_lsb: is given for \['scores'\]; the outputs are \['score'\]",
    ),
    ("golden.measured_lsb", {"score": 3}, "golden.tolerance_lsb: allows score 2 steps, less than the 3 measured"),
    ("golden.measured_lsb", {"score": -1}, "measured_lsb.score: input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    SPOILT,
    ids=[f"{key} {'left out' if value is REMOVE else value}" for key, value, _ in SPOILT],
)
def test_one_wrong_thing_is_refused_by_name(key: str, value: object, message: str) -> None:
    tree, _ = told()
    spoil(tree, key, value)
    with pytest.raises(ModelError, match=message):
        parse_description(toml(tree))


def test_one_metric_may_be_told_of_several_data() -> None:
    tree, files = told()
    tree["metrics"].append({**tree["metrics"][0], "data": "day 2", "value": 0.85})
    assert [metric.data for metric in verified(tree, files).facts.metrics] == ["day 1", "the file", "day 2"]
