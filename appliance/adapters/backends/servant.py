"""Carries out the orders that come to a worker. Runs in its process; ``worker.py`` is the other end."""

import json
import os
import socket

from appliance.adapters.backends import exchange
from appliance.adapters.backends.engines import Engine, Runner, make_engine
from appliance.adapters.backends.exchange import Area, Kind, Packet, Signature
from appliance.errors import BackendError, ModelError

MODELS_MAX = 16
"""Models one worker serves; an Edge TPU has some 8 MB for all of them."""

_LIBRARIES = (ImportError, OSError, AttributeError, TypeError, SystemError)
"""What packages raise that are not what they should be: told in order, they are not taken for a dying device."""


class Servant:
    """One engine, its loaded models, and the socket that orders come by."""

    def __init__(self, control: int, engine: str, *, network: str) -> None:
        """Take over the open socket ``control``; ``engine`` is ``module:Class``; ``network`` is told as a fact."""
        self._control = socket.socket(fileno=control)
        # Waits for the next order for ever: the kernel ends this process with its parent.
        self._control.setblocking(True)
        self._engine_name, self._network = engine, network
        self._engine: Engine | None = None
        self._models: list[tuple[Area, Runner]] = []

    def serve(self) -> None:
        """Carry out orders until QUIT, or until nobody is left to give any."""
        while (received := exchange.receive(self._control)) is not None:
            packet, files = received
            if packet.kind is Kind.QUIT:
                self._models.clear()
                return
            try:
                answer = self._obeyed(packet, files)
            finally:
                for file in files:
                    os.close(file)
            self._control.send(exchange.pack(answer))

    def _obeyed(self, packet: Packet, files: list[int]) -> Packet:
        """Carry out one order; return what to say of it."""
        try:
            return self._obey(packet, files)
        except ModelError as error:
            return packet._replace(kind=Kind.REFUSED, body=exchange.text(error))
        except (BackendError, RuntimeError, ValueError, MemoryError, *_LIBRARIES) as error:
            return packet._replace(kind=Kind.FAILED, body=exchange.text(error))

    def _obey(self, packet: Packet, files: list[int]) -> Packet:
        """Carry out one order. Raises what engines raise."""
        if packet.kind is Kind.INVOKE:
            return self._invoke(packet)
        if packet.kind is Kind.START:
            self._engine = make_engine(self._engine_name, json.loads(packet.body))
            facts = {"network": self._network, **self._engine.facts()}
            told = Packet(Kind.FACTS, request=packet.request, body=json.dumps(facts).encode())
            self._control.send(exchange.pack(told))
        else:
            assert packet.kind is Kind.LOAD, packet.kind
            self._load(packet, files)
        return packet._replace(kind=Kind.DONE, body=b"")

    def _load(self, packet: Packet, files: list[int]) -> None:
        """Load the model that comes with an order."""
        assert self._engine is not None, "START comes first"
        del self._models[packet.number :]  # one that was loaded too late, which nobody knows of
        if len(self._models) >= MODELS_MAX:
            msg = f"more than {MODELS_MAX} models on one Edge TPU"
            raise BackendError(msg)
        model, memory = files
        signature = Signature.decode(packet.body)
        content = os.pread(model, os.fstat(model).st_size, 0)
        area = Area(memory, signature)
        runner = self._engine.load(signature, content)
        assert packet.number == len(self._models), "models are numbered in the order they come"
        self._models.append((area, runner))

    def _invoke(self, packet: Packet) -> Packet:
        """Run a model on what lies in its memory, and leave the outputs there."""
        area, runner = self._models[packet.number]
        if not area.is_asked(packet.request, packet.sequence):
            msg = "the tensor in the memory is another request's"
            raise BackendError(msg)
        answer = runner.answer(area.input, packet.request)
        area.answer(answer.outputs, answer.request, packet.sequence)
        return packet._replace(kind=Kind.DONE, request=answer.request, body=b"")
