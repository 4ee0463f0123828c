"""The script of a simulated Edge TPU: acts in a file, done once each, in their order, whoever writes and whoever obeys.

What the acts do to a worker is shown on real ones, in ``tests/process/test_worker_faults.py``.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.sim import tpu_script
from appliance.sim.tpu_script import Act, Script, Step

OPENING = [act for act in Act if act.opening]
RUNNING = [act for act in Act if not act.opening]
STEPS = st.builds(Step, st.sampled_from(Act), st.floats(0.0, 1e9), st.integers(0, 3))
TIMEOUT_S = 60.0
_TAKE = """
import sys
from pathlib import Path
from appliance.sim.tpu_script import Script

script = Script(Path(sys.argv[1]))
while step := script.take(opening=False):
    print(int(step.value))
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_without_one_everything_goes_well(script: Script) -> None:
    assert script.left() == 0
    assert script.take(opening=True) is None
    assert script.take(opening=False) is None
    script.clear()
    assert script.take(opening=False) is None


def test_an_opening_takes_the_acts_of_openings_and_an_invoke_the_others_each_once_and_in_their_order(
    script: Script,
) -> None:
    for number, act in enumerate(Act):
        script.then(act, number)
    assert script.left() == len(Act)
    for opening, acts in ((True, OPENING), (False, RUNNING)):
        assert [script.take(opening=opening) for _ in acts] == [Step(act, float(list(Act).index(act))) for act in acts]
        assert script.take(opening=opening) is None
    assert script.left() == 0


def test_an_act_waits_until_as_many_went_well_as_it_says_and_those_behind_it_wait_too(script: Script) -> None:
    script.then(Act.ABORT, after=2)
    script.then(Act.LATE, 0.5, after=1)
    script.then(Act.OPEN_FAIL)
    taken = [script.take(opening=False) for _ in range(6)]
    assert taken == [None, None, Step(Act.ABORT), None, Step(Act.LATE, 0.5), None]
    assert script.take(opening=True) == Step(Act.OPEN_FAIL), "it does not wait for invokes"


def test_what_is_to_come_can_be_forgotten(script: Script) -> None:
    script.then(Act.HANG)
    script.then(Act.OPEN_HANG)
    script.clear()
    assert script.left() == 0
    assert script.take(opening=False) is None


def test_it_has_an_end(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpu_script, "LINES_MAX", 2)
    script.then(Act.FAIL)
    script.then(Act.FAIL)
    with pytest.raises(AssertionError, match="has an end"):
        script.then(Act.FAIL)


@settings(max_examples=25)
@given(steps=st.lists(STEPS, max_size=6))
def test_whatever_is_written_another_who_names_the_folder_obeys(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    folder = tmp_path_factory.mktemp("bus")
    for step in steps:
        Script(folder).then(step.act, step.value, after=step.after)
    other = Script(folder)
    for opening in (True, False):
        expected: list[Step | None] = []
        for step in steps:
            if step.act.opening is opening:
                expected += [*[None] * step.after, step._replace(after=0)]
        assert [other.take(opening=opening) for _ in expected] == expected
    assert other.left() == 0


def test_of_several_processes_that_obey_each_act_is_done_by_one_while_more_are_written(script: Script) -> None:
    acts = range(150)
    for number in acts[:50]:
        script.then(Act.LATE, number)
    folder = str(script._file.parent)
    obeying = [
        subprocess.Popen([sys.executable, "-c", _TAKE, folder], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda number: script.then(Act.LATE, number), acts[50:]))
    done = [int(number) for process in obeying for number in process.communicate(timeout=TIMEOUT_S)[0].split()]
    while step := script.take(opening=False):
        done.append(int(step.value))
    assert sorted(done) == list(acts)
