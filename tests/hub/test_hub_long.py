"""What takes long of publishing: real encoders on unlike models, real examples, cuts at every moment."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from appliance.hub import disk
from appliance.hub.agree import by_goldens
from appliance.hub.folder import ModelFolder
from appliance.hub.gate import Examples, by_examples
from appliance.hub.pin import pin
from tests.hub.hubs import Shop, copied, offered, retrained, seen
from tests.model_folders import FRAUD, HEARTBEAT, MACHINE, PERSON

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MODEL = "tiny-uint8"


class CutError(BaseException):
    """The process ends here: nothing of ours catches it."""


def test_a_delta_that_is_not_worth_it_is_left_out_and_those_devices_take_the_whole(shop: Shop) -> None:
    """Nothing of 1.1.0 is left in it: a delta is as large as the whole."""
    other = shop.root / "others" / "tiny-uint8" / "2.0.0"
    shutil.copytree(HEARTBEAT, other)
    toml = other / "model.toml"
    toml.write_text(toml.read_text().replace('"heartbeat"', '"tiny-uint8"').replace('"1.0.0"', '"2.0.0"'))
    said = shop.hub("publish", other)
    assert len(re.findall(r"from 1\.[01]\.0 +│ refused: too large", said)) == 2
    assert "scales not pinned: the graph is not that of 1.1.0" in said
    assert [each.base_id for each in offered(shop.hub.public, "tiny-uint8")["2.0.0"].bundles] == [""]
    toml.write_text(toml.read_text().replace('"2.0.0"', '"2.1.0"'))
    files, newer = shop.hub.files(), other.rename(other.with_name("2.1.0"))
    assert "no device could take it" in shop.hub.refused("publish", newer, "--no-whole", "--from", 0)
    assert shop.hub.files() == files


def test_examples_of_this_repository_judge_with_the_metric_that_the_bench_has(tmp_path: Path) -> None:
    for folder, metric, rows in ((HEARTBEAT, "accuracy", 300), (FRAUD, "PR-AUC", 3000), (MACHINE, "ROC-AUC", 300)):
        file = tmp_path / f"{folder.parent.name}.npz"
        with np.load(folder.parent / "evaluation" / "test.npz") as stored:
            chosen = np.random.default_rng(0).permutation(len(stored["labels"]))[:rows]
            np.savez(file, x=stored["inputs"][chosen], y=stored["labels"][chosen])
        model = ModelFolder.read(folder).model
        verdict = by_examples(model, model.tflite, Examples.read(file, model), 0.0)
        assert verdict.passed
        assert verdict.words.startswith(f"{metric} 0.")
        assert not by_examples(model, retrained(model.tflite, 60.0, 1), Examples.read(file, model), 0.005).passed


def test_a_detector_is_pinned_when_every_detection_is_found_again() -> None:
    """Its raw scores move further than a classifier's may: what counts is what comes out of them."""
    base = ModelFolder.read(PERSON).model
    new = replace(base, tflite=retrained(base.tflite, 0.1, seed=1))
    pinned = pin(base.tflite, new.tflite)
    assert pinned is not None
    verdict = by_goldens(new, pinned.tflite)
    assert verdict.passed, verdict.words
    assert "detections of both are found again" in verdict.words
    other = by_goldens(new, retrained(base.tflite, 8.0, seed=1))
    assert not other.passed
    assert "are not found again (overlap 0.8, score within 0.15)" in other.words


class Cut:
    """Lets a number of steps on the disk happen, then none."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, step: Callable[..., None]) -> Callable[..., None]:
        def limited(*arguments: object) -> None:
            if self.left == 0:
                raise CutError
            self.left -= 1
            step(*arguments)

        return limited


def cut(shop: Shop, after: int, *words: object) -> bool:
    """Run a command that ends after so many steps on the disk; whether it was cut off before its own end."""
    allowed = Cut(after)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "write_folder", "move", "remove"):
            patch.setattr(disk, name, allowed(getattr(disk, name)))
        try:
            shop.hub(*words)
        except CutError:
            return True
    return False


def after_each_cut(first: Shop, tmp_path: Path, *words: object, then: Callable[[Shop], None]) -> int:
    """Cut a command at every step, and look at what is left; returns how many steps it has."""
    for after in count():
        shop = Shop(shutil.copytree(first.root, tmp_path / f"cut-{after}"))
        whole = not cut(shop, after, *words)
        before, now = {target.path for target in seen(first.hub.public)}, {t.path for t in seen(shop.hub.public)}
        assert before <= now, "clients see the state before or the one after"
        assert len(offered(shop.hub.public, MODEL)) in (1, 2)
        then(shop)
        if whole:
            return after
    raise AssertionError


def test_a_publisher_who_is_cut_off_at_any_step_leaves_a_hub_that_the_next_command_completes(
    first: Shop, shop: Shop, tmp_path: Path
) -> None:
    folder = copied(shop.next, tmp_path / "models", "1.2.0")

    def completed(left: Shop) -> None:
        fielded = left.hub.folder / "fielded" / MODEL
        published = "1.2.0" in offered(left.hub.public, MODEL)
        left.hub("timestamp")
        assert sorted(each.name for each in fielded.iterdir()) == ["1.0.0", "1.1.0", *(["1.2.0"] if published else [])]
        if published:
            assert "is published already" in left.hub.refused("publish", folder)
        else:
            left.hub("publish", folder)
        assert ModelFolder.read(fielded / "1.2.0").model_id == offered(left.hub.public, MODEL)["1.2.0"].model_id

    assert after_each_cut(first, tmp_path, "publish", folder, then=completed) >= 8


def test_a_key_rotation_that_is_cut_off_at_any_step_is_completed(first: Shop, shop: Shop, tmp_path: Path) -> None:
    def completed(left: Shop) -> None:
        if (left.hub.folder / "next.root.json").exists():
            left.hub("sign-root", *keys(left))
        left.hub("stop", MODEL)
        assert offered(left.hub.public, MODEL)["1.1.0"].custom.rollout_percent == 0

    def keys(left: Shop) -> list[object]:
        return [word for n in (1, 2) for word in ("--root-key", left.hub.folder / "keys" / f"root-{n}.pem")]

    assert after_each_cut(first, tmp_path, "rotate-key", "releases", *keys(first), then=completed) >= 8
