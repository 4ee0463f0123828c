"""The appliance as a device runs it: ``python -m appliance run`` on a configuration, startable, stoppable, killable."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
END_TIMEOUT_S = 30.0
HTTP_TIMEOUT_S = 5.0
NODE = "n1"
BASE = f"edge/{NODE}"


class Device:
    """One appliance with its state directory; it may be started again after its end."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        program: Sequence[str] = (sys.executable, "-m", "appliance", "run", "--config"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``config`` is the TOML; ``program`` gets the path of its file as last argument."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.file = folder / "appliance.toml"
        self.file.write_text(tomli_w.dumps(config))
        self._command = [*program, str(self.file)]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.runs, "runs already"
        with (self._folder / "log.jsonl").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stderr=log, stdout=log, cwd=self._folder, env=self._environment
            )

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if one is given, and wait for the end; returns the exit code (negative: the signal)."""
        assert self._process is not None, "not started"
        if number is not None:
            self._process.send_signal(number)
        return self._process.wait(END_TIMEOUT_S)

    def text(self) -> str:
        """All that it wrote to stderr, in all its lives."""
        file = self._folder / "log.jsonl"
        return file.read_text() if file.exists() else ""

    def log(self, event: str | None = None, **values: object) -> list[dict[str, Any]]:
        """What it logged, in all its lives, with this event and these values."""
        lines = [line for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]
        wanted = values if event is None else {"event": event, **values}
        return [entry for entry in map(json.loads, lines) if wanted.items() <= entry.items()]

    def until_started(self) -> None:
        """Wait until this life has begun to work."""
        before = len(self.log("started"))
        eventually(lambda: len(self.log("started")) > before or not self.runs, within_s=END_TIMEOUT_S)
        assert self.runs, self.text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.runs:
            self.end(signal.SIGKILL)
        if kind is not None:
            print(self.text())


def scrape(port: int, name: str, **labels: str) -> float | None:
    """The sum of a metric's samples with these labels as Prometheus sees them, or None while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=HTTP_TIMEOUT_S) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
    return sum(found) if found else None
