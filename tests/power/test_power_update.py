"""The whole update, from an archive to a model that serves, under power cuts: the real updater on the real store."""

import sys
from pathlib import Path

import pytest

from appliance.compose.folders import MODELS_FOLDER
from tests.power import chain
from tests.power.claims import Claims, faults
from tests.power.rig import Bench, images, needed, prepare, record
from tests.process.test_update_apply import V1, V2
from tests.slots import MODEL, bundle_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TORN = 2
IMAGES_MIN = 100
RESUME_EVERY = 25


@pytest.fixture(autouse=True)
def _rig() -> None:
    needed()


def test_a_cut_at_any_moment_of_a_whole_update_leaves_a_model_that_serves_and_the_update_goes_on(
    tmp_path: Path,
) -> None:
    content = chain.materials(tmp_path)
    bundles = {"delta": (bundle_of(content, V1), content)}
    base, _ = prepare(["true"])
    log = record([sys.executable, "-m", "tests.power.chain", str(tmp_path), "{folder}"], base)
    number = 0
    with Bench() as bench:
        for number, image in enumerate(images(log, seed=6, torn=TORN), start=1):
            with bench.mounted(image.content) as folder:
                wrong = list(faults(folder / MODELS_FOLDER, Claims.of(image.marks, MODEL), bundles))
                assert wrong == [], image.moment
                if number % RESUME_EVERY == 0:
                    assert chain.run(tmp_path, folder, told=False).committed == V2.model_id, image.moment
        assert Claims.of(image.marks, MODEL).record.committed == V2.model_id, "the whole of it was cut"
    print(f"a whole update: {number} images, 0 broken, 0 lost")
    assert number >= IMAGES_MIN
