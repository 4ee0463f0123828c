"""Serves a repository on this machine alone, for trials: a web server or CDN does so for a fleet.

What a device asks of any server is here: whole files, parts of them (Range), and whether a file is still the same one
(ETag, If-Range; RFC 9110, sections 8.8.3, 13.1.5 and 14).
"""

import os
import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
PIECE_BYTES = 64 * 1024
SILENCE_S = 30.0
"""A client that neither asks nor takes for so long is let go."""
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


def server(public: Path, port: int, tell: Callable[[str], None]) -> ThreadingHTTPServer:
    """Make a server that is bound, and answers once it is told to.

    Args:
        public: the folder to serve; nothing outside it is.
        port: of 127.0.0.1; 0 takes a free one.
        tell: is given a line for each answer.

    Raises:
        OSError: the port is taken.
    """
    handler = type("_Handler", (_Handler,), {"root": public.resolve(), "tell": staticmethod(tell)})
    made = ThreadingHTTPServer((HOST, port), handler)
    made.daemon_threads = True
    return made


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    root: Path
    tell: Callable[[str], None]
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S

    def do_GET(self) -> None:
        """Answer with a file, or the part of it that is asked for."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Tell whoever started the server."""
        self.tell(format % args)

    def _answer(self, *, body: bool) -> None:
        try:
            file = (self.root / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
            if not file.is_relative_to(self.root) or not file.is_file():
                raise FileNotFoundError
            stream = file.open("rb")
        except (OSError, ValueError):  # a NUL in the name is a ValueError
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with stream:
            first, count = self._head(os.fstat(stream.fileno()))
            if body and count:
                self._send(stream, first, count)

    def _head(self, stat: os.stat_result) -> tuple[int, int]:
        """Send status and headers; return where the content to be sent begins, and its length in bytes."""
        etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) != etag:
            wanted = None
        first, last = (int(wanted[1]), int(wanted[2] or stat.st_size - 1)) if wanted else (0, stat.st_size - 1)
        last = min(last, stat.st_size - 1)
        if self.headers.get("If-None-Match") == etag:
            status, first, count = HTTPStatus.NOT_MODIFIED, 0, 0
        elif wanted and first > last:
            status, first, count = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0
        else:
            status, count = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK, last - first + 1
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        if wanted:
            span = f"{first}-{last}" if status is HTTPStatus.PARTIAL_CONTENT else "*"
            self.send_header("Content-Range", f"bytes {span}/{stat.st_size}")
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(count))
        self.end_headers()
        return first, count

    def _send(self, stream: BinaryIO, first: int, count: int) -> None:
        """Send a part of a file."""
        stream.seek(first)
        while count and (piece := stream.read(min(count, PIECE_BYTES))):
            try:
                self.wfile.write(piece)
            except OSError:  # the device has gone; it will ask for the rest
                self.close_connection = True
                return
            count -= len(piece)
