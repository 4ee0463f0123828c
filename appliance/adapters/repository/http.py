"""A repository on a web server: static files, asked for whole or from where a download broke off."""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin, urlsplit

from appliance.adapters.repository.transport import Pace, ask
from appliance.errors import MetadataError, RefusedError, RepositoryError
from appliance.ports import Clock, Partial
from appliance.ports.updates import uncounted
from appliance.schema import hide_credentials
from appliance.trust.manifest import Bundle
from appliance.updater.receiving import PIECE_BYTES, place_of, receive, standing

METADATA_S_MAX = 300.0
"""Longest time that one metadata file may take."""
REDIRECTS_MAX = 3
TAG_CHARACTERS_MAX = 200

_MISSING = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""What servers say of a file that is not there; object stores say 403 to those who may not list their folder."""
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""The 4xx that are no final no."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PART = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")


class HttpRepository:
    """Implements ``ports.Repository``. Tries each file once: when to try again is for whoever asks."""

    def __init__(
        self, url: str, *, timeout_s: float, rate_bytes_per_s_min: float, run_s_max: float, clock: Clock
    ) -> None:
        """Ask at ``url``, the publisher's public folder.

        Args:
            url: http or https.
            timeout_s: longest silence of the server.
            rate_bytes_per_s_min: a server that is slower over a minute is left.
            run_s_max: longest time that one bundle may take in one go.
            clock: what the time is taken from.
        """
        self._url = url.rstrip("/") + "/"
        self._clock = clock
        self._timeout_s, self._rate, self._run_s_max = timeout_s, rate_bytes_per_s_min, run_s_max

    @cached_property
    def _authorities(self) -> ssl.SSLContext:
        """The system's; read once, for that takes a while."""
        return ssl.create_default_context()

    def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
        """Return a metadata file; None where the server has none of that name.

        Raises RepositoryError, RefusedError, MetadataError: it is larger than allowed.
        """
        place = f"metadata/{name}"
        with self._asked(place, {}, METADATA_S_MAX) as answer:
            if answer.status in _MISSING:
                return None
            _refuse(place, answer.status, wanted={HTTPStatus.OK})
            return _content(place, answer, size_bytes_max, received)

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:
        """Bring ``into`` to the bundle's size. Raises as ``ports.Repository.fetch`` says.

        A part is asked for with Range, and with If-Range where the server gave the file a strong tag (RFC 9110,
        13.1.5), so that a file that has changed comes whole, and is begun anew.
        """
        place, start = place_of(bundle), standing(bundle, into)
        if start == bundle.size_bytes:
            return
        with self._asked(place, _part_wanted(start, into.tag), self._run_s_max) as answer:
            if start and answer.status == HTTPStatus.PARTIAL_CONTENT:
                _check_part(answer, bundle, into, start)
            elif start and answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                into.begin("")
                msg = f"{place}: the server has no byte {start}; it is asked for as a whole next time"
                raise RepositoryError(msg)
            else:
                _refuse(place, answer.status, wanted={HTTPStatus.OK})
                _check_whole(answer, bundle)
                into.begin(_tag(answer))
                start = 0
            receive(bundle, into, start, lambda size: _read(place, answer, size), received)

    @contextmanager
    def _asked(self, place: str, headers: Mapping[str, str], total_s: float) -> Iterator[HTTPResponse]:
        """Give the answer for a file, after redirects. Raises RepositoryError."""
        pace = Pace(self._clock, timeout_s=self._timeout_s, rate_bytes_per_s_min=self._rate, total_s=total_s)
        url = urljoin(self._url, place)
        for _ in range(REDIRECTS_MAX + 1):
            with _converting(place):
                answer = ask(url, headers, pace, lambda: self._authorities)
            with closing(answer):
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                url = _redirected(place, url, answer.headers.get("Location", ""))
        msg = f"{place}: redirected more than {REDIRECTS_MAX} times"
        raise RepositoryError(msg)


@contextmanager
def _converting(place: str) -> Iterator[None]:
    """Convert what ``http.client`` raises. Raises RepositoryError."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        msg = f"{place}: {hide_credentials(str(error)) or type(error).__name__}"
        raise RepositoryError(msg) from error


def _read(place: str, answer: HTTPResponse, size_bytes: int) -> bytes:
    with _converting(place):
        return answer.read1(size_bytes)


def _content(place: str, answer: HTTPResponse, size_bytes_max: int, received: Callable[[int], None]) -> bytes:
    """Return all of an answer. Raises MetadataError: it is larger than allowed; RepositoryError."""
    told, content = answer.length, bytearray()
    while told is None or len(content) < told:
        piece = b"" if told and told > size_bytes_max else _read(place, answer, PIECE_BYTES)
        content += piece
        received(len(piece))
        if max(len(content), told or 0) > size_bytes_max:
            msg = f"{place}: larger than {size_bytes_max} bytes"
            raise MetadataError(msg)
        if not piece:
            break
    if told and len(content) < told:
        msg = f"{place}: broke off after {len(content)} of {told} bytes"
        raise RepositoryError(msg)
    return bytes(content)


def _redirected(place: str, url: str, location: str) -> str:
    """Return where to ask next; never from https to http, nor at another host. Raises RepositoryError."""
    with _converting(place):
        target = urljoin(url, location)
        before, after = urlsplit(url), urlsplit(target)
        same = after.scheme in {before.scheme, "https"} and after.hostname == before.hostname
        if not location or not same:
            msg = f"redirected to {location[:TAG_CHARACTERS_MAX]!r}, which is not followed; is a login wanted here?"
            raise ValueError(msg)
    return target


def _refuse(place: str, status: int, wanted: set[HTTPStatus]) -> None:
    """Raise RefusedError for a final no (4xx), RepositoryError for anything else that is not ``wanted``."""
    if status in wanted:
        return
    msg = f"{place}: the server answers {status}"
    final = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _TRANSIENT
    raise (RefusedError if final else RepositoryError)(msg)


def _part_wanted(start: int, tag: str) -> dict[str, str]:
    if not start:
        return {}
    return {"Range": f"bytes={start}-", **({"If-Range": tag} if tag else {})}


def _tag(answer: HTTPResponse) -> str:
    """Return the strong tag of a file, as it is to be sent back; empty where there is none."""
    tag = str(answer.headers.get("ETag", ""))
    strong = tag.startswith('"') and tag.endswith('"') and tag.isprintable() and tag.isascii()
    return tag if strong and len(tag) <= TAG_CHARACTERS_MAX else ""


def _check_whole(answer: HTTPResponse, bundle: Bundle) -> None:
    """See that an answer has the length that is signed, where it says so. Raises RepositoryError.

    What has another is not the bundle but a page that somebody put in its place (a captive portal): what was received
    before is kept. So is a page that does not say how long it is.
    """
    _check_plain(answer, bundle)
    page = answer.length is None and answer.headers.get_content_type() == "text/html"
    if page or answer.length not in (None, bundle.size_bytes):
        msg = f"{bundle.path}: has {answer.length or 'unknown'} bytes where {bundle.size_bytes} are signed"
        raise RepositoryError(msg)


def _check_part(answer: HTTPResponse, bundle: Bundle, into: Partial, start: int) -> None:
    """See that a part is the one that was asked for, of the file that was begun. Raises RepositoryError.

    After a part that is not, the bundle is begun anew: a server that cannot give parts does not stop it for ever.
    """
    _check_plain(answer, bundle)
    given = _PART.fullmatch(answer.headers.get("Content-Range", ""))
    tag = _tag(answer)
    if given is None or int(given[1]) != start or (tag and into.tag and tag != into.tag):
        into.begin("")
        msg = f"{bundle.path}: another part came than was asked for; it is asked for as a whole next time"
        raise RepositoryError(msg)
    if given[3] not in ("*", str(bundle.size_bytes)):
        msg = f"{bundle.path}: has {given[3]} bytes where {bundle.size_bytes} are signed"
        raise RepositoryError(msg)


def _check_plain(answer: HTTPResponse, bundle: Bundle) -> None:
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        msg = f"{bundle.path}: came packed ({coding[:TAG_CHARACTERS_MAX]!r}), which was not asked for"
        raise RepositoryError(msg)
