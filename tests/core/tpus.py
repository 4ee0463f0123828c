"""Edge TPUs as others see them, made with one word; and any of them, for properties."""

from hypothesis import strategies as st

from appliance.core.accelerator import Bus, TpuDevice, TpuHealth
from appliance.core.recovery import SERVES, State

STICK = TpuDevice(Bus.USB, "2-1.4", "/dev/bus/usb/002/003", speed_mbps=5000)
SLOW_STICK = TpuDevice(Bus.USB, "1-1.4", "/dev/bus/usb/001/003", speed_mbps=480)
IN_DFU = TpuDevice(Bus.USB, "2-1.4", "/dev/bus/usb/002/004", dfu=True, speed_mbps=480)
CARD = TpuDevice(Bus.PCI, "apex_0", "/dev/apex_0")
VERSION_CRASH = (
    "tflite-runtime 2.5.0 dies by SIGSEGV with libedgetpu 16.0: pip install ai-edge-litert 2.1.2; or libedgetpu 2.5"
)
REASONS = (
    "",
    "no answer within 0.5 s",
    "worker died by SIGABRT: F driver/usb/usb_driver.cc:857 transfer on tag 1 failed",
    "cannot open /dev/bus/usb/002/003: Permission denied",
    VERSION_CRASH,
)


def make_tpu(name: str = "tpu", /, **changes: object) -> TpuHealth:
    """One that serves on USB 3 and is well, but for ``changes``."""
    values: dict[str, object] = {"name": name, "state": State.SERVING, "device": STICK, "performance": "max"}
    return TpuHealth(**(values | changes))  # type: ignore[arg-type]  # a test's own spelling of a long constructor


FINE = (*sorted(SERVES), State.OPENING)
"""States that need nobody."""
counts = st.integers(0, 4)
names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,31}\Z")
calm = st.builds(make_tpu, names, state=st.sampled_from(FINE), performance=st.just("high"))
wild = st.builds(
    make_tpu,
    names,
    state=st.sampled_from(State),
    device=st.none() | st.sampled_from((STICK, SLOW_STICK, IN_DFU, CARD)),
    performance=st.sampled_from(("low", "medium", "high", "max")),
    cooling=st.booleans(),
    temperature_c=st.none() | st.sampled_from((-10.0, 47.5, 84.9, 85.0, 104.0)),
    resets_1h=counts,
    aborts_1h=counts,
    reason=st.sampled_from(REASONS) | st.text(max_size=400) | st.just("install litert" + "x" * 400),
    refused=st.just(()) | st.lists(st.text(max_size=80), min_size=1, max_size=8).map(tuple),
)
slowed = st.builds(make_tpu, names, state=st.sampled_from(FINE), cooling=st.just(True))
tpus = calm | slowed | wild
"""Any Edge TPU: well, with one thing to say, and mixtures that never were."""
fleets = st.lists(tpus, min_size=1, max_size=4, unique_by=lambda tpu: tpu.name)
