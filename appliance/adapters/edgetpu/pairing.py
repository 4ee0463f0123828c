"""Finds out whether a TFLite runtime and libedgetpu crash when they meet, in processes that are thrown away.

They share the layout of C structures and must be of one build of TensorFlow; where they are not, the process dies
when a model is loaded, without a word (google-coral/edgetpu#812, tensorflow#62371).
"""

import signal
from collections.abc import Callable
from enum import Enum
from importlib.util import find_spec
from typing import NamedTuple

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.tflite import RUNTIMES
from appliance.adapters.backends.worker import Worker
from appliance.errors import BackendError, ModelError
from appliance.log import get

CRASHES = frozenset({signal.SIGSEGV, signal.SIGILL, signal.SIGBUS})
"""How a process ends whose parts do not fit; the library's own faults are SIGABRT."""
REAP_S = 2.0
"""How long a process may take to let the device go, and again how long its end is waited for."""
START_DEADLINE_S = 20.0
PROVEN_PAIR = "libedgetpu1-std 16.0tf2.19.1-1 with ai-edge-litert 2.2"
"""In use elsewhere on Raspberry Pi OS 12 and 13 with a Coral USB stick; the library's release names its TensorFlow."""

_log = get(__name__)


class Verdict(Enum):
    """What became of a runtime and the library."""

    FITS = "fits"
    """A model was loaded, or looked at and refused: they have met."""
    CRASHES = "crashes"
    OPEN = "open"
    """It ended otherwise, before they could show it: the device does not open, the library aborts or hangs."""
    UNUSABLE = "unusable"
    """The runtime itself cannot be used: it is not installed, or does not load."""


class Trial(NamedTuple):
    """One try."""

    runtime: str
    verdict: Verdict
    told: str
    """What crashed; for CRASHES."""


class Pairing:
    """Which runtime the worker uses. For the probing thread."""

    def __init__(self, wanted: str, hire: Callable[[str], Worker], bury: Callable[[Worker], None]) -> None:
        """Take the configured runtime, or ``auto``.

        Args:
            wanted: as ``TpuConfig.runtime`` has it.
            hire: starts a worker with a given runtime; raises BackendError.
            bury: takes one that was killed and does not end.
        """
        self._wanted, self._hire, self._bury = wanted, hire, bury
        self.runtime = wanted
        """What the next worker is to use."""

    def examine(self, signature: Signature, content: bytes, deadline_s: float) -> str:
        """Try the runtimes that may be used, each in a process of its own, after a worker crashed that loaded a model.

        Takes the first into use that fits; where none is known to, one that is not known to crash. Each is given
        ``START_DEADLINE_S``, ``deadline_s`` and twice ``REAP_S`` at most.

        Returns:
            Which versions crash together and what to install; empty when another one than a crashing one is in use.
        """
        trials = []
        for runtime in self._candidates():
            trials.append(self._tried(runtime, signature, content, deadline_s))
            if trials[-1].verdict is Verdict.FITS:
                break
        crashed = [trial for trial in trials if trial.verdict is Verdict.CRASHES]
        for verdict in (Verdict.FITS, Verdict.OPEN):
            for trial in trials:
                if trial.verdict is verdict:
                    self._use(trial.runtime, crashed)
                    return ""
        if not crashed:
            return ""
        told = "; ".join(trial.told for trial in crashed)
        msg = f"{told}: they are not of one build; install a pair that is, as {PROVEN_PAIR}"
        _log.error("edge tpu: library and runtime do not fit", reason=msg)
        return msg

    def _candidates(self) -> list[str]:
        """Name the runtimes that are installed and allowed; the one in use first, which may not crash again."""
        if self._wanted != "auto":
            return [self._wanted]
        installed = [name for name, module in RUNTIMES.items() if find_spec(module.partition(".")[0])]
        return sorted(installed, key=lambda name: name != self.runtime)

    def _use(self, runtime: str, crashed: list[Trial]) -> None:
        """Use a runtime from now on; where it was chosen freely and nothing crashed, go on as before."""
        if crashed:
            told = "; ".join(trial.told for trial in crashed)
            _log.warning("edge tpu: another runtime from now on", runtime=runtime, reason=told)
            self.runtime = runtime

    def _tried(self, runtime: str, signature: Signature, content: bytes, deadline_s: float) -> Trial:
        """Load a model in a process that is thrown away."""
        verdict = Verdict.OPEN
        try:
            worker = self._hire(runtime)
        except BackendError as error:  # no room for a process: this says nothing of the runtime
            _log.warning("edge tpu: a runtime cannot be tried", runtime=runtime, reason=str(error))
            return Trial(runtime, verdict, "")
        started = False
        try:
            worker.start(START_DEADLINE_S)
            started = True
            worker.load(signature, content, deadline_s)
            verdict = Verdict.FITS
        except ModelError:
            verdict = Verdict.FITS
        except BackendError as error:
            verdict = Verdict.OPEN if started or worker.owes else Verdict.UNUSABLE
            _log.info("edge tpu: a runtime was tried", runtime=runtime, reason=str(error))
        worker.quit(REAP_S)  # in order where that is possible: the device must be free for the next
        if not worker.reap(REAP_S):
            self._bury(worker)
        if verdict is not Verdict.FITS and worker.died_of in CRASHES:
            return Trial(runtime, Verdict.CRASHES, _crash(worker, runtime))
        return Trial(runtime, verdict, "")


def _crash(worker: Worker, runtime: str) -> str:
    """Say what crashed, as far as it had told before."""
    facts = worker.facts
    library = " ".join(filter(None, [facts.get("library", ""), facts.get("library_version", "")]))
    pair = " and ".join(filter(None, [facts.get("runtime", runtime), library]))
    return f"{pair} {'crash' if library else 'crashes'} ({signal.Signals(worker.died_of).name})"
