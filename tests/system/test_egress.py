"""Fault 14: a running device talks to its broker and to nobody else; every system call that could is on record."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.conftest import cannot, without
from tests.system.device import Device
from tests.system.scenes import cards, config
from tests.system.subscriber import mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

ALERTS = 20
TALKING = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r"sa_family=AF_(?!UNIX|NETLINK)\w+[^}]*")


def test_only_the_broker_is_ever_contacted(tmp_path: Path, mosquitto: Mosquitto) -> None:
    if shutil.which("strace") is None:
        without("strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        cannot("this machine does not let strace trace (ptrace is forbidden)")
    record = tmp_path / "strace.txt"
    traced = ("strace", "-f", "--seccomp-bpf", "-e", f"trace={TALKING}", "-o", str(record))
    program = (*traced, sys.executable, "-m", "appliance", "run", "--config")
    made = config(tmp_path, mosquitto.port, {"desk": cards(tmp_path / "cards.npz", ALERTS, rate_hz=20.0)})
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber, Device(tmp_path, made, program=program) as device:
        assert device.end() == 0
        eventually(lambda: len(subscriber.seqs("desk")) >= ALERTS)
    contacted = set(ADDRESS.findall(record.read_text()))
    assert contacted == {f'sa_family=AF_INET, sin_port=htons({mosquitto.port}), sin_addr=inet_addr("127.0.0.1")'}
