"""Root's part of an update by stick, on a real file system: read-only, and only the result is written back."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot, without

SCRIPT = Path(__file__).parents[2] / "systemd/libexec/update-stick"
IMAGE_BYTES = 8 * 1024 * 1024

pytestmark = pytest.mark.slow


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


class Stick:
    """A block device with the label, and the folders that the unit gives the script."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.device = run("losetup", "-f", "--show", str(image)).removeprefix("/dev/")
        self.folder = Path("/run/appliance-stick") / self.device
        self.result = Path(f"/run/appliance-update-{self.device}/result.txt")

    def digest(self) -> str:
        return hashlib.sha256(self.image.read_bytes()).hexdigest()

    def remove(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, timeout=60, check=False)
        run("losetup", "-d", f"/dev/{self.device}")
        self.result.unlink(missing_ok=True)
        if self.result.parent.exists():
            self.result.parent.rmdir()


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Stick]:
    if os.geteuid() != 0:
        cannot("mounting takes root")
    if not Path("/dev/loop-control").exists():
        without("a loop device")
    image = tmp_path / "stick.img"
    image.write_bytes(bytes(IMAGE_BYTES))
    content = tmp_path / "content"
    content.mkdir()
    (content / "models.update").write_bytes(b"an archive")
    run("mkfs.ext4", "-q", "-L", "EDGE-UPDATE", "-d", str(content), str(image))
    made = Stick(image)
    try:
        yield made
    finally:
        made.remove()


def test_it_is_mounted_so_that_nothing_on_it_can_run_or_change(stick: Stick) -> None:
    before = stick.digest()
    run(str(SCRIPT), "mount", stick.device)
    options = run("findmnt", "-n", "-o", "OPTIONS", str(stick.folder)).split(",")
    assert {"ro", "nosuid", "nodev", "noexec", "nosymfollow"} <= set(options)
    assert (stick.folder / "models.update").read_bytes() == b"an archive"
    run(str(SCRIPT), "finish", stick.device)
    assert not stick.folder.exists()
    assert stick.digest() == before, "without a result not a byte of the stick changes"


def test_the_appliances_user_reads_it_though_the_unit_masks_everything(stick: Stick) -> None:
    """In a /run of its own, as after a boot: no folder is there yet that another mask has made."""
    steps = (
        "mount -t tmpfs none /run && umask 077",
        f"{SCRIPT} mount {stick.device}",
        f"setpriv --reuid 65534 --regid 65534 --clear-groups cat {stick.folder}/models.update",
    )
    assert run("unshare", "--mount", "--propagation", "private", "sh", "-c", " && ".join(steps)) == "an archive"


def test_a_damaged_stick_does_not_take_the_kernel_down(stick: Stick) -> None:
    run("tune2fs", "-e", "panic", str(stick.image))
    run(str(SCRIPT), "mount", stick.device)
    assert "errors=continue" in run("findmnt", "-n", "-o", "OPTIONS", str(stick.folder)) or "errors=" not in run(
        "findmnt", "-n", "-o", "FS-OPTIONS", str(stick.folder)
    )


def test_what_became_of_it_is_written_back(stick: Stick) -> None:
    run(str(SCRIPT), "mount", stick.device)
    stick.result.parent.mkdir(parents=True, exist_ok=True)
    stick.result.write_text("person 1.1.0: on trial\n")
    run(str(SCRIPT), "finish", stick.device)
    run(str(SCRIPT), "mount", stick.device)
    (written,) = stick.folder.glob("edge-*-result.txt")
    assert written.read_text() == "person 1.1.0: on trial\n"
    run(str(SCRIPT), "finish", stick.device)


@pytest.mark.parametrize("device", ["", "../sda", "sda1;reboot", "SDA", "a b"])
def test_a_device_is_a_name_and_nothing_else(device: str) -> None:
    done = subprocess.run([str(SCRIPT), "mount", device], capture_output=True, timeout=60, check=False)
    assert done.returncode == 64
