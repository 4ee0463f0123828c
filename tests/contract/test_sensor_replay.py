"""Recordings: their format, their two speeds, and files that are not what they say."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.adapters.sensors.recording import ROW_BYTES_MAX, Rows
from appliance.adapters.sensors.replay import Replay, write_recording
from appliance.config import ReplayConfig
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.ports import Clock, SensorContext
from appliance.sim.clock import ManualClock
from tests.contract.sensor_suite import dropped, make_context, make_model

START_S = 1000.0


def images(count: int) -> Array:
    """Pictures whose n-th is grey n."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 6, 3)).copy()


def records(count: int) -> Array:
    return np.arange(count, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)


def make_replay(file: Path, clock: Clock, **config: object) -> tuple[Replay, SensorContext]:
    context = make_context(make_model(FrameKind.IMAGE), clock=clock)
    return Replay(ReplayConfig.model_validate({"kind": "replay", "file": file, **config}), context), context


def play(sensor: Replay) -> list[Frame]:
    """Everything to the end."""
    frames = []
    while True:
        try:
            frames.append(sensor.capture(1.0))
        except EndOfRecording:
            return frames


def values(frames: list[Frame]) -> list[float]:
    return [float(frame.data.flat[0]) for frame in frames]


@pytest.mark.parametrize(
    ("kind", "frames"),
    [
        (FrameKind.IMAGE, images(4)),
        (FrameKind.WINDOW, np.arange(4 * 8 * 2, dtype=np.float32).reshape(4, 8, 2)),
        (FrameKind.RECORD, records(4)),
    ],
)
def test_what_is_written_is_what_is_played_bit_for_bit(tmp_path: Path, kind: FrameKind, frames: Array) -> None:
    faults = ["", "gap", "", "flat line"]
    write_recording(tmp_path / "r.npz", kind, frames, [5.0, 5.1, 5.1, 9.0], faults)
    clock = ManualClock()
    sensor, _ = make_replay(tmp_path / "r.npz", clock, speed="fast")
    sensor.open()
    played = play(sensor)
    sensor.close()
    assert [frame.kind for frame in played] == [kind] * 4
    assert [frame.signal_fault for frame in played] == faults
    assert [frame.seq for frame in played] == [0, 1, 2, 3]
    assert [frame.captured_s for frame in played] == [clock.monotonic_s()] * 4
    for frame, original in zip(played, frames, strict=True):
        np.testing.assert_array_equal(frame.data, original)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_record_is_played_in_float64_and_a_time_since_1970_keeps_its_milliseconds(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    frames = np.array([[1767225600.125, 1.0]], dtype)
    write_recording(tmp_path / "r.npz", FrameKind.RECORD, frames, [0.0])
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(), speed="fast")
    sensor.open()
    [frame] = play(sensor)
    sensor.close()
    assert frame.data.dtype == np.float64
    np.testing.assert_array_equal(frame.data, frames[0].astype(np.float64))


CARDS, TERMINALS = ["c1", "c2", "", "c1"], ["t1", "t1", "t2", ""]


@pytest.mark.parametrize("repeat", [False, True])
def test_the_words_of_a_record_are_played_with_it(tmp_path: Path, repeat: bool) -> None:  # noqa: FBT001 - a table's column
    context = {"card": CARDS, "terminal": TERMINALS}
    write_recording(tmp_path / "r.npz", FrameKind.RECORD, records(4), np.arange(4.0), context=context)
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(), speed="fast", repeat=repeat)
    sensor.open()
    first = [sensor.capture(1.0).context for _ in range(2)]
    sensor.close()
    sensor.open()  # goes on where it was, words included
    rest = [sensor.capture(1.0).context for _ in range(2 + 4 * repeat)]
    sensor.close()
    words = [{"card": "c1", "terminal": "t1"}, {"card": "c2", "terminal": "t1"}, {"terminal": "t2"}, {"card": "c1"}]
    assert first + rest == words + words * repeat


def test_a_slow_loop_gets_the_words_of_the_picture_it_sees(tmp_path: Path) -> None:
    words = {"place": [f"p{number}" for number in range(10)]}
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(10), np.arange(10) * 0.1, context=words)
    clock = ManualClock(monotonic_s=START_S)
    sensor, _ = make_replay(tmp_path / "r.npz", clock)
    sensor.open()
    clock.advance(0.55)
    assert sensor.capture(0.0).context == {"place": "p5"}
    sensor.close()


def test_at_real_speed_a_frame_is_captured_at_its_own_time(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(3), [50.0, 50.5, 52.0])
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(monotonic_s=START_S, auto_advance=True))
    sensor.open()
    times = [sensor.capture(5.0).captured_s for _ in range(3)]
    sensor.close()
    assert times == pytest.approx([START_S, START_S + 0.5, START_S + 2.0])


def test_at_real_speed_a_slow_loop_sees_the_newest_picture_and_the_others_are_counted(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(10), np.arange(10) * 0.1)
    clock = ManualClock(monotonic_s=START_S)
    sensor, context = make_replay(tmp_path / "r.npz", clock)
    sensor.open()
    clock.advance(0.55)
    frame = sensor.capture(0.0)
    sensor.close()
    assert (frame.seq, values([frame])) == (5, [5.0])
    assert frame.captured_s == pytest.approx(START_S + 0.5)
    assert dropped(context, "superseded") == 5


def test_a_record_is_never_superseded_by_the_next(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.RECORD, records(5), np.arange(5) * 0.1)
    clock = ManualClock(monotonic_s=START_S)
    sensor, context = make_replay(tmp_path / "r.npz", clock)
    sensor.open()
    clock.advance(10.0)
    assert values(play(sensor)) == [0, 1, 2, 3, 4]
    assert dropped(context, "superseded") == 0
    sensor.close()


@pytest.mark.parametrize(
    ("kind", "frames", "error"), [(FrameKind.IMAGE, images(2), SensorError), (FrameKind.RECORD, records(2), Idle)]
)
def test_a_hole_is_a_stalled_camera_and_an_idle_terminal_and_play_goes_on_after_it(
    tmp_path: Path, kind: FrameKind, frames: Array, error: type[Exception]
) -> None:
    write_recording(tmp_path / "r.npz", kind, frames, [0.0, 3.0])
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(monotonic_s=START_S, auto_advance=True))
    sensor.open()
    sensor.capture(1.0)
    for _ in range(2):
        with pytest.raises(error):
            sensor.capture(1.0)
        sensor.close()
        sensor.open()
    frame = sensor.capture(1.5)
    sensor.close()
    assert frame.captured_s == pytest.approx(START_S + 3.0)
    assert values([frame]) == [1.0]


def test_after_its_end_a_recording_that_is_opened_again_starts_anew(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(3), np.arange(3) * 0.1)
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(auto_advance=True))
    for _ in range(2):
        sensor.open()
        assert values(play(sensor)) == [0, 1, 2]
        with pytest.raises(EndOfRecording):
            sensor.capture(1.0)
        sensor.close()


def test_a_repeated_recording_goes_on_at_its_own_pace(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(3), [0.0, 0.2, 0.4])
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(monotonic_s=START_S, auto_advance=True), repeat=True)
    sensor.open()
    frames = [sensor.capture(1.0) for _ in range(7)]
    sensor.close()
    assert values(frames) == [0, 1, 2, 0, 1, 2, 0]
    assert [frame.captured_s for frame in frames] == pytest.approx([START_S + 0.2 * n for n in range(7)])
    assert [frame.seq for frame in frames] == list(range(7))


def test_a_recording_of_one_frame_repeats_without_spinning(tmp_path: Path) -> None:
    write_recording(tmp_path / "r.npz", FrameKind.IMAGE, images(1), [7.0])
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(monotonic_s=START_S, auto_advance=True), repeat=True)
    sensor.open()
    times = [sensor.capture(1.0).captured_s for _ in range(3)]
    sensor.close()
    assert times == pytest.approx([START_S, START_S + 0.1, START_S + 0.2])


def save(file: Path, **arrays: Array) -> None:
    """Any ``.npz``, well formed or not."""
    whole = {"kind": np.array(["image"]), "frames": images(2), "times_s": np.array([0.0, 1.0]), **arrays}
    with zipfile.ZipFile(file, "w") as entries:
        for name, array in whole.items():
            raw = io.BytesIO()
            np.lib.format.write_array(raw, array, allow_pickle=True)
            entries.writestr(f"{name}.npy", raw.getvalue())


def claim(file: Path, shape: tuple[int, ...]) -> None:
    """A recording whose header claims a shape that the file does not hold."""
    save(file)
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(raw, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file) as entries:
        kept = {name: entries.read(name) for name in ("kind.npy", "times_s.npy")}
    with zipfile.ZipFile(file, "w") as entries:
        for name, content in {**kept, "frames.npy": raw.getvalue()}.items():
            entries.writestr(name, content)


def cut_off(file: Path) -> None:
    save(file)
    file.write_bytes(file.read_bytes()[:-60])


def flipped(file: Path) -> None:
    write_recording(file, FrameKind.IMAGE, images(2), [0.0, 1.0])
    raw = bytearray(file.read_bytes())
    start = raw.index(b"frames.npy") + 40
    raw[start : start + 8] = b"\x00" * 8
    file.write_bytes(raw)


def in_header(old: bytes, new: bytes) -> Callable[[Path], None]:
    """A recording with a byte changed in a header, so far from the entry's end that no checksum is asked before."""
    assert len(old) == len(new)

    def make(file: Path) -> None:
        save(file, frames=images(100), times_s=np.arange(100.0))
        before, name, rest = file.read_bytes().partition(b"frames.npy")
        assert old in rest[:200]
        file.write_bytes(before + name + rest.replace(old, new, 1))

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _file: None, "no such recording"),
        (lambda file: file.mkdir(), "not a recording that can be read"),
        (lambda file: file.write_bytes(b""), "not a recording that can be read"),
        (lambda file: file.write_bytes(b"PK\x03\x04 and no more"), "not a recording that can be read"),
        (cut_off, "not a recording that can be read"),
        (flipped, "not a recording that can be read"),
        (in_header(b"6, 3)", b"6, 3("), r"r\.npz: .*array 'frames' has a damaged header .*; copy the file again"),
        (in_header(b"'|u1'", b"',u1'"), "array 'frames' has a damaged header"),
        (in_header(b", 'fort", b",B'fort"), "array 'frames' has a damaged header"),
        (in_header(b"'|u1'", b"'2u1'"), "array 'frames' must be rows of plain numbers"),
        (lambda file: np.savez(file, kind=np.array(["image"])), "it has no array 'frames'"),
        (lambda file: save(file, kind=np.array(["film"])), "is of kind 'film', known are image, window, record"),
        (lambda file: save(file, kind=np.array([7])), "kind must be 1 words"),
        (lambda file: save(file, frames=np.array([{"a": 1}, None])), "rows of plain numbers"),
        (lambda file: save(file, frames=np.asfortranarray(images(2))), "in C order"),
        (lambda file: save(file, frames=images(2).astype(np.float32)), "frames of kind image cannot be float32"),
        (lambda file: save(file, frames=images(2)[..., :1]), "frames of kind image cannot be uint8"),
        (lambda file: save(file, frames=images(0), times_s=np.empty(0)), "has no frames"),
        (lambda file: claim(file, (2, ROW_BYTES_MAX, 1, 3)), "too large"),
        (lambda file: claim(file, (10**12, 4, 6, 3)), "too large"),
        (lambda file: claim(file, (2, 4, 6, 3)), "is cut off"),
        (lambda file: save(file, times_s=np.array([0.0])), "times_s must be 2 numbers"),
        (lambda file: save(file, times_s=np.array([1.0, 0.0])), "never fall"),
        (lambda file: save(file, times_s=np.array([0.0, np.nan])), "must be finite"),
        (lambda file: save(file, times_s=np.array(["0", "1"])), "times_s must be 2 numbers"),
        (lambda file: save(file, signal_faults=np.array(["gap"])), "signal_faults must be 2 words"),
        (lambda file: save(file, signal_faults=np.array(["x" * 99, ""])), "signal_faults must be 2 words"),
        (lambda file: save(file, context=np.array([["a"], ["b"]])), "it has no array 'context_keys'"),
        (lambda file: save(file, context=np.array([["a"]]), context_keys=np.array(["k"])), r"context must be \[2, k\]"),
        (lambda file: save(file, context=np.array(["a", "b"]), context_keys=np.array(["k"])), "context must be"),
        (
            lambda file: save(file, context=np.array([["a"], ["x" * 99]]), context_keys=np.array(["k"])),
            "at most 16 characters",
        ),
        (
            lambda file: save(file, context=np.array([["a"], ["b"]]), context_keys=np.array(["k", "l"])),
            "context_keys must be 1 words",
        ),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_with_the_reason(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "r.npz")
    sensor, _ = make_replay(tmp_path / "r.npz", ManualClock(auto_advance=True))
    with pytest.raises(SensorError, match=message):  # noqa: PT012 - what is in the middle is seen only there
        sensor.open()
        play(sensor)
    sensor.close()


# What NumPy says of headers that a changed byte makes look old.
@pytest.mark.filterwarnings("ignore:Reading .*Python 2:UserWarning", "ignore:Data type alias:DeprecationWarning")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 5000), byte=st.integers(0, 255), cut=st.integers(0, 5000))
def test_whatever_byte_of_a_recording_is_wrong_it_plays_or_is_refused(
    tmp_path: Path, place: int, byte: int, cut: int
) -> None:
    file = tmp_path / "r.npz"
    save(file)
    raw = bytearray(file.read_bytes())
    raw[place % len(raw)] = byte
    file.write_bytes(raw[: len(raw) - cut % len(raw)] if cut % 3 == 0 else raw)
    sensor, _ = make_replay(file, ManualClock(auto_advance=True))
    try:
        sensor.open()
        play(sensor)
    except (SensorError, EndOfRecording):
        pass
    finally:
        sensor.close()


def test_a_long_recording_is_read_with_one_frame_in_memory(tmp_path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (2000, 1000, 1000)}
    with (
        zipfile.ZipFile(tmp_path / "long.npz", "w", zipfile.ZIP_DEFLATED) as entries,
        entries.open("frames.npy", "w") as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(10_000_000))  # 10 of the 2,000 MB it claims
    rows = Rows(tmp_path / "long.npz", "frames")
    assert rows.read(1).shape == (1, 1000, 1000)
    rows.skip(9)
    with pytest.raises(SensorError, match="is cut off"):
        rows.read(1)
    rows.close()
    rows.close()


@pytest.mark.parametrize(
    ("frames", "times_s", "faults"),
    [
        (images(2).astype(np.int16), [0, 1], []),
        (images(2)[0], [0, 1], []),
        (images(2), [0], []),
        (images(2), [1, 0], []),
        (images(2), [0, np.inf], []),
        (images(2), [0, 1], ["gap"]),
    ],
)
def test_a_recording_that_could_not_be_played_is_not_written(
    tmp_path: Path, frames: Array, times_s: list[float], faults: list[str]
) -> None:
    with pytest.raises(AssertionError):
        write_recording(tmp_path / "r.npz", FrameKind.IMAGE, frames, times_s, faults)
    assert not (tmp_path / "r.npz").exists()
