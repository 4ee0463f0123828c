"""TRIAL: the candidate decides, in every channel of its model, and the model before it looks on."""

from appliance.core.agreement import agree, look
from appliance.core.trial import Criteria, Watch, unanswered_share
from appliance.errors import CandidateError, FrameError, ModelError, NoBackendError
from appliance.inference import Inference, Judge
from appliance.loop import Channel, Seen
from appliance.trial.onlooker import Onlooker
from appliance.trial.selftest import LOOK_S, Waits, Work, read_candidate
from appliance.trial.site import Post, Site
from appliance.trust.manifest import Terms

LOOKS_WANTED = 25
"""Frames that the model before judges as well by the time a trial may end; it is asked about one of so many."""
READY_S_MAX = 60.0
"""Longest wait for a candidate to come into service on an accelerator on which the running model serves."""
EVERY_MAX = 10
"""It is asked about one of so many frames at least."""


class Switch:
    """A candidate in the place of the running model: undone between two frames, or kept."""

    def __init__(self, site: Site) -> None:
        """Nothing is opened yet."""
        self.before: dict[str, Judge] = {}
        """Who judged, by channel; empty while nothing is switched."""
        self._site = site
        self._opened: list[tuple[Post, Inference]] = []

    def open(self, model_id: str) -> Work:
        """Open a candidate on the backends of every post. Raises CandidateError, NoBackendError."""
        model = read_candidate(self._site, model_id)
        for post in self._site.posts:
            try:
                inference = self._site.workshop.inference(post.key, model)
            except ModelError as error:
                raise CandidateError(str(error)) from error
            self._opened.append((post, inference))
            yield from _await_backends(self._site, post, inference)

    def make(self) -> None:
        """Let the candidate decide from the next frame of each channel on."""
        for post, inference in self._opened:
            for channel in post.channels:
                self.before[channel.name] = channel.judge
                channel.switch(self._site.workshop.judge(channel.name, inference))
            _show(inference, instead_of=post.inference)

    def undo(self) -> None:
        """Let the model before decide again, from the next frame on; the candidate is let go. Idempotent."""
        opened, self._opened = self._opened, []
        for post, inference in opened:
            for channel in post.channels:
                _back(channel, self.before)
            _show(post.inference, instead_of=inference)
        for post, inference in opened:
            self._site.workshop.let_go(post.key, inference)

    def keep(self, model_id: str) -> None:
        """Make the candidate the running model; the one before is let go."""
        opened, self._opened = self._opened, []
        self._site.model_id, self._site.fault = model_id, ""
        for post, inference in opened:
            before, post.inference = post.inference, inference
            self._site.workshop.let_go(post.key, before)


def probation(site: Site, model_id: str, terms: Terms, switch: Switch, onlooker: Onlooker) -> Work:
    """Let a candidate decide; the switch is undone at the end, unless it was kept.

    It begins with the first frame that the running model judges: before that there is nothing to decide.

    Raises CandidateError; NoBackendError where it cannot be opened now.
    """
    try:
        onlooker.offer(1)
        while onlooker.take(LOOK_S) is None:
            yield Waits("waits for a frame to decide")
        onlooker.offer(0)
        yield "it is opened"
        yield from switch.open(model_id)
        own = unanswered_share(onlooker.came(site.running))
        switch.make()
        criteria = Criteria(terms.decisions_min, terms.duration_s, terms.faults_share_max, own, terms.agreement_min)
        yield from _watch(site, criteria, switch, onlooker)
    finally:
        onlooker.offer(0)
        switch.undo()


def _await_backends(site: Site, post: Post, inference: Inference) -> Work:
    """Wait until a candidate is proven on the first backend of its order, as far as the running model serves there.

    Raises CandidateError where that has refused it; NoBackendError where it did not come to that in time.
    """
    until_s = site.clock.monotonic_s() + READY_S_MAX
    while inference.degraded and not post.inference.degraded:
        if site.clock.monotonic_s() >= until_s:
            raise (CandidateError if inference.unsuited else NoBackendError)(inference.why_degraded)
        yield f"waits: {inference.why_degraded}"


def _watch(site: Site, criteria: Criteria, switch: Switch, onlooker: Onlooker) -> Work:
    """Look on until there is a verdict."""
    channels = site.channels
    candidate = next(channel.judge.model for channel in channels.values()) if channels else site.running
    watch = Watch(criteria, site.clock.monotonic_s())
    onlooker.offer(max(1, min(EVERY_MAX, criteria.decisions_min // LOOKS_WANTED)))
    while (verdict := watch.verdict(site.clock.monotonic_s())) is None:
        seen = onlooker.take(LOOK_S)
        if seen is not None and seen.judge.model is candidate:
            watch = _compared(watch, seen, site, switch.before[seen.decision.channel])
        for came in onlooker.came(candidate):
            watch = watch.update(came)
        yield watch.progress(site.clock.monotonic_s())
    yield verdict


def _compared(watch: Watch, seen: Seen, site: Site, before: Judge) -> Watch:
    """Let the model before judge a frame that the candidate has judged."""
    assert seen.taken is not None, "a frame that was judged"
    by = site.yardstick(seen.decision.channel)
    try:
        parts = before.prepare_again(seen.taken.frame, seen.taken.parts)
        predictions = before.read(before.infer(parts), parts)
    except (NoBackendError, FrameError):  # it cannot say: nothing is held against the candidate
        return watch.compare(None)
    told = seen.decision.predictions
    agreed = agree(told, predictions, by, parts=len(parts))
    return watch.compare((look(told, by), look(predictions, by)), agreed=agreed)


def _show(inference: Inference, *, instead_of: Inference) -> None:
    """Measure who decides."""
    instead_of.show(live=False)
    inference.show(live=True)


def _back(channel: Channel, before: dict[str, Judge]) -> None:
    if channel.name in before:
        channel.switch(before.pop(channel.name))
