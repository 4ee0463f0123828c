"""Debian's nginx, as a publisher would run it: the hub's public folder, and a place for reports."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fleet.town import Place
from tests.waiting import eventually

END_S = 20.0
REPORT = "/report"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
CONFIGURATION = """
user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  {temporary}
  log_format asked escape=json '{{"address":"$remote_addr","path":"$uri","status":$status,"range":"$http_range",'
    '"ended_s":$msec,"took_s":$request_time}}';
  log_format reports escape=json '{{"address":"$remote_addr","report":"$request_body"}}';
  server {{
    listen {address}:80;
    root {public};
    access_log {folder}/asked.log asked;
    location = {report} {{
      access_log {folder}/reports.log reports;
      client_max_body_size 64k;
      client_body_buffer_size 64k;
      proxy_pass http://127.0.0.1:8080;
    }}
  }}
  server {{ listen 127.0.0.1:8080; access_log off; return 204; }}
}}
"""
"""A request's body is read, and so can be logged, only where it is handed on: to the second server."""


def nginx_path() -> str | None:
    """Where nginx is; Debian keeps it in /usr/sbin, which is not on every user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server's log has it."""

    address: str
    path: str
    status: int
    range: str
    ended_s: float
    """Time since the epoch."""
    took_s: float

    @property
    def began_s(self) -> float:
        """Time since the epoch. One whose connection was cut ends late, after others that began after it."""
        return self.ended_s - self.took_s


class WebServer:
    """Serves from ``with`` to its end."""

    def __init__(self, folder: Path, place: Place, public: Path) -> None:
        """Keep configuration and logs in ``folder``."""
        folder.mkdir()
        self._folder, self._place = folder, place
        self.url = f"http://{place.address}"
        self.report_url = f"{self.url}{REPORT}"
        temporary = "\n  ".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
        (folder / "nginx.conf").write_text(
            CONFIGURATION.format(
                folder=folder, public=public, address=place.address, report=REPORT, temporary=temporary
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def asked(self) -> list[Asked]:
        """Every request for a file that has ended."""
        return [Asked(**each) for each in self._log("asked.log")]

    def bundles(self, version: str) -> list[Asked]:
        """The requests for bundles of a version, as they came."""
        asked = [each for each in self.asked() if each.path.startswith("/targets/") and f"/{version}/" in each.path]
        return sorted(asked, key=lambda each: each.began_s)

    def reports(self) -> list[dict[str, Any]]:
        """What devices have posted."""
        return [json.loads(each["report"]) for each in self._log("reports.log")]

    def _log(self, name: str) -> Iterator[dict[str, Any]]:
        file = self._folder / name
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
        return map(json.loads, whole.splitlines())

    def _answers(self) -> bool:
        with closing(HTTPConnection(self._place.address, timeout=END_S)) as connection:
            try:
                connection.request("HEAD", "/")
                connection.getresponse()
            except OSError:
                return False
            return True

    def __enter__(self) -> Self:
        program = nginx_path()
        assert program is not None, "nginx is not installed: apt-get install nginx-light"
        words = [program, "-c", str(self._folder / "nginx.conf"), "-e", str(self._folder / "error.log")]
        self._process = self._place.call(lambda: subprocess.Popen(words))
        self._place.call(lambda: eventually(self._answers))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None, "entered before"
        self._process.terminate()
        self._process.wait(END_S)
        if kind is not None:
            print((self._folder / "error.log").read_text())
