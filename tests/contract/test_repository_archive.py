"""What else may lie on a stick under the name of an update archive."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.adapters.repository import archive as archive_module
from appliance.adapters.repository.archive import ArchiveRepository
from appliance.errors import RefusedError, RepositoryError
from appliance.sim.slots import VolatileSlots
from tests.contract.repository_benches import archive_of, bundle_of, files_of

CONTENT = b"bundle" * 300
BUNDLE = bundle_of(CONTENT, f"door/1.0.0/{'b' * 64}")
FILES = {"metadata/timestamp.json": b"stamp", **files_of(BUNDLE, CONTENT)}


def opened(folder: Path, raw: bytes) -> ArchiveRepository:
    file = folder / "made.update"
    file.write_bytes(raw)
    return ArchiveRepository(file)


def tar(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT], ids=["gnu", "ustar"])
def test_both_common_forms_are_read_with_their_longest_names(tmp_path: Path, form: int) -> None:
    long = f"targets/{'m' * 64}/{'v' * 32}/{'d' * (64 if form == tarfile.GNU_FORMAT else 20)}.{'b' * 64}"
    with opened(tmp_path, archive_of({"metadata/timestamp.json": b"stamp", long: b"x"}, form)) as archive:
        assert archive.metadata("timestamp.json", 5) == b"stamp"
        assert long in archive._members


def test_folders_in_an_archive_are_passed_over(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as made:
        made.addfile(member("metadata/", tarfile.DIRTYPE))
        made.addfile(member("metadata/timestamp.json", size=5), io.BytesIO(b"stamp"))
    with opened(tmp_path, stream.getvalue()) as archive:
        assert archive.metadata("timestamp.json", 5) == b"stamp"


@pytest.mark.parametrize(
    "spoilt",
    [
        member("metadata/timestamp.json", tarfile.SYMTYPE, link="/etc/passwd"),
        member("metadata/timestamp.json", tarfile.LNKTYPE, link="other"),
        member("metadata/timestamp.json", tarfile.FIFOTYPE),
        member("metadata/timestamp.json", tarfile.CHRTYPE),
        member("metadata/timestamp.json", tarfile.GNUTYPE_SPARSE),
        member("metadata/timestamp.json", tarfile.XGLTYPE),
        member("../timestamp.json"),
        member("/metadata/timestamp.json"),
        member("metadata/../x"),
        member("metadata//x"),
        member(".hidden"),
        member("metadata/a b"),
        member("metadata/\N{LATIN SMALL LETTER E WITH ACUTE}"),
        member("x" * 600),
    ],
    ids=lambda spoilt: f"{spoilt.type.decode()} {spoilt.name[:30]}",
)
def test_an_archive_holds_plain_files_with_plain_names_and_nothing_else(
    tmp_path: Path, spoilt: tarfile.TarInfo
) -> None:
    with pytest.raises(RefusedError, match=r"made\.update"):
        opened(tmp_path, tar(spoilt))


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    one = archive_of({"metadata/timestamp.json": b"stamp"})
    with pytest.raises(RefusedError, match="twice"):
        opened(tmp_path, one[:1024] + one)


def test_more_members_than_an_archive_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MEMBERS_MAX", 10)
    opened(tmp_path, archive_of({f"metadata/{number}": b"" for number in range(10)})).close()
    with pytest.raises(RefusedError, match="too many"):
        opened(tmp_path, archive_of({f"metadata/{number}": b"" for number in range(21)}))


def test_a_size_that_lies_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    raw = bytearray(archive_of({"metadata/timestamp.json": b"stamp"}))
    raw[124:136] = b"77777777777\0"
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    with pytest.raises(RefusedError, match="cut off"):
        opened(tmp_path, bytes(raw))


@pytest.mark.parametrize("place", [0, 100, 140, 300, 511], ids=["name", "mode", "time", "owner", "filling"])
def test_a_header_that_was_damaged_anywhere_is_told(tmp_path: Path, place: int) -> None:
    raw = bytearray(archive_of({"metadata/timestamp.json": b"stamp"}))
    raw[place] ^= 1
    with pytest.raises(RefusedError, match="damaged"):
        opened(tmp_path, bytes(raw))


def test_every_archive_that_was_cut_off_is_refused_or_lacks_what_is_asked(tmp_path: Path) -> None:
    raw = archive_of(FILES)
    end = len(raw.rstrip(b"\0"))
    for length in [*range(0, end, 397), *range(0, end, 512)]:
        with pytest.raises(RefusedError):
            opened(tmp_path, raw[:length])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_gives_what_it_has(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(archive_of(FILES))
    headers = [0, 1024, 2048]  # of both files and of the long name
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(headers)) + data.draw(st.integers(0, 511))
        raw[place] = data.draw(st.integers(0, 255))
    slots = VolatileSlots(tmp_path / "slots")
    try:
        with opened(tmp_path, bytes(raw)) as archive:
            archive.metadata("timestamp.json", 100)
            archive.fetch(BUNDLE, slots.partial(BUNDLE), lambda _: None)
    except (RefusedError, RepositoryError):
        return
    assert slots.partial(BUNDLE).file.read_bytes() == CONTENT


def _fifo(file: Path) -> None:
    os.mkfifo(file)


def _link(file: Path) -> None:
    (file.parent / "real").write_bytes(archive_of(FILES))
    file.symlink_to("real")


@pytest.mark.parametrize("make", [_fifo, _link, Path.mkdir, lambda _: None], ids=["pipe", "link", "folder", "nothing"])
def test_what_is_no_file_is_not_opened_or_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = tmp_path / "made.update"
    make(file)
    with pytest.raises((RefusedError, RepositoryError), match=r"made\.update"):
        ArchiveRepository(file)


def test_closing_twice_is_no_fault_and_nothing_stays_open(tmp_path: Path) -> None:
    archive = opened(tmp_path, archive_of(FILES))
    archive.close()
    archive.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(RefusedError):
        opened(tmp_path, b"no tar" * 200)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
