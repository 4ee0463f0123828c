"""Keys grow old, are lost and stolen: each is replaced by a new root, and clients follow at every moment."""

import re
from pathlib import Path

import pytest

from tests.hub.hubs import Hub, Shop, offered, seen

pytestmark = pytest.mark.slow
MODEL = "tiny-uint8"


def root_keys(hub: Hub, *numbers: int) -> list[object]:
    """Options that sign with root keys, wherever they were carried to."""
    return [word for number in numbers for word in ("--root-key", hub.folder / "keys" / f"root-{number}.pem")]


def key_ids(hub: Hub, role: str) -> set[str]:
    """The keys of a signed file, as `status` tells them."""
    [line] = [line for line in hub("status").splitlines() if re.match(rf"│ {role} ", line)]
    return set(line.split("│")[4].split())


@pytest.mark.parametrize("role", ["releases", "timestamp"])
def test_a_key_is_replaced_by_a_root_that_enough_root_keys_signed_one_after_another(shop: Shop, role: str) -> None:
    hub, file = shop.hub, {"releases": "targets", "timestamp": "snapshot"}[role]
    before = key_ids(hub, file)
    said = hub("rotate-key", role, *root_keys(hub, 1))
    assert "1 more root keys must sign" in said
    assert seen(hub.public), "both keys sign meanwhile"
    assert "a new root is under way" in hub.refused("rotate-key", role)
    hub("rollout", MODEL, 20)
    assert "the new key is here now, and signs alone" in hub("sign-root", *root_keys(hub, 3))
    assert before.isdisjoint(key_ids(hub, file))
    assert [target.path for target in seen(hub.public)]
    [retired] = hub.folder.glob(f"keys/{role}.retired-*.pem")
    assert retired.name.split("-")[1][:8] in before
    hub("stop", MODEL)
    assert offered(hub.public, MODEL)["1.1.0"].custom.rollout_percent == 0


def test_a_lost_releases_key_is_replaced_without_it(shop: Shop) -> None:
    (shop.hub.folder / "keys" / "releases.pem").unlink()
    said = shop.hub("rotate-key", "releases", *root_keys(shop.hub, 2, 3))
    assert "root 2 is published" in said
    assert seen(shop.hub.public)
    shop.hub("stop", MODEL)


def test_a_root_key_is_replaced_and_the_old_one_counts_no_more(shop: Shop) -> None:
    hub = shop.hub
    gone = min(key_ids(hub, "root"))
    assert "3 keys are meant by --retire" in hub.refused("rotate-key", "root", *root_keys(hub, 1))
    said = hub("rotate-key", "root", "--retire", gone)
    assert "root-4.pem: the new key" in said
    assert "no root key has signed yet" in said
    for number in (1, 2, 3, 4):
        said = hub("sign-root", *root_keys(hub, number))
        if "is published" in said:
            break
    assert gone not in key_ids(hub, "root")
    assert seen(hub.public)


def test_a_root_is_renewed_before_it_expires(shop: Shop) -> None:
    assert "root 2 is published" in shop.hub("renew-root", *root_keys(shop.hub, 1, 2))
    assert "is no root key" in shop.hub.refused("renew-root", "--root-key", shop.hub.folder / "keys" / "releases.pem")
    assert seen(shop.hub.public)


def test_a_draft_that_was_published_when_the_power_went_is_no_obstacle(shop: Shop) -> None:
    hub, draft = shop.hub, shop.hub.folder / "next.root.json"
    hub("renew-root", *root_keys(hub, 1))
    kept = draft.read_bytes()
    hub("sign-root", *root_keys(hub, 2))
    draft.write_bytes(kept)
    assert "root 3 is published" in hub("rotate-key", "timestamp", *root_keys(hub, 1, 2))
    assert seen(hub.public)


def test_keys_under_a_passphrase_open_with_it_and_with_no_other(tmp_path: Path) -> None:
    hub, secret = Hub(tmp_path / "hub"), tmp_path / "secret"
    secret.write_text("open sesame\n")
    hub("init", hub.folder, "--passphrase", secret)
    assert "is under a passphrase" in hub.refused("timestamp")
    secret_of_another = tmp_path / "other"
    secret_of_another.write_text("mellon\n")
    assert "another passphrase" in hub.refused("timestamp", "--passphrase", secret_of_another)
    hub("timestamp", "--passphrase", secret)
