"""A power cut, at every moment of a program's life: on a real ext4, over a disk that honours a flush and nothing else.

``record`` runs a program on a file system on a disk that logs (tests/power/disk.py). ``images`` makes of the log what
the medium may hold after a cut: all that was written up to a moment; or what was flushed by then, and of the rest any
part, the last of it torn in the middle. ``Bench`` mounts such an image, which replays ext4's journal.

What it does not show: cards that lie about a flush, or that lose what lies beside what is written; and a superblock
that is torn within its 1 KiB, which is the file system's to survive (on a disk this small it has no second copy).
"""

import ctypes
import ctypes.util
import errno
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

from tests.conftest import cannot
from tests.power.disk import DISK, HEAD, MARKS
from tests.power.marks import VARIABLE
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
SIZE_BYTES = 8 * 1024 * 1024
"""Of every disk: half of it is ext4's journal, which cannot be smaller."""
SECTOR_BYTES = 512
BLOCK_BYTES = 4096
PROGRAM_S = 240.0
DAEMON_S = 20.0
_MKFS = ("mkfs.ext4", "-q", "-b", str(BLOCK_BYTES), "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard")
_KEPT_SHARES = (0.1, 0.5, 0.9)
# From the kernel's headers: linux/loop.h, linux/fs.h, linux/sched.h, linux/mount.h.
_LOOP_SET_FD, _LOOP_CLR_FD, _LOOP_SET_STATUS64, _LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C04, 0x4C82
_LOOP_INFO = struct.Struct("<52xI176x")
_LO_FLAGS_AUTOCLEAR = 4
_BLKFLSBUF = 0x1261
_LOOP_TRIES = 20
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000


class Event(NamedTuple):
    """An entry of a disk's log."""

    kind: bytes
    """``w`` write, ``f`` flush, ``m`` mark."""
    place: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """What a disk held, and what happened to it."""

    base: bytes
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """What the medium may hold after a cut; ``content`` is good until the next image is asked for."""

    content: bytes | bytearray
    marks: tuple[str, ...]
    """What the program had told by then."""
    moment: str
    """Which cut it is, for a message."""


def needed() -> None:
    """Skip the test where the rig cannot run, with what is missing; fail where system packages are required."""
    lacks = [
        what
        for what, there in (
            ("root", os.geteuid() == 0),
            ("/dev/fuse", Path("/dev/fuse").exists()),
            ("/dev/loop-control", Path("/dev/loop-control").exists()),
            ("ext4 (apt-get install e2fsprogs)", shutil.which("mkfs.ext4") is not None),
            ("libfuse (apt-get install libfuse2)", ctypes.util.find_library("fuse") is not None),
        )
        if not there
    ]
    if lacks:
        cannot(f"the power-cut rig needs {', '.join(lacks)}")


def record(program: Sequence[str], image: bytes, *, options: str = "", flip: bytes = b"") -> Log:
    """Run a program on a disk that logs, and return the log; what the kernel still writes after it is in it too.

    Args:
        program: a command; ``{folder}`` in it stands for the mounted file system. It must end well.
        image: what the disk holds before.
        options: of the mount, as mount(8) has them.
        flip: where it is not empty, the disk stores the first block that contains it wrongly, and says nothing.
    """
    with _unseen(), TemporaryDirectory(prefix="power-") as scratch:
        place = Path(scratch)
        disk, folder, log = place / "disk", place / "folder", place / "log"
        disk.mkdir()
        folder.mkdir()
        (place / "image").write_bytes(image)
        daemon = [sys.executable, "-m", "tests.power.disk", str(disk), str(place / "image"), str(log), flip.hex()]
        with subprocess.Popen(daemon, cwd=ROOT, stdin=subprocess.DEVNULL) as serving:
            try:
                eventually(lambda: os.path.ismount(disk) or serving.poll() is not None, within_s=DAEMON_S)
                with _loop_over(disk / DISK) as device, _mounted(device, folder, options):
                    _run(program, folder, disk / MARKS)
            finally:
                _unmount(disk)
                serving.wait(timeout=DAEMON_S)
        return Log(image, tuple(_events(log.read_bytes())))


def prepare(program: Sequence[str], *, options: str = "") -> tuple[bytes, tuple[str, ...]]:
    """Return a disk with a new file system on which a program has run and that was unmounted, and its marks."""
    with _unseen(), TemporaryDirectory(prefix="power-") as scratch:
        image, marks, folder = (Path(scratch, name) for name in ("image", "marks", "folder"))
        folder.mkdir()
        marks.touch()
        with image.open("wb") as stream:
            stream.truncate(SIZE_BYTES)
        subprocess.run([*_MKFS, str(image)], check=True, capture_output=True, timeout=PROGRAM_S)
        with _loop_over(image) as device, _mounted(device, folder, options):
            _run(program, folder, marks)
        return image.read_bytes(), tuple(marks.read_text().splitlines())


def images(log: Log, seed: int, *, told: Sequence[str] = (), torn: int = 1) -> Iterator[Image]:
    """Yield what the medium may hold after a cut before each write, and after the last.

    Args:
        log: of a disk.
        seed: of the chance that loses what was not flushed.
        told: marks from before the log.
        torn: how often, for each moment, chance keeps a part of what was not flushed; no part comes twice.
    """
    chance = random.Random(seed)  # noqa: S311 - loses blocks, keeps no secrets
    flushed, current = bytearray(log.base), bytearray(log.base)
    pending: list[Event] = []
    text = ""
    for number, event in enumerate((*log.events, Event(b"w", 0, b""))):
        if event.kind == b"w":
            marks, moment = (*told, *text.splitlines()), f"after {number} events"
            yield Image(current, marks, moment)
            for kept in dict.fromkeys(_torn(pending, chance) for _ in range(torn if pending else 0)):
                yield Image(_with(flushed, kept), marks, f"{moment}, {len(kept)} unflushed blocks kept")
            pending.append(event)
            _apply(current, event)
        elif event.kind == b"f":
            flushed = _with(flushed, pending)
            pending.clear()
        else:
            text += event.content.decode()


class Bench:
    """Mounts images, one at a time and each in some 30 ms: a loop device over memory."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_unseen())
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="power-")))
            self._memory = os.memfd_create("image")
            stack.callback(os.close, self._memory)
            os.truncate(self._memory, SIZE_BYTES)
            self._device = stack.enter_context(_loop_over(Path(f"/proc/self/fd/{self._memory}")))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextmanager
    def mounted(self, content: bytes | bytearray) -> Iterator[Path]:
        """Mount an image. Raises OSError when the kernel cannot."""
        assert len(content) == SIZE_BYTES
        os.pwrite(self._memory, content, 0)
        with _mounted(self._device, self._folder, ""):
            yield self._folder


def _run(program: Sequence[str], folder: Path, marks: Path) -> None:
    command = [part.replace("{folder}", str(folder)) for part in program]
    environment: Mapping[str, str] = {**os.environ, VARIABLE: str(marks)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PROGRAM_S
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"


def _events(raw: bytes) -> Iterator[Event]:
    place = 0
    while place < len(raw):
        kind, offset, length = HEAD.unpack_from(raw, place)
        place += HEAD.size
        yield Event(kind, offset, raw[place : place + length])
        place += length


def _apply(content: bytearray, write: Event) -> None:
    content[write.place : write.place + len(write.content)] = write.content


def _with(content: bytearray, writes: Iterable[Event]) -> bytearray:
    changed = bytearray(content)
    for write in writes:
        _apply(changed, write)
    return changed


def _torn(pending: Sequence[Event], chance: random.Random) -> tuple[Event, ...]:
    """Any blocks of what was written, the last of them up to some sector."""
    share = chance.choice(_KEPT_SHARES)
    blocks = [
        Event(b"w", write.place + start, write.content[start : start + BLOCK_BYTES])
        for write in pending
        for start in range(0, len(write.content), BLOCK_BYTES)
    ]
    kept = [block for block in blocks if chance.random() < share]
    if kept and kept[-1].place >= BLOCK_BYTES:  # the superblock's is whole
        torn_bytes = chance.randrange(SECTOR_BYTES, BLOCK_BYTES + 1, SECTOR_BYTES)
        kept[-1] = kept[-1]._replace(content=kept[-1].content[:torn_bytes])
    return tuple(kept)


@contextmanager
def _unseen() -> Iterator[None]:
    """Mount what nobody else sees: whoever copies our mounts, as programs in namespaces do, keeps them mounted."""
    here = Path.cwd()
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # joining a namespace also leaves a changed root
    namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWNS)
        _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        yield
    finally:
        _call("setns", namespace, _CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
        os.chdir(here)
        os.close(namespace)
        os.close(root)


@contextmanager
def _loop_over(file: Path) -> Iterator[int]:
    """Lay a loop device over a file; yields a descriptor of it. The kernel takes it away with its last user."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        device = _free_loop(descriptor)
    finally:
        os.close(descriptor)
    try:
        fcntl.ioctl(device, _LOOP_SET_STATUS64, _LOOP_INFO.pack(_LO_FLAGS_AUTOCLEAR))
        yield device
    finally:
        os.close(device)


def _free_loop(descriptor: int) -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_LOOP_TRIES):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_SET_FD, descriptor)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else took it in between
                    raise
            else:
                return device
    finally:
        os.close(control)
    raise AssertionError("no loop device is free")


@contextmanager
def _mounted(device: int, folder: Path, options: str) -> Iterator[None]:
    """Mount a loop device's ext4. Raises OSError when the kernel cannot."""
    name = Path(f"/proc/self/fd/{device}").readlink()
    # Nobody may have it mounted any more, and what it held before must not be taken for what it holds.
    os.close(os.open(name, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    fcntl.ioctl(device, _BLKFLSBUF)
    try:
        _call("mount", os.fsencode(name), os.fsencode(folder), b"ext4", ctypes.c_ulong(0), options.encode())
        yield
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    if os.path.ismount(folder):
        _call("umount2", os.fsencode(folder), 0)


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
