"""``appliance bench --route``: measures each model on each backend of this device, and keeps which is faster."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Column, Table

from appliance import config as configuration
from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.metrics import PrometheusMeter
from appliance.adapters.model_folder import read_model
from appliance.adapters.route_file import RouteFile
from appliance.compose import Parts, state_dir
from appliance.compose.routes import situation_of
from appliance.compose.timing import ROUNDS, Candidate, measure
from appliance.compose.tpus import make_tpus
from appliance.config import Config
from appliance.core.routing import Route, learn

BAR_COLUMNS = 24
OK = 0


def run(file: Path, *, console: Console, parts: Parts | None = None, rounds: int = ROUNDS) -> int:
    """Measure every model of a configuration, print a table with a bar for each backend, and keep the result.

    The appliance uses it from its next start on: it must not run meanwhile, or the Edge TPU is taken.

    Args:
        file: the configuration.
        console: gets the table.
        parts: what makes backends and Edge TPUs; default: those of this device.
        rounds: how often each backend takes its turn.

    Raises:
        ConfigError: the configuration is wrong, or its state folder cannot be written.
        ModelError: a folder is not sound.
        BackendError: a model's twin cannot run.
    """
    config, parts = configuration.load(file), parts or Parts()
    models = {key: read_model(settings.folder) for key, settings in config.models.items()}
    routes = RouteFile(state_dir(config))
    known = routes.load()
    table = Table(*(Column(name, no_wrap=True) for name in ("model", "backend", "p50 ms", "p99 ms")), "")
    table.title, table.title_justify = "one invoke on this device, in turns", "left"
    with _tpus(config, parts) as tpus:
        for key, model in models.items():
            settings, tpu = config.models[key], tpus.get(config.tpu_of(key))
            candidates = [
                Candidate(name, tpu.backend() if name == "tpu" and tpu else parts.make_backend(name, settings))
                for name in settings.backends
            ]
            with console.status(f"{key}: measuring {', '.join(settings.backends)} in turns ..."):
                measure(model, candidates, rounds)
            timings = tuple(each.timing for each in candidates if not each.left_out)
            route = Route(model.name, model.version, situation_of(config, key, model), timings)
            known = learn(known, route)
            _show(table, key, candidates, route)
    console.print(table)
    routes.save(known)
    console.print(f"kept in {routes.file}; used from the next start on, until it is removed", soft_wrap=True)
    return OK


@contextmanager
def _tpus(config: Config, parts: Parts) -> Iterator[Mapping[str, EdgeTpu]]:
    """Make the Edge TPUs that models want; what becomes of them here is nothing to remember."""
    clock = SystemClock()
    with TemporaryDirectory(prefix="appliance-route-") as folder:
        tpus = make_tpus(config, parts.make_tpu, clock, PrometheusMeter(clock), Path(folder))
        try:
            yield tpus
        finally:
            for tpu in tpus.values():
                tpu.close()


def _show(table: Table, key: str, measured: Sequence[Candidate], route: Route) -> None:
    """Add a model's rows: a bar for each backend, and what follows from it."""
    slowest_ms, first = max(each.p50_ms for each in route.timings), route.order[0]
    for each in measured:
        name = key if each is measured[0] else ""
        if each.left_out:
            table.add_row(name, each.name, "", "", f"[dim]not measured: {each.left_out}[/dim]")
            continue
        timing, colour = each.timing, "green" if each.name == first else "yellow"
        bar = "█" * max(1, round(timing.p50_ms / slowest_ms * BAR_COLUMNS))
        said = "asked first" if each.name == first else ("" if each.name in route.order else "not used")
        row = (f"{timing.p50_ms:.3g}", f"{timing.p99_ms:.3g}", f"[{colour}]{bar:<{BAR_COLUMNS}}[/{colour}] {said}")
        table.add_row(name, each.name, *row)
    table.add_section()
