"""A thread of its own for a device that may hang, and the bounded buffer between it and the loop.

The thread alone touches the device, from opening to release: one that hangs in a driver can neither be read nor
released from elsewhere, nor even be killed (raspberrypi/picamera2#1275). ``close`` waits for it a moment, then leaves
it behind; opening again starts another beside it, up to a bound.
"""

from collections import deque
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Generic, Protocol, TypeVar

from appliance.errors import ApplianceError, EndOfRecording, SensorError
from appliance.ports import SensorContext

CLOSE_TIMEOUT_S = 1.0
"""Longest wait for the thread; then it is left behind."""
ABANDONED_MAX = 4
"""Threads of one sensor that may hang at the same time; with so many no new one is started."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Device(Protocol[T_co]):
    """An open device in the hands of its thread."""

    def grab(self) -> T_co | None:
        """Return the next item; None lets the thread look whether it should stop.

        Raises SensorError when the device is lost, EndOfRecording after the last item.
        """
        ...

    def release(self) -> None:
        """Let the device go; never raises."""
        ...


class DeviceReader(Generic[T]):
    """Opens a device on a thread and buffers what it gives. ``open``, ``take`` and ``close`` are for one other thread.

    ``connect`` opens the device, on the thread; it is given the event that tells it to stop waiting, and raises
    SensorError when the device is not there. ``on_drop`` is called, on the thread, for each item that the buffer of
    ``items_max`` had no room for: the oldest goes.
    """

    def __init__(
        self,
        connect: Callable[[Event], Device[T]],
        context: SensorContext,
        *,
        name: str,
        items_max: int,
        on_drop: Callable[[], None],
        open_timeout_s: float,
    ) -> None:
        """``name`` begins every message about this device."""
        self._connect = connect
        self._context = context
        self._name = name
        self._items_max = items_max
        self._on_drop = on_drop
        self._open_timeout_s = open_timeout_s
        self._run: _Run[T] | None = None
        self._abandoned: list[Thread] = []

    def open(self) -> None:
        """Start the thread and wait until it has the device. Raises SensorError after at most ``open_timeout_s``."""
        assert self._run is None, f"{self._name}: opened twice"
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= ABANDONED_MAX:
            msg = (
                f"{self._name}: {ABANDONED_MAX} readers hang in the driver; unplug the device and plug it in again, "
                "or restart the machine"
            )
            raise SensorError(msg)
        run = _Run(self._connect, self._items_max, self._on_drop, thread_name=f"{self._context.channel}-sensor")
        self._run = run
        run.thread.start()
        if self._context.clock.wait(run.settled, self._open_timeout_s) and run.opened:
            return
        self.close()
        msg = f"{self._name}: did not open within {self._open_timeout_s:g} s; is the device or the network well?"
        raise run.failure or SensorError(msg)

    def take(self, timeout_s: float) -> T | None:
        """Return the oldest item, None when none came within ``timeout_s``. Raises what ended the thread."""
        assert self._run is not None, f"{self._name}: capture before open"
        return self._run.take() if self._context.clock.wait(self._run.changed, timeout_s) else None

    def take_waiting(self) -> T | None:
        """Return the oldest item, None when none waits; never raises, never blocks."""
        assert self._run is not None, f"{self._name}: capture before open"
        return self._run.pop()

    def close(self) -> None:
        """Stop the thread; after ``CLOSE_TIMEOUT_S`` leave it behind, counted. Idempotent; never raises."""
        run, self._run = self._run, None
        if run is None:
            return
        run.stop.set()
        run.thread.join(CLOSE_TIMEOUT_S)
        if run.thread.is_alive():
            self._abandoned.append(run.thread)
            self._context.meter.count("edge_abandoned_threads_total", what="sensor")


class _Run(Generic[T]):
    """One thread, one device, one buffer; never used again, so that a thread left behind disturbs nobody."""

    def __init__(
        self,
        connect: Callable[[Event], Device[T]],
        items_max: int,
        on_drop: Callable[[], None],
        *,
        thread_name: str,
    ) -> None:
        self._connect = connect
        self._items_max = items_max
        self._on_drop = on_drop
        self._lock = Lock()
        self._items: deque[T] = deque()
        self._ended = False
        self.stop = Event()
        self.settled = Event()
        """The device is open, or opening it failed."""
        self.opened = False
        self.changed = Event()
        """There is an item to take, or the thread has ended."""
        self.failure: ApplianceError | None = None
        self.thread = Thread(target=self._body, name=thread_name, daemon=True)

    def take(self) -> T:
        """Return the oldest item. Raises what ended the thread when none is left."""
        item = self.pop()
        if item is not None:
            return item
        assert self.failure is not None, "the sensor's thread died of a bug; its traceback is above"
        # A new exception each time: one that is raised again and again would grow its traceback.
        raise type(self.failure)(*self.failure.args)

    def pop(self) -> T | None:
        """Return the oldest item, or None."""
        with self._lock:
            item = self._items.popleft() if self._items else None
            if not self._items and not self._ended:
                self.changed.clear()
        return item

    def _body(self) -> None:
        """Open, read until told to stop or the device is lost, release."""
        try:
            device = self._connect(self.stop)
            try:
                self.opened = True
                self.settled.set()
                while not self.stop.is_set():
                    item = device.grab()
                    if item is not None:
                        self._put(item)
            finally:
                device.release()
        except (SensorError, EndOfRecording) as error:
            self.failure = error
        finally:
            with self._lock:
                self._ended = True
                self.settled.set()
                self.changed.set()

    def _put(self, item: T) -> None:
        """Buffer an item; the oldest makes room."""
        with self._lock:
            full = len(self._items) >= self._items_max
            if full:
                self._items.popleft()
            self._items.append(item)
            self.changed.set()
        if full:
            self._on_drop()
