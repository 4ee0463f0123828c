"""``appliance hub publish`` and ``field``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from appliance.errors import HubError
from appliance.hub.desk import opened
from appliance.hub.folder import ModelFolder
from appliance.hub.lighter import Gate
from appliance.hub.options import HUB, HubOption, KeysOption, PassphraseOption, keyring, say
from appliance.hub.progress import shown
from appliance.hub.publish import Order, Published, publish
from appliance.hub.table import published_table
from appliance.screen import screen
from appliance.trust.manifest import (
    DECISIONS_MAX,
    DURATION_S_MAX,
    SHADOW_FRAMES_MAX,
    SUMMARY_CHARACTERS_MAX,
    TRIES_MAX,
    Terms,
)

BASES = 3
BASES_MAX = 32
"""A manifest names 64 bundles at most."""
LOSS_MAX = 0.005
DEAD_ZONE_LSB_MAX = 3
DEFAULT = Terms()
MODEL_DIR_HELP = "A model folder, as models/person/1.2.0."

ModelDirArgument = Annotated[Path, typer.Argument(metavar="MODEL_DIR", help=MODEL_DIR_HELP)]


_number = partial(typer.Option, min=0)
_share = partial(typer.Option, min=0.0, max=1.0)

BasesOption = Annotated[int, _number("--from", max=BASES_MAX, metavar="N", help="Deltas from the last N fielded.")]
RolloutOption = Annotated[int, _number("--rollout", max=100, metavar="PERCENT", help="Share of devices it is for.")]


def _short(summary: str) -> str:
    """Refuse a summary that could not be signed."""
    if len(summary) > SUMMARY_CHARACTERS_MAX:
        message = f"--summary has {len(summary)} characters; {SUMMARY_CHARACTERS_MAX} are the most"
        raise typer.BadParameter(message)
    return summary


SummaryOption = Annotated[
    str, typer.Option("--summary", metavar="TEXT", help="What is new, for people at devices.", callback=_short)
]
ConsentOption = Annotated[bool, typer.Option("--consent", help="Somebody has to say yes on each device.")]
NoWholeOption = Annotated[bool, typer.Option("--no-whole", help="Deltas only: never the whole model.")]
PinOption = Annotated[bool, typer.Option(help="Write its weights on the scales of the version before.")]
EvaluateOption = Annotated[Path | None, typer.Option(metavar="FILE.npz", help="Examples that pinning must not cost.")]
GateOption = Annotated[float, _share(metavar="LOSS", help="What it may cost of the metric, with --evaluate.")]
DeadZoneOption = Annotated[
    int, _number(max=DEAD_ZONE_LSB_MAX, metavar="K", help="Weights that moved by K steps stay; needs --evaluate.")
]
TriesOption = Annotated[int, typer.Option(min=1, max=TRIES_MAX, help="Starts a device gives it.")]
ShadowOption = Annotated[int, _number(max=SHADOW_FRAMES_MAX, help="Live frames that both models judge first.")]
AgreementOption = Annotated[float, _share(help="Share of them on which both must agree.")]
DecisionsOption = Annotated[int, typer.Option(min=1, max=DECISIONS_MAX, help="Results it must give in the trial.")]
DurationOption = Annotated[float, _number(max=DURATION_S_MAX, metavar="S", help="Shortest trial, in seconds.")]
FaultsOption = Annotated[float, _share(help="Share of frames it may leave without an answer.")]
LatencyOption = Annotated[float | None, _number(min=0.001, metavar="MS", help="Slowest median of an invoke.")]
MemoryOption = Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="What loading it may add to a process.")]


def field_command(
    folder: ModelDirArgument,
    *,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Note a model folder as one that devices have, without publishing it: what they left the factory with.

    Versions that are published are noted by themselves. Deltas are made from the newest that are.

    Example: appliance hub field models/person/1.1.0
    """
    read = ModelFolder.read(folder)
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        known = desk.fielded.read(read.name, read.version)
        if known is not None and known.model_id != read.model_id:
            msg = f"{folder}: devices have another {read.name} {read.version} ({known.model_id[:12]}), noted before"
            raise HubError(msg)
        if known is None:
            desk.fielded.add(read)
    say(f"{read.name} {read.version} ({read.model_id[:12]}) is noted as fielded; updates are made from it, too")


def publish_command(
    folder: ModelDirArgument,
    *,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
    bases: BasesOption = BASES,
    rollout: RolloutOption = 100,
    summary: SummaryOption = "",
    consent: ConsentOption = False,
    no_whole: NoWholeOption = False,
    pin_scales: PinOption = True,
    evaluate: EvaluateOption = None,
    gate: GateOption = LOSS_MAX,
    dead_zone: DeadZoneOption = 0,
    tries: TriesOption = DEFAULT.tries,
    shadow_frames: ShadowOption = DEFAULT.shadow_frames,
    agreement: AgreementOption = DEFAULT.agreement_min,
    decisions: DecisionsOption = DEFAULT.decisions_min,
    duration: DurationOption = DEFAULT.duration_s,
    faults: FaultsOption = DEFAULT.faults_share_max,
    latency: LatencyOption = None,
    memory: MemoryOption = None,
) -> None:
    """Publish a version of a model: make deltas from what devices have, prove each, sign.

    Each bundle is carried out here as a device does it, before anything is signed. A delta of 80 % of the whole or more
    is left out. The folder is <name>/<version>; a version is published once.

    --pin-scales makes deltas smaller: weights are written on the scales of the version before, where that costs
    nothing. With --evaluate the model's metric decides, else its answers to the golden inputs. Published is then a
    changed copy: flash new devices from fielded/ in the hub, not from your own folder.

    Example: appliance hub publish models/person/1.2.0 --from 3 --rollout 10 --summary "sees cyclists"

    Example: appliance hub publish models/heartbeat/1.1.0 --evaluate models/heartbeat/evaluation/test.npz
    """
    allowed = _gate(evaluate, gate, dead_zone, pin_scales=pin_scales)
    terms = Terms(
        tries=tries,
        shadow_frames=shadow_frames,
        agreement_min=agreement,
        decisions_min=decisions,
        duration_s=duration,
        faults_share_max=faults,
        latency_ms_max=latency,
        memory_bytes_max=memory,
    )
    order = Order(
        folder=ModelFolder.read(folder),
        bases=bases,
        whole=not no_whole,
        rollout_percent=rollout,
        consent=consent,
        summary=summary,
        terms=terms,
        gate=allowed,
    )
    with opened(hub, keyring(hub, keys, passphrase)) as desk, shown() as told:
        _tell(publish(desk, order, told), order)


def _gate(evaluate: Path | None, loss_max: float, dead_zone: int, *, pin_scales: bool) -> Gate | None:
    """Return what lighter weights must pass; None where they stay as they are. Raises typer.BadParameter."""
    if dead_zone and (evaluate is None or not pin_scales):
        message = "--dead-zone may erase an update: it needs --pin-scales and --evaluate FILE.npz"
        raise typer.BadParameter(message)
    return Gate(evaluate, loss_max, dead_zone) if pin_scales else None


def _tell(done: Published, order: Order) -> None:
    """Show what was published."""
    if done.pinning:
        say(done.pinning)
    screen().print(published_table(done))
    if order.bases and not any(each.base and each.signed for each in done.made):
        say("no delta: no version is noted as fielded (`appliance hub field`), or none is worth it")
    name, percent = f"{done.folder.name} {done.folder.version}", order.rollout_percent
    say(f"{name} is published for {percent} % of devices, as number {done.sequence}")
