"""Logs to stderr, for journald or a person: events with values, not sentences with holes.

``log = get(__name__)`` at the top of a module, ``log.info("sensor opened", channel="gate")`` where something happened.
Logging from libraries goes the same way. For what fails again and again there is ``FaultLog``.
"""

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Logger = structlog.stdlib.BoundLogger
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "human"]

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"""Python's levels, highest first, and syslog's, which sd-daemon(3) puts in front of a line."""


def get(name: str) -> Logger:
    """The logger of a module. What it logs is shown as ``configure`` says, whether that comes before or after."""
    processors: list[Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    wrapped = structlog.wrap_logger(logging.getLogger(name), processors=processors, wrapper_class=Logger)
    return cast("Logger", wrapped)


def configure(level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Send every log of this process to ``stream`` (stderr) from now on.

    Args:
        level: Events below it are not shown.
        format: ``json``: one object a line; ``human``: with a time of day; ``auto``: human on a terminal, JSON
            elsewhere.
        stream: Where to; for tests.
    """
    stream = stream or sys.stderr
    human = format == "human" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(_human(stream) if human else _json(), to_journal=_is_journal(stream, os.environ)))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _json() -> list[Processor]:
    # Tracebacks as plain text: structlog's own form prints local variables, which hold frames and passwords.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=False)]


def _human(stream: TextIO) -> list[Processor]:
    # The time of day is for the person who reads along; JSON has monotonic seconds, and journald stamps lines itself.
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp"),
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]


def _monotonic(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Stamp with monotonic seconds: they order events and give their distance when the wall clock cannot."""
    event["mono_s"] = round(time.monotonic(), 3)
    return event


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Does ``stream`` lead to journald? By systemd.exec(5), ``JOURNAL_STREAM`` is the device and inode of what does."""
    try:
        stat = os.fstat(stream.fileno())
    except OSError:  # a stream in memory
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders events, and says their priority in front of each line when journald reads along."""

    def __init__(self, render: list[Processor], *, to_journal: bool) -> None:
        common: list[Processor] = [
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _monotonic,
        ]
        super().__init__(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[*common, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
        self._to_journal = to_journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._to_journal:
            return text
        priority = next(priority for level, priority in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


@dataclass(slots=True)
class _Fault:
    """What is known of one key."""

    began_s: float = 0.0
    count: int = 0
    """Failures since it began; 0 while it is well."""
    shown: bool = False
    """Whether its beginning was logged, and so its end has to be."""
    shown_s: float | None = None
    """When a failure was last logged."""
    unshown: int = 0
    """Faults that came and went without a line since then."""


class FaultLog:
    """Logs the first failure of something and its recovery, not every repeat. For any thread.

    A fault that comes and goes (a loose cable) begins a pair of lines at most once in ``quiet_s``. One that came back
    sooner is logged at its first repeat after that, and the line says how many came and went unshown. A fault that
    still repeats after ``remind_s`` is said again: in years, the journal has forgotten its beginning.
    """

    def __init__(
        self,
        log: Logger,
        monotonic_s: Callable[[], float],
        *,
        quiet_s: float = 10.0,
        remind_s: float = 3600.0,
        keys_max: int = 256,
    ) -> None:
        """Log to ``log``, by the clock ``monotonic_s``.

        Beyond ``keys_max`` keys the one whose last failure is oldest is forgotten.
        """
        self._log = log
        self._monotonic_s = monotonic_s
        self._quiet_s = quiet_s
        self._remind_s = remind_s
        self._keys_max = keys_max
        self._lock = Lock()
        self._faults: OrderedDict[str, _Fault] = OrderedDict()

    def failed(self, key: str, reason: str, **values: Any) -> None:  # noqa: ANN401 - as structlog takes them
        """``key`` failed (again). The first time is logged as a warning, with ``reason`` and ``values``."""
        now_s = self._monotonic_s()
        with self._lock:
            fault = self._fault(key)
            fault.count += 1
            if fault.count == 1:
                fault.began_s, fault.shown = now_s, False
            silent_s = self._remind_s if fault.shown else self._quiet_s
            if fault.shown_s is not None and now_s - fault.shown_s < silent_s:
                return
            counts = {"failures": fault.count, "faults_not_shown": fault.unshown}
            fault.shown, fault.shown_s, fault.unshown = True, now_s, 0
        self._log.warning("fault", fault=key, reason=reason, **counts, **values)

    def recovered(self, key: str, **values: Any) -> None:  # noqa: ANN401 - as structlog takes them
        """``key`` works. Logged when its failure was, with how long it lasted and how often it failed; else nothing."""
        now_s = self._monotonic_s()
        with self._lock:
            fault = self._faults.get(key)
            if fault is None or fault.count == 0:
                return
            count, shown, lasted_s = fault.count, fault.shown, now_s - fault.began_s
            fault.count = 0
            fault.unshown += not shown
        if shown:
            self._log.info("recovered", fault=key, duration_s=round(lasted_s, 3), failures=count, **values)

    def _fault(self, key: str) -> _Fault:
        fault = self._faults.setdefault(key, _Fault())
        self._faults.move_to_end(key)
        if len(self._faults) > self._keys_max:
            self._faults.popitem(last=False)
        return fault
