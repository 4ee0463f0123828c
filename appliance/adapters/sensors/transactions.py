"""Questions over MQTT 5: a request with response topic and correlation data gets its decision back.

A request goes to ``<root>/<node>/<channel>/request``. Requests are judged in the order of arrival, and their age
counts from the moment they arrived here, which is why a thread of its own receives them: a loop that is busy would
make old questions look young. What cannot be judged is answered at once. A session ends with the broker: ``capture``
then raises SensorError, and opening again makes a new one.
"""

from collections import deque
from threading import Event, Lock

from appliance.adapters.sensors.question import Question, Refusal, read_question
from appliance.adapters.sensors.request_session import Answer, Request, RequestSession
from appliance.config import TransactionsConfig
from appliance.core import wire
from appliance.core.types import Decision, Frame, FrameKind, OutcomeState, ReplyAddress
from appliance.errors import Idle, SensorError
from appliance.ports import SensorContext

TOPIC_BYTES_MAX = 512
"""Longest response topic."""
CORRELATION_BYTES_MAX = 1024


class Transactions:
    """Implements ``ports.Sensor`` and ``ports.Responder``; one thread captures and responds."""

    newest_only = False

    def __init__(self, config: TransactionsConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        self._queue_max = config.queue_max
        self._context = context
        self._identity = context.identity
        self._session: RequestSession | None = None
        self._inbox = _Inbox()
        self._seq = 0

    def open(self) -> None:
        """Connect and subscribe. Raises SensorError after at most twice ``mqtt.connect_timeout_s``."""
        assert self._session is None, "transactions: opened twice"
        inbox = _Inbox()
        session = RequestSession(
            f"{self._context.topic}/request",
            on_request=lambda request: self._receive(request, session, inbox),
            on_end=inbox.end,
        )
        client_id = self._context.topic.replace("/", "-") + "-requests"
        try:
            session.start(self._context.mqtt, client_id, self._context.clock)
        except SensorError as error:
            self._end(session)
            msg = f"transactions: {error}"
            raise SensorError(msg) from error
        self._session, self._inbox = session, inbox

    def capture(self, timeout_s: float) -> Frame:
        """Return the oldest waiting request. Raises Idle when nobody asks, SensorError when the broker is lost."""
        assert self._session is not None, "transactions: capture before open"
        if not self._context.clock.wait(self._inbox.changed, timeout_s):
            raise Idle("nobody asks")
        return self._inbox.take()

    def respond(self, frame: Frame, decision: Decision) -> None:
        """Publish the answer. Never blocks; counted by what became of the request."""
        if frame.reply is None:
            self._count("unasked")
            return
        utc = self._context.clock.now_utc()
        stamp = wire.Stamp(
            mono_ns=round(decision.decided_s * 1e9),
            ts=None if utc is None else utc.isoformat(),
            clock=self._context.clock.state(),
        )
        payload = wire.reply(decision, self._identity, stamp, frame.reply.request_id)
        self._count("answered" if _answer(self._session, frame.reply, payload) else "unsent")

    def close(self) -> None:
        """Tell those who wait that nobody will judge, and end the session. Idempotent; never raises."""
        session, self._session = self._session, None
        if session is None:
            return
        for frame in self._inbox.empty():
            self._unjudged(frame, session, "the appliance stopped", outcome="stopped")
        self._end(session)

    def _end(self, session: RequestSession) -> None:
        if not session.stop():
            self._context.meter.count("edge_abandoned_threads_total", what="transactions")

    def _receive(self, request: Request, session: RequestSession, inbox: "_Inbox") -> None:
        """Let a request wait to be judged, or answer at once why it will not be. Called on the session's thread."""
        arrived_s = self._context.clock.monotonic_s()
        if request.retained:  # an old question would be asked again at every start
            self._count("retained")
            return
        question = read_question(request.payload, self._context.model.fields, self._context.model.tokens)
        address = self._address(request, question.request_id)
        if isinstance(question, Refusal):
            self._count("refused")
            if address is not None:
                _answer(session, address, _unanswered("error", address, error=question.error))
            return
        crowded_out = inbox.put(self._frame(question, address, arrived_s), self._queue_max)
        if crowded_out is not None:
            self._unjudged(crowded_out, session, "queue full", outcome="queue_full")

    def _frame(self, question: Question, address: ReplyAddress | None, arrived_s: float) -> Frame:
        seq, self._seq = self._seq, self._seq + 1
        context = question.context
        return Frame(FrameKind.RECORD, question.numbers, arrived_s, seq, reply=address, context=context)

    def _unjudged(self, frame: Frame, session: RequestSession, reason: str, *, outcome: str) -> None:
        """Answer a request that will not be judged: no answer is a value."""
        self._count(outcome)
        if frame.reply is not None:
            _answer(session, frame.reply, _unanswered(OutcomeState.NO_RESULT.value, frame.reply, reason=reason))

    def _address(self, request: Request, request_id: str) -> ReplyAddress | None:
        """Return where the answer goes; None when nobody waits for one, or we will not publish there."""
        topic = request.response_topic
        if not topic:
            return None
        base = self._context.topic.rsplit("/", 1)[0]
        ours = topic.startswith(f"{base}/") and not topic.startswith(f"{self._context.topic}/response/")
        wild = bool(set(topic) & set("+#\0"))
        long = len(topic.encode()) > TOPIC_BYTES_MAX or len(request.correlation) > CORRELATION_BYTES_MAX
        if ours or wild or long or topic.startswith("$"):  # nobody may make us speak in our own name elsewhere
            self._count("bad_response_topic")
            return None
        return ReplyAddress(topic, request.correlation, request_id)

    def _count(self, outcome: str) -> None:
        self._context.meter.count("edge_requests_total", channel=self._context.channel, outcome=outcome)


def _unanswered(state: str, address: ReplyAddress, **why: str) -> dict[str, object]:
    """Return the answer to a request that was not judged; ``outcome`` is the word that ``wire.reply`` uses for it."""
    fixed = {"schema": wire.SCHEMA, "outcome_state": state, "outcome": "unknown", "request_id": address.request_id}
    return {**fixed, **why}


def _answer(session: RequestSession | None, address: ReplyAddress, payload: dict[str, object]) -> bool:
    """Hand an answer to the session; say whether it was taken."""
    return session is not None and session.send(Answer(address.topic, wire.encode(payload), address.correlation))


class _Inbox:
    """Requests of one session that wait to be judged, oldest first."""

    def __init__(self) -> None:
        self.changed = Event()
        """A request waits, or the session is over."""
        self._lock = Lock()
        self._waiting: deque[Frame] = deque()
        self._over: str | None = None

    def put(self, frame: Frame, frames_max: int) -> Frame | None:
        """Let ``frame`` wait; return the oldest when it has to make room."""
        with self._lock:
            crowded_out = self._waiting.popleft() if len(self._waiting) >= frames_max else None
            self._waiting.append(frame)
            self.changed.set()
        return crowded_out

    def take(self) -> Frame:
        """Return the oldest request. Raises SensorError when there is none because the session is over."""
        with self._lock:
            if self._waiting:
                frame = self._waiting.popleft()
                if not self._waiting and self._over is None:
                    self.changed.clear()
                return frame
        assert self._over, "the session's thread died of a bug; its traceback is above"
        msg = f"transactions: {self._over}"
        raise SensorError(msg)

    def empty(self) -> list[Frame]:
        """Return all that wait, and hold them no more."""
        with self._lock:
            frames = list(self._waiting)
            self._waiting.clear()
        return frames

    def end(self, reason: str) -> None:
        """Remember why no more requests will come; an empty reason is a bug."""
        with self._lock:
            self._over = reason
            self.changed.set()
