"""Rigs for the sensor suite: small recordings, a pseudo-terminal as serial line, a tree of files as IIO, a terminal."""

import os
import select
import tty
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.core.types import Array
from tests.waiting import eventually

PICTURE_PX = (48, 64)
"""Height and width."""


def picture(value: int) -> Array:
    """A grey picture, ``value`` 0 to 255."""
    return np.full((*PICTURE_PX, 3), value, np.uint8)


def write_video(file: Path, frames: int, *, fps: float = 50.0) -> Path:
    """An MJPG video whose n-th picture has the grey value 5 n, up to rounding in JPEG."""
    height, width = PICTURE_PX
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number * 5 % 256))
    writer.release()
    return file


def write_pictures(folder: Path, frames: int) -> Path:
    """A folder of pictures of which the n-th has the grey value 5 n."""
    folder.mkdir()
    for number in range(frames):
        assert cv2.imwrite(str(folder / f"{number:04}.png"), picture(number * 5 % 256))
    return folder


class SerialLine:
    """Two ends of a pseudo-terminal: ``device`` is what the sensor opens, lines are written here."""

    def __init__(self) -> None:
        self._ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.device = os.ttyname(theirs)
        self._theirs = theirs
        self._sender: Thread | None = None
        self._stop = Event()

    def write(self, raw: bytes) -> None:
        """Send bytes."""
        while raw:
            select.select([], [self._ours], [], 1.0)
            raw = raw[os.write(self._ours, raw) :]

    def stream(self, period_s: float, line: bytes = b"%d,2.0\n") -> None:
        """Send a numbered line each period until closed; nobody need listen."""

        def body() -> None:
            number = 0
            while not self._stop.wait(period_s):
                if select.select([], [self._ours], [], 0)[1]:
                    os.write(self._ours, line % number)
                number += 1

        self._sender = Thread(target=body, daemon=True)
        self._sender.start()

    def unplug(self) -> None:
        """Take the device away."""
        self._stop.set()
        if self._sender is not None:
            self._sender.join(5.0)
        for end in (self._theirs, self._ours):
            if end >= 0:
                os.close(end)
        self._theirs = self._ours = -1


def write_iio(root: Path, attributes: Mapping[str, str], *, name: str = "adxl345") -> Path:
    """A device in a tree like ``/sys/bus/iio/devices``."""
    folder = root / "iio:device0"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for attribute, value in attributes.items():
        (folder / attribute).write_text(f"{value}\n")
    return folder


class CardTerminal:
    """A foreign MQTT 5 client that asks and collects answers."""

    def __init__(self, port: int, *, answers_on: str = "terminal/7/answers") -> None:
        self.answers: list[MQTTMessage] = []
        self._answers_on = answers_on
        self._ready = Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        answers, ready = self.answers, self._ready  # no circle: only by its count paho closes its sockets in time
        self._client.on_message = lambda _client, _data, message: answers.append(message)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("terminal/#", qos=1)
        self._client.loop_start()
        assert self._ready.wait(10.0)

    def ask(
        self,
        topic: str,
        payload: bytes,
        *,
        correlation: bytes = b"1",
        answers_on: str | None = None,
        retain: bool = False,
    ) -> None:
        """Publish a request; ``answers_on=""`` wants no answer. Returns when the broker has it."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        where = self._answers_on if answers_on is None else answers_on
        if where:
            properties.ResponseTopic = where
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        info.wait_for_publish(10.0)
        assert info.is_published()

    def answer(self, number: int = 0) -> MQTTMessage:
        """Return the answer of this number, which must come."""
        eventually(lambda: len(self.answers) > number)
        return self.answers[number]

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()
