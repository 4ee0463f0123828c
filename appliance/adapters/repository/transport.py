"""HTTP that ends: each silence, each whole answer and each slow minute has a bound, in headers as in content.

``http.client`` bounds one wait of its socket; a server that sends a byte now and then keeps it waiting for ever. So
what it reads goes through ``Pace``, which counts bytes and looks at the clock between any two of them.
"""

import io
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import IO, Any
from urllib.request import AbstractHTTPHandler, OpenerDirector, ProxyHandler, Request

from appliance.ports import Clock

SLOW_AFTER_S = 60.0
"""Over how long the lowest rate is held against what came: a mobile link may pause for a while."""


class Pace:
    """How long one answer may take."""

    def __init__(self, clock: Clock, *, timeout_s: float, rate_bytes_per_s_min: float, total_s: float) -> None:
        """Begin now: no silence longer than ``timeout_s``, no minute slower than the rate, over after ``total_s``."""
        self._clock = clock
        self._timeout_s, self._rate = timeout_s, rate_bytes_per_s_min
        self._minute_s = clock.monotonic_s()
        self._end_s = self._minute_s + total_s
        self._bytes = 0

    def patience_s(self) -> float:
        """Return how long the next bytes may be waited for. Raises TimeoutError: not at all any more."""
        left_s = self._end_s - self._clock.monotonic_s()
        if left_s <= 0.0:
            raise TimeoutError("takes too long altogether")
        return min(left_s, self._timeout_s)

    def took(self, size_bytes: int) -> None:
        """Count what came. Raises TimeoutError: too little in the last minute."""
        self._bytes += size_bytes
        now_s = self._clock.monotonic_s()
        passed_s = now_s - self._minute_s
        if passed_s < SLOW_AFTER_S:
            return
        if self._bytes < self._rate * passed_s:
            msg = f"too slow: {self._bytes / passed_s:.0f} bytes/s over {passed_s:.0f} s"
            raise TimeoutError(msg)
        self._minute_s, self._bytes = now_s, 0


class _Reader(io.RawIOBase):
    """Reads a socket at a pace."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        super().__init__()
        self._sock, self._pace = sock, pace
        self._stream = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - a writable buffer, as in io.RawIOBase
        self._sock.settimeout(self._pace.patience_s())
        size_bytes = self._stream.readinto(buffer) or 0
        self._pace.took(size_bytes)
        return size_bytes

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Paced:
    """All that an answer needs of a socket."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._sock, self._pace = sock, pace

    def makefile(self, _mode: str) -> IO[bytes]:
        return io.BufferedReader(_Reader(self._sock, self._pace))


def _answer(sock: socket.socket, *, pace: Pace, **given: Any) -> HTTPResponse:  # noqa: ANN401 - as HTTPResponse
    return HTTPResponse(_Paced(sock, pace), **given)  # type: ignore[arg-type]  # it asks for makefile alone


def _connected(kind: type[HTTPConnection], host: str, *, pace: Pace, **given: Any) -> HTTPConnection:  # noqa: ANN401 - as the kind
    made = kind(host, **given)
    made.response_class = partial(_answer, pace=pace)  # type: ignore[assignment]  # called, never subclassed
    return made


class _Handler(AbstractHTTPHandler):
    """Opens http and https, and nothing else; follows nothing."""

    http_request = https_request = AbstractHTTPHandler.do_request_

    def __init__(self, pace: Pace, trust: Callable[[], ssl.SSLContext]) -> None:
        super().__init__()
        self._pace, self._trust = pace, trust

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(partial(_connected, HTTPConnection, pace=self._pace), request)

    def https_open(self, request: Request) -> HTTPResponse:
        secure = partial(_connected, HTTPSConnection, pace=self._pace, context=self._trust())
        return self.do_open(secure, request)


def ask(url: str, headers: Mapping[str, str], pace: Pace, trust: Callable[[], ssl.SSLContext]) -> HTTPResponse:
    """Return the answer to a GET, whatever its status.

    Proxies are those of the environment (``http_proxy``, ``https_proxy``, ``no_proxy``).

    Args:
        url: http or https; nothing else is opened.
        headers: beside the usual ones.
        pace: what bounds it.
        trust: returns whose certificates are accepted; called for https alone.

    Raises:
        OSError, HTTPException, ValueError: there is none.
    """
    opener = OpenerDirector()
    opener.addheaders = [("User-Agent", "edge-appliance")]
    for handler in (ProxyHandler(), _Handler(pace, trust)):
        opener.add_handler(handler)
    answer = opener.open(Request(url, headers=dict(headers)), timeout=pace.patience_s())  # noqa: S310 - http(s) only
    if answer is None:
        raise ValueError("neither http nor https")
    assert isinstance(answer, HTTPResponse), type(answer)
    return answer
