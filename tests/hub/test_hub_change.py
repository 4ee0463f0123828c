"""What changes after a version is published: to whom it is offered, and what is carried away on a stick."""

import re
import shutil
import tarfile
from pathlib import Path
from typing import IO, cast

from appliance.adapters.repository.archive import ArchiveRepository
from appliance.hub.folder import ModelFolder
from tests.hub.hubs import Hub, Shop, copied, offered, seen
from tests.model_folders import TINY

MODEL = "tiny-uint8"


def test_a_rollout_is_widened_and_stopped_and_nothing_else_of_the_version_changes(shop: Shop) -> None:
    before = offered(shop.hub.public, MODEL)["1.1.0"]
    for words, percent in ((("rollout", MODEL, 55), 55), (("stop", MODEL), 0), (("rollout", MODEL, 100), 100)):
        shop.hub(*words)
        after = offered(shop.hub.public, MODEL)["1.1.0"]
        assert after.custom == before.custom.model_copy(update={"rollout_percent": percent})
        assert after.bundles == before.bundles


def test_the_newest_version_is_meant_unless_another_is_named(shop: Shop) -> None:
    shop.hub("publish", TINY, "--from", 0)
    shop.hub("stop", MODEL)
    shop.hub("retry", MODEL, "1.1.0")
    shop.hub("allow-downgrade", MODEL, "1.1.0", "--from", "1.0.0")
    now = offered(shop.hub.public, MODEL)
    assert (now["1.0.0"].custom.rollout_percent, now["1.1.0"].custom.rollout_percent) == (0, 10)
    assert (now["1.0.0"].custom.retry, now["1.1.0"].custom.retry) == (False, True)
    assert now["1.1.0"].custom.allow_downgrade_from == (now["1.0.0"].model_id,)


def test_what_is_not_published_cannot_be_changed(shop: Shop) -> None:
    files = shop.hub.files()
    assert "versions of it that are: 1.1.0" in shop.hub.refused("stop", MODEL, "--version", "7")
    assert "versions of it that are: none" in shop.hub.refused("rollout", "person", 5)
    assert shop.hub.files() == files


def test_the_timestamp_is_signed_again_with_its_key_alone(shop: Shop) -> None:
    (shop.hub.folder / "keys" / "releases.pem").unlink()
    said = shop.hub("timestamp", "--days", 7)
    assert re.search(r"timestamp expires .* in 7 days", said)
    assert [target.path for target in seen(shop.hub.public)], "and clients believe it"
    assert "releases.pem: the key cannot be read" in shop.hub.refused("stop", MODEL)


def test_status_shows_versions_percents_and_what_expires(shop: Shop) -> None:
    shop.hub("stop", MODEL)
    said = shop.hub("status")
    assert re.search(rf"│ {MODEL} +│ 1\.1\.0 +│ +1 │ \w{{12}} │ stopped +│ 1 delta, whole", said)
    assert re.search(r"│ 1\.0\.0 .* factory", said)
    assert re.search(r"│ timestamp +│ +\d+ │ .* in 30 days", said)


def test_a_stick_carries_the_same_signed_files_and_the_same_bytes_each_time(shop: Shop, tmp_path: Path) -> None:
    said = shop.hub("export", "--usb", tmp_path / "plant.update")
    assert re.search(r"plant\.update: [\d,]+ bytes; devices install from it until \d{4}-", said)
    shop.hub("export", "--usb", tmp_path / "again.update", "--model", MODEL)
    assert (tmp_path / "again.update").read_bytes() == (tmp_path / "plant.update").read_bytes()
    with tarfile.open(tmp_path / "plant.update") as tar:
        names = tar.getnames()
        for member in tar:
            file = tmp_path / "public" / member.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(cast("IO[bytes]", tar.extractfile(member)).read())
    assert names == sorted(names)
    assert seen(tmp_path / "public") == seen(shop.hub.public)
    assert not any("key" in name for name in names)


def test_a_device_reads_the_stick(shop: Shop, tmp_path: Path) -> None:
    shop.hub("export", "--usb", tmp_path / "plant.update")
    files = shop.hub.files()
    with ArchiveRepository(tmp_path / "plant.update") as repository:
        for name in ("1.root.json", "timestamp.json"):
            assert repository.metadata(name, 100_000) == files[f"metadata/{name}"]


def test_only_what_is_published_fits_on_a_stick_and_only_under_its_name(shop: Shop, tmp_path: Path) -> None:
    assert "person: not published here" in shop.hub.refused(
        "export", "--usb", tmp_path / "a.update", "--model", "person"
    )
    assert "call it <name>.update" in shop.hub.refused("export", "--usb", tmp_path / "a.tar")
    assert "cannot be written" in shop.hub.refused("export", "--usb", tmp_path / "no" / "a.update")
    shutil.rmtree(shop.hub.public / "targets")
    assert "cannot be written" in shop.hub.refused("export", "--usb", tmp_path / "b.update")
    assert list(tmp_path.glob("*.update*")) == []


def test_a_folder_that_is_no_hub_says_how_one_is_made(tmp_path: Path) -> None:
    for words in (("status",), ("stop", MODEL), ("timestamp",), ("publish", TINY)):
        assert re.search("no repository|hub init|cannot be", Hub(tmp_path / "none").refused(*words))


def test_a_damaged_fielded_folder_is_named(shop: Shop) -> None:
    file = shop.hub.folder / "fielded" / MODEL / "1.1.0" / "labels.txt"
    file.write_text("damaged\n")
    folder = copied(TINY, shop.root / "models", "1.2.0")
    assert re.search(r"fielded.*labels\.txt: its sha256 is", shop.hub.refused("publish", folder))
    assert ModelFolder.read(folder)
