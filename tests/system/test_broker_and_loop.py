"""Fault 7: whatever the broker does, decisions come as before; test_no_alert_is_lost.py counts the alerts."""

import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.broker import Mosquitto, mosquitto_path
from tests.system.running import Running, parsed
from tests.system.scenes import cards, config
from tests.waiting import eventually

pytestmark = pytest.mark.broker

RATE_HZ = 100.0
FRAMES = 500
"""Decisions that are looked at in each state of the broker: 5 s, longer than any wait of the link's but to connect."""
SLOWER_RATIO_MAX = 1.25
"""Of the time for so many decisions, over the same with a broker that works."""
GAP_RATIO_MAX = 10.0
"""The same for the 99th percentile of the time between two: one blocking write would be a hundred times as long."""
GAP_S_MAX = 5.0
"""Between any two decisions: more than a busy machine takes, half of what one wait to connect would."""
PASSWORD = "correct horse"  # noqa: S105 - of a broker that lives for one test


class Phases:
    """Intervals between decisions, in each state of the broker."""

    def __init__(self, appliance: Running) -> None:
        self._appliance = appliance
        self.intervals_s: dict[str, list[float]] = {}

    def look(self, name: str, arrange: Callable[[], object]) -> None:
        """Arrange a state of the broker, and look on for ``FRAMES`` decisions."""
        arrange()
        first = len(self._appliance.decisions("desk"))
        decisions = eventually(lambda: self._appliance.decisions("desk")[first : first + FRAMES][FRAMES - 1 :] and ...)
        assert decisions
        seen = self._appliance.decisions("desk")[first : first + FRAMES]
        self.intervals_s[name] = [after.decided_s - before.decided_s for before, after in pairwise(seen)]


def guarded(tmp_path: Path) -> Mosquitto:
    """A broker that knows nobody yet."""
    (tmp_path / "passwords").touch()
    settings = f"allow_anonymous false\npassword_file {tmp_path}/passwords"
    return Mosquitto(tmp_path / "guarded", settings=settings, persistence=True)


def admit(tmp_path: Path, broker: Mosquitto, appliance: Running) -> None:
    """Start it again with a user it knows, and wait until it has taken the backlog."""
    broker.stop()
    tool = shutil.which("mosquitto_passwd") or str(Path(mosquitto_path() or "").parent / "mosquitto_passwd")
    command = [tool, "-b", str(tmp_path / "passwords"), "edge", PASSWORD]
    subprocess.run(command, check=True, capture_output=True)
    broker.start()
    eventually(lambda: appliance.counted("edge_mqtt_sessions_total", outcome="accepted") == 1)
    eventually(lambda: delivered(appliance))


def delivered(appliance: Running) -> bool:
    """Whether no more waits than what is on its way."""
    return appliance.counted("edge_spool_messages") < RATE_HZ / 10


@pytest.mark.slow
def test_no_state_of_the_broker_changes_the_rhythm_of_decisions_and_the_backlog_is_delivered_after_it(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    broker = guarded(tmp_path)
    channel = cards(tmp_path / "cards.npz", 100_000, rate_hz=RATE_HZ)
    mqtt = {"username": "edge", "password_file": str(secret)}
    made = parsed(config(tmp_path, broker.port, {"desk": channel}, mqtt=mqtt), tmp_path)
    try:
        with Running(made) as appliance:
            phases = Phases(appliance)
            phases.look("absent", lambda: None)
            phases.look("refuses", broker.start)
            assert appliance.counted("edge_mqtt_sessions_total", outcome="accepted") == 0
            phases.look("works", lambda: admit(tmp_path, broker, appliance))
            phases.look("paused", broker.pause)
            phases.look("resumed", broker.resume)
            phases.look("killed", lambda: broker.stop(kill=True))
            eventually(lambda: appliance.counted("edge_spool_messages") > FRAMES)
            broker.start()
            eventually(lambda: delivered(appliance))
            assert appliance.counted("edge_spool_dropped_total") == 0
    finally:
        broker.__exit__(None, None, None)
    works = phases.intervals_s["works"]
    for name, intervals_s in phases.intervals_s.items():
        assert sum(intervals_s) < SLOWER_RATIO_MAX * sum(works), name
        assert np.percentile(intervals_s, 99) < GAP_RATIO_MAX * np.percentile(works, 99), name
        assert max(intervals_s) < GAP_S_MAX, name
