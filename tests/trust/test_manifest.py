"""What custom fields of signed targets may say, and which devices take part in a rollout."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MetadataError
from appliance.trust.manifest import Target, Terms, chosen, manifests

ID, OTHER = "1a" * 32, "2b" * 32
FIELDS: dict[str, Any] = {
    "format": 1,
    "kind": "model",
    "model": "door",
    "version": "1.0.0",
    "sequence": 1,
    "size_bytes": 1000,
    "rollout_percent": 100,
}


def described(model_id: str = ID, path: str = "", **changed: object) -> Target:
    fields = {key: value for key, value in {**FIELDS, **changed}.items() if value is not ...}
    path = path or f"{fields.get('model')}/{fields.get('version')}/model.toml"
    return Target(path, 100, model_id, fields)


def bundled(model_id: str = ID, base_id: str = "", digest: str = OTHER, **changed: object) -> Target:
    fields = {"format": 1, "kind": "bundle", "model_id": model_id, "base_id": base_id, "memory_bytes": 1, **changed}
    return Target(f"door/1.0.0/{base_id or 'whole'}", 10, digest, fields)


def test_an_update_is_its_description_and_the_bundles_that_name_it() -> None:
    found = manifests([bundled(), described(), bundled(base_id=OTHER), bundled(model_id=OTHER)])
    (manifest,) = found["door"]
    assert (manifest.model, manifest.version, manifest.sequence) == ("door", "1.0.0", 1)
    assert [bundle.base_id for bundle in manifest.bundles] == ["", OTHER]
    whole = manifest.bundle_for("")
    assert whole is not None
    assert (whole.path, whole.size_bytes, whole.sha256) == ("door/1.0.0/whole", 10, OTHER)
    assert manifest.bundle_for(ID) is None


def test_updates_come_by_model_and_the_highest_sequence_first() -> None:
    targets = [described(digest, version=f"{number}", sequence=number) for number, digest in ((2, ID), (9, OTHER))]
    found = manifests([*targets, described("3c" * 32, model="gate")])
    assert [each.sequence for each in found["door"]] == [9, 2]
    assert list(found) == ["door", "gate"]
    assert manifests([]) == {}


@pytest.mark.parametrize(
    "target",
    [
        described(format=2),
        described(format=...),
        described(format="1"),
        described(kind="firmware"),
        described(kind=...),
        bundled(format=7),
        Target("anything", 1, ID, {}),
    ],
)
def test_what_a_newer_publisher_adds_is_passed_over(target: Target) -> None:
    assert manifests([target]) == {}
    assert len(manifests([target, described(more={"deep": [1]})])["door"]) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "../door"),
        ("model", ""),
        ("model", "x" * 65),
        ("model", ...),
        ("version", "v1"),
        ("version", "1/2"),
        ("sequence", 0),
        ("sequence", 2**53 + 1),
        ("sequence", "many"),
        ("size_bytes", 0),
        ("size_bytes", 2**40),
        ("rollout_percent", -1),
        ("rollout_percent", 101),
        ("rollout_percent", 50.5),
        ("rollout_percent", ...),
        ("allow_downgrade_from", ["short"]),
        ("allow_downgrade_from", [ID] * 17),
        ("consent", "perhaps"),
        ("summary", "x" * 201),
        ("terms", {"tries": 0}),
        ("terms", {"tries": 11}),
        ("terms", {"agreement_min": "1.5"}),
        ("terms", {"agreement_min": "nan"}),
        ("terms", {"duration_s": 8 * 86_400}),
        ("terms", {"latency_ms_max": 0}),
        ("terms", []),
    ],
)
def test_fields_that_cannot_be_are_refused_with_the_targets_path(key: str, value: object) -> None:
    fields = {each: field for each, field in {**FIELDS, key: value}.items() if field is not ...}
    target = Target("door/1.0.0/model.toml", 100, ID, fields)
    with pytest.raises(MetadataError, match=r"door/1\.0\.0/model\.toml"):
        manifests([target])


@pytest.mark.parametrize(
    "target",
    [
        bundled(base_id="short"),
        bundled(model_id="short"),
        bundled(memory_bytes=0),
        bundled(memory_bytes=2**40),
        bundled(digest="short"),
        Target("door/1.0.0/whole", 0, OTHER, bundled().custom),
        Target("door/1.0.0/whole", 2**40, OTHER, bundled().custom),
        Target("door/1.0.0/whole", True, OTHER, bundled().custom),
    ],
)
def test_a_bundle_that_cannot_be_is_refused_with_its_path(target: Target) -> None:
    with pytest.raises(MetadataError, match=r"door/1\.0\.0/"):
        manifests([described(), target])


def test_a_description_lies_where_its_fields_say() -> None:
    with pytest.raises(MetadataError, match=r"custom fields are of door 1\.0\.0"):
        manifests([described(path="door/2.0.0/model.toml")])


def test_more_bundles_than_an_update_has_are_refused_and_no_bug() -> None:
    many = [bundled(base_id=f"{number:064x}") for number in range(65)]
    with pytest.raises(MetadataError, match="bundles"):
        manifests([described(), *many])


def test_numbers_with_a_fraction_are_signed_as_text_and_read_as_numbers() -> None:
    """Canonical JSON has no fractions."""
    terms = {"agreement_min": "0.9", "duration_s": "60.5", "faults_share_max": "0.0", "latency_ms_max": "12.5"}
    (manifest,) = manifests([described(terms=terms)])["door"]
    assert manifest.custom.terms == Terms(agreement_min=0.9, duration_s=60.5, faults_share_max=0.0, latency_ms_max=12.5)


def test_terms_that_are_not_signed_are_the_usual_ones() -> None:
    (manifest,) = manifests([described(terms={})])["door"]
    assert manifest.custom.terms == Terms()


@given(number=st.integers(0, 10**6), model_id=st.sampled_from([ID, OTHER]), percent=st.integers(0, 99))
def test_who_takes_part_takes_part_when_more_do(number: int, model_id: str, percent: int) -> None:
    node = f"device-{number}"
    assert chosen(node, model_id, 100)
    assert not chosen(node, model_id, 0)
    assert chosen(node, model_id, percent) <= chosen(node, model_id, percent + 1)


def test_about_as_many_take_part_as_are_asked_and_not_the_same_each_time() -> None:
    nodes = [f"device-{number}" for number in range(2000)]
    part = {model_id: {node for node in nodes if chosen(node, model_id, 30)} for model_id in (ID, OTHER)}
    for took in part.values():
        assert 0.27 <= len(took) / len(nodes) <= 0.33
    both = Counter(node in part[ID] for node in part[OTHER])
    assert 0.25 <= both[True] / len(part[OTHER]) <= 0.35


def test_the_draw_is_the_one_that_is_documented() -> None:
    """A change of it would put every rollout under way to other devices."""
    assert [chosen("device-2", ID, percent) for percent in (39, 40)] == [False, True]
