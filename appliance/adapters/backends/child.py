"""A worker's process as the kernel sees it: started, listened to, killed, collected."""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import appliance
from appliance.errors import BackendError

MAIN = "appliance.adapters.backends.worker_main"
LINES_KEPT = 20
LINE_CHARACTERS_MAX = 300
SAID_BYTES_MAX = 64 * 1024
"""Of what the library writes to stderr, read at a time: as much as a pipe holds."""
PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID")
"""Of the environment, what is not the worker's business."""
FATAL_MARKS = ("F ", "Fatal", "FATAL", "Check failed")
"""How the library begins its last words (Google's logging), and Python its own."""
SMALL_TALK_MARKS = ("INFO:", "VERBOSE:", "I0")
"""How lines begin that are no reason for anything: TFLite's, and Google's logging's, below a warning."""


class Child:
    """One process. Started with ``subprocess`` and not by a fork, which would inherit locks that nobody holds."""

    def __init__(self, name: str, engine: str) -> None:
        """Start it, with ``engine`` (``module:Class``) to serve. Raises BackendError."""
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._held = Lock()
        self._open = True
        """Read and changed while ``_held`` is: a number of a closed file may be another file's a moment later."""
        self._ours = ExitStack()
        """Closes our ends of what is shared with it."""
        try:
            with ExitStack() as theirs:
                self._process = self._started(theirs, engine)
        except OSError as error:
            self._let_go()
            msg = f"{name}: cannot be started: {error.strerror}"
            raise BackendError(msg) from error

    def _started(self, theirs: ExitStack, engine: str) -> subprocess.Popen[bytes]:
        """Start the process, and leave in ``theirs`` what closes its ends here. Raises OSError."""
        self.control, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        """Our end of the socket that orders go by; non-blocking."""
        self._ours.enter_context(self.control)
        theirs.enter_context(orders)
        self.control.setblocking(False)
        life, our_life = os.pipe()
        theirs.callback(os.close, life)
        self._ours.callback(os.close, our_life)
        self._stderr, stderr = os.pipe()
        theirs.callback(os.close, stderr)
        self._ours.callback(os.close, self._stderr)
        os.set_blocking(self._stderr, False)
        os.set_blocking(stderr, False)  # a library that talks without end loses words, and is not held up
        return subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
            [sys.executable, "-P", "-m", MAIN, str(orders.fileno()), str(life), engine],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            pass_fds=(orders.fileno(), life),
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, which ends its children in order
            cwd="/",
            env=environment(),
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def died_of(self) -> int:
        """The signal that ended it; 0 while it runs, or when it ended by itself."""
        code = self._process.poll()
        return -code if code is not None and code < 0 else 0

    def kill(self) -> None:
        """End it (SIGKILL); does not wait for the end."""
        if self.runs:
            self._process.kill()

    def wait(self, within_s: float) -> bool:
        """Wait for its end; say whether it has come."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def collect(self, within_s: float) -> bool:
        """Wait for its end, and let go of what was shared with it; say whether it is gone. Idempotent."""
        if not self.wait(within_s):
            return False
        self.listen()
        self._let_go()
        return True

    def listen(self) -> None:
        """Read what it wrote to stderr, so that there is room for its last words."""
        with self._held:
            if not self._open:
                return
            try:
                said = os.read(self._stderr, SAID_BYTES_MAX)
            except BlockingIOError:
                return
            lines = (line.strip() for line in said.decode("utf-8", errors="replace").splitlines())
            told = (line for line in lines if line and not line.startswith(SMALL_TALK_MARKS))
            self._lines.extend(line[:LINE_CHARACTERS_MAX] for line in told)

    def last_words(self) -> str:
        """Say how it ended, with what its library said of it; it has closed its socket, so it is on its way out."""
        self.listen()
        how = f"died ({signal.Signals(self.died_of).name})" if self.died_of else "ended"
        with self._held:
            lines = list(self._lines)
        fatal = [line for line in lines if line.startswith(FATAL_MARKS)]
        words = next(iter([*fatal[-1:], *lines[-1:]]), "")
        return f"{how}: {words}" if words else how

    def resident_bytes(self) -> int:
        """Memory it has resident; 0 when that is not known."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _let_go(self) -> None:
        """Close our ends; the life pipe's makes the kernel kill a process that still runs."""
        with self._held:
            self._open = False
            self._ours.close()


def environment() -> dict[str, str]:
    """Give a child our own packages, one thread for linear algebra it never does, and nothing private."""
    kept = {key: value for key, value in os.environ.items() if key not in PRIVATE}
    root = str(Path(appliance.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
