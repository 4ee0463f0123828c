"""Publishing as a person does it: a folder in, deltas that make it out of what devices have, and what is refused."""

import fcntl
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.adapters.model_folder import read_model
from appliance.hub import bundle
from appliance.hub.folder import ModelFolder
from tests.hub.hubs import COMMANDS, Hub, Shop, copied, offered, seen, tuned
from tests.model_folders import TINY


def test_a_device_makes_the_published_folder_from_the_one_it_has_or_from_nothing(shop: Shop) -> None:
    fielded = shop.hub.folder / "fielded" / "tiny-uint8"
    manifest, base = offered(shop.hub.public, "tiny-uint8")["1.1.0"], ModelFolder.read(TINY)
    wanted = ModelFolder.read(fielded / "1.1.0")
    assert manifest.model_id == wanted.model_id
    assert bundle.unpack(shop.content("1.1.0", base.model_id), base.files) == wanted.files
    assert bundle.unpack(shop.content("1.1.0", ""), None) == wanted.files
    assert read_model(fielded / "1.1.0").version == "1.1.0"


def test_what_was_said_on_the_command_line_is_what_devices_read(shop: Shop) -> None:
    custom = offered(shop.hub.public, "tiny-uint8")["1.1.0"].custom
    assert (custom.sequence, custom.rollout_percent, custom.summary, custom.terms.tries) == (1, 10, "sees teal", 2)
    assert (custom.whole_allowed, custom.consent, custom.retry) == (True, False, False)
    assert custom.size_bytes == ModelFolder.read(shop.hub.folder / "fielded" / "tiny-uint8" / "1.1.0").size_bytes


def test_every_bundle_and_every_file_in_it_is_shown_with_its_share_of_the_whole(shop: Shop) -> None:
    for line in (
        r"whole +│ signed +│ [\d,]+ │ █{24} 100\.0%",
        r"from 1\.0\.0 +│ signed +│ +\d+ │ [█▏▎▍▌▋▊▉ ]+ \d\.\d%",
    ):
        assert re.search(line, shop.said), line
    assert len(re.findall(r"model\.tflite +│ (?:full-xz|copy|copy-add|sub-xz|tad1) ", shop.said)) == 2
    assert re.search(r"scales of \d+ of \d+ channels pinned to 1\.0\.0: on \d+ golden inputs", shop.said)
    assert "tiny-uint8 1.1.0 is published for 10 % of devices, as number 1" in shop.said


def test_the_next_version_comes_from_the_last_ones_in_the_order_they_were_fielded(shop: Shop) -> None:
    folder = copied(shop.next, shop.root / "models", "1.2.0")
    shop.hub("publish", folder, "--from", 1, "--no-pin-scales")
    manifest, before = (offered(shop.hub.public, "tiny-uint8")[version] for version in ("1.2.0", "1.1.0"))
    assert manifest.sequence == 2
    assert manifest.model_id == ModelFolder.read(folder).model_id, "unpinned is the author's own"
    assert {each.base_id for each in manifest.bundles} == {"", before.model_id}


def test_a_version_is_published_once_and_another_folder_never_takes_its_name(shop: Shop) -> None:
    files = shop.hub.files()
    assert "is published already" in shop.hub.refused("publish", shop.next)
    other = tuned(TINY, shop.root / "others", "1.0.0", seed=9)
    assert "devices have another tiny-uint8 1.0.0" in shop.hub.refused("publish", other)
    assert "devices have another tiny-uint8 1.0.0" in shop.hub.refused("field", other)
    assert shop.hub.files() == files


def test_what_devices_left_the_factory_with_is_published_as_it_is(shop: Shop) -> None:
    shop.hub("publish", TINY, "--from", 0)
    assert offered(shop.hub.public, "tiny-uint8")["1.0.0"].model_id == ModelFolder.read(TINY).model_id
    assert "is noted as fielded" in shop.hub("field", TINY), "twice is once"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "labels.txt").write_text("others\n"),
            r"labels.txt: its sha256 is .*, model.toml says",
        ),
        (lambda folder: (folder / "labels.txt").unlink(), r"no model folder .*labels.txt: No such file"),
        (lambda folder: (folder / "model.toml").write_text("schema = 2"), r"model.toml"),
        (lambda folder: folder.rename(folder.with_name("9.9.9")), r"no model folder"),
    ],
)
def test_a_folder_that_a_device_would_refuse_is_not_published(
    shop: Shop, spoil: Callable[[Path], object], message: str
) -> None:
    files, folder = shop.hub.files(), copied(TINY, shop.root / "models", "1.3.0")
    spoil(folder)
    assert re.search(message, shop.hub.refused("publish", folder))
    assert shop.hub.files() == files


def test_a_folder_of_another_name_is_told_its_own(shop: Shop) -> None:
    folder = copied(TINY, shop.root / "models", "1.3.0")
    moved = shutil.copytree(folder, shop.root / "others" / "9.9.9")
    assert "call it tiny-uint8/1.3.0" in shop.hub.refused("publish", moved)


def test_without_the_whole_only_devices_with_a_base_are_served(shop: Shop) -> None:
    folder = copied(shop.next, shop.root / "models", "1.2.0")
    said = shop.hub("publish", folder, "--from", 1, "--no-whole")
    manifest = offered(shop.hub.public, "tiny-uint8")["1.2.0"]
    assert not manifest.custom.whole_allowed
    assert manifest.bundle_for("") is None
    assert re.search(r"whole +│ left out", said)


def test_a_dead_zone_needs_examples_to_be_judged_by(shop: Shop) -> None:
    done = shop.hub.run("publish", shop.next, "--dead-zone", 1)
    assert done.exit_code == 2
    assert "--evaluate" in done.output


def test_only_one_publisher_works_in_a_hub(shop: Shop) -> None:
    files = shop.hub.files()
    with (shop.hub.folder / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for words in (("publish", shop.next), ("stop", "tiny-uint8"), ("timestamp",)):
            assert re.search(r"another publisher is at work here \(process \d+\)", shop.hub.refused(*words))
    assert shop.hub.files() == files
    shop.hub("timestamp")


def test_a_hub_and_its_keys_are_never_written_over(shop: Shop, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in shop.hub.folder.rglob("*") if file.is_file()}
    assert "is a hub already" in shop.hub.refused("init", shop.hub.folder)
    keys = shop.hub.folder / "keys"
    assert "never written over" in shop.hub.refused("init", tmp_path / "other", "--keys", keys)
    assert {file: file.read_bytes() for file in before} == before
    assert not (tmp_path / "other" / "public").exists()


def test_init_tells_where_each_key_belongs_and_what_a_device_is_given(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub")
    said = hub("init", hub.folder, "--root-keys", 5, "--root-threshold", 3)
    assert len(re.findall(r"root-\d\.pem: carry it to a safe place of its own", said)) == 5
    assert re.search(r"1\.root\.json: ships with each device, as update\.root_file", said)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (hub.folder / "keys").iterdir())
    assert seen(hub.public) == ()
    assert hub.run("init", tmp_path / "x", "--root-keys", 1, "--root-threshold", 2).exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_teaches_by_an_example(command: str) -> None:
    said = Hub(Path("hub"))(command, "--help")
    assert re.search(rf"Example: appliance hub {command}", said)
