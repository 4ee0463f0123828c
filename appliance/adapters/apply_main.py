"""The process that makes a model's files of a bundle: little memory, no network, ends with its parent.

Started by ``applying.py`` as ``python -m appliance.adapters.apply_main LIFE BUNDLE BASE INTO MEMORY``: the number of
an open pipe, the bundle's file, the base's folder or nothing, the folder to fill, and the bytes of address space that
it may take beyond what it has when everything is loaded and mapped.
"""

import os
import resource
import sys
from collections.abc import Callable
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path

from appliance.adapters.backends import confine

NICENESS = 10
"""Decisions come first."""


def main(arguments: list[str]) -> int:
    """Fill the folder; returns an exit code, and says on stderr what is wrong."""
    life, bundle, base, into, memory_bytes = arguments
    confine.end_with_parent(int(life))
    confine.leave_no_core()
    confine.forbid_network()
    os.nice(NICENESS)
    # Only now: loading NumPy starts threads, which must be confined too.
    from appliance.adapters.applying import DAMAGED, UNKEPT  # noqa: PLC0415 - as the comment says
    from appliance.errors import BundleError  # noqa: PLC0415 - as above

    try:
        _fill(Path(bundle), Path(base) if base else None, Path(into), int(memory_bytes))
    except BundleError as error:
        return _end(DAMAGED, str(error))
    except MemoryError:
        return _end(DAMAGED, f"it needs more memory than the {memory_bytes} bytes that are signed")
    except OSError as error:
        return _end(UNKEPT, f"{error.filename or into}: {error.strerror}")
    return 0


def _fill(bundle: Path, base: Path | None, into: Path, memory_bytes: int) -> None:
    """Make every file. Raises BundleError, MemoryError, OSError."""
    from appliance.errors import BundleError  # noqa: PLC0415 - after the process is confined
    from appliance.trust.bundle import Entry, Hashing, apply, read_header  # noqa: PLC0415 - as above
    from appliance.trust.delta import Sink  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        content = _mapped(bundle)
        paths = {entry.base_path for entry in read_header(content).entries if entry.base_path}
        if paths and base is None:
            raise BundleError("it needs a base, though its metadata says that it is whole")
        bases = {path: _mapped(base / path) for path in paths if base is not None}
        _limit(memory_bytes)
        proofs: list[Hashing] = []

        def opened(entry: Entry) -> Sink:
            for proof in proofs:
                proof.end()
            proofs[:] = [Hashing(entry, _writer(into / entry.path, entry.size_bytes, stack))]
            return proofs[0]

        apply(content, bases, opened)
        for proof in proofs:
            proof.end()  # what came in another order is proved by the store, which reads everything again


def _mapped(file: Path) -> mmap | bytes:
    """Map a file until the process ends; it takes no memory but the page cache's. Raises OSError."""
    with file.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return b""
        return mmap(stream.fileno(), 0, access=ACCESS_READ)


def _writer(file: Path, size_bytes: int, stack: ExitStack) -> Callable[[int, bytes | memoryview], None]:
    """Make a file of its full size, so that a full disk is met at once; returns what writes into it. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = stack.enter_context(file.open("xb"))
    if size_bytes:
        os.posix_fallocate(stream.fileno(), 0, size_bytes)

    def write(offset: int, content: bytes | memoryview) -> None:
        view = memoryview(content).cast("B")
        while view:
            written = os.pwrite(stream.fileno(), view, offset)
            view, offset = view[written:], offset + written

    return write


def _limit(memory_bytes: int) -> None:
    """Bound the address space to what there is now, and so much more. Raises OSError."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bytes_max = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))


def _end(code: int, reason: str) -> int:
    sys.stderr.write(f"{reason.splitlines()[0] if reason else 'no word'}\n")
    return code


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # everything is written; nothing of the interpreter's own end is waited for
