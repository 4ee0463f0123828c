"""A bundle is read as if nobody had vouched for it, and what it makes is held against what it says."""

import hashlib
from mmap import ACCESS_READ, mmap

import pytest

from appliance.errors import BundleError
from appliance.trust import bundle
from appliance.trust.bundle import ENTRIES_MAX, KINDS, PATH_BYTES_MAX, RESULT_BYTES_MAX, Entry, Hashing, read_header
from appliance.trust.delta import SIZE_BYTES_MAX, Kind, Sink
from appliance.trust.description import Description
from appliance.trust.manifest import BUNDLE_BYTES_MAX
from appliance.trust.model import FOLDER_BYTES_MAX
from tests.trust.bundles import BLOCK_BITS, TOML, TOML_ID, Part, written
from tests.trust.goldens import GOLDEN, GOLDENS, applied, golden

COPY, COPY_ADD = KINDS.index(Kind.COPY), KINDS.index(Kind.COPY_ADD)
BLOCK_BYTES = 1 << BLOCK_BITS
LONG = bytes(range(256)) * 40  # two blocks and a half
BASE_ID = b"b" * 32


class TestGolden:
    def test_there_is_one_of_every_kind(self) -> None:
        assert {f"{kind}.bundle" for kind in Kind if kind is not Kind.COPY} == {
            file.name for file in GOLDEN.glob("*.bundle")
        }

    @pytest.mark.parametrize("kind", GOLDENS)
    def test_what_was_published_once_can_be_applied_for_ever(self, kind: str) -> None:
        base, result, content = golden(kind)
        header = read_header(content)
        assert applied(content, base) == result
        assert header.base_id == hashlib.sha256(base["model.toml"]).hexdigest()
        assert header.result_id == hashlib.sha256(result["model.toml"]).hexdigest()
        assert {"model.tflite": kind}.items() <= {entry.path: entry.kind.value for entry in header.entries}.items()

    @pytest.mark.parametrize("kind", GOLDENS)
    def test_files_may_be_mapped(self, kind: str) -> None:
        _, result, _ = golden(kind)
        with (GOLDEN / f"{kind}.bundle").open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            files = [path for path in (GOLDEN / "base").rglob("*") if path.is_file()]
            base = {str(path.relative_to(GOLDEN / "base")): path.read_bytes() for path in files}
            made = []

            def opened(entry: Entry) -> Sink:
                made.append(entry.path)
                return lambda _offset, _piece: None

            bundle.apply(content, base, opened)
        assert set(made) == result.keys()

    @pytest.mark.parametrize("kind", ["copy-add", "sub-xz", "tad1"])
    def test_another_base_is_noticed(self, kind: str) -> None:
        base, _, content = golden(kind)
        with pytest.raises(BundleError):
            applied(content, {**base, "model.tflite": base["model.tflite"][::-1]})
        with pytest.raises(BundleError, match=r"made from model\.tflite, which the base does not have"):
            applied(content, {path: file for path, file in base.items() if path != "model.tflite"})


class TestTheHeader:
    def test_says_what_is_made_of_what(self) -> None:
        other = Part(path=b"golden/g.npz", content=LONG, kind=COPY, base_path=b"old.npz", payload=b"")
        header = read_header(written(Part(), other, base_id=BASE_ID))
        assert (header.base_id, header.result_id, header.memory_bytes) == (BASE_ID.hex(), TOML_ID.hex(), 1 << 20)
        toml, copy = header.entries
        assert (toml.path, toml.kind, toml.base_path, toml.size_bytes) == ("model.toml", Kind.FULL_XZ, "", len(TOML))
        assert (copy.path, copy.kind, copy.base_path, copy.payload_bytes) == ("golden/g.npz", "copy", "old.npz", 0)
        assert (len(toml.block_hashes), len(copy.block_hashes)) == (0, 3)

    def test_takes_the_file_of_the_same_path_where_it_names_none(self) -> None:
        _, entry = read_header(written(Part(), Part(path=b"a", kind=COPY, payload=b""), base_id=BASE_ID)).entries
        assert entry.base_path == "a"

    def test_of_a_whole_names_no_base(self) -> None:
        assert read_header(written(Part())).base_id == ""

    def test_bounds_are_those_of_a_model_folder(self) -> None:
        (limit,) = (
            each.max_length for each in Description.model_fields["files"].metadata if hasattr(each, "max_length")
        )
        assert limit + 1 == ENTRIES_MAX
        assert RESULT_BYTES_MAX == FOLDER_BYTES_MAX == BUNDLE_BYTES_MAX
        assert read_header(written(Part(), Part(path=b"/".join([b"a" * 64] * 4)))).entries[1].path
        assert len(b"/".join([b"a" * 64] * 4)) == PATH_BYTES_MAX

    @pytest.mark.parametrize(
        "path",
        [
            *(b"", b"/etc/passwd", b"../x", b"a/../x", b"a//b", b"a/", b"./a", b".hidden", b"a\\b", b"a\0b"),
            *(b"\xc3\xa4", b"a/b/c/d/e", b"a" * 65, b"a\n", b" a", b"-a"),
        ],
        ids=repr,
    )
    def test_a_path_that_no_folder_could_list_is_refused(self, path: bytes) -> None:
        with pytest.raises(BundleError):
            read_header(written(Part(), Part(path=path)))
        if path:
            with pytest.raises(BundleError):
                read_header(written(Part(), Part(path=b"a", base_path=path, kind=COPY, payload=b""), base_id=BASE_ID))

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            written(Part(), start=b"PK\3\4\1"),
            written(Part(), start=b"EAUB\2"),
            written(Part()) + b"\0",
            written(Part())[:-1],
            written(Part(), count=2),
            written(Part(), count=0),
            written(Part(), count=ENTRIES_MAX + 1),
            written(Part(), block_bits=11),
            written(Part(), block_bits=27),
            written(Part(), Part()),
            written(Part(), Part(path=b"a"), Part(path=b"a/b")),
            written(Part(path=b"other.toml")),
            written(Part(), result_id=BASE_ID),
            written(Part(kind=len(KINDS))),
            written(Part(), Part(path=b"a", kind=COPY, payload=b"")),
            written(Part(base_path=b"a"), base_id=BASE_ID),
            written(Part(size_bytes=SIZE_BYTES_MAX + 1)),
            written(
                Part(),
                *(Part(path=path, size_bytes=SIZE_BYTES_MAX, blocks=(b"1234",) * 16384) for path in (b"a", b"b")),
            ),
        ],
        ids=[
            "nothing",
            "another file",
            "a later format",
            "something behind it",
            "cut off",
            "more entries than there are",
            "no entry",
            "too many entries",
            "small blocks",
            "large blocks",
            "a path twice",
            "a file that is a folder",
            "no description",
            "another description",
            "an unknown kind",
            "a base where there is none",
            "a base for the whole",
            "a file too large",
            "files too large together",
        ],
    )
    def test_what_cannot_be_is_refused(self, content: bytes) -> None:
        with pytest.raises(BundleError):
            read_header(content)


class TestTheProof:
    def entry(self, content: bytes, **wrong: object) -> Entry:
        return read_header(written(Part(), Part(path=b"a", content=content, **wrong))).entries[1]  # type: ignore[arg-type]  # of Part

    @pytest.mark.parametrize("content", [b"", b"a", LONG, LONG[:BLOCK_BYTES], LONG[: BLOCK_BYTES + 1]], ids=len)
    @pytest.mark.parametrize("piece_bytes", [1000, BLOCK_BYTES, 10**6])
    def test_holds_for_the_right_content_however_it_is_cut(self, content: bytes, piece_bytes: int) -> None:
        pieces = [content[start : start + piece_bytes] for start in range(0, len(content), piece_bytes)]
        bundle.check(self.entry(content), pieces)

    @pytest.mark.parametrize("place", [0, BLOCK_BYTES - 1, BLOCK_BYTES, len(LONG) - 1])
    def test_names_the_block_that_is_wrong_before_the_rest_is_read(self, place: int) -> None:
        damaged = bytearray(LONG)
        damaged[place] ^= 1
        with pytest.raises(BundleError, match=f"^a: block {place // BLOCK_BYTES} of {BLOCK_BYTES} bytes"):
            bundle.check(self.entry(LONG), [damaged])

    @pytest.mark.parametrize("content", [b"", b"ab", b"b", LONG, LONG + b"x", LONG[:-1]], ids=len)
    def test_does_not_hold_for_another_content(self, content: bytes) -> None:
        for entry in (self.entry(b"a"), self.entry(LONG, sha256=b"x" * 32)):
            with pytest.raises(BundleError):
                bundle.check(entry, [content])

    def test_is_made_on_the_way_where_the_content_comes_in_order(self) -> None:
        got = bytearray()
        sink = Hashing(self.entry(LONG), lambda _, piece: got.extend(piece))
        for start in range(0, len(LONG), 3000):
            sink(start, LONG[start : start + 3000])
        assert sink.end()
        assert got == LONG

    def test_on_the_way_stops_before_a_wrong_block_is_handed_on(self) -> None:
        got = bytearray()
        sink = Hashing(self.entry(LONG), lambda _, piece: got.extend(piece))
        sink(0, LONG[:BLOCK_BYTES])
        with pytest.raises(BundleError, match="block 1"):
            sink(BLOCK_BYTES, bytes(BLOCK_BYTES))
        assert got == LONG[:BLOCK_BYTES]

    def test_on_the_way_is_not_claimed_where_the_content_comes_in_another_order(self) -> None:
        got = bytearray(len(LONG))
        sink = Hashing(
            self.entry(LONG), lambda offset, piece: got.__setitem__(slice(offset, offset + len(piece)), piece)
        )
        sink(0, LONG[:10])
        sink(500, LONG[500:])
        sink(10, LONG[10:500])
        assert not sink.end()
        bundle.check(self.entry(LONG), [got])
