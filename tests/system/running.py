"""A whole appliance inside the test's process, for tests that put a part of it in their own hands."""

from collections.abc import Mapping
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from appliance import config as configuration
from appliance.compose import Parts, build
from appliance.config import Config
from appliance.core.types import Decision, Frame

JOIN_TIMEOUT_S = 30.0


class Running:
    """Runs from ``with`` to its end, and remembers every decision."""

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        """Build; raises what ``compose.build`` does."""
        self._appliance = build(config, parts=parts)
        self._lock = Lock()
        self._decisions: dict[str, list[Decision]] = {channel.name: [] for channel in self._appliance.channels}
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.exit_code: int | None = None
        """Once it has ended."""
        for channel in self._appliance.channels:
            channel.watch = self._watch

    def decisions(self, channel: str) -> list[Decision]:
        """All decisions of a channel so far."""
        with self._lock:
            return list(self._decisions[channel])

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        samples = [sample for family in self._appliance.meter.registry.collect() for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    def until_ended(self) -> None:
        """Wait until it ends by itself."""
        self._thread.join(JOIN_TIMEOUT_S)
        assert not self._thread.is_alive(), "still runs"

    def _watch(self, _frame: Frame | None, decision: Decision) -> None:
        with self._lock:
            self._decisions[decision.channel].append(decision)

    def _run(self) -> None:
        self.exit_code = self._appliance.run(self._stop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.until_ended()


def parsed(config: Mapping[str, object], folder: Path) -> Config:
    """A configuration as it would be read from a file in ``folder``."""
    return configuration.parse(dict(config), text="", file=folder / "appliance.toml")
