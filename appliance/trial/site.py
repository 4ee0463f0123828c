"""Where a model is tried: the channels that it judges for, and who makes what a trial needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.core.agreement import Yardstick, yardstick
from appliance.core.model import Model
from appliance.core.preprocess import Prepared
from appliance.core.types import Frame
from appliance.inference import Inference, Judge
from appliance.loop import Channel
from appliance.ports import Backend, Clock, Meter

Again = Callable[[Frame, Sequence[Prepared]], tuple[Prepared, ...]]
"""Prepares a frame that was prepared for another model."""


class Sandbox(Backend, Protocol):
    """A process of its own that a candidate runs in before it may run in ours. ``open`` returns or raises in time."""

    @property
    def resident_bytes(self) -> int:
        """Memory the process has resident; 0 when that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes what a trial needs, of the configuration's sections. For the trial's thread."""

    read: Callable[[str], Model]
    """Reads and verifies a stored model, by its id. Raises ModelError, StoreError."""
    misfit: Callable[[str, Model], str]
    """Says why a model cannot serve under a key of ``models``, with its rules and backends; empty where it can."""
    sandbox: Callable[[str], Sandbox]
    """Starts a process for a key's model. Raises BackendError: it has nothing to do with the candidate."""
    inference: Callable[[str, Model], Inference]
    """Opens a model on the backends of a key, beside the one that serves. Raises ModelError, NoBackendError."""
    again: Callable[[str, Model], Again]
    """Makes what prepares a channel's frames for another model of the same features."""
    judge: Callable[[str, Inference], Judge]
    """Makes an open model the judge of a channel."""
    let_go: Callable[[str, Inference], None]
    """Closes a key's model that judges no more, and unloads it."""


@dataclass(slots=True)
class Post:
    """A key of ``models``: channels that share a model."""

    key: str
    channels: tuple[Channel, ...]
    inference: Inference
    """That serves; another one once an update was committed."""


@dataclass(slots=True)
class Site:
    """All that one model, by its name, is used for: its posts are updated together."""

    name: str
    posts: tuple[Post, ...]
    """One or more."""
    model_id: str
    """Of the model that serves."""
    workshop: Workshop
    clock: Clock
    meter: Meter
    fault: str = ""
    """Why another than the committed model serves; empty where it does."""

    @property
    def running(self) -> Model:
        """The model that serves; not a candidate on trial."""
        return self.posts[0].inference.model

    @property
    def channels(self) -> dict[str, Channel]:
        """Those it judges for, by name."""
        return {channel.name: channel for post in self.posts for channel in post.channels}

    def yardstick(self, channel: str) -> Yardstick:
        """Return what a channel looks for."""
        return yardstick(self.running.task, self.channels[channel].policy.rules)
