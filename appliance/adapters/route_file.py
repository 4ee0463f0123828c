"""What was measured of the models' backends on this device: ``routes.json`` in the state folder.

``appliance bench --route`` writes it, a start and ``appliance model list`` read it. A power cut at any moment leaves
the file as it was or as it was to be. Nothing depends on it: without it, or where it cannot be read, models run on
their backends in the configured order.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from appliance.adapters import durable
from appliance.core.routing import ROUTES_MAX, Route, Situation, Timing
from appliance.errors import ConfigError
from appliance.log import get
from appliance.schema import Section

FILE = "routes.json"
FORM_VERSION: Literal[1] = 1
FILE_BYTES_MAX = 256 * 1024
"""A file larger than this is not one of ours: ``ROUTES_MAX`` measurements take some 40 kB."""

_Word = Annotated[str, Field(max_length=256)]
_Time = Annotated[float, Field(ge=0.0, le=1e9)]

_log = get(__name__)


class _Timing(Section):
    backend: _Word
    p50_ms: _Time
    p99_ms: _Time


class _Route(Section):
    """One measurement."""

    model: _Word
    version: _Word
    sha256: _Word
    backends: tuple[_Word, ...] = Field(min_length=1, max_length=8)
    platform: _Word
    settings: _Word
    timings: tuple[_Timing, ...] = Field(max_length=8)

    @model_validator(mode="after")
    def _timed_once(self) -> Self:
        timed = [each.backend for each in self.timings]
        if len(set(timed)) < len(timed) or not set(timed) <= set(self.backends):
            msg = "times a backend twice, or one that is not named"
            raise ValueError(msg)
        return self

    def route(self) -> Route:
        """The measurement as the core knows it."""
        situation = Situation(self.sha256, self.backends, self.platform, self.settings)
        timings = tuple(Timing(each.backend, each.p50_ms, each.p99_ms) for each in self.timings)
        return Route(self.model, self.version, situation, timings)


class _Form(Section):
    """The file."""

    version: Literal[1]
    routes: tuple[_Route, ...] = Field(max_length=ROUTES_MAX)


class RouteFile:
    """Keeps measurements over a restart. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is the appliance's state folder; it is touched by ``save`` alone."""
        self.file = folder / FILE
        self._part = folder / f"{FILE}.part"

    def load(self) -> tuple[Route, ...]:
        """Return what was measured, the newest first; nothing where there is no file, or none that can be used."""
        try:
            with self.file.open("rb") as stream:
                raw = stream.read(FILE_BYTES_MAX + 1)
            if len(raw) > FILE_BYTES_MAX:
                msg = f"larger than {FILE_BYTES_MAX} bytes"
                raise ValueError(msg)  # noqa: TRY301 - told with the other ways in which a file is not one of ours
            form = _Form.model_validate_json(raw, strict=True)
        except FileNotFoundError:
            return ()
        except OSError as error:
            return self._unusable(f"cannot be read: {error.strerror}")
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            return self._unusable(f"damaged: {'.'.join(map(str, fault['loc']))} {fault['msg']}")
        except ValueError as error:
            return self._unusable(f"damaged: {error}")
        return tuple(each.route() for each in form.routes)

    def save(self, routes: Iterable[Route]) -> None:
        """Write ``routes``, at most ``ROUTES_MAX``, in the place of what was there.

        Raises:
            ConfigError: the state folder cannot be written by this user.
        """
        form = _Form(version=FORM_VERSION, routes=tuple(_form(route) for route in routes))
        try:
            durable.replace(self.file, form.model_dump_json(indent=1).encode() + b"\n", part=self._part)
        except OSError as error:
            msg = f"{self.file}: cannot be written: {error.strerror}; run this as the user that the appliance runs as"
            raise ConfigError(msg) from error

    def _unusable(self, reason: str) -> tuple[Route, ...]:
        _log.warning("routes are not used", reason=f"{self.file}: {reason}; `appliance bench --route` writes it anew")
        return ()


def _form(route: Route) -> _Route:
    """A measurement as the file has it."""
    timings = tuple(_Timing(backend=each.backend, p50_ms=each.p50_ms, p99_ms=each.p99_ms) for each in route.timings)
    situation = route.situation
    return _Route(
        model=route.model,
        version=route.version,
        sha256=situation.sha256,
        backends=situation.backends,
        platform=situation.platform,
        settings=situation.settings,
        timings=timings,
    )
