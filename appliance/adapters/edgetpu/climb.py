"""Climbs the recovery ladder of one Edge TPU: does what a state of ``core.recovery`` asks for, on a real bus.

It knows buses and times, and nothing of workers: whoever starts one says what became of it.
"""

from collections.abc import Callable
from threading import Event as ThreadEvent

from appliance.adapters.edgetpu.claims import Claims, option_of
from appliance.adapters.ladder_file import Kept, LadderFile
from appliance.core.accelerator import Bus, TpuDevice
from appliance.core.recovery import RUNGS, STABLE_S, Event, Ladder, State, restored, step
from appliance.errors import BackendError, RungError
from appliance.log import get
from appliance.ports import Clock, Meter, TpuBus

REAPPEAR_S = 10.0
"""How long a device that was reset or switched off is waited for on the bus; the kernel takes one to five."""
LOOK_S = 0.2
"""How often it is looked for meanwhile."""
NEEDS_DEVICE = frozenset(RUNGS - {State.POWER_CYCLE})
"""Rungs that only a device which is there can be helped by."""
STEPS_MAX = 8
"""Rungs that may be unavailable one after another; there are fewer, so more is a mistake in the table."""

OUTCOMES = frozenset({Event.RETURNED, Event.FAILED, Event.UNAVAILABLE})
"""What can become of a rung."""

_log = get(__name__)


class Climb:
    """Where one Edge TPU stands, and how it got there. For one thread; ``ladder`` and ``reason`` for any."""

    def __init__(
        self,
        name: str,
        wanted: str,
        *,
        bus: TpuBus,
        clock: Clock,
        meter: Meter,
        kept: LadderFile | None,
        jitter: Callable[[], float],
    ) -> None:
        """Take up where the last process left off.

        Args:
            name: its key under ``tpus``.
            wanted: which device, as ``TpuConfig.device`` has it.
            bus: where it is plugged in.
            clock: measures the waits.
            meter: counts the rungs.
            kept: what survives a reboot; None keeps nothing.
            jitter: random numbers in [0, 1).
        """
        self._name, self._wanted = name, wanted
        self._bus, self._clock, self._meter, self._file, self._jitter = bus, clock, meter, kept, jitter
        before = kept.load() if kept else Kept()
        self._ladder = restored(
            replace_hardware=before.replace_hardware, rounds=before.rounds, dfu_rounds=before.dfu_rounds
        )
        self._path = before.path
        self._due_s = float("-inf")
        self._served_since_s: float | None = None
        """Since when it serves, while that is not long enough to be stable."""
        self.reason = ""
        """Why it does not serve; empty while it does."""
        self.claims = Claims()
        self._frozen = False
        self._unheard: set[str] = set()
        """Where something has appeared while this one's device was being opened."""
        self._bus.arrivals()  # from here on
        if self.device is not None:
            self.happened(Event.PLUGGED)  # switched on again: after REPLACE, one try

    @property
    def ladder(self) -> Ladder:
        """Where it stands."""
        return self._ladder

    @property
    def device(self) -> TpuDevice | None:
        """What is there now."""
        return self.claims.choose(self._name, self._wanted, self._bus.devices())

    @property
    def option(self) -> str:
        """What the library calls that device now; empty when there is none."""
        there = self._bus.devices()
        device = self.claims.choose(self._name, self._wanted, there)
        return "" if device is None else option_of(device, there)

    @property
    def due(self) -> bool:
        """Whether something is to be tried now."""
        return self._ladder.state is not State.REPLACE and self._clock.monotonic_s() >= self._due_s

    def attempt(self) -> None:
        """Do what the state asks for, up to the point where a worker can be started.

        Raises:
            BackendError: nothing is to be tried now, or what was tried failed; ``reason`` says it too.
        """
        for _ in range(STEPS_MAX):
            if not self.due:
                raise BackendError(self._why_not())
            if self._ladder.state in {State.CPU_ONLY, State.UNFIT}:
                self.happened(Event.WAITED)
            try:
                self._act(self._ladder.state)
            except RungError as error:
                self.happened(Event.UNAVAILABLE, str(error))
                continue
            except BackendError as error:
                self.happened(Event.FAILED, str(error))
                raise
            return
        message = f"{self._name}: the recovery ladder has no end"
        raise AssertionError(message)

    def returned(self) -> None:
        """Hear that it answers; news only when it did not before."""
        if not self._ladder.serves:
            self.happened(Event.RETURNED)
            self._served_since_s = self._clock.monotonic_s()

    def steady(self) -> None:
        """Look whether it has served for long enough."""
        since_s = self._served_since_s
        if self._ladder.serves and since_s is not None and self._clock.monotonic_s() - since_s >= STABLE_S:
            self._served_since_s = None
            self.happened(Event.STABLE)

    def settled(self) -> None:
        """Hear that it was opened, or that this was tried: what appeared on the bus until now was our own doing."""
        device = self.device
        if device is not None and device.bus is Bus.USB:
            self._path = device.path
        if device is not None:
            self.claims.claim(self._name, device.path)
        self._unheard |= {path for path in self._bus.arrivals() if device is None or path != device.path}

    def failed(self, reason: str) -> None:
        """Hear that the device was lost, or did not come back."""
        self.happened(Event.LOST if self._ladder.serves else Event.FAILED, reason)
        self.settled()

    def check_access(self) -> None:
        """See whether the device may be opened. Raises UnfitError: nothing on the bus would help."""
        device = self.device
        if device is not None:
            self._bus.check_access(device)

    def freeze(self) -> None:
        """Let nothing that happens from now on count: the appliance ends, and breaks off what is under way."""
        self._frozen = True

    def arrived(self) -> None:
        """Look whether a device was plugged in; if so something is tried at once."""
        device, heard = self.device, self._unheard | set(self._bus.arrivals())
        self._unheard.clear()
        if device is not None and device.path in heard:
            if not self._ladder.serves:
                _log.info("edge tpu plugged in", tpu=self._name, state=self._ladder.state.value)
            if self._ladder.state in RUNGS - {State.LAST_TRY}:
                self._due_s = self._clock.monotonic_s()
            self.happened(Event.PLUGGED)

    def happened(self, event: Event, reason: str = "") -> None:
        """Take one step of the table, and remember what has to survive a reboot."""
        if self._frozen:
            return
        before, device = self._ladder, self.device
        seen = device is not None or bool(self._path)
        self._ladder = after = step(before, event, dfu=device is not None and device.dfu, seen=seen)
        self.reason = "" if after.serves else self._worst(event, reason)
        if before.state in RUNGS and event in OUTCOMES:
            self._meter.count("edge_tpu_recovery_total", rung=before.state.value, outcome=event.value)
        if after is before:
            return
        self._due_s = self._clock.monotonic_s() + after.wait_s(self._jitter())
        if after.state is not before.state:
            told = {"tpu": self._name, "because": event.value, "was": before.state.value, "now": after.state.value}
            _log.info("edge tpu", reason=reason or self.reason, **told)
        self._keep()

    def _worst(self, event: Event, reason: str) -> str:
        """Keep what is wrong with the device, rather than why one of the rungs could not be tried."""
        return (self.reason or reason) if event is Event.UNAVAILABLE else (reason or self.reason)

    def _act(self, state: State) -> None:
        """Carry out a rung. Raises RungError, BackendError."""
        device = self.device
        if device is None and state in NEEDS_DEVICE:
            raise RungError(self._absent())
        if state is State.RESET:
            assert device is not None
            self._bus.reset(device)
        elif state is State.REBIND:
            assert device is not None
            self._bus.rebind(device)
        elif state is State.POWER_CYCLE:
            path = device.path if device is not None else self._path
            if not path or path in self.claims.held_by_others(self._name):
                raise RungError(self._absent())
            self._bus.power_cycle(path)
        else:
            return
        self._reappear()

    def _reappear(self) -> None:
        """Wait until the device is on the bus again. Raises BackendError."""
        end_s, never = self._clock.monotonic_s() + REAPPEAR_S, ThreadEvent()
        while self.device is None:
            if self._clock.monotonic_s() >= end_s:
                msg = f"{self._name}: not seen again within {REAPPEAR_S:g} s"
                raise BackendError(msg)
            self._clock.wait(never, LOOK_S)
        self._bus.arrivals()

    def _absent(self) -> str:
        """Say what is not there."""
        there = ", ".join(str(device) for device in self._bus.devices())
        if not self._wanted or not there:
            return f"{self._name}: no Edge TPU is seen on USB or PCIe"
        return f"{self._name}: no Edge TPU {self._wanted!r}; there is {there}"

    def _why_not(self) -> str:
        """Say why nothing is tried now."""
        left_s = self._due_s - self._clock.monotonic_s()
        again = "" if self._ladder.state is State.REPLACE else f"; next try in {max(0.0, left_s):.0f} s"
        return f"{self.reason or self._name + ': given up'}{again}"

    def _keep(self) -> None:
        if self._file is not None:
            ladder = self._ladder
            self._file.save(Kept(ladder.given_up, ladder.rounds, ladder.dfu_rounds, self._path))
