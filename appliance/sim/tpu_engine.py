"""What runs in the worker's process in an Edge TPU's place: the CPU, which fails as the device fails, on a script.

Everything around it is the real thing: the process, its memory, its deadlines, its end. It implements
``adapters.backends.engines.Engine`` and gets the true answers from another engine. It does not model the device's
speed, nor what the library does inside; the state of the bus is files (``sim/tpu_tree.py``).
"""

import ctypes
import os
import signal
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from appliance.core.types import Array, Outputs
from appliance.errors import BackendError
from appliance.sim import tpu_tree
from appliance.sim.lies import lie
from appliance.sim.tpu_script import Act, Script, Step

INNER = "appliance.adapters.backends.engines:CpuEngine"
"""Gives the true answers."""


class Answer(NamedTuple):
    """As ``engines.Answer``."""

    request: int
    outputs: Outputs


class SimulatedEngine:
    """An Edge TPU on the bus of ``folder``, which does what the script there says."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """Take ``folder``; everything else is the inner engine's."""
        self._folder = Path(options["folder"])
        self._script = Script(self._folder)
        module, class_name = options.get("inner", INNER).split(":")
        self._inner = getattr(import_module(module), class_name)(options)

    def facts(self) -> dict[str, str]:
        """Say that it is not real."""
        return {**self._inner.facts(), "library": "simulated", "library_version": "0"}

    def load(self, signature: Any, content: bytes) -> "SimulatedRunner":  # noqa: ANN401 - the inner engine's
        """Open the device, as the script says, and load a model. Raises BackendError, ModelError."""
        step = self._script.take(opening=True)
        if step is not None:
            _misopen(step)
        if not tpu_tree.enter_runtime(self._folder):
            msg = "simulated: the device does not open"
            raise BackendError(msg)
        return SimulatedRunner(self._inner.load(signature, content), self._folder, self._script)


class SimulatedRunner:
    """A model on it."""

    def __init__(self, inner: Any, folder: Path, script: Script) -> None:  # noqa: ANN401 - the inner engine's
        self._inner = inner
        self._folder = folder
        self._script = script
        self._leaked: list[Array] = []

    def answer(self, tensor: Array, request: int) -> Answer:
        """Run, as the script says. Raises RuntimeError."""
        if not tpu_tree.present(self._folder):
            os.abort()  # what the library does when a transfer fails
        step = self._script.take(opening=False)
        answer = self._inner.answer(tensor, request)
        if step is None:
            return Answer(answer.request, answer.outputs)
        return self._misbehave(step, Answer(answer.request, answer.outputs))

    def _misbehave(self, step: Step, answer: Answer) -> Answer:
        """Do what the script says, to the process or to the answer."""
        if step.act is Act.VANISH:
            tpu_tree.remove(self._folder)
            os.abort()
        if step.act is Act.LATE:
            Event().wait(step.value)
        if step.act is Act.FAIL:
            msg = "simulated: the device reports an error"
            raise RuntimeError(msg)
        if step.act is Act.FOREIGN:
            return answer._replace(request=answer.request + 1)
        if step.act is Act.LIE:
            return answer._replace(outputs={role: lie(values) for role, values in answer.outputs.items()})
        if step.act is Act.LEAK:
            self._leaked.append(np.ones(int(step.value), np.uint8))
        _end(step.act)
        return answer


def _misopen(step: Step) -> None:
    """Open wrongly. Raises BackendError."""
    if step.act is Act.OPEN_SLOWLY:
        Event().wait(step.value)
    if step.act is Act.OPEN_FAIL:
        msg = "simulated: the device does not open"
        raise BackendError(msg)
    _end(step.act)


def _end(act: Act) -> None:
    """End or block the process, where that is the act."""
    if act in {Act.ABORT, Act.OPEN_ABORT}:
        os.write(2, b"F simulated/usb_driver.cc:857] transfer failed\n")
        os.abort()
    if act in {Act.CRASH, Act.OPEN_CRASH}:
        ctypes.string_at(0)
    if act in {Act.HANG, Act.OPEN_HANG}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.PyDLL(None).pause()  # holds the interpreter's lock, as the library does when it opens the device
