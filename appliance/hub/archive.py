"""The update archive: one file for a stick that holds a repository's metadata and bundles, under their own paths.

An uncompressed tar, for its content is compressed and signed already. Nothing in it tells when, where or by whom it was
written: the same repository gives the same bytes.
"""

import tarfile
from collections.abc import Collection, Iterable
from pathlib import Path

from appliance.errors import HubError
from appliance.hub import disk
from appliance.hub.signing import SignedRepository

SUFFIX = ".update"
"""What the name of an update archive ends with: a device looks for it on a stick."""


def members(repository: SignedRepository, models: Collection[str] | None) -> list[str]:
    """Return the paths below the public folder that an archive of some models needs; of all for None or none named.

    Raises:
        HubError: a model is not published.
    """
    targets = repository.targets()
    there = {target.path.partition("/")[0] for target in targets}
    wanted = set(models or there)
    if wanted - there:
        msg = f"{', '.join(sorted(wanted - there))}: not published here; published are {', '.join(sorted(there))}"
        raise HubError(msg)
    metadata = repository.public / "metadata"
    versions = repository.versions()
    names = [f"{versions['snapshot']}.snapshot.json", f"{versions['targets']}.targets.json", "timestamp.json"]
    files = [*metadata.glob("*.root.json"), *(metadata / name for name in names)]
    files += [repository.file_of(target.path) for target in targets if target.path.partition("/")[0] in wanted]
    return [str(file.relative_to(repository.public)) for file in files]


def export(public: Path, paths: Iterable[str], file: Path) -> int:
    """Write ``paths`` of the folder ``public`` into an archive; returns its size in bytes.

    Metadata comes first, so that a reader who goes through it once can judge what follows.

    Raises:
        HubError: ``file`` has another ending, is missing a part, or the disk refuses.
    """
    if file.suffix != SUFFIX:
        msg = f"{file}: call it <name>{SUFFIX}: a device looks for that on a stick"
        raise HubError(msg)
    scratch = file.with_name(f".{file.name}.new")
    try:
        with scratch.open("wb") as stream:
            # GNU's form: a bundle's name, two digests, is longer than POSIX's ustar can hold.
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for path in sorted(paths, key=lambda each: (not each.startswith("metadata/"), each)):
                    with (public / path).open("rb") as content:
                        tar.addfile(_entry(path, (public / path).stat().st_size), content)
            disk.flush(stream)
        scratch.rename(file)
        disk.sync(file.parent)
        return file.stat().st_size
    except OSError as error:
        scratch.unlink(missing_ok=True)
        msg = f"{file}: cannot be written: {error.filename or 'the disk'}: {error.strerror}"
        raise HubError(msg) from error


def _entry(path: str, size_bytes: int) -> tarfile.TarInfo:
    """Describe a file of nobody, of 1970."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size_bytes, 0o644
    return entry
