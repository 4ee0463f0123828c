"""Makes manifests and records of updates, for tests."""

from hashlib import sha256

from appliance.trust import plan
from appliance.trust.manifest import Bundle, Custom, Manifest, Terms
from appliance.trust.plan import Event
from appliance.trust.state import ModelState, Stage

MODEL = "person"


def an_id(name: str) -> str:
    """Return the id of a model that is called ``name`` in a test."""
    return sha256(name.encode()).hexdigest()


def make_bundle(name: str = "v2", base: str | None = "v1", size_bytes: int = 1000) -> Bundle:
    """Return the bundle that brings ``name``: against ``base``, or the whole."""
    return Bundle(
        path=f"{MODEL}/2.0.0/{an_id(base) if base else 'whole'}",
        size_bytes=size_bytes,
        sha256=an_id(f"bundle {name} {base}"),
        base_id=an_id(base) if base else "",
        memory_bytes=16_000_000,
    )


def make_manifest(name: str = "v2", sequence: int = 2, *, terms: Terms | None = None, **more: object) -> Manifest:
    """Return an update as signed; ``more`` are custom fields, or ``bundles``."""
    bundles = more.pop("bundles", (make_bundle(name), make_bundle(name, base=None, size_bytes=10_000)))
    values = {"format": 1, "kind": "model", "model": MODEL, "version": f"{sequence}.0.0", "sequence": sequence}
    fields = {"size_bytes": 10_000, "rollout_percent": 100, "terms": terms or Terms()} | more
    return Manifest(model_id=an_id(name), custom=Custom.model_validate(values | fields), bundles=bundles)  # type: ignore[arg-type]  # a test's own spelling


def state_at(stage: Stage, manifest: Manifest | None = None) -> ModelState:
    """Return a record that stands at ``stage``, reached the way that an update goes."""
    manifest = manifest or make_manifest()
    state = ModelState(model=MODEL, committed=an_id("v1"), sequence=1)
    for event in WAYS[stage]:
        if state.stage is Stage.PLAN:
            state = plan.choose(state, manifest, manifest.bundles[0])
        state = plan.advance(state, event)
    assert state.stage is stage
    return state


_START = (Event.START, Event.DONE)
WAYS: dict[Stage, tuple[Event, ...]] = {
    Stage.IDLE: (),
    Stage.METADATA: _START[:1],
    Stage.PLAN: _START,
    Stage.FETCH: (*_START, *[Event.DONE] * 1),
    Stage.VERIFY: (*_START, *[Event.DONE] * 2),
    Stage.APPLY: (*_START, *[Event.DONE] * 3),
    Stage.SELFTEST: (*_START, *[Event.DONE] * 4),
    Stage.TRIAL: (*_START, *[Event.DONE] * 5),
    Stage.COMMITTED: (*_START, *[Event.DONE] * 6),
    Stage.ROLLBACK: (*_START, *[Event.DONE] * 5, Event.BAD),
    Stage.REPORT: (*_START, *[Event.DONE] * 7),
}
"""What happens until an update stands at each stage."""
