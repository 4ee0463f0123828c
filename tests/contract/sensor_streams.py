"""Network cameras on loopback: MJPEG over HTTP and MPEG over RTSP, that stall or hang up when told to."""

import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from tests.contract.sensor_rigs import PICTURE_PX, picture

PICTURES_MAX = 2000
"""A forgotten server ends by itself."""
PERIOD_S = 0.02
PACKET_BYTES = 188 * 7
"""Seven packets of an MPEG transport stream fill one RTP packet."""


class NetworkCamera:
    """Accepts one client after another and plays to each; see the subclasses for how."""

    scheme: str

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stop = Event()
        self.stalled = Event()
        """Set it, and nothing more is sent; the connection stays."""
        self.hung_up = Event()
        """Set it, and the connection is closed; so is every new one."""
        self._thread = Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Where the stream is."""
        return f"{self.scheme}://127.0.0.1:{self._listener.getsockname()[1]}/stream"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10.0)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
                with client:
                    client.settimeout(10.0)
                    if not self.hung_up.is_set():
                        self._talk(client)
            except OSError:  # the client went, or the listener was shut down
                continue

    def _talk(self, client: socket.socket) -> None:
        raise NotImplementedError

    def _pace(self) -> bool:
        """Wait for the next picture's time; say whether there is one."""
        while self.stalled.is_set() and not self._stop.is_set() and not self.hung_up.is_set():
            self._stop.wait(PERIOD_S)
        return not (self._stop.wait(PERIOD_S) or self.hung_up.is_set())


class MjpegCamera(NetworkCamera):
    """Multipart JPEG over HTTP, as cheap network cameras send it."""

    scheme = "http"

    def _talk(self, client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for number in range(PICTURES_MAX):
            jpeg = cv2.imencode(".jpg", picture(number % 256))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            client.sendall(head.encode() + jpeg + b"\r\n")
            if not self._pace():
                return


class RtspCamera(NetworkCamera):
    """RTSP 1.0 (RFC 2326) with RTP interleaved on the same connection, carrying an MPEG transport stream."""

    scheme = "rtsp"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._packets = list(transport_stream(folder))
        self.methods: list[str] = []
        """What the client asked for."""

    def _talk(self, client: socket.socket) -> None:
        sdp = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
        answers = {
            "OPTIONS": b"Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
            "DESCRIBE": b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s" % (len(sdp), sdp),
            "SETUP": b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
            "PLAY": b"Session: 1\r\n\r\n",
        }
        method = ""
        while method != "PLAY":
            request = client.recv(65_536).decode()
            if not request:
                return
            method = request.split(" ", 1)[0]
            self.methods.append(method)
            number = re.search(r"CSeq: (\d+)", request)
            assert number is not None, request
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number[1]}\r\n".encode() + answers[method])
        self._play(client)

    def _play(self, client: socket.socket) -> None:
        for number, payload in enumerate(self._packets * 4):
            header = struct.pack("!BBHII", 0x80, 33, number & 0xFFFF, number * 1800, 1)
            client.sendall(struct.pack("!cBH", b"$", 0, len(header) + len(payload)) + header + payload)
            if not self._pace():
                return


def transport_stream(folder: Path) -> Iterator[bytes]:
    """An MPEG transport stream of moving noise, in pieces for one RTP packet each."""
    file = folder / "stream.ts"
    height, width = PICTURE_PX
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MPEG"), 25.0, (width, height))
    assert writer.isOpened()
    noise = np.random.default_rng(1)
    for _ in range(100):
        writer.write(noise.integers(0, 256, (height, width, 3), np.uint8))  # many bytes: none wait in a demuxer
    writer.release()
    raw = file.read_bytes()
    yield from (raw[start : start + PACKET_BYTES] for start in range(0, len(raw), PACKET_BYTES))
