"""SELFTEST: a candidate in a process of its own. Golden vectors, cost, live frames beside the model that runs.

Frames are not kept, so it is the *next* ones that are judged by both. Where none come it waits, for as long as this
process lives, and says so (``Waits``): a camera that is off says nothing about a model. An Edge TPU is no part of it:
what runs there is held against the twin at the beginning of TRIAL, before the candidate decides anything.
"""

from collections.abc import Generator, Sequence
from statistics import median

from appliance.core.agreement import agree
from appliance.core.decode import decode, merge
from appliance.core.model import Model
from appliance.core.preprocess import Prepared
from appliance.core.trial import Verdict, suits
from appliance.core.types import Prediction
from appliance.errors import BackendError, CandidateError, FrameError, ModelError
from appliance.inference import PROOF_DEADLINE_S, prove
from appliance.loop import Seen
from appliance.ports import Clock
from appliance.trial.onlooker import Onlooker
from appliance.trial.site import Again, Sandbox, Site
from appliance.trust.manifest import Terms

INVOKES = 30
MEASURE_S_MAX = 5.0
"""A slow model is timed with fewer invokes, but one."""
LOOK_S = 0.25
"""Longest wait for a frame in one piece of work: others want the thread, too."""

QUIET_S = 60.0
"""Without a frame for so long, shadowing waits as it did for its first: no more than two records are written for it."""

Work = Generator[str | Verdict, None, None]
"""Work in bounded pieces: yields words for people, and at last the verdict. Raises CandidateError for a bad one.

Words that are no ``Waits`` come before whatever runs the candidate: a try is counted down on disk there.
"""


class Waits(str):
    """Words of work that waits for the world; nothing of the candidate runs before other words were said."""

    __slots__ = ()


def selftest(site: Site, model_id: str, terms: Terms, sandbox: Sandbox, onlooker: Onlooker) -> Work:
    """Try a candidate in ``sandbox``, which is closed at the end."""
    try:
        yield "it is read and held against the configuration"
        model = read_candidate(site, model_id)
        yield "it is loaded in a process of its own, with its golden vectors"
        cost = _proven(sandbox, model, terms, site.clock)
        yield from _shadow(site, model, terms, sandbox, onlooker)
        yield Verdict(good=True, reason=cost)
    finally:
        onlooker.offer(0)
        sandbox.close()


def read_candidate(site: Site, model_id: str) -> Model:
    """Read a candidate that may serve on every post. Raises CandidateError, StoreError."""
    try:
        model = site.workshop.read(model_id)
    except ModelError as error:
        raise CandidateError(str(error)) from error
    for post in site.posts:
        if fault := suits(post.inference.model, model) or site.workshop.misfit(post.key, model):
            raise CandidateError(fault)
    return model


def _proven(sandbox: Sandbox, model: Model, terms: Terms, clock: Clock) -> str:
    """Load, prove and measure a candidate; returns what it costs, in words. Raises CandidateError."""
    before = sandbox.resident_bytes
    try:
        sandbox.open(model)
        sandbox.invoke(model.golden.inputs[0], PROOF_DEADLINE_S)
        memory_bytes = max(0, sandbox.resident_bytes - before)
        prove(sandbox, model)
        latency_ms = _latency_ms(sandbox, model, clock)
    except (BackendError, ModelError) as error:
        raise CandidateError(str(error)) from error
    told = f"an invoke takes {latency_ms:.3g} ms, and it adds {memory_bytes:,} bytes of memory"
    for measured, allowed in ((latency_ms, terms.latency_ms_max), (memory_bytes, terms.memory_bytes_max)):
        if allowed is not None and measured > allowed:
            msg = f"{told}; its publisher allows {allowed:,.10g} of that"
            raise CandidateError(msg)
    return told


def _latency_ms(sandbox: Sandbox, model: Model, clock: Clock) -> float:
    """Return the median of some invokes. Raises BackendError."""
    took_s: list[float] = []
    until_s = clock.monotonic_s() + MEASURE_S_MAX
    while not took_s or (len(took_s) < INVOKES and clock.monotonic_s() < until_s):
        begun_s = clock.monotonic_s()
        sandbox.invoke(model.golden.inputs[len(took_s) % len(model.golden.inputs)], PROOF_DEADLINE_S)
        took_s.append(clock.monotonic_s() - begun_s)
    return median(took_s) * 1e3


def _shadow(site: Site, model: Model, terms: Terms, sandbox: Sandbox, onlooker: Onlooker) -> Work:
    """Judge the next live frames beside the running model; they must agree often enough."""
    again = {name: site.workshop.again(name, model) for name in site.channels}
    onlooker.offer(1)
    judged = disagreed = 0
    quiet_s = float("-inf")
    while judged < terms.shadow_frames:
        told = f"has judged {judged} of {terms.shadow_frames} live frames beside the running model"
        seen = onlooker.take(LOOK_S)
        if seen is None and site.clock.monotonic_s() >= quiet_s:
            yield Waits(f"{told}; waits for one")
            continue
        yield told
        if seen is not None:
            quiet_s = site.clock.monotonic_s() + QUIET_S
            predictions, parts = _judged(seen, model, again[seen.decision.channel], sandbox)
            by = site.yardstick(seen.decision.channel)
            agreed = agree(seen.decision.predictions, predictions, by, parts=parts)
            judged, disagreed = judged + 1, disagreed + (not agreed)
            outcome = "agreed" if agreed else "disagreed"
            site.meter.count("edge_update_shadow_frames_total", model=site.name, outcome=outcome)
        if disagreed > (1.0 - terms.agreement_min) * terms.shadow_frames:
            msg = f"it does not agree with the running model on {disagreed} of {judged} live frames"
            raise CandidateError(msg)


def _judged(seen: Seen, model: Model, again: Again, sandbox: Sandbox) -> tuple[Sequence[Prediction], int]:
    """Let the candidate judge a frame; returns its predictions, and of how many parts. Raises CandidateError."""
    assert seen.taken is not None, "a frame that was judged"
    try:
        parts: tuple[Prepared, ...] = again(seen.taken.frame, seen.taken.parts)
        outputs = [sandbox.invoke(part.tensor, PROOF_DEADLINE_S) for part in parts]
        told = [decode(each, part, model) for each, part in zip(outputs, parts, strict=True)]
        return merge(told, parts, model), len(parts)
    except (BackendError, FrameError) as error:
        raise CandidateError(str(error)) from error
