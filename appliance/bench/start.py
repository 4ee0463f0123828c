"""How long a start takes and what a running appliance costs: seen from outside, on a real process."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from queue import Empty, SimpleQueue

from appliance.adapters.broker import local_broker
from appliance.adapters.clock import SystemClock
from appliance.adapters.mqtt_connect import make_client, open_client
from appliance.bench import scene
from appliance.bench.figure import Figure, Progress, at_most
from appliance.config import MqttConfig
from appliance.errors import BrokerError

STARTS = 5
DECISION_TIMEOUT_S = 60.0
MEMORY_MIB_MAX = 150.0
STOP_TIMEOUT_S = 15.0

CONFIG = """
[node]
id = "bench"
state_dir = "{state_dir}"
[mqtt]
port = {port}
protocol = "{protocol}"
[models.person]
folder = "{model}"
[channels.bench]
model = "person"
[channels.bench.sensor]
kind = "camera"
source = "{footage}"
repeat = true
[[channels.bench.rules]]
name = "person"
labels = ["person"]
threshold = 0.6
"""


def measure(progress: Progress) -> list[Figure]:
    """Return time to the first decision, import time and resident memory with one camera channel."""
    firsts_s: list[float] = []
    memories_mib: list[float] = []
    with local_broker() as broker:
        for number in range(STARTS):
            progress(f"start {number + 1} of {STARTS}")
            first_s, memory_mib = _one_start(broker.port, broker.protocol)
            firsts_s.append(first_s)
            memories_mib.append(memory_mib)
    progress("imports")
    imports_s = min(_timed([sys.executable, "-c", "import appliance.compose"]) for _ in range(STARTS))
    bare_s = min(_timed([sys.executable, "-c", "pass"]) for _ in range(STARTS))
    return [
        Figure(
            "start_to_first_decision_s", min(firsts_s), "s", note=f"process start to first result, best of {STARTS}"
        ),
        Figure("import_s", imports_s - bare_s, "s", note="everything the loop needs, less the interpreter's own start"),
        at_most(
            "resident_memory_mib", max(memories_mib), "MiB", MEMORY_MIB_MAX, "one camera channel, worst of the starts"
        ),
    ]


def _one_start(port: int, protocol: str) -> tuple[float, float]:
    """Start an appliance, wait for its first judged frame, read its memory, stop it."""
    clock = SystemClock()
    decisions: SimpleQueue[float] = SimpleQueue()
    config = MqttConfig.model_validate({"port": port, "protocol": protocol})
    client = make_client(config, client_id="")
    client.on_connect = lambda client, *_: client.subscribe("edge/bench/bench/state", qos=1)

    def hear(payload: bytes) -> None:
        if payload and json.loads(payload)["outcome_state"] == "result":
            decisions.put(clock.monotonic_s())

    client.on_message = lambda _client, _data, message: None if message.retain else hear(bytes(message.payload))
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
        file = Path(folder) / "bench.toml"
        file.write_text(
            CONFIG.format(state_dir=folder, port=port, protocol=protocol, model=scene.PERSON, footage=scene.FOOTAGE)
        )
        open_client(client, config)
        client.loop_start()
        started_s = clock.monotonic_s()
        command = [sys.executable, "-m", "appliance", "run", "--config", str(file)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
            try:
                first_s = decisions.get(timeout=DECISION_TIMEOUT_S) - started_s
                decisions.get(timeout=DECISION_TIMEOUT_S)
                memory_mib = _resident_mib(process.pid)
            except Empty:
                message = f"no decision within {DECISION_TIMEOUT_S:g} s of the start"
                raise BrokerError(message) from None
            finally:
                process.terminate()
                process.wait(STOP_TIMEOUT_S)
                client.disconnect()
                client.loop_stop()
    return first_s, memory_mib


def _resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB (VmRSS of /proc/<pid>/status, which is in kiB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _timed(command: list[str]) -> float:
    """Seconds that a command takes."""
    clock = SystemClock()
    started_s = clock.monotonic_s()
    subprocess.run(command, check=True)  # noqa: S603 - our own interpreter
    return clock.monotonic_s() - started_s
