"""Which Edge TPU of the configuration has which device: several must not heal, or take, one another's."""

from collections.abc import Iterable

from appliance.core.accelerator import TpuDevice, choose


class Claims:
    """The places that the Edge TPUs of one appliance hold. For the probing thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self._places: dict[str, str] = {}

    def claim(self, name: str, path: str) -> None:
        """Note that ``name`` has opened the device at ``path``."""
        self._places[name] = path

    def held_by_others(self, name: str) -> frozenset[str]:
        """Return the places that are not for ``name``."""
        return frozenset(path for other, path in self._places.items() if other != name)

    def choose(self, name: str, wanted: str, devices: Iterable[TpuDevice]) -> TpuDevice | None:
        """Return the device of ``name`` among those that are there.

        The one it opened before where that is still there: numbers shift when another is pulled out. Else what
        ``wanted`` names; when that has another's place, the first of its bus that nobody holds.
        """
        there, others = tuple(devices), self.held_by_others(name)
        own = next((device for device in there if device.path == self._places.get(name)), None)
        if own is not None:
            return own
        named = choose(there, wanted)
        if named is not None and named.path not in others:
            return named
        free = [device for device in there if device.path not in others]
        return choose(free, wanted.partition(":")[0]) if others else None


def option_of(device: TpuDevice, devices: Iterable[TpuDevice]) -> str:
    """Return what the library calls ``device`` now: its bus, and its number among those of the bus that are there."""
    same = [each.path for each in devices if each.bus is device.bus]
    return f"{device.bus.value}:{same.index(device.path) if device.path in same else 0}"
