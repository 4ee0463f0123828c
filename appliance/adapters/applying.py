"""Makes a model's files of a bundle, in a child process that has little memory, no network and bounded time.

What is fetched has been proven to be what was signed; this holds, too, if the publisher signs nonsense, or a decoder
has a fault: the child ends, nothing of it is kept, and what serves goes on.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from hashlib import file_digest
from pathlib import Path

from appliance.adapters.backends.child import environment
from appliance.errors import BundleError, ModelError, StoreError
from appliance.trust.manifest import Bundle
from appliance.trust.model import DESCRIPTION_BYTES_MAX, DESCRIPTION_FILE, FILE_BYTES_MAX, parse_description

MAIN = "appliance.adapters.apply_main"
APPLY_S_MAX = 600.0
"""Longest that applying may take: a model of the largest size, on the slowest device, ten times over."""
REAP_S = 5.0
DAMAGED, UNKEPT = 65, 74
"""Exit codes of the child (sysexits.h, EX_DATAERR and EX_IOERR)."""
WORDS_MAX = 300
"""Characters of the child's last line that are told."""


FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL})
"""Signals that say nothing of a bundle: systemd's stop, a terminal's, the kernel's when no memory is left."""


class Applier:
    """Runs one child at a time."""

    def __init__(self, *, timeout_s: float = APPLY_S_MAX, main: str = MAIN) -> None:
        """Start nothing yet; ``main`` is the child's module."""
        self._timeout_s, self._main = timeout_s, main

    def __call__(self, bundle: Bundle, file: Path, base: Path | None, into: Path) -> None:
        """Fill a folder with a model's files.

        Args:
            bundle: as signed.
            file: what was received of it, proven.
            base: folder of the model that it is a delta against; None for the whole.
            into: an empty folder.

        Raises:
            BundleError: it gives not what it should, or not within its memory or time.
            StoreError: the files cannot be kept.
        """
        arguments = [str(file), str(base or ""), str(into), str(bundle.memory_bytes)]
        try:
            code, said = self._run(arguments)
        except OSError as error:
            msg = f"applying {bundle.path} cannot be begun: {error.strerror}"
            raise StoreError(msg) from error
        if code == UNKEPT:
            raise StoreError(said)
        if -code in FROM_OUTSIDE:
            msg = f"applying {bundle.path} was ended from outside ({_end(code)}): a stop, or no memory on this device"
            raise StoreError(msg)
        if code:
            how = "" if code == DAMAGED else f"applying it ended by {_end(code)}: "
            msg = f"{bundle.path}: {how}{said}"
            raise BundleError(msg)

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        """Run the child to its end; returns its exit code and its last line. Raises OSError."""
        with ExitStack() as ours:
            life, our_life = os.pipe()
            ours.callback(os.close, our_life)
            with os.fdopen(life):
                child = subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
                    [sys.executable, "-P", "-m", self._main, str(life), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(life,),
                    start_new_session=True,  # Ctrl-C is for the parent, whose end ends it
                    cwd="/",
                    env=environment(),
                )
            try:
                _, raw = child.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                return DAMAGED, f"it was not applied within {self._timeout_s:g} s"
            finally:
                _ended(child)
        lines = [line for line in raw.decode("utf-8", errors="replace").splitlines() if line.strip()]
        return child.returncode, lines[-1][:WORDS_MAX] if lines else "no word"


def _ended(child: subprocess.Popen[bytes]) -> None:
    """Kill what still runs: it took too long, or we are interrupted. One that is stuck in the kernel is left behind."""
    child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.wait(REAP_S)
    if child.stderr is not None:
        child.stderr.close()


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def hash_folder(folder: Path) -> str:
    """Read every file of a model folder from the disk; returns the model's id.

    Raises:
        ModelError: a file is missing, cannot be read, or is not what the description says.
    """
    try:
        with (folder / DESCRIPTION_FILE).open("rb") as stream:
            raw = stream.read(DESCRIPTION_BYTES_MAX + 1)
            stream.seek(0)
            model_id = file_digest(stream, "sha256").hexdigest()
        for path, wanted in parse_description(raw, str(folder / DESCRIPTION_FILE)).files.items():
            with (folder / path).open("rb") as stream:
                too_large = os.fstat(stream.fileno()).st_size > FILE_BYTES_MAX
                if too_large or file_digest(stream, "sha256").hexdigest() != wanted:
                    msg = f"{folder / path}: not what {DESCRIPTION_FILE} says; the file is damaged or was changed"
                    raise ModelError(msg)
    except OSError as error:
        msg = f"{folder}: cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    return model_id
