"""Damage of any place and length, before a start and while running."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.outboxes import add, alert, bench, numbers, seqs, waiting

pytestmark = pytest.mark.timeout(900)  # some 2,000 fsyncs a test, on whatever disk there is


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_bytes_change_nothing_wrong_is_delivered_and_nothing_later_is_lost(data: st.DataObject) -> None:
    """Damage of any place and length: opening never fails, and what is delivered was once added, in its order."""
    folder = _TEMPLATE.folder()
    try:
        with bench(folder) as made:
            content = bytearray(_TEMPLATE.content)
            for _ in range(data.draw(st.integers(1, 3))):
                first = data.draw(st.integers(0, len(content) - 1))
                patch = data.draw(
                    st.one_of(st.binary(min_size=1, max_size=4), st.just(bytes(700)), st.just(b"\xff" * 99))
                )
                content[first : first + len(patch)] = patch[: len(content) - first]
            made.file.write_bytes(content)
            outbox = made.open()
            add(outbox, range(1000, 1001))
            found = waiting(outbox)
            for message in found[:-1]:
                assert message.payload == _TEMPLATE.payloads[message.id]
            assert numbers(found)[-1] == 1000
            ids = [message.id for message in found]
            assert ids == sorted(set(ids))
            assert len(set(seqs(found))) == len(found)
            outbox.acknowledge(ids)
            outbox.sync()
            assert waiting(outbox) == []
            made.close()
            assert waiting(made.open()) == []
    finally:
        shutil.rmtree(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_bytes_change_while_running_nothing_wrong_is_delivered_and_nothing_later_is_lost(
    data: st.DataObject,
) -> None:
    """As above, but the outbox is in use, and whatever it does next may be what meets the damage."""
    folder = _TEMPLATE.folder()
    try:
        with bench(folder) as made:
            made.file.write_bytes(_TEMPLATE.content)
            outbox = made.open()
            with made.file.open("r+b") as stream:
                stream.seek(data.draw(st.integers(0, len(_TEMPLATE.content) - 2000)))
                stream.write(data.draw(st.one_of(st.binary(min_size=1, max_size=4), st.just(b"\xff" * 1500))))
            for id_ in data.draw(st.lists(st.integers(1, 25), max_size=3)):
                outbox.bury(id_, "refused")
                outbox.acknowledge([id_ + 1])
            add(outbox, range(1000, 1001))
            for _ in range(3):  # damage may lie in several places, found one after the other
                outbox.sync()
                waiting(outbox)
            assert not outbox.depth().fault
            add(outbox, range(1001, 1002))
            found = waiting(outbox)
            originals = [message for message in found if int(str(message.payload["number"])) < 1000]
            assert all(message.payload == _TEMPLATE.payloads[message.id] for message in originals)
            later = found[len(originals) :]
            assert numbers(later) in ([1000, 1001], [1001])
            assert len(later) == 2 or outbox.depth().dropped["damaged"] > 0, "written into a damaged tree, and counted"
            assert seqs(later)[-1] == 27
            assert outbox.depth().rows == len(found)
            assert outbox.depth().in_memory == 0
            made.close()
            assert numbers(waiting(made.open())) == numbers(found)
    finally:
        shutil.rmtree(folder)


class _Template:
    """A file with alerts, made once."""

    def __init__(self) -> None:
        self.content = b""
        self.payloads: dict[int, dict[str, object]] = {}
        self._base: Path | None = None
        self._made = 0

    def fill(self, base: Path) -> None:
        self._base = base
        with bench(base) as made:
            outbox = made.open()
            for number in range(25):
                outbox.add([alert(number, size_bytes=400 if number % 5 else 2500)])
            self.payloads = {message.id: message.payload for message in waiting(outbox)}
            outbox.close()
            self.content = made.file.read_bytes()

    def folder(self) -> Path:
        assert self._base is not None
        self._made += 1
        folder = self._base / str(self._made)
        folder.mkdir()
        return folder


_TEMPLATE = _Template()


@pytest.fixture(autouse=True, scope="module")
def _template(tmp_path_factory: pytest.TempPathFactory) -> None:
    _TEMPLATE.fill(tmp_path_factory.mktemp("damage"))
