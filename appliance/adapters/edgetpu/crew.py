"""The workers of one Edge TPU: the one that serves, and those that are on their way out."""

from collections.abc import Callable

from appliance.adapters.backends.worker import Worker
from appliance.errors import BackendError, UnfitError
from appliance.log import get
from appliance.ports import Meter

CORPSES_MAX = 8
"""Processes that could not be ended (stuck in a driver, in state D). With more, none is started any more."""
REAP_S = 2.0
"""How long the end of a killed process is waited for before its successor is started: it holds the device."""
QUIT_S = 2.0
"""How long a worker may take to let the device go before it is killed."""

_log = get(__name__)


class Crew:
    """Starts workers, ends them, and leaves none behind that can be ended. For one thread, but for ``dismiss``."""

    def __init__(self, name: str, meter: Meter, hire: Callable[[], Worker]) -> None:
        """``hire`` makes a worker; ``name`` is the Edge TPU's."""
        self._name, self._meter, self._hire = name, meter, hire
        self.serving: Worker | None = None
        self._corpses: list[Worker] = []
        self._abandoned: set[int] = set()

    def start(self, deadline_s: float) -> Worker:
        """Start a worker once its predecessors are gone.

        Raises:
            UnfitError: it does not start: a library or a runtime is missing or crashes, or the device has no memory for
                it. The hardware was not touched.
        """
        self.collect(REAP_S)
        if len(self._corpses) >= CORPSES_MAX:
            msg = f"{self._name}: {len(self._corpses)} workers cannot be ended; restart the device"
            raise UnfitError(msg)
        try:
            worker = self._hire()
        except BackendError as error:
            raise UnfitError(str(error)) from error
        try:
            worker.start(deadline_s)
        except BackendError as error:
            worker.kill("it did not start")
            self._corpses.append(worker)
            raise UnfitError(str(error)) from error
        self.serving = worker
        return worker

    def dismiss(self, worker: Worker, cause: str) -> bool:
        """Kill the serving worker; say whether it was that one still. For any thread: does not wait."""
        if self.serving is not worker:
            return False
        self.serving = None
        worker.kill(cause)
        self._corpses.append(worker)
        return True

    def retire(self) -> None:
        """Let the serving worker end in order, within ``QUIT_S``."""
        worker, self.serving = self.serving, None
        if worker is not None:
            worker.quit(QUIT_S)
            self._corpses.append(worker)
        self.collect(REAP_S)

    def bury(self, worker: Worker) -> None:
        """Take over one that was killed elsewhere and has not ended: it is counted and collected with the others."""
        self._corpses.append(worker)

    def collect(self, within_s: float = 0.0) -> None:
        """Collect those that have ended; count those that a kill has not ended ``within_s``."""
        for worker in list(self._corpses):
            self._count(worker)
            if worker.reap(0.0 if worker.pid in self._abandoned else within_s):
                self._corpses.remove(worker)
                self._abandoned.discard(worker.pid)
            elif within_s > 0.0 and worker.pid not in self._abandoned:
                self._abandoned.add(worker.pid)
                self._meter.count("edge_abandoned_workers_total", tpu=self._name)
                _log.warning("left behind: a worker cannot be killed", tpu=self._name, pid=worker.pid)

    def tend(self) -> None:
        """Make room for what the serving one has to say, and count what it threw away."""
        self.collect()
        if self.serving is not None:
            self.serving.listen()
            self._count(self.serving)

    def _count(self, worker: Worker) -> None:
        """Measure the answers that were thrown away."""
        for reason, number in worker.discarded.items():
            if number:
                worker.discarded[reason] = 0
                self._meter.count("edge_tpu_answers_discarded_total", number, tpu=self._name, reason=reason)
