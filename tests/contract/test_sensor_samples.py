"""Samples: how windows are cut, what a hole in the signal does, and the three places samples come from."""

import math
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.clock import SystemClock
from appliance.adapters.sensors.samples import Samples, Windows
from appliance.adapters.sensors.samples_serial import FOLLOW, JITTER_S, LINE_BYTES_MAX, SampleTiming
from appliance.adapters.sensors.samples_source import Block, read_number
from appliance.config import SamplesConfig
from appliance.core.model import BeatsExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.ports import Clock, SensorContext
from appliance.sim.clock import ManualClock
from tests.contract.sensor_rigs import SerialLine, write_iio
from tests.contract.sensor_suite import bad_samples, dropped, make_context, make_model
from tests.waiting import eventually

START_S = 1000.0
PATIENCE_S = 10.0


def make_samples(
    source: dict[str, object], settings: dict[str, object], *, clock: Clock | None = None, channels: int = 1
) -> tuple[Samples, SensorContext]:
    config = SamplesConfig.model_validate(
        {"kind": "samples", "source": source, "rate_hz": 10.0, "length": 4, "stride": 2, **settings}
    )
    context = make_context(make_model(FrameKind.WINDOW, channels=channels), clock=clock)
    return Samples(config, context), context


def from_file(file: Path, clock: ManualClock | None = None, **settings: object) -> tuple[Samples, SensorContext]:
    source: dict[str, object] = {"kind": "file", "file": file}
    source |= {key: settings.pop(key) for key in ("speed", "repeat", "columns") if key in settings}
    return make_samples(source, settings, clock=clock or auto_clock())


def auto_clock() -> ManualClock:
    return ManualClock(monotonic_s=START_S, auto_advance=True)


def play(sensor: Samples) -> list[Frame]:
    """Every window to the end."""
    frames = []
    while True:
        try:
            frames.append(sensor.capture(PATIENCE_S))
        except EndOfRecording:
            return frames


def played(sensor: Samples) -> list[Frame]:
    sensor.open()
    frames = play(sensor)
    sensor.close()
    return frames


def firsts(frames: list[Frame]) -> list[float]:
    """The first sample of each window."""
    return [float(frame.data[0, 0]) for frame in frames]


def csv(folder: Path, text: str) -> Path:
    (folder / "samples.csv").write_text(text)
    return folder / "samples.csv"


def ramp(count: int) -> str:
    return "".join(f"{number}\n" for number in range(count))


# Windows


@given(
    length=st.integers(1, 12),
    stride=st.integers(1, 20),
    sizes=st.lists(st.integers(1, 30), max_size=12),
)
def test_however_samples_are_blocked_the_same_windows_are_cut(length: int, stride: int, sizes: list[int]) -> None:
    total = sum(sizes)
    samples = np.arange(total, dtype=np.float32)[:, None]
    windows, cutter, place = [], Windows(length, stride), 0
    for size in sizes:
        block = Block(samples[place : place + size], np.arange(place, place + size, dtype=np.float64))
        windows += cutter.add(block)
        place += size
    expected = [samples[start : start + length] for start in range(0, total - length + 1, stride)]
    assert [window.values.tolist() for window in windows] == [window.tolist() for window in expected]
    assert all(window.times_s.tolist() == window.values[:, 0].tolist() for window in windows)


def test_a_window_is_float32_one_column_a_channel_captured_with_its_last_sample(tmp_path: Path) -> None:
    sensor, _ = from_file(csv(tmp_path, "1,10\n2,20\n3,30\n4,40\n"))
    (frame,) = played(sensor)
    assert frame.data.dtype == np.float32
    assert frame.data.tolist() == [[1, 10], [2, 20], [3, 30], [4, 40]]
    assert frame.captured_s == pytest.approx(START_S + 0.3)
    assert frame.signal_fault == ""


# Quality


@pytest.mark.parametrize(
    ("text", "quality", "fault"),
    [
        ("1\n2\n3\n4\n", {}, ""),
        ("7\n7\n7\n7\n", {}, "flat line"),
        ("7\n7.05\n7\n7\n", {"flat_range_min": 0.1}, "flat line"),
        ("1\n2\n3\n99\n", {"value_max": 50.0}, "out of range"),
        ("1\n2\n3\n99\n", {"value_max": 50.0, "out_of_range_max": 0.25}, ""),
        ("time_s,v\n0,1\n0.1,2\n0.7,3\n0.8,4\n", {}, "gap"),
        ("time_s,v\n0,1\n0.1,2\n0.6,3\n0.7,4\n", {}, ""),
        ("time_s,v\n0,1\n0.1,2\n0.4,3\n0.5,4\n", {"gap_s_max": 0.25}, "gap"),
        ("1\n2\nx\n3\n4\n", {"gap_s_max": 0.15}, "gap"),
        ("1\n2\nx\n3\n4\n", {}, ""),
    ],
)
def test_a_window_that_is_no_signal_says_why(tmp_path: Path, text: str, quality: dict[str, float], fault: str) -> None:
    sensor, _ = from_file(csv(tmp_path, text), quality=quality)
    (frame,) = played(sensor)
    assert frame.signal_fault == fault


def test_a_recording_that_holds_nan_is_no_signal(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", samples=np.array([1.0, 2.0, np.nan, 4.0]))
    sensor, _ = from_file(tmp_path / "s.npz")
    (frame,) = played(sensor)
    assert frame.signal_fault == "not a number"


# Pace


def test_fast_gives_every_window_and_none_is_old(tmp_path: Path) -> None:
    clock = ManualClock(monotonic_s=START_S)
    sensor, context = from_file(csv(tmp_path, ramp(101)), clock, speed="fast")
    sensor.open()
    clock.advance(500.0)
    frames = play(sensor)
    sensor.close()
    assert firsts(frames) == list(range(0, 98, 2))
    assert [frame.seq for frame in frames] == list(range(49))
    assert {frame.captured_s for frame in frames} == {START_S + 500.0}
    assert dropped(context, "superseded") == 0


def test_at_real_speed_the_newest_complete_window_comes_and_the_older_ones_are_counted(tmp_path: Path) -> None:
    clock = ManualClock(monotonic_s=START_S)
    sensor, context = from_file(csv(tmp_path, ramp(100)), clock)
    sensor.open()
    clock.advance(1.25)  # samples 0 to 12 are due; the windows from 0, 2, 4, 6, 8 are complete
    frame = sensor.capture(0.0)
    sensor.close()
    assert firsts([frame]) == [8.0]
    assert frame.seq == 4
    assert frame.captured_s == pytest.approx(START_S + 1.1)
    assert dropped(context, "superseded") == 4


def test_a_window_that_is_still_filling_is_idle_and_one_without_samples_is_a_dead_sensor(tmp_path: Path) -> None:
    sensor, _ = from_file(csv(tmp_path, "time_s,v\n0,1\n0.1,2\n60,3\n60.1,4\n"))
    sensor.open()
    with pytest.raises(Idle):
        sensor.capture(1.0)
    with pytest.raises(SensorError, match=r"no samples for 1 s; the recording has a hole here"):
        sensor.capture(1.0)
    sensor.close()


def test_play_goes_on_after_a_hole_when_the_sensor_is_opened_again(tmp_path: Path) -> None:
    times = [0.1 * n for n in range(6)] + [60 + 0.1 * n for n in range(6)]
    sensor, _ = from_file(csv(tmp_path, "time_s,v\n" + "".join(f"{t},{n}\n" for n, t in enumerate(times))))
    sensor.open()
    windows, faults = [], 0
    while True:
        try:
            windows.append(sensor.capture(5.0))
        except EndOfRecording:
            break
        except SensorError:
            faults += 1
            sensor.close()
            sensor.open()
        except Idle:
            continue
    sensor.close()
    assert firsts(windows) == [0.0, 2.0, 6.0, 8.0]
    assert faults >= 3
    assert [window.signal_fault for window in windows] == [""] * 4


def test_a_repeated_recording_has_no_hole_at_its_seam(tmp_path: Path) -> None:
    sensor, _ = from_file(csv(tmp_path, ramp(5)), repeat=True, quality={"gap_s_max": 0.11})
    sensor.open()
    frames = [sensor.capture(PATIENCE_S) for _ in range(5)]
    sensor.close()
    assert [frame.data[:, 0].tolist() for frame in frames[:3]] == [[0, 1, 2, 3], [2, 3, 4, 0], [4, 0, 1, 2]]
    assert [frame.signal_fault for frame in frames] == [""] * 5
    assert np.diff([frame.captured_s for frame in frames]) == pytest.approx([0.2] * 4)


# Files


@pytest.mark.parametrize(
    "text",
    [
        "1,5\n2,6\n3,7\n4,8\n",
        "a,b\n1,5\n2,6\n3,7\n4,8",
        "\ufeffa, b\r\n1, 5\r\n2, 6\r\n3, 7\r\n4, 8\r\n",
        '"a","b"\n1,5\n2,6\n3,7\n4,8\n',
    ],
)
def test_a_csv_has_a_header_or_none(tmp_path: Path, text: str) -> None:
    sensor, context = from_file(csv(tmp_path, text))
    (frame,) = played(sensor)
    assert frame.data.tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]
    assert bad_samples(context, "bad_line") == 0


def test_columns_are_chosen_by_name_and_the_time_is_no_channel(tmp_path: Path) -> None:
    text = "time_s,a,b,c\n" + "".join(f"{n / 10},{n},{n + 10},{n + 20}\n" for n in range(4))
    chosen, _ = from_file(csv(tmp_path, text), columns=["c", "a"])
    everything, _ = from_file(csv(tmp_path, text))
    assert played(chosen)[0].data[0].tolist() == [20.0, 0.0]
    assert played(everything)[0].data[0].tolist() == [0.0, 10.0, 20.0]


@pytest.mark.parametrize("line", ["", "x", "1,2", "nan", "inf", "1e39", "1_0", "\xff", "1;2"])
def test_a_line_that_is_no_sample_is_counted_and_never_a_sample(tmp_path: Path, line: str) -> None:
    file = tmp_path / "samples.csv"
    file.write_bytes(b"1\n2\n" + line.encode("latin-1") + b"\n3\n4\n")
    sensor, context = from_file(file)
    (frame,) = played(sensor)
    assert frame.data[:, 0].tolist() == [1, 2, 3, 4]
    assert bad_samples(context, "bad_line") == 1


def test_a_line_whose_time_falls_is_no_sample(tmp_path: Path) -> None:
    sensor, context = from_file(csv(tmp_path, "time_s,v\n0,1\n0.1,2\n0.05,99\n0.2,3\n0.3,4\n"))
    (frame,) = played(sensor)
    assert frame.data[:, 0].tolist() == [1, 2, 3, 4]
    assert bad_samples(context, "bad_line") == 1


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_an_npz_may_hold_times_and_any_numbers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "s.npz", samples=np.arange(4, dtype=np.int16).reshape(shape), times_s=[9.0, 9.5, 10.0, 10.25])
    sensor, _ = from_file(tmp_path / "s.npz")
    (frame,) = played(sensor)
    assert frame.data.tolist() == [[0], [1], [2], [3]]
    assert frame.captured_s == pytest.approx(START_S + 1.25)


def save(file: Path, **arrays: object) -> None:
    np.savez(file, **arrays)  # type: ignore[arg-type] # NumPy's stub takes the names for its own arguments


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("absent.csv", lambda _file: None, "cannot be read: No such file"),
        ("empty.csv", lambda file: file.write_text(""), "no sample in it can be read"),
        ("time.csv", lambda file: file.write_text("time_s\n1\n"), "has no column of samples; there are: time_s"),
        ("other.csv", lambda file: file.write_text("a,b\n1,2\n"), "has no column wanted; there are: a, b"),
        ("bare.csv", lambda file: file.write_text("1,2\n"), "its first line is no header"),
        ("words.csv", lambda file: file.write_text("wanted\nx\ny\n"), "no sample in it can be read"),
        ("long.csv", lambda file: file.write_text("1," * 40_000), "a line is longer than"),
        ("absent.npz", lambda _file: None, "no such recording"),
        ("bad.npz", lambda file: file.write_text("hello"), "not a recording that can be read"),
        ("none.npz", lambda file: save(file, other=[1]), "it has no array 'samples'"),
        ("cube.npz", lambda file: save(file, samples=np.zeros((2, 2, 2))), "samples must be numbers"),
        ("words.npz", lambda file: save(file, samples=["a"]), "samples must be numbers"),
        ("late.npz", lambda file: save(file, samples=[1.0], times_s=[1.0, 2.0]), "times_s must be 1 numbers"),
        ("empty.npz", lambda file: save(file, samples=np.zeros((0, 2))), "no sample in it can be read"),
    ],
)
def test_a_file_without_samples_is_refused_with_the_reason(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    columns = [] if name in {"empty.csv", "time.csv"} else ["wanted"]
    sensor, _ = from_file(tmp_path / name, columns=columns)
    with pytest.raises(SensorError, match=message):
        sensor.open()
    sensor.close()


@pytest.mark.parametrize("text", ["1", " 1 ", "-1.5e3", "+.5", "0"])
def test_a_number_is_read(text: str) -> None:
    assert read_number(text) == read_number(text.encode()) == float(text)


@given(st.text(max_size=12) | st.floats().map(str))
def test_what_is_read_as_a_number_is_finite_in_float32(text: str) -> None:
    value = read_number(text)
    assert value is None or math.isfinite(np.float32(value))


# Serial line


@pytest.fixture
def line() -> Iterator[SerialLine]:
    line = SerialLine()
    yield line
    line.unplug()


def from_line(line: SerialLine, **settings: object) -> tuple[Samples, SensorContext]:
    source: dict[str, object] = {"kind": "serial", "device": line.device}
    return make_samples(source, {"rate_hz": 100.0, **settings}, channels=2)


def test_a_serial_line_gives_one_sample_a_line(line: SerialLine) -> None:
    sensor, context = from_line(line, stride=4, quality={"gap_s_max": 5.0})
    sensor.open()
    line.write(b"joined in the middle of a line\n1,10\n2,20\r\n3, 30\n4,4")
    with pytest.raises(Idle):
        sensor.capture(0.3)
    line.write(b"0\n")
    frame = sensor.capture(PATIENCE_S)
    sensor.close()
    assert frame.data.tolist() == [[1, 10], [2, 20], [3, 30], [4, 40]]
    assert frame.signal_fault == ""
    assert bad_samples(context, "bad_line") == 0


def test_a_model_with_an_extractor_takes_one_number_a_line_however_many_features_it_makes(line: SerialLine) -> None:
    one = SamplesConfig.model_validate(
        {"kind": "samples", "source": {"kind": "serial", "device": line.device}, "rate_hz": 100.0, "length": 2,
         "stride": 2, "quality": {"gap_s_max": 5.0}}
    )  # fmt: skip
    model = replace(make_model(FrameKind.WINDOW, channels=43), extract=BeatsExtract(100.0, 2, 2))
    sensor = Samples(one, make_context(model, clock=SystemClock()))
    sensor.open()
    line.write(b"\n1\n2\n")
    frame = sensor.capture(PATIENCE_S)
    sensor.close()
    assert frame.data.tolist() == [[1], [2]]


def test_pyserial_is_asked_for_only_where_there_is_a_line() -> None:
    program = "import sys, appliance.adapters.sensors.samples; sys.exit('serial' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_garbage_on_the_line_is_counted_and_leaves_a_hole(line: SerialLine) -> None:
    sensor, context = from_line(line, quality={"gap_s_max": 0.015})
    sensor.open()
    garbage = [b"", b"1", b"1,2,3", b"x,1", b"nan,1", b"\xff\x00", b"1," * LINE_BYTES_MAX]
    line.write(b"\n1,10\n2,20\n" + b"".join(part + b"\n" for part in garbage))
    eventually(lambda: bad_samples(context, "bad_line") == len(garbage))
    line.write(b"3,30\n4,40\n")
    frame = sensor.capture(PATIENCE_S)
    sensor.close()
    assert frame.data[:, 0].tolist() == [1, 2, 3, 4]
    assert frame.signal_fault == "gap"


def test_a_line_without_end_is_held_in_bounded_memory_and_what_follows_it_is_read(line: SerialLine) -> None:
    sensor, context = from_line(line)
    sensor.open()
    line.write(b"\n")
    piece = b"7" * 50_000
    tracemalloc.start()
    for _ in range(40):
        line.write(piece)
    line.write(b"\n1,10\n2,20\n3,30\n4,40\n")
    frame = sensor.capture(PATIENCE_S)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sensor.close()
    assert frame.data[:, 0].tolist() == [1, 2, 3, 4]
    assert bad_samples(context, "bad_line") == 1
    assert peak_bytes < 20 * len(piece)


def test_a_line_that_is_silent_or_garbled_is_a_dead_sensor_with_advice(line: SerialLine) -> None:
    sensor, context = from_line(line)
    sensor.open()
    line.write(b"\ngarbage\n" * 5)
    with pytest.raises(SensorError, match=r"no samples for 0\.2 s; is the sender running, and is the baud rate 115200"):
        sensor.capture(0.2)
    eventually(lambda: bad_samples(context, "bad_line") > 0)
    sensor.close()


def test_an_unplugged_line_is_lost_after_what_it_still_said(line: SerialLine) -> None:
    sensor, _ = from_line(line)
    sensor.open()
    line.write(b"\n1,1\n2,2\n3,3\n4,4\n")
    assert sensor.capture(PATIENCE_S).data[0, 0] == 1.0
    line.unplug()
    for _ in range(2):
        with pytest.raises(SensorError, match=r"lost: .*is it plugged in"):
            sensor.capture(PATIENCE_S)
    sensor.close()
    with pytest.raises(SensorError, match=r"cannot be opened: .*is it plugged in\? `ls /dev/serial/by-id`"):
        sensor.open()
    sensor.close()


PERIOD_S = 0.001


@given(st.lists(st.integers(1, 40), min_size=20, max_size=60))
def test_samples_that_arrive_in_bunches_are_told_an_even_pace(bunches: list[int]) -> None:
    """A USB adapter at 1,000 samples/s that delivers up to 40 ms of them at once shows no hole."""
    timing, sent = SampleTiming(PERIOD_S), 0
    taken: list[float] = []
    for bunch in bunches:
        sent += bunch
        now_s = START_S + sent * PERIOD_S
        taken += [timing.arrived(now_s) for _ in range(bunch)]
        assert taken[-1] <= now_s + PERIOD_S / FOLLOW
    steps = np.diff(taken)
    assert (steps >= 0).all()
    assert steps.max() <= PERIOD_S + FOLLOW * JITTER_S + 1e-9


@given(st.floats(0.9, 1.1))
def test_a_sender_whose_clock_is_off_is_followed(rate: float) -> None:
    timing = SampleTiming(PERIOD_S)
    lags = [START_S + n * PERIOD_S * rate - timing.arrived(START_S + n * PERIOD_S * rate) for n in range(3000)]
    assert abs(lags[-1]) < 0.1 * PERIOD_S / FOLLOW + 1e-6


def test_a_real_hole_and_a_lost_sample_are_holes_in_the_times() -> None:
    timing = SampleTiming(0.01)
    first_s = timing.arrived(START_S)
    after_hole_s = timing.arrived(START_S + 2.0)
    timing.lost(START_S + 2.01)
    after_loss_s = timing.arrived(START_S + 2.02)
    assert after_hole_s - first_s == pytest.approx(2.0)
    assert after_loss_s - after_hole_s == pytest.approx(0.02)


@given(lost=st.integers(0, 100_000), count=st.integers(1, 200))
def test_however_much_is_lost_the_times_stay_near_the_present(lost: int, count: int) -> None:
    timing = SampleTiming(PERIOD_S)
    timing.arrived(START_S)
    for _ in range(min(lost, 2000)):
        timing.lost(START_S)
    for _ in range(count):
        assert timing.arrived(START_S) <= START_S + 2 * PERIOD_S / FOLLOW


# Linux IIO


def from_iio(root: Path, device: str, channels: list[str], **settings: object) -> tuple[Samples, SensorContext]:
    source: dict[str, object] = {"kind": "iio", "device": device, "channels": channels, "sysfs": root}
    return make_samples(source, {"rate_hz": 200.0, "quality": {"gap_s_max": 1.0}, **settings}, channels=len(channels))


ATTRIBUTES = {
    "in_accel_x_raw": "12",
    "in_accel_y_raw": "-7",
    "in_accel_y_offset": "2",
    "in_accel_scale": "0.5",
    "in_accel_y_scale": "0.1",
    "in_voltage0_raw": "100",
    "in_voltage_offset": "-50",
    "in_temp_raw": "21",
}


@pytest.mark.parametrize("device", ["iio:device0", "adxl345"])
def test_a_sample_is_raw_plus_offset_times_scale_its_own_or_its_types(tmp_path: Path, device: str) -> None:
    write_iio(tmp_path, ATTRIBUTES)
    sensor, _ = from_iio(tmp_path, device, ["accel_x", "accel_y", "voltage0", "temp"])
    sensor.open()
    frame = sensor.capture(PATIENCE_S)
    sensor.close()
    assert frame.data[0].tolist() == pytest.approx([6.0, -0.5, 50.0, 21.0])
    assert frame.data.shape == (4, 4)
    assert frame.signal_fault == "flat line"


def test_what_changes_in_sysfs_changes_in_the_window(tmp_path: Path) -> None:
    folder = write_iio(tmp_path, ATTRIBUTES)
    sensor, _ = from_iio(tmp_path, "adxl345", ["temp"])
    sensor.open()
    (folder / "in_temp_raw").write_text("22\n")
    eventually(lambda: sensor.capture(PATIENCE_S).data[-1, 0] == 22.0)
    sensor.close()


def test_a_value_that_is_no_number_is_counted_and_is_no_sample(tmp_path: Path) -> None:
    folder = write_iio(tmp_path, ATTRIBUTES)
    sensor, context = from_iio(tmp_path, "adxl345", ["temp"], quality={"gap_s_max": 0.05})
    sensor.open()
    (folder / "in_temp_raw").write_text("busy\n")
    eventually(lambda: bad_samples(context, "bad_value") > 3)
    assert re.search(r"no samples for 0\.1 s; does `cat .*in_temp_raw` answer", lost(sensor, 0.1))
    sensor.close()


def test_a_device_that_the_kernel_takes_away_is_lost(tmp_path: Path) -> None:
    folder = write_iio(tmp_path, ATTRIBUTES)
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    (folder / "in_pid_raw").symlink_to(f"/proc/{process.pid}/oom_score")  # reads as a number, until it is gone
    sensor, _ = from_iio(tmp_path, "adxl345", ["pid"])
    sensor.open()
    sensor.capture(PATIENCE_S)
    process.kill()
    process.communicate()
    assert "lost: No such process; is the device still bound" in lost(sensor, PATIENCE_S)
    sensor.close()


@pytest.mark.parametrize(
    ("device", "channels", "attributes", "message"),
    [
        ("mpu6050", ["temp"], {}, r"no device 'mpu6050'; there are: iio:device0 \(adxl345\)"),
        ("../devices/iio:device0", ["temp"], {}, r"no device '\.\./devices/iio:device0'"),
        ("adxl345", ["gyro"], {}, "channel 'gyro' cannot be opened: No such file or directory; there are: accel_x,"),
        ("adxl345", ["temp"], {"in_temp_scale": "wide"}, "in_temp_scale: b'wide.*' is no number"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    tmp_path: Path, device: str, channels: list[str], attributes: dict[str, str], message: str
) -> None:
    write_iio(tmp_path / "devices", {**ATTRIBUTES, **attributes})
    sensor, _ = from_iio(tmp_path / "devices", device, channels)
    with pytest.raises(SensorError, match=message):
        sensor.open()
    sensor.close()


def test_a_loop_that_is_late_gets_the_newest_window_of_a_live_source(tmp_path: Path) -> None:
    write_iio(tmp_path, ATTRIBUTES)
    sensor, context = from_iio(tmp_path, "adxl345", ["temp"])
    sensor.open()
    seqs = [sensor.capture(PATIENCE_S).seq]

    def late() -> bool:
        """Whether the loop was late enough: on a busy machine the reader is late itself, and there are few windows."""
        before, until_s = dropped(context, "superseded"), context.clock.monotonic_s() + 0.3
        eventually(lambda: context.clock.monotonic_s() > until_s)
        seqs.append(sensor.capture(PATIENCE_S).seq)
        skipped = seqs[-1] - seqs[-2] - 1
        assert dropped(context, "superseded") - before == skipped
        return skipped > 5

    eventually(late)
    sensor.close()


def lost(sensor: Samples, timeout_s: float) -> str:
    """Capture until the sensor is lost, and return what it says; what came before is still returned."""
    for _ in range(1000):
        try:
            sensor.capture(timeout_s)
        except Idle:
            continue
        except SensorError as error:
            return str(error)
    raise AssertionError("not lost")
