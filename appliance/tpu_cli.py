"""The command line's ``tpu``: which Edge TPUs are there, and the recovery service that brings one back."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from appliance import log
from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.core.accelerator import SUPERSPEED_MBPS, Bus, TpuDevice
from appliance.errors import BackendError
from appliance.screen import screen

NONE_THERE = 69
"""Exit code: what must be there is not (sysexits.h, EX_UNAVAILABLE)."""
NO_PERMISSION = 77
"""Exit code: root must do it (sysexits.h, EX_NOPERM)."""
ROOT = Path("/")

app = typer.Typer(help="Look at Edge TPUs: which are plugged in, in what state, and whether they may be opened.")

_out = screen()

RootOption = Annotated[Path, typer.Option("--root", hidden=True, help="Read /sys and /dev below this folder.")]


@app.command("list")
def tpu_list(root: RootOption = ROOT) -> None:
    """List the Edge TPUs that are plugged in, on USB and on PCIe, without opening one.

    A stick is in its bootloader (1a6e:089a) until it is opened for the first time after each power-on, and ready
    (18d1:9302) from then on; one that stays in its bootloader though the appliance runs is broken. On a USB 2 port an
    inference takes some ten times as long. Exit code 0, or 69 when there is none.

    Example: appliance tpu list
    """
    bus = LinuxTpuBus(root=root)
    devices = bus.devices()
    if not devices:
        sys.stderr.write(
            "no Edge TPU is plugged in: neither 1a6e:089a nor 18d1:9302 on USB, nor /dev/apex_* on PCIe; check plug "
            "and power, and on PCIe that the modules gasket and apex are loaded\n"
        )
        raise typer.Exit(NONE_THERE)
    table = Table(
        Column("place", no_wrap=True), "state", "link", Column("node", no_wrap=True), "may open", "temperature"
    )
    for device in devices:
        table.add_row(
            str(device), _state(device), _link(device), device.node, _access(device, root), _temperature(bus, device)
        )
    _out.print(table)


@app.command(hidden=True)
def recover(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The appliance's configuration.")],
    root: RootOption = ROOT,
    uhubctl: Annotated[str | None, typer.Option(hidden=True, help="The program, default: where it is found.")] = None,
) -> None:
    """Carry out one request of the appliance that needs root, and answer it.

    systemd starts it (appliance-tpu-recovery.socket), with a connection for standard input and output; it is of no
    use by hand. The request names an action, rebind or power_cycle, and a place where an Edge TPU is or was; what may
    lose its power stands in the configuration, at tpus.<name>.power_cycle. Exit code 0 when it was answered, 77
    without root.

    Example: appliance tpu recover --config /etc/appliance/appliance.toml
    """
    from appliance.adapters.tpu_bus.recovery_service import serve  # noqa: PLC0415 - the configuration is not for list

    if root == ROOT and os.geteuid() != 0:
        sys.stderr.write("appliance: tpu recover needs root; appliance-tpu-recovery.socket starts it\n")
        raise typer.Exit(NO_PERMISSION)
    log.configure("info", "auto")
    serve(sys.stdin.fileno(), sys.stdout.fileno(), config, root=root, uhubctl=uhubctl)


def _state(device: TpuDevice) -> str:
    if device.bus is Bus.PCI:
        return "ready"
    return "bootloader (1a6e:089a)" if device.dfu else "ready (18d1:9302)"


def _link(device: TpuDevice) -> str:
    """Say what the USB link negotiated, and warn of what makes it slow."""
    if device.bus is Bus.PCI:
        return "PCIe"
    if device.speed_mbps is None:
        return "USB"
    if device.speed_mbps < SUPERSPEED_MBPS:
        return f"[yellow]USB 2, {device.speed_mbps} Mbit/s: slow; use a USB 3 port and cable[/yellow]"
    return f"USB 3, {device.speed_mbps} Mbit/s"


def _access(device: TpuDevice, root: Path) -> str:
    """Say whether this user may open it; whether it opens is another question, and takes seconds."""
    if os.access(root / device.node.lstrip("/"), os.R_OK | os.W_OK):
        return "yes"
    return f"[yellow]no: join the group {'apex' if device.bus is Bus.PCI else 'plugdev'}[/yellow]"


def _temperature(bus: LinuxTpuBus, device: TpuDevice) -> str:
    try:
        temp_c = bus.temperature_c(device)
    except BackendError as error:
        return f"[red]{error}[/red]"
    return "not measured" if temp_c is None else f"{temp_c:.1f} C"
