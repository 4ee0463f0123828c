"""The command line's ``update``: one run of the updater, what stands where, an archive by hand, consent."""

import json
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from appliance import config as configuration
from appliance import log
from appliance.errors import RefusedError, RepositoryError, StoreError, UpdateError
from appliance.screen import screen
from appliance.trust import plan
from appliance.trust.state import ModelState

if TYPE_CHECKING:
    from appliance.compose.updates import Updates
    from appliance.ports import Repository

REFUSED, UNAVAILABLE, UNKEPT, LATER = 65, 69, 74, 75
"""Exit codes (sysexits.h): EX_DATAERR, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL."""
FAILED: dict[type[UpdateError], int] = {RefusedError: REFUSED, RepositoryError: UNAVAILABLE, StoreError: UNKEPT}
"""What an archive may come to, and how its command then ends."""
STRANGER = "; it is of another publisher than update.root_file, or this device's root file is too old"
"""What a signature that is missing means to a person."""
PERCENT_STEP = 10
"""A person who watches is told as often."""
IMPORT_WAIT_S = 3600.0
"""How long an archive waits for a run that is under way: more than update.run_s_max is by default."""

app = typer.Typer(
    help="Bring newer models to this device: signed, in small pieces, tried before they serve.",
    epilog="Exit codes: 0 done, or nothing to do · 65 not an update archive, not trusted, or more of them on a stick "
    "than are looked at · 69 it cannot be read · 74 the store of models cannot be used · 75 another run is under way, "
    "or the network is away: the next goes on · 78 the configuration is wrong.",
)

_out = screen()

ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The appliance's configuration.")]


@app.command()
def run(config: ConfigOption) -> None:
    """Look for newer models once, and take each as far as it goes now.

    What a run does not finish, the next one does: it goes on at the byte where it stopped, after any cut. When a model
    is fetched, proven and stored, the running appliance tries it by itself; without one, it waits.
    systemd's appliance-update.timer starts this; by hand it does no harm.

    Example: appliance update run --config /etc/appliance/appliance.toml
    """
    from appliance.compose import standing  # noqa: PLC0415 - heavy imports only where they are needed

    updates = _opened(config)
    code, reason = _run(updates, None)
    _say(reason)
    if _out.is_terminal:  # the journal has had a line for each stage
        _print(standing.sentences(updates))
    raise typer.Exit(code)


@app.command("import")
def import_archive(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="An update archive, of `appliance hub export --usb`, or a stick's folder."),
    ],
    config: ConfigOption,
    result: Annotated[
        Path | None,
        typer.Option("--result", metavar="FILE", help="Write here what became of it: JSON as *.json, else for people."),
    ] = None,
) -> None:
    """Take an update from a file instead of from the network: the same proofs, the same way.

    The file may be on a stick, which may be pulled when the command ends; of a folder, every file whose name ends with
    .update is taken. It costs none of the day's bytes.

    Example: appliance update import /media/stick/models.update --config /etc/appliance/appliance.toml
    """
    from appliance.compose import standing  # noqa: PLC0415 - heavy imports only where they are needed

    updates = _opened(config)
    code, reason = _imported(updates, file)
    _say(reason)
    if result is not None:  # first: a store that cannot be read must not cost the technician the answer
        _kept(result, standing.told(updates, file, reason, code, as_json=result.suffix == ".json"))
    _print(standing.sentences(updates))
    raise typer.Exit(code)


@app.command()
def status(
    config: ConfigOption,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say which model serves, where its update stands, what it waits for, and what failed here.

    Asks nobody: it reads what is on the disk.

    Example: appliance update status --config /etc/appliance/appliance.toml
    """
    from appliance.compose import standing  # noqa: PLC0415 - heavy imports only where they are needed

    updates = _opened(config)
    facts = standing.facts(updates)
    if as_json:
        _out.print(json.dumps(facts, indent=2), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(Column("model", no_wrap=True), "serves", "stage", "newest", "waits for", "last attempt")
    for name in updates.models:
        table.add_row(name, *(cell or "-" for cell in standing.row(updates, name)))
    _out.print(table)
    _print(standing.below(facts))


@app.command()
def consent(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as `update status` shows it.")],
    config: ConfigOption,
) -> None:
    """Say yes to the update that waits for it. It is fetched at the next run (systemd starts one at once).

    Exit code 0, or 65 when none waits for consent.

    Example: appliance update consent person --config /etc/appliance/appliance.toml
    """
    from appliance.updater.stages import CONSENT_FOLDER  # noqa: PLC0415 - only where it is needed

    updates = _opened(config)
    if model not in updates.models:
        _say(f"{model!r} is no model of this device; there are {', '.join(updates.models)}")
        raise typer.Exit(REFUSED)
    state = updates.slots.load(model)
    if state.held != "consent" or state.latest_id is None:
        _say(f"no update of {model} waits for consent")
        raise typer.Exit(REFUSED)
    updates.slots.write_file(f"{CONSENT_FOLDER}/{model}", state.latest_id.encode())
    how = "it will be fetched at the next run" if updates.config.update.url else "plug in or import it once more"
    _out.print(f"{model} {state.latest_version}: {how}", highlight=False)


def _opened(config: Path) -> "Updates":
    """Read the configuration; root goes on as the state folder's owner. Raises ConfigError, ModelError."""
    from appliance.compose.folders import act_as_owner, state_dir  # noqa: PLC0415 - heavy imports only where needed
    from appliance.compose.updates import open_updates  # noqa: PLC0415 - heavy imports only where they are needed

    loaded = configuration.load(config)
    log.configure(loaded.log.level, loaded.log.format)
    act_as_owner(state_dir(loaded))
    return open_updates(loaded, config)


def _imported(updates: "Updates", place: Path) -> tuple[int, str]:
    """Take an archive, or each of a stick's, whatever became of the one before; returns the worst code, all words."""
    from appliance.adapters.repository.archive import ON_A_STICK_MAX, archives  # noqa: PLC0415 - only where needed

    try:
        files = archives(place)
        ended = [_taken(updates, file) for file in files[:ON_A_STICK_MAX]]
    except tuple(FAILED) as error:
        return FAILED[type(error)], str(error)
    if left := files[ON_A_STICK_MAX:]:
        told = f"{len(left)} archives more than {ON_A_STICK_MAX}: {left[0].name} and what follows are not looked at"
        ended.append((REFUSED, told))
    return max(code for code, _ in ended), "; ".join(reason for _, reason in ended if reason)


def _taken(updates: "Updates", file: Path) -> tuple[int, str]:
    from appliance.adapters.repository.archive import ArchiveRepository  # noqa: PLC0415 - only where it is needed

    try:
        with ArchiveRepository(file) as archive:
            code, reason = _run(updates, archive)
            return code, f"{file.name}: {reason}" if reason else ""
    except tuple(FAILED) as error:
        return FAILED[type(error)], str(error)


def _run(updates: "Updates", archive: "Repository | None") -> tuple[int, str]:
    """Do one run, unless another is under way; returns the exit code, and what is wrong in words."""
    stop = Event()
    with ExitStack() as stack:
        if not stack.enter_context(updates.alone(0.0 if archive is None else IMPORT_WAIT_S)):
            return LATER, "another run is under way; nothing to do here"
        before = {name: updates.slots.load(name).attempt for name in updates.models}
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        result = updates.updater(_watch(), stop, archive).run()
    if result.faults:
        return UNKEPT, "; ".join(result.faults)
    failed = [state for state in map(updates.slots.load, updates.models) if _failed_now(state, before[state.model])]
    if result.refused or failed:
        why = f"{result.refused}{STRANGER if 'keys that root' in result.refused else ''}"
        return REFUSED, why if result.refused else "; ".join(f"{state.model}: {state.reason}" for state in failed)
    away = result.unreachable and (archive is not None or updates.config.update.url is not None)
    return (LATER, "the repository is away; the next run goes on") if away else (0, "")


def _failed_now(state: ModelState, attempt_before: int) -> bool:
    """Say whether an attempt that began in this run has failed."""
    return state.attempt > attempt_before and state.candidate is None and state.outcome == "failed"


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        _out.print(line, highlight=False, markup=False, soft_wrap=True)


def _say(reason: str) -> None:
    if reason:
        sys.stderr.write(f"appliance: {reason}\n")


def _watch() -> Callable[[ModelState, int], None]:
    """Return what tells a person on a terminal how far it is; the journal has the log's lines."""
    shown: dict[str, tuple[str, int]] = {}

    def watch(state: ModelState, received_bytes: int) -> None:
        percent = plan.percent(state, received_bytes)
        now = state.stage.value, (percent or 0) // PERCENT_STEP
        if _out.is_terminal and shown.get(state.model) != now:
            shown[state.model] = now
            version = f" {state.candidate.manifest.version}" if state.candidate else ""
            far = "" if percent is None else f" ({percent} %)"
            _out.print(f"{state.model}{version}: {state.stage.value}{far}", highlight=False)

    return watch


def _kept(file: Path, content: str) -> None:
    """Write a result where it was asked for; a stick that is full or gone costs the result and nothing else."""
    try:
        file.write_text(content, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        sys.stderr.write(f"appliance: {file}: {error.strerror}\n")
