"""The updater's run: what it takes, what it waits for, how it goes on, how it ends. v1 serves meanwhile."""

from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from appliance.errors import (
    BundleError,
    MetadataError,
    ModelError,
    OlderError,
    RefusedError,
    RepositoryError,
    StoreError,
)
from appliance.trust.manifest import Bundle, Terms
from appliance.trust.plan import BEGINNINGS_MAX, FAILURES_MAX, SKIP_RUNS_MAX, WRITES_MAX, Event
from appliance.trust.state import Stage
from appliance.updater.finish import HTTPS_REPORTS, MQTT_REPORTS, REPORTS_MAX
from appliance.updater.stages import STALE_FILE, TRIES_MAX
from tests.loop.updater_bench import DELTA_BYTES, V1, V2, V3, WHOLE_BYTES, Offer, UpdaterBench
from tests.loop.updater_faults import FaultySlots, Killed
from tests.slots import MODEL

TO_V2 = Offer(V2, 2)
TO_V3 = Offer(V3, 3, base=V2)
URL = "https://reports.example/in"


def test_an_update_is_fetched_proven_and_stored_and_then_waits_for_the_loop(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    assert bench.run().faults == ()
    state = bench.state
    assert state.stage is Stage.SELFTEST
    assert (state.tries_left, state.attempt, state.fetched_bytes) == (Terms().tries, 1, DELTA_BYTES)
    assert bench.applied == [V1.model_id], "as the delta against what is here"
    assert bench.slots.folder(V2.model_id) is not None
    assert bench.serving() is V1
    bench.runs(3)
    assert bench.state == state, "who is not the loop leaves it alone"


def test_a_committed_update_serves_is_told_of_once_and_the_next_is_taken_from_there(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.run()
    bench.commit()
    assert (bench.serving(), bench.state.previous) == (V2, None)
    [report] = bench.reports()
    assert report["outcome"] == "committed"
    assert (report["running_id"], report["running_version"]) == (V2.model_id, "2.0.0")
    assert (report["node"], report["model"], report["bytes"]) == ("b1", MODEL, DELTA_BYTES)
    bench.publish(TO_V3, TO_V2)
    assert bench.stands() is Stage.SELFTEST
    bench.commit()
    assert (bench.serving(), bench.state.previous) == (V3, V2.model_id)
    assert len(bench.reports()) == 2


def test_a_lost_record_is_rebuilt_from_the_store_and_what_was_committed_serves(tmp_path: Path) -> None:
    """rauc#1907: one status file corrupted, and every slot was lost."""
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.run()
    bench.commit()
    bench.volatile.forget(MODEL)
    assert (bench.serving(), bench.state.sequence) == (V2, 2)
    bench.run()
    assert bench.state.stage is Stage.IDLE, "and it is not fetched once more"


def test_with_nothing_newer_nothing_is_fetched_and_nobody_is_told(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, Offer(V1, 1))
    bench.run()
    assert (bench.state.stage, bench.state.held) == (Stage.IDLE, "")
    assert bench.reports() == []
    assert bench.script.asked == []


def test_a_model_that_failed_its_trial_is_never_fetched_again_and_its_files_are_gone(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.run()
    bench.tell(Event.BAD, "it says red of everything")
    assert (bench.serving(), bench.slots.folder(V2.model_id)) == (V1, None)
    assert bench.slots.condemned() == {V2.model_id: "it says red of everything"}
    bench.runs(3)
    assert (bench.state.stage, bench.state.attempt, bench.state.held) == (Stage.IDLE, 1, "failed")
    bench.publish(TO_V2.signed_anew(retry=True))
    assert bench.stands() is Stage.SELFTEST, "its publisher asks for another try"
    bench.tell(Event.BAD)
    bench.runs(2)
    assert (bench.state.attempt, bench.state.held) == (2, "failed"), "one"


# --- what it waits for ---


@pytest.mark.parametrize(
    ("held", "terms"),
    [("stopped", {"rollout_percent": 0}), ("rollout", {"rollout_percent": 1}), ("consent", {"consent": True})],
)
def test_what_its_publisher_holds_back_waits_and_is_known(held: str, terms: dict[str, object], tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2.signed_anew(**terms))
    bench.run()
    assert (bench.state.stage, bench.state.held, bench.state.latest_version) == (Stage.IDLE, held, "2.0.0")
    assert bench.script.asked == []


def test_consent_is_given_to_one_update_and_not_to_the_next(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, consent="always")
    assert bench.stands() is Stage.IDLE
    bench.slots.write_file(f"consent/{MODEL}", V2.model_id.encode())
    assert bench.stands() is Stage.SELFTEST
    bench.commit()
    bench.publish(TO_V3, TO_V2)
    assert bench.stands() is Stage.IDLE
    assert (bench.state.held, bench.state.latest_id) == ("consent", V3.model_id)


def test_what_has_expired_begins_nothing_new_says_so_and_never_ends_what_is_under_way(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.stale = "what is signed expired 3 days ago"
    bench.run()
    assert (bench.state.stage, bench.state.held) == (Stage.IDLE, "stale")
    assert bench.slots.file(STALE_FILE) == bench.stale.encode()
    bench.stale = ""
    bench.script.break_after_bytes = 0
    assert bench.stands() is Stage.FETCH
    assert bench.slots.file(STALE_FILE) is None
    bench.stale, bench.script.break_after_bytes = "expired again", None
    assert bench.stands() is Stage.SELFTEST


def test_without_space_for_twice_the_model_nothing_is_begun(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    needed = 2 * TO_V2.manifest.custom.size_bytes + DELTA_BYTES
    bench.volatile.script.free_bytes = needed - 1
    bench.run()
    assert (bench.state.stage, bench.state.held) == (Stage.IDLE, "space")
    bench.volatile.script.free_bytes = needed
    assert bench.stands() is Stage.SELFTEST


def test_without_a_fitting_delta_the_whole_is_fetched_only_if_all_allow_it(tmp_path: Path) -> None:
    foreign = Offer(V3, 3, base=V2)
    for number, (offer, whole) in enumerate([(foreign.signed_anew(whole_allowed=False), "signed"), (foreign, "never")]):
        bench = UpdaterBench(tmp_path / str(number), offer, whole=whole)
        bench.run()
        assert (bench.state.stage, bench.state.held) == (Stage.IDLE, "base")
    bench = UpdaterBench(tmp_path / "allowed", foreign)
    assert bench.stands() is Stage.SELFTEST
    assert bench.applied == [""]


def test_a_base_that_is_damaged_on_the_disk_is_not_asked_a_delta_for(tmp_path: Path) -> None:
    """balena-supervisor#1054: a delta was asked for against what was not there."""
    bench = UpdaterBench(tmp_path, TO_V2)
    (bench.factory / "model.tflite").write_bytes(b"worn out")
    bench.run()
    assert bench.applied == [""]


# --- the network ---


def test_a_fetch_goes_on_at_the_byte_where_it_broke_off_and_across_runs(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.break_after_bytes = 30_000
    assert bench.stands() is Stage.SELFTEST
    starts = [int(place.rpartition("@")[2]) for place in bench.script.asked]
    assert starts == list(range(0, DELTA_BYTES, 30_000))
    assert bench.state.fetched_bytes == DELTA_BYTES, "no byte was paid for twice"


def test_a_server_that_is_away_is_tried_with_growing_waits_and_left_to_the_next_run(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.absent = "connection refused"
    before_s = bench.clock.monotonic_s()
    result = bench.run()
    assert result.unreachable
    assert bench.state.stage is Stage.FETCH
    assert len(bench.script.asked) == TRIES_MAX
    assert 200.0 < bench.clock.monotonic_s() - before_s < 600.0
    bench.script.absent = ""
    assert bench.stands() is Stage.SELFTEST


def test_a_run_without_a_network_writes_nothing_down_however_often(tmp_path: Path) -> None:
    """Off the network for months, an accepted update is neither given up nor wears out the card."""
    bench = UpdaterBench(tmp_path, TO_V2, run_s_max=10.0)
    bench.script.break_after_bytes = 0
    bench.run()
    before = bench.state
    assert before.stage is Stage.FETCH
    bench.trouble, bench.script.absent = RepositoryError("no route"), "no route"
    bench.runs(WRITES_MAX + 1)
    assert bench.state == before


def test_a_server_that_answers_but_never_gives_the_bundle_is_given_up_in_the_end(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, run_s_max=10.0)
    bench.script.absent = "503"
    runs = 0
    while bench.stands() is Stage.FETCH:
        runs += 1
        assert runs < WRITES_MAX
    assert (bench.state.stage, bench.state.failures, bench.state.outcome) == (Stage.IDLE, 1, "failed")
    assert bench.state.reason.startswith("given up")


def test_no_run_lasts_longer_than_it_may(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, run_s_max=60.0)
    bench.script.break_after_bytes = 100
    before_s = bench.clock.monotonic_s()
    bench.run()
    assert bench.state.stage is Stage.FETCH
    assert bench.clock.monotonic_s() - before_s <= 60.0
    assert bench.state.fetched_bytes > 0


def test_a_final_no_ends_the_attempt_which_waits_longer_each_time_and_then_for_a_newer_one(tmp_path: Path) -> None:
    """rauc-hawkbit-updater#158: a loop without end on 404."""
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.refuse = "404"
    for failures in range(1, FAILURES_MAX + 1):
        bench.run()
        assert (bench.state.failures, bench.state.attempt) == (failures, failures)
        bench.runs(bench.state.skip_runs)
    bench.runs(5)
    assert (bench.state.stage, bench.state.held, bench.state.attempt) == (Stage.IDLE, "failed", FAILURES_MAX)
    assert len(bench.reports()) == FAILURES_MAX
    bench.script.refuse = ""
    bench.publish(Offer(V3, 3), TO_V2)
    assert bench.stands() is Stage.SELFTEST


def test_what_failed_is_left_alone_for_a_while_unless_there_is_something_newer(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.refuse = "404"
    bench.run()
    bench.script.refuse = ""
    assert bench.stands() is Stage.IDLE
    bench.publish(Offer(V3, 3), TO_V2)
    bench.script.refuse = "404"
    bench.run()
    assert [each.model_id for each in bench.state.failed] == [V2.model_id, V3.model_id]
    assert bench.state.skip_runs == 3, "the wait does not start anew with each version"
    bench.run()
    assert (bench.state.skip_runs, bench.state.attempt) == (2, 2)


def test_two_versions_that_fail_their_trials_are_tried_once_more_each_and_not_in_turn_for_ever(tmp_path: Path) -> None:
    both = (Offer(V3, 3, retry=True), TO_V2.signed_anew(retry=True))
    bench = UpdaterBench(tmp_path, *both)
    for _ in range(10):
        if bench.stands() is Stage.SELFTEST:
            bench.tell(Event.BAD)
    assert (bench.state.stage, bench.state.attempt, bench.state.held) == (Stage.IDLE, 4, "failed")


def test_two_versions_whose_bundles_are_damaged_are_left_in_the_end(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, Offer(V3, 3), TO_V2)
    bench.script.damage = True
    bench.runs(1 + FAILURES_MAX * 2 * (SKIP_RUNS_MAX + 1))
    assert (bench.state.stage, bench.state.attempt, bench.state.held) == (Stage.IDLE, 2 * FAILURES_MAX, "failed")


def refused_for_good(folder: Path) -> UpdaterBench:
    """A device on which so many attempts at v2 failed that it waits for its publisher."""
    bench = UpdaterBench(folder, TO_V2)
    bench.script.damage = True
    while bench.state.held != "failed":
        bench.run()
    bench.script.damage = False
    bench.runs(2)
    assert (bench.state.stage, bench.state.attempt) == (Stage.IDLE, FAILURES_MAX)
    return bench


def test_a_publisher_may_ask_for_another_try_of_what_was_damaged_too_often_and_the_count_begins_anew(
    tmp_path: Path,
) -> None:
    bench = refused_for_good(tmp_path)
    bench.publish(TO_V2.signed_anew(retry=True))
    bench.script.damage = True
    bench.run()
    assert [each.times for each in bench.state.failed] == [1]
    bench.runs(FAILURES_MAX * (SKIP_RUNS_MAX + 1))
    assert (bench.state.attempt, bench.state.held) == (2 * FAILURES_MAX, "failed"), "once"


def test_whoever_brings_a_stick_has_it_tried_though_it_was_damaged_too_often(tmp_path: Path) -> None:
    bench = refused_for_good(tmp_path)
    bench.counts = False
    assert bench.stands() is Stage.SELFTEST


def test_a_retry_that_is_cut_anywhere_happens_once(tmp_path: Path) -> None:
    for number in range(12):
        slots = FaultySlots(tmp_path / str(number))
        bench = UpdaterBench(tmp_path / str(number), TO_V2, slots=slots)
        bench.run()
        bench.tell(Event.BAD)
        bench.publish(TO_V2.signed_anew(retry=True))
        left = count(-number)
        slots.dies = lambda left=left: next(left) == 0  # type: ignore[misc]  # bound to this turn
        with suppress(Killed):
            bench.run()
        slots.dies = lambda: False
        for _ in range(4):
            if bench.stands() is Stage.SELFTEST:
                bench.tell(Event.BAD)
        assert (bench.state.attempt, bench.state.held) == (2, "failed"), number


def test_what_is_not_trusted_is_told_once_and_changes_nothing(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.trouble = MetadataError("targets: signed by nobody we know")
    for _ in range(3):
        assert bench.run().refused == "targets: signed by nobody we know"
    assert bench.state.stage is Stage.IDLE
    assert [report["reason"] for report in bench.reports()] == ["targets: signed by nobody we know"]
    assert bench.slots.file(STALE_FILE) == b"targets: signed by nobody we know"
    assert bench.serving() is V1


# --- stopped, overtaken ---


@pytest.mark.parametrize("terms", [{"rollout_percent": 0}, {"rollout_percent": 1}], ids=["stopped", "taken back"])
def test_an_update_that_its_publisher_stops_while_it_is_fetched_is_dropped(
    terms: dict[str, object], tmp_path: Path
) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.break_after_bytes = 0
    assert bench.stands() is Stage.FETCH
    bench.publish(TO_V2.signed_anew(**terms))
    bench.run()
    assert (bench.state.stage, bench.state.candidate) == (Stage.IDLE, None)


def test_an_update_that_is_overtaken_while_it_is_fetched_gives_way_in_the_same_run(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.break_after_bytes = 0
    assert bench.stands() is Stage.FETCH
    bench.script.break_after_bytes = None
    bench.publish(Offer(V3, 3), TO_V2)
    assert bench.stands() is Stage.SELFTEST
    assert bench.state.candidate is not None
    assert bench.state.candidate.manifest.model_id == V3.model_id


@pytest.mark.parametrize("stage", [Stage.VERIFY, Stage.APPLY])
@pytest.mark.parametrize(
    ("percent", "known", "goes_on"), [(1, True, True), (0, True, False), (0, False, True)], ids=str
)
def test_what_is_here_already_goes_on_unless_it_is_known_to_be_stopped(
    stage: Stage, percent: int, tmp_path: Path, *, known: bool, goes_on: bool
) -> None:
    """A smaller share does not take back what was accepted; nor does a network that is away."""
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.break_after_bytes = 0
    bench.run()
    bench.script.break_after_bytes = None
    bench.apply_trouble = _cut
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    with bench.slots.locked(MODEL):
        bench.slots.save(bench.state.model_copy(update={"stage": stage}))
    bench.apply_trouble = lambda _: None
    bench.publish(TO_V2.signed_anew(rollout_percent=percent))
    bench.trouble = None if known else RepositoryError("no network")
    bench.run()
    assert (bench.state.stage is Stage.SELFTEST) == goes_on
    assert bench.serving() is V1


def test_a_publisher_may_take_a_version_back_and_the_device_goes_to_the_one_before_and_stays(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.run()
    bench.commit()
    bench.publish(TO_V3, TO_V2)
    bench.run()
    bench.commit()
    assert bench.serving() is V3
    back = Offer(V2, 2, base=V3, allow_downgrade_from=(V3.model_id,))
    bench.publish(TO_V3, back)
    assert bench.stands() is Stage.SELFTEST
    bench.commit()
    assert (bench.serving(), bench.state.sequence) == (V2, 2)
    bench.runs(2)
    assert bench.state.stage is Stage.IDLE, "not to and fro"


def test_a_lower_version_is_never_taken_otherwise(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, Offer(V3, 3))
    bench.run()
    bench.commit()
    bench.publish(Offer(V2, 2, base=V3))
    bench.run()
    assert (bench.state.stage, bench.serving()) == (Stage.IDLE, V3)


# --- damage ---


def test_what_was_damaged_on_its_way_is_fetched_anew(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.damage = True
    bench.run()
    assert (bench.state.stage, bench.state.failures) == (Stage.IDLE, 1)
    assert bench.applied == [], "nothing looks inside before it is proven"
    bench.script.damage = False
    bench.runs(bench.state.skip_runs)
    assert bench.stands() is Stage.SELFTEST
    assert bench.applied == [V1.model_id]
    assert [place.rpartition("@")[2] for place in bench.script.asked] == ["0", "0"], "from its first byte"


def test_a_delta_that_does_not_apply_makes_room_for_the_whole_where_that_is_allowed(tmp_path: Path) -> None:
    """rauc-hawkbit-updater#223: never by itself on a metered link."""

    def refuse(bundle: Bundle) -> None:
        if bundle.base_id:
            raise BundleError("what came out is not what was signed")

    for whole in ("signed", "never"):
        bench = UpdaterBench(tmp_path / whole, TO_V2, whole=whole)
        bench.apply_trouble = refuse
        bench.run()
        bench.runs(bench.state.skip_runs + 1)
        expected = [V1.model_id, "" if whole == "signed" else V1.model_id]
        assert bench.applied == expected
        assert (bench.state.stage is Stage.SELFTEST) == (whole == "signed")


def test_a_whole_that_the_days_bytes_do_not_allow_waits_until_they_do(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, Offer(V2, 2, base=None), daily_bytes=WHOLE_BYTES + 1000)
    bench.slots.write_file("budget.json", b'{"left_bytes": 5000.0, "boot_id": "x", "mono_s": 9e9}')
    bench.run()
    assert (bench.state.stage, bench.state.held) == (Stage.IDLE, "budget")
    bench.clock.advance(86_400.0)
    assert bench.stands() is Stage.SELFTEST


def test_a_bundle_larger_than_a_days_bytes_comes_day_by_day(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, daily_bytes=70_000)
    days = 0
    while bench.stands() is Stage.FETCH:
        assert bench.state.held == "budget"
        days += 1
        assert bench.state.fetched_bytes <= 70_000 * days
        bench.clock.advance(86_400.0)
    assert (bench.state.stage, bench.state.held) == (Stage.SELFTEST, "")
    assert days >= DELTA_BYTES // 70_000


def test_what_does_not_suit_this_device_is_condemned_and_not_fetched_again(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.misfit = ModelError("made 2.0.0 does not know door, which a rule looks for")
    bench.run()
    assert (bench.state.stage, bench.state.outcome) == (Stage.IDLE, "rolled_back")
    assert list(bench.slots.condemned()) == [V2.model_id]
    bench.runs(2)
    assert bench.state.attempt == 1
    assert bench.serving() is V1


def test_an_apply_that_takes_the_device_down_each_time_is_given_up(tmp_path: Path) -> None:
    """balena-supervisor#495: out of memory, reboot, and again."""
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.apply_trouble = _cut
    for _ in range(BEGINNINGS_MAX):
        with pytest.raises(KeyboardInterrupt):
            bench.run()
    bench.run()
    assert (bench.state.stage, bench.state.failures, bench.state.failed[0].prefer_whole) == (Stage.IDLE, 1, True)
    assert len(bench.applied) == BEGINNINGS_MAX


def _cut(_bundle: Bundle) -> None:
    """What stands for a power cut: nobody catches it."""
    raise KeyboardInterrupt


# --- reports, and what is told ---


def test_reports_are_posted_the_oldest_first_and_kept_until_they_are_taken(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, report_url=URL)
    bench.run()
    bench.post_trouble = RepositoryError("no route")
    bench.tell(Event.BAD)
    bench.run()
    assert bench.posted == []
    assert len(bench.slots.files(HTTPS_REPORTS)) == 1
    bench.post_trouble = None
    bench.run()
    assert [report["outcome"] for report in bench.posted if isinstance(report, dict)] == ["rolled_back"]
    assert bench.slots.files(HTTPS_REPORTS) == ()
    assert len(bench.reports()) == 1, "those for MQTT are the appliance's to send"


def test_a_report_that_is_refused_for_good_is_dropped(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, report_url=URL)
    bench.run()
    bench.tell(Event.BAD)
    bench.post_trouble = RefusedError("400")
    bench.run()
    assert bench.slots.files(HTTPS_REPORTS) == ()


def test_of_reports_that_nobody_takes_the_newest_are_kept(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path)
    for number in range(1, REPORTS_MAX + 1):
        bench.slots.write_file(f"{MQTT_REPORTS}/{number:06d}.json", b"{}")
    for number in range(3):
        bench.trouble = MetadataError(f"reason {number}")
        bench.run()
    names = bench.slots.files(MQTT_REPORTS)
    assert [names[0][-11:], names[-1][-11:], len(names)] == ["000004.json", "000103.json", REPORTS_MAX]
    assert [report.get("reason") for report in bench.reports()[-3:]] == ["reason 0", "reason 1", "reason 2"]


def test_whoever_watches_sees_it_move_on(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.run()
    shares = [percent for _, percent in bench.watched if percent is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 75
    assert {stage for stage, _ in bench.watched} >= {"metadata", "plan", "fetch", "verify", "apply", "selftest"}


def test_told_to_stop_it_ends_between_two_pieces_and_the_next_run_goes_on(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.break_after_bytes = 70_000
    bench.clock.advance(1.0)
    bench.stop.set()
    bench.run()
    assert bench.state.stage is Stage.IDLE
    bench.stop.clear()
    assert bench.stands() is Stage.SELFTEST


def test_a_store_that_cannot_be_used_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.volatile.script.refuse = "Read-only file system"
    result = bench.run()
    assert "Read-only file system" in result.faults[0]
    assert bench.serving() is V1
    bench.volatile.script.refuse = ""
    assert bench.stands() is Stage.SELFTEST


def test_a_record_that_somebody_else_changed_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)

    def meddle(_bundle: Bundle) -> None:
        with bench.slots.locked(MODEL):
            bench.slots.save(bench.state.model_copy(update={"reason": "I was here"}))

    bench.apply_trouble = meddle
    assert bench.stands() is Stage.SELFTEST, "it went on from what the other wrote"
    assert bench.applied == [V1.model_id], "what is stored is not made again"


def test_from_a_stick_no_bytes_count_and_a_bundle_that_is_not_on_it_is_no_failure(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2, daily_bytes=10_000)
    bench.counts = False
    bench.script.refuse = "is not there"
    assert bench.stands() is Stage.FETCH
    bench.script.refuse = ""
    assert bench.stands() is Stage.SELFTEST
    assert bench.state.failures == 0


def test_whoever_brings_a_stick_need_not_wait_for_what_failed_before(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.script.damage = True
    bench.run()
    bench.script.damage, bench.counts = False, False
    assert bench.state.skip_runs
    assert bench.stands() is Stage.SELFTEST


def test_a_disk_that_fails_in_the_middle_of_a_store_is_a_failure_that_is_counted(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)

    def full(_bundle: Bundle) -> None:
        msg = "store: No space left on device"
        raise StoreError(msg)

    bench.apply_trouble = full
    bench.run()
    assert (bench.state.stage, bench.state.failures) == (Stage.IDLE, 1)
    assert bench.state.reason.endswith("No space left on device")
    assert bench.state.skip_runs
    bench.runs((FAILURES_MAX + 2) * (SKIP_RUNS_MAX + 1))
    assert bench.state.attempt > FAILURES_MAX, "the device's own trouble is not held against the update"
    bench.apply_trouble = lambda _: None
    bench.runs(SKIP_RUNS_MAX)
    assert bench.stands() is Stage.SELFTEST


def test_a_stick_that_is_older_than_what_is_trusted_is_no_fault_and_a_server_is_one(tmp_path: Path) -> None:
    bench = UpdaterBench(tmp_path, TO_V2)
    bench.trouble = OlderError("timestamp is version 1, older than version 2, which is trusted already")
    bench.counts = False
    assert "older than version 2" in bench.run().refused
    assert (bench.state.stage, bench.state.outcome, bench.reports()) == (Stage.IDLE, "", [])
    assert bench.slots.file(STALE_FILE) is None
    bench.counts = True
    bench.run()
    assert bench.slots.file(STALE_FILE) == str(bench.trouble).encode()
    assert [report["outcome"] for report in bench.reports()] == ["failed"]
