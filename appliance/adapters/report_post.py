"""Posts what became of an update to the publisher, as JSON over HTTPS; proxies as the environment says."""

import http.client
import urllib.error
import urllib.request
from typing import IO

from appliance.errors import RefusedError, RepositoryError

RETRIED = frozenset({408, 425, 429})
"""Answers of the 4xx kind that mean "later" (RFC 9110, RFC 8470, RFC 6585); every other is final."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A report goes where the configuration says, or nowhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the library's signature
        fp: IO[bytes],  # noqa: ARG002 - as above
        code: int,  # noqa: ARG002 - as above
        msg: str,  # noqa: ARG002 - as above
        headers: http.client.HTTPMessage,  # noqa: ARG002 - as above
        newurl: str,  # noqa: ARG002 - as above
    ) -> None:
        """Follow nothing; the answer is then an error of its code."""
        return


class ReportPost:
    """Hands reports over, one by one."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Connect to nothing yet."""
        self._url, self._timeout_s = url, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, content: bytes) -> None:
        """Post one report; returns when it was taken.

        Raises:
            RepositoryError: nobody is there, or has no time: try again later.
            RefusedError: a final no (4xx, or sent elsewhere).
        """
        request = urllib.request.Request(  # noqa: S310 - UpdateConfig takes http and https only
            self._url, data=content, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return
        except urllib.error.HTTPError as error:
            with error:
                msg = f"{self._url}: answered {error.code} {error.reason}"
                final = 300 <= error.code < 500 and error.code not in RETRIED  # noqa: PLR2004 - classes of HTTP status
            raise (RefusedError if final else RepositoryError)(msg) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            msg = f"{self._url}: cannot be reached: {getattr(error, 'reason', error)}"
            raise RepositoryError(msg) from error
