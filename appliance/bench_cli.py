"""The command line's ``bench``: what the appliance costs, what it survives, and which backend is the faster one."""

from pathlib import Path
from typing import Annotated

import typer

from appliance import log
from appliance.screen import screen

MINUTES_MAX = 100_000.0
SEED_MAX = 2**32 - 1
FAULTS = 200

app = typer.Typer()

_out = screen()

JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")]


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    *,
    json_file: JsonOption = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these measurements (may be given more than once).")
    ] = None,
    faults: Annotated[int, typer.Option(min=1, max=10_000, help="How many of each kind failover injects.")] = FAULTS,
    soak: Annotated[
        float | None,
        typer.Option(min=0.01, max=MINUTES_MAX, metavar="MINUTES", help="Random faults for so long, nothing else."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEED_MAX, help="Draws the faults of --soak; default: by chance, and told.")
    ] = None,
    route: Annotated[
        bool, typer.Option("--route", help="Measure the models of --config on each backend, nothing else.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The TOML configuration, for --route.")
    ] = None,
) -> None:
    """Measure speed as ratios within one run, so that a noisy machine does not decide the outcome.

    loop_overhead: frames/s of the whole loop over bare invoke(). publish: capture to publish. transactions: request to
    decision at 200 requests/s. start: time to the first decision, memory. disk: bytes written per 1,000 alerts.
    worker_overhead: what the Edge TPU's process adds to an invoke. return_s: from an Edge TPU's return to the first
    decision on it. failover: the decision that meets a fault of the Edge TPU, 200 of each kind (a quarter of an hour).
    blind_as_empty: pictures of people that read as "nobody" meanwhile. No Edge TPU is needed: a stand-in fails.

    --soak: a whole appliance under random faults; it has to lose nothing and to hold nothing in the end. --route: each
    model on each of its backends of this device; the appliance uses the faster one from its next start on. Stop it
    first (systemctl stop appliance): two programs cannot have the Edge TPU.

    Exit code 0, or 1 when an aim was missed, a decision lost, or anything has grown.

    Example: appliance bench --only loop_overhead --only disk --json bench.json

    Example: appliance bench --soak 60

    Example: appliance bench --route --config /etc/appliance/appliance.toml
    """
    if context.invoked_subcommand is not None:
        return
    if route != (config is not None):
        message = "--route and --config FILE go together"
        raise typer.BadParameter(message)
    if sum((route, soak is not None, bool(only))) > 1:
        message = "--only, --soak and --route are measurements of their own: give one of them"
        raise typer.BadParameter(message)
    log.configure("error", "auto")
    raise typer.Exit(_measured(only=only, json_file=json_file, faults=faults, soak=soak, seed=seed, config=config))


def _measured(
    *,
    only: list[str] | None,
    json_file: Path | None,
    faults: int,
    soak: float | None,
    seed: int | None,
    config: Path | None,
) -> int:
    """Take the measurements; returns the exit code. Heavy imports only where they are needed."""
    if config is not None:
        from appliance.bench import route  # noqa: PLC0415 - as above

        return route.run(config, console=_out)
    if soak is not None:
        from appliance.bench import soak as soaking  # noqa: PLC0415 - as above

        return soaking.run(minutes=soak, seed=seed, json_file=json_file, console=_out)
    from appliance import bench as benches  # noqa: PLC0415 - as above

    return benches.run(only=tuple(only or ()), json_file=json_file, console=_out, faults=faults)


@app.command("models")
def bench_models(
    root: Annotated[Path, typer.Option("--models", help="Folder that holds the models.")] = Path("models"),
    *,
    json_file: JsonOption = None,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the times here, as SVG.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How often each model takes its turn; default: 20.")
    ] = None,
) -> None:
    """Judge every model INT8 against float, weigh it, and time it on three runtimes with one and two threads.

    All in one run, in turns, from what is committed beside each model (evaluation/); nothing is trained. ONNX Runtime
    and tflite-runtime are put into environments of their own, once; what cannot be installed is told and left out.
    Exit code 0, or 1 when quantisation cost a model more than its aim allows.

    Example: appliance bench models --chart models.svg --json models.json
    """
    from appliance.bench import models as bench_of_models  # noqa: PLC0415 - heavy imports only where they are needed

    log.configure("error", "auto")
    raise typer.Exit(bench_of_models.run(root, json_file=json_file, chart=chart, rounds=rounds, console=_out))


@app.command("delta")
def bench_delta(
    pairs: Annotated[Path, typer.Option(help="Folder that holds the pairs of model files.")] = Path(
        "models/updates/pairs"
    ),
    *,
    json_file: JsonOption = None,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the sizes here, as SVG.")] = None,
) -> None:
    """Weigh updates of models: our deltas against bsdiff4, xdelta3, zstd, HDiffPatch and xz, on real pairs.

    All in one run; every patch is applied and compared. What is counted is the patch alone: digests and signatures are
    needed around each. Tools that are not installed are told and left out. Of ours also what applying costs, in a
    process of its own. Exit code 0, or 1 when an aim was missed.

    Example: appliance bench delta --chart delta.svg --json delta.json
    """
    from appliance.bench import delta  # noqa: PLC0415 - heavy imports only where they are needed

    log.configure("error", "auto")
    raise typer.Exit(delta.run(pairs, json_file=json_file, chart=chart, console=_out))
