"""A worker seen from the loop's process: a child that owns an Edge TPU, and that may die, hang or lie.

Nothing here waits without a bound. An invoke that is not answered in time raises at its deadline, and leaves the worker
*owing*: the answer may still come, and then it is thrown away; no other frame is given to it before that. A worker
that has to go is killed, waited for as long as a process that can be killed needs, and else left behind: one that is
stuck in the kernel cannot be ended by anybody (frigate#5186).
"""

import json
import os
import select
import time
from threading import Lock

from appliance.adapters.backends import exchange
from appliance.adapters.backends.child import Child
from appliance.adapters.backends.engines import Options
from appliance.adapters.backends.exchange import Area, Kind, Packet, Signature
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, ModelError

REAP_S = 2.0
"""How long a killed process is waited for; the kernel needs milliseconds unless a driver holds it."""
LAST_WORDS_S = 0.03
"""How long the end of a process that has closed its socket is waited for, to say how it ended: a frame waits."""


class Worker:
    """One child process. ``invoke`` and ``kill`` are for any thread, the rest for the one that looks after it."""

    def __init__(self, engine: str, options: Options, *, name: str = "worker") -> None:
        """Start the process; its engine is made by ``start``. Raises BackendError.

        Args:
            engine: ``module:Class`` of ``engines.Engine``.
            options: the engine's.
            name: begins every message.
        """
        self.name = name
        self.facts: dict[str, str] = {}
        """What the engine found out about itself: versions."""
        self.discarded = {"late": 0, "foreign": 0}
        """Answers that came too late, or were another request's."""
        self._options = dict(options)
        self._child = Child(name, engine)
        self._turn = Lock()
        self._areas: list[Area] = []
        self._request = 0
        self._owed: tuple[Packet, float] | None = None
        """The order that is overdue, and when it was given."""
        self._cause = ""

    @property
    def alive(self) -> bool:
        """Whether its process runs, still listens, and has not been told to end."""
        return not self._cause and self._child.runs

    @property
    def owes(self) -> bool:
        """Whether an answer is overdue: no other is asked before it has come."""
        return self._owed is not None

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._child.pid

    @property
    def died_of(self) -> int:
        """The signal that ended it; 0 while it lives, or when it ended by itself."""
        return self._child.died_of

    @property
    def resident_bytes(self) -> int:
        """Memory its process has resident; 0 when that is not known."""
        return self._child.resident_bytes()

    def start(self, deadline_s: float) -> None:
        """Make its engine; nothing of the hardware is touched. Raises BackendError."""
        body = json.dumps(self._options).encode()
        self._order(Packet(Kind.START, body=body), deadline_s, "to start")

    def load(self, signature: Signature, content: bytes, deadline_s: float) -> int:
        """Load a model beside those that are loaded; returns its number.

        Raises:
            ModelError: the file contradicts its description.
            BackendError: the hardware does not open, or not in time; the worker may be dead or owing then.
        """
        files: list[int] = []
        try:
            files.append(exchange.make_memory("model", len(content)))
            files.append(exchange.make_memory("tensors", exchange.area_bytes(signature)))
            os.pwrite(files[0], content, 0)
            area = Area(files[1], signature)
            packet = Packet(Kind.LOAD, number=len(self._areas), body=signature.encode())
            self._order(packet, deadline_s, f"to load {signature.name} within {deadline_s:g} s", files)
        except OSError as error:
            msg = f"{self.name}: no memory for {signature.name}: {error.strerror}"
            raise BackendError(msg) from error
        finally:
            for file in files:
                os.close(file)
        self._areas.append(area)
        return len(self._areas) - 1

    def invoke(self, number: int, tensor: Array, deadline_s: float) -> Outputs:
        """Run model ``number`` on ``tensor``; returns copies of the raw outputs by role, within ``deadline_s``.

        Raises:
            BackendError: it died, did not answer in time, still owes an answer, or could not run.
        """
        end_s = time.monotonic() + deadline_s
        if self.owes or not self._turn.acquire(timeout=deadline_s):
            raise BackendError(self._busy())
        try:
            if self.owes:  # since the turn was waited for
                raise BackendError(self._busy())
            if not self.alive:  # and its memory may be let go already
                raise BackendError(self._dead())
            area = self._areas[number]
            assert tensor.shape == area.input.shape, f"{tensor.shape} given, {area.input.shape} wanted"
            assert tensor.dtype == area.input.dtype, f"{tensor.dtype} given, {area.input.dtype} wanted"
            self._request += 1
            asked = Packet(Kind.INVOKE, number, self._request, area.ask(tensor, self._request))
            begun_s = self._send(asked, [])
            self._judge(self._answer_to(asked, begun_s, end_s, f"within {deadline_s:.3g} s"))
            outputs = area.outputs_of(asked.request, asked.sequence)
        finally:
            self._turn.release()
        if outputs is None:
            self.discarded["foreign"] += 1
            msg = f"{self.name}: the outputs in the memory are another request's"
            raise BackendError(msg)
        return outputs

    def settle(self, grace_s: float) -> float | None:
        """Wait for the answer that is owed, and throw it away; returns how long it took from its order, in seconds.

        None: it did not come within ``grace_s``; the worker has to go. 0 when nothing is owed.
        """
        if self._owed is None:
            return 0.0
        end_s = time.monotonic() + grace_s
        if not self._turn.acquire(timeout=grace_s):
            return None
        try:
            (asked, begun_s), self._owed = self._owed, None
            self._answer_to(asked, begun_s, end_s, "at all")
            self.discarded["late"] += 1
        except BackendError:
            return None
        finally:
            self._turn.release()
        return time.monotonic() - begun_s

    def listen(self) -> None:
        """Make room for what its library has to say on stderr."""
        self._child.listen()

    def kill(self, cause: str) -> None:
        """End its process at once; does not wait for the end. ``cause`` is told to those who ask it still."""
        self._cause = self._cause or cause
        self._child.kill()

    def quit(self, grace_s: float) -> None:
        """Ask it to let the hardware go and end, wait ``grace_s``, then kill it."""
        if self.alive and not self.owes and self._turn.acquire(timeout=grace_s):
            try:
                self._send(Packet(Kind.QUIT), [])
                self._child.wait(grace_s)
            except BackendError:
                pass  # dead already, or stuck: killed below
            finally:
                self._turn.release()
        self.kill("closed")

    def reap(self, within_s: float = REAP_S) -> bool:
        """Collect a process that has ended or was killed; say whether it is gone. Idempotent."""
        if not self._turn.acquire(timeout=max(0.0, within_s)):
            return False  # a frame is still on its way out of ``invoke``
        try:
            gone = self._child.collect(within_s)
            if gone:
                self._areas.clear()
        finally:
            self._turn.release()
        return gone

    def _order(self, packet: Packet, deadline_s: float, what: str, files: list[int] | None = None) -> None:
        """Send an order and wait until it is carried out. Raises BackendError, ModelError."""
        end_s = time.monotonic() + deadline_s
        if self.owes or not self._turn.acquire(timeout=deadline_s):
            raise BackendError(self._busy())
        try:
            self._request += 1
            asked = packet._replace(request=self._request)
            begun_s = self._send(asked, files or [])
            self._judge(self._answer_to(asked, begun_s, end_s, what))
        finally:
            self._turn.release()

    def _send(self, packet: Packet, files: list[int]) -> float:
        """Send a packet; returns when, in seconds of the monotonic clock.

        Raises BackendError when nobody takes it: orders are answered one by one, so there is room.
        """
        if not self.alive:
            raise BackendError(self._dead())
        begun_s = time.monotonic()
        try:
            exchange.send_files(self._child.control, packet, files)
        except BlockingIOError as error:
            msg = f"{self.name}: takes no order"
            raise BackendError(msg) from error
        except OSError as error:
            raise BackendError(self._dead()) from error
        return begun_s

    def _answer_to(self, asked: Packet, begun_s: float, end_s: float, within: str) -> Packet:
        """Wait for the answer to ``asked``; others are thrown away. Raises BackendError, and remembers what is owed."""
        while (left_s := end_s - time.monotonic()) > 0.0:
            answer = self._next_packet(left_s)
            if answer is None:
                continue
            if answer.request != asked.request:
                self.discarded["foreign"] += 1
            elif answer.kind is Kind.FACTS:
                self.facts = json.loads(answer.body)
            else:
                return answer
        self._owed = (asked, begun_s)
        msg = f"{self.name}: no answer {within}"
        raise BackendError(msg)

    def _judge(self, answer: Packet) -> None:
        """Raise what an answer says."""
        told = answer.body.decode("utf-8", errors="replace")
        if answer.kind is Kind.REFUSED:
            raise ModelError(told)
        if answer.kind is not Kind.DONE:
            msg = f"{self.name}: {told}"
            raise BackendError(msg)

    def _next_packet(self, within_s: float) -> Packet | None:
        """Return the next packet, None when there is none in time. Raises BackendError when the worker is dead."""
        poll = select.poll()
        try:
            poll.register(self._child.control, select.POLLIN)
            if not poll.poll(within_s * 1e3):
                return None
            raw = self._child.control.recv(exchange.PACKET_BYTES_MAX)
            packet = exchange.unpack(raw) if raw else None
        except (OSError, ValueError):  # nonsense, or it was collected meanwhile, and its socket is closed
            packet = None
        if packet is None:
            raise BackendError(self._dead())
        return packet

    def _busy(self) -> str:
        return f"{self.name}: {self._cause or 'busy with an earlier frame'}"

    def _dead(self) -> str:
        """Say why it answers no more. It never will, though a driver may keep its process from ending."""
        if self._cause:
            return f"{self.name}: {self._cause}"
        ended = self._child.wait(LAST_WORDS_S)
        words = self._child.last_words()
        if not ended:
            self._cause = words
        return f"{self.name}: {words}"
