"""Whatever the forge writes into a `model.toml`, the device reads as it was meant."""

import hashlib
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.facts import DataCard, Facts, Limits, ModelMetric, ModelProvenance
from appliance.core.model import Dtype, TensorSpec
from appliance.forge.description import description_toml
from appliance.trust.model import parse_description, verify
from tests.trust.making import npz, sound, vectors

CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\t\x7f\x00#=[]|é😀')
WORDS = st.text(CHARACTERS, min_size=1, max_size=100).filter(lambda text: bool(text.strip(string.whitespace)) and any(
    not each.isspace() for each in text
))  # fmt: skip
NUMBERS = st.floats(-1e9, 1e9)
METRICS = st.lists(
    st.builds(
        lambda name, figures, data, command, unit: ModelMetric(
            name, sorted(figures)[1], data, command, min(figures), max(figures), unit
        ),
        WORDS, st.tuples(NUMBERS, NUMBERS, NUMBERS), WORDS, WORDS, st.text(CHARACTERS, max_size=16),
    )
    | st.builds(ModelMetric, WORDS, NUMBERS, WORDS, WORDS),
    max_size=4,
    unique_by=lambda metric: (metric.name, metric.data),
)  # fmt: skip
PACKAGES = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20).map(lambda name: f"a{name}-._b")
FACTS = st.builds(
    Facts,
    limits=st.just(Limits()) | st.builds(Limits, st.floats(1e-6, 1e6), WORDS, st.none() | st.integers(1, 10**9)),
    metrics=METRICS.map(tuple),
    provenance=st.none()
    | st.builds(
        ModelProvenance, WORDS, WORDS, WORDS, st.lists(st.integers(-(2**62), 2**62), max_size=3).map(tuple),
        st.dictionaries(PACKAGES, WORDS, max_size=3),
    ),
    data=st.none() | st.builds(DataCard, WORDS, WORDS, WORDS),
    measured_lsb=st.just({}) | st.just({"score": 2}),
    runtimes=st.lists(WORDS, max_size=3).map(tuple),
)  # fmt: skip


@given(facts=FACTS, words=WORDS)
def test_what_is_written_is_read_back_whatever_characters_it_holds(facts: Facts, words: str) -> None:
    tree, files = sound("score")
    files = {**files, "golden/golden.npz": npz(vectors(tree, 1))}
    written = description_toml(
        head={**{key: tree[key] for key in ("name", "version", "task", "licence", "source")}, "description": words},
        files={path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
        tensors={"input": _spec(tree["input"]), "score": _spec(tree["outputs"][0])},
        sections={"preprocess": tree["preprocess"], "extract": None, "decode": tree["decode"]},
        golden_file="golden/golden.npz",
        tolerance_lsb={"score": 2},
        facts=facts,
    )
    model = verify(parse_description(written), files)
    assert (model.facts, model.description) == (facts, words)
    assert model.preprocess.features == ("a", "b", "c")


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    dtype = Dtype(tensor["dtype"])
    return TensorSpec(tensor["name"], tuple(tensor["shape"]), dtype, tensor["scale"], tensor["zero_point"])
