"""The command line.

Exit codes, after sysexits.h: 0 done; 1 the demo delivered no alert, or a measurement missed its aim; 2 wrong
usage; 65 what was given cannot be used (forge, hub, update); 69 something that must be there is not (a broker, a
sensor under ``check --open``); 70 a bug; 74 the store of models cannot be used, or what is said cannot be written;
75 an update goes on at the next run; 77 root must do it; 78 the configuration or a model folder is wrong, which a
restart does not mend.
"""

import errno
import signal
import sys
from enum import IntEnum
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.table import Column, Table

from appliance import __version__, log
from appliance import config as configuration
from appliance.bench_cli import app as bench_app
from appliance.errors import (
    ApplianceError,
    BackendError,
    BrokerError,
    ConfigError,
    ForgeError,
    HubError,
    ModelError,
    NoBackendError,
    SensorError,
    StoreError,
    UpdateError,
)
from appliance.screen import screen
from appliance.tpu_cli import app as tpu_app
from appliance.update_cli import app as update_app

MODELS_ROOT = Path("models")
STATE_FOLDER = configuration.NodeConfig().state_dir


class Exit(IntEnum):
    """Exit codes, after sysexits.h."""

    OK = 0
    DATA = 65
    UNAVAILABLE = 69
    IOERR = 74
    CONFIG = 78


DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
EXIT_CODES: dict[type[ApplianceError], Exit] = {
    ConfigError: Exit.CONFIG,
    ModelError: Exit.CONFIG,
    ForgeError: Exit.DATA,
    HubError: Exit.DATA,
    SensorError: Exit.UNAVAILABLE,
    BrokerError: Exit.UNAVAILABLE,
    BackendError: Exit.UNAVAILABLE,
    NoBackendError: Exit.UNAVAILABLE,
    StoreError: Exit.IOERR,
    UpdateError: Exit.UNAVAILABLE,
}
"""Errors that may end a command, and how."""

EPILOG = (
    "Exit codes: 0 done · 1 no alert delivered, or an aim missed · 2 wrong usage · 65 what was given cannot be used "
    "(forge, hub, update) · 69 a broker or sensor is not there · 70 a bug · 74 the store of models cannot be used · "
    "75 an update goes on at the next run · 77 root must do it · 78 the configuration or a model folder is wrong."
)

app = typer.Typer(
    name="appliance",
    help="Turns sensor data into decisions on this device: captures, runs an INT8 model, decides, alerts over MQTT.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model_app = typer.Typer(help="Look at model folders: what is there, what a model says of itself, whether it is sound.")
app.add_typer(model_app, name="model", no_args_is_help=True)
app.add_typer(tpu_app, name="tpu", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(update_app, name="update", no_args_is_help=True)

_out = screen()

ConfigArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A TOML configuration; examples/ has three.")]
RootOption = Annotated[Path, typer.Option("--models", help="Folder that holds the models, as models/<name>/<version>.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder, as models/person/1.1.0.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 - the signature that typer calls
    """Print the version and end."""
    if wanted:
        _out.print(f"appliance {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The TOML configuration.")],
) -> None:
    """Run the appliance until it is told to stop (SIGTERM, Ctrl-C).

    This is what the systemd unit starts. It begins deciding at once, with or without a broker: alerts wait on disk.
    A lost sensor or broker does not end it; a wrong configuration or a broken model does (exit code 78).

    Example: appliance run --config /etc/appliance/appliance.toml
    """
    from appliance.compose import build  # noqa: PLC0415 - heavy imports only where they are needed

    loaded = configuration.load(config)
    log.configure(loaded.log.level, loaded.log.format)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    raise typer.Exit(build(loaded, file=config).run(stop))


@app.command()
def check(
    config: Annotated[Path | None, typer.Argument(metavar="FILE", help="A TOML configuration.")] = None,
    *,
    open_sensors: Annotated[
        bool, typer.Option("--open", help="Also open each sensor and capture once (exit 69 when one is not there).")
    ] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its type, bounds and default.")] = False,
) -> None:
    """Say whether a configuration is right, and what it comes to with every default filled in.

    Checks the file, the models it names (digests, descriptions) and that sensors, models and rules fit together.
    Exit code 0, or 78 with one line a fault: file, line, key, what is wrong and what would be right.

    Example: appliance check examples/camera.toml
    """
    from appliance import compose, explain  # noqa: PLC0415 - heavy imports only where they are needed

    if keys:
        _out.print(explain.keys_table())
        return
    if config is None:
        message = "give a FILE to check, or --keys"
        raise typer.BadParameter(message)
    loaded = configuration.load(config)
    compose.check(loaded, file=config)
    _out.print(explain.effective(loaded), highlight=False, markup=False, soft_wrap=True)
    for warning in explain.limits_passed(loaded):
        _out.print(f"# warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    if open_sensors:
        for name, seen in compose.try_sensors(loaded):
            _out.print(f"# channel {name}: {seen}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def demo(
    *,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, max=86_400.0, help="End after this long; default: until Ctrl-C.")
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Tell the story of an update instead: published, tried, kept; a bad one not."),
    ] = False,
) -> None:
    """Watch the appliance find people, judge payments, heartbeats and a pump. Needs no root, no broker, no camera.

    Four channels on bundled footage and recordings, in one process; alerts go over MQTT and come back.

    With --seconds it ends by itself: exit code 0 when at least one alert made the round trip through the broker,
    else 1.

    Example: appliance demo --seconds 20
    """
    from appliance import demo as demonstration  # noqa: PLC0415 - heavy imports only where they are needed

    log.configure("warning", "auto")
    if update:
        from appliance.demo import updates  # noqa: PLC0415 - the hub's tools, for this story only

        raise typer.Exit(updates.run(_out))
    raise typer.Exit(demonstration.run(seconds=seconds, console=_out))


@model_app.command("list")
def model_list(
    root: RootOption = MODELS_ROOT,
    *,
    state: Annotated[
        Path, typer.Option("--state", metavar="DIR", help="The appliance's state folder, where routes are kept.")
    ] = STATE_FOLDER,
) -> None:
    """List the model folders under --models, sound or not.

    The route is what `appliance bench --route` measured here: the backend that is asked first stands in front.

    Example: appliance model list --models /usr/share/appliance/models
    """
    from appliance.adapters.model_folder import list_models  # noqa: PLC0415 - only where it is needed
    from appliance.compose.routes import told  # noqa: PLC0415 - only where it is needed

    log.configure("warning", "auto")
    routes = told(state)
    table = Table(Column("model", no_wrap=True), "version", "task", "input", "size", "licence", "state", "route")
    for *cells, sha256 in list_models(root):
        table.add_row(*cells, routes.get(sha256, ""))
    _out.print(table)


@model_app.command("show")
def model_show(folder: FolderArgument) -> None:
    """Show what a model says of itself: tensors, preprocessing, decoding, source, licence.

    Exit code 0, or 78 with what is wrong with the folder.

    Example: appliance model show models/person/1.1.0
    """
    from appliance import explain  # noqa: PLC0415 - only where it is needed
    from appliance.adapters.model_folder import read_model  # noqa: PLC0415 - only where it is needed

    _out.print(explain.model_table(read_model(folder)))


@model_app.command("verify")
def model_verify(folder: FolderArgument) -> None:
    """Prove a model folder: digests, description against file, golden vectors on this device's CPU.

    Also measures latency and memory here, warns when they pass the limits that the model's author set, and tells the
    model's metrics with the commands that reproduce them. Exit code 0, or 78 with what disagrees.

    Example: appliance model verify models/person/1.1.0
    """
    from appliance import explain  # noqa: PLC0415 - only where it is needed

    for line in explain.proof(folder):
        _out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(
    "forge",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def forge(context: typer.Context) -> None:
    """Turn a trained network into a model folder: quantize, prune, distill, lint, import-onnx, package, compare.

    For the machine where models are built; a device never loads it. It has a --help of its own.

    Example: appliance forge quantize network.keras --calibration pictures/ --mean 127.5 --std 127.5
    """
    from appliance.forge.cli import app as commands  # noqa: PLC0415 - build tools, on a build machine only

    commands(args=context.args, prog_name="appliance forge")


@app.command(
    "hub",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def hub(context: typer.Context) -> None:
    """Publish models to a fleet: keys, signed metadata, deltas, rollouts, a stop, sticks.

    For the machine that publishes; a device never loads it. It has a --help of its own.

    Example: appliance hub publish models/person/1.1.0 --from 3
    """
    from appliance.hub.cli import app as commands  # noqa: PLC0415 - the publisher's tools, never on a device

    commands(args=context.args, prog_name="appliance hub")


def main() -> None:
    """Run the command line; every error on purpose becomes one clear message and its exit code."""
    try:
        app()
    except ApplianceError as error:
        print(f"appliance: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks on stderr
        sys.exit(EXIT_CODES.get(type(error), Exit.UNAVAILABLE))
    except OSError as error:  # of what is printed: whatever else is written names its file, and is an ApplianceError
        if error.errno not in DISK_FULL:
            raise
        print(f"appliance: what it says cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(Exit.IOERR)
