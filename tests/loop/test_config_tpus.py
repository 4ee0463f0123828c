"""What a configuration may say of Edge TPUs, and how a wrong word is told."""

import pytest

from appliance.core.deadline import DEADLINE_CEILING_S
from appliance.errors import ConfigError
from tests.loop.test_config import MINIMAL, read


def with_tpu(model: str = "", tpus: str = "", channel: str = "") -> str:
    """The minimal configuration on an Edge TPU, with more lines."""
    text = MINIMAL.replace('1.0.0"\n', f'1.0.0"\nbackends = ["tpu", "cpu"]\n{model}\n')
    return text.replace('model = "person"\n', f'model = "person"\n{channel}\n') + tpus


def with_two(one: str, other: str) -> str:
    """Two models on an Edge TPU each."""
    second = '[models.face]\nfolder = "models/face/1.0.0"\nbackends = ["tpu", "cpu"]\ntpu = "a"\n'
    return with_tpu('tpu = "b"', f'{second}[tpus.a]\ndevice = "{one}"\n[tpus.b]\ndevice = "{other}"\n')


def test_one_line_is_enough() -> None:
    config = read(with_tpu())
    assert config.tpu_of("person") == "tpu"
    assert config.tpus["tpu"].power_cycle == "alone"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (with_tpu('tpu = "left"'), r"models\.person\.tpu names 'left', which is not under tpus \(there: tpu\)"),
        (
            with_tpu(tpus='[tpus.a]\ndevice = "usb:0"\n[tpus.b]\ndevice = "usb:1"\n'),
            r"models\.person\.tpu is missing: there are several \(a, b\)",
        ),
        (MINIMAL.replace('1.0.0"\n', '1.0.0"\nbackends = ["tpu"]\n'), r"the last is the twin .*: add 'cpu'"),
        (MINIMAL.replace('1.0.0"\n', '1.0.0"\nbackends = ["cpu", "tpu"]\n'), r"the last is the twin .*: add 'cpu'"),
        (MINIMAL.replace('1.0.0"\n', '1.0.0"\nbackends = ["cpu", "cpu"]\n'), r"names one twice"),
        (with_tpu("invoke_deadline_s = 1.0"), r"invoke_deadline_s \(1\) must be less than .*frame_age_max_s \(1\)"),
        *(
            (
                with_two(one, other),
                r"tpus: two may mean the same device",
            )
            for one, other in (("", ""), ("usb", "usb:0"), ("", "usb:1"), (":0", "pci"), ("pci:1", "pci:1"))
        ),
        (with_tpu(tpus='[tpus.a]\ndevice = "usb:x"\n'), r"tpus\.a\.device"),
        (with_tpu(tpus='[tpus.a]\nperformance = "turbo"\n'), r"tpus\.a\.performance"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(text)


@pytest.mark.parametrize(("one", "other"), [(":0", ":1"), ("usb", "usb:1"), ("usb:0", "pci:0")])
def test_several_are_told_apart_by_their_numbers(one: str, other: str) -> None:
    config = read(with_two(one, other))
    assert (config.tpu_of("face"), config.tpu_of("person")) == ("a", "b")


def test_one_that_no_model_uses_contradicts_nobody() -> None:
    assert read(with_tpu('tpu = "a"', "[tpus.a]\n[tpus.b]\n")).tpu_of("person") == "a"


@pytest.mark.parametrize(("age_s", "most_s"), [(0.5, 0.25), (1.0, 0.5), (60.0, DEADLINE_CEILING_S)])
def test_a_stall_never_takes_more_than_leaves_the_frame_young_enough_for_the_twin(age_s: float, most_s: float) -> None:
    assert read(with_tpu(channel=f"frame_age_max_s = {age_s}")).deadline_max_s("person") == most_s
