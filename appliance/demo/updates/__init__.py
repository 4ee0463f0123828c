"""``appliance demo --update``: a model is published, fetched, tried on live pictures and kept; a bad one not.

Everything is real: keys, signatures, a web server on loopback, an appliance that decides on footage meanwhile. What
is typed at each step is what a team and a device would type.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from appliance.adapters.broker import EmbeddedBroker
from appliance.config import MqttConfig
from appliance.demo.updates import cast
from appliance.demo.updates.device import MODEL, Follower, Moment, Seen, running, write_config
from appliance.hub.serve import server

REPOSITORY = Path(__file__).parents[3]
FOOTAGE = REPOSITORY / "examples" / "footage" / "people-walking.avi"
COMMAND_S = 300.0
"""Longest command of the story."""
CHAPTER_S = 90.0
"""Longest wait for the device in a chapter."""
SHORT = ("--from", "1", "--decisions", "30", "--duration", "4")
"""A trial is minutes on a device, and seconds here."""
MEANT = ("--shadow-frames", "12", "--agreement", "0.2")
"""1.1.0 moves the scores on purpose: its publisher signs that the two need not agree on much."""
CARELESS = ("--shadow-frames", "0")
"""Nobody asked that the broken one be compared before it decides."""
TOLD, NOT_TOLD = 0, 1
"""Exit codes: the story went as it must, or it did not."""
RULE_COLUMNS_MAX = 100
STYLES = {cast.OLD: "cyan", cast.NEW: "green", cast.BROKEN: "red"}


def run(console: Console) -> int:
    """Tell the story; returns its exit code. Raises ConfigError, HubError, BrokerError where it cannot begin."""
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="appliance-demo-")))
        broker = stack.enter_context(EmbeddedBroker())
        story = Story(console, room, MqttConfig(port=broker.port, protocol=broker.protocol))
        return story.tell(stack)


class Story:
    """A hub, a device, and what happens between them."""

    def __init__(self, console: Console, room: Path, mqtt: MqttConfig) -> None:
        """Nothing is started yet."""
        self._console, self._room, self._mqtt = console, room, mqtt
        self._hub, self._config = room / "hub", room / "appliance.toml"
        self._device = Follower(mqtt, self._moment)

    def tell(self, stack: ExitStack) -> int:
        """Tell it; what is started ends with ``stack``."""
        versions = cast.make(REPOSITORY, self._room / "models")
        self._chapter("The team makes its keys and notes what its devices left the factory with")
        self._appliance("hub", "init", str(self._hub))
        self._appliance("hub", "field", str(versions[cast.OLD]), "--hub", str(self._hub))
        url = self._serve(stack)
        root = self._hub / "public" / "metadata" / "1.root.json"
        write_config(self._config, factory=versions[cast.OLD], root=root, url=url, mqtt=self._mqtt, footage=FOOTAGE)
        self._chapter("A device decides on live pictures, with the factory's model")
        self._device.start()
        stack.callback(self._device.stop)
        stack.enter_context(running(self._config, self._room / "appliance.log"))
        told = self._expect(lambda seen: seen.decisions[cast.OLD] > 1, "the factory's model never decided")
        told = told and self._update(versions[cast.NEW], "committed", *MEANT)
        told = told and self._update(versions[cast.BROKEN], "rolled_back", *CARELESS)
        self._conclude()
        return TOLD if told else NOT_TOLD

    def _update(self, folder: Path, outcome: str, *terms: str) -> bool:
        """Publish a version, let the device look for it, and wait for what must come of it."""
        words = {"committed": "The next version", "rolled_back": "A bad one, whose conversion lost a layer"}
        self._chapter(f"{words[outcome]}: {MODEL} {folder.name}")
        self._appliance("hub", "publish", str(folder), "--hub", str(self._hub), *SHORT, *terms)
        self._console.print("the device has a network for a moment:", style="dim")
        self._appliance("update", "run", "--config", str(self._config))
        return self._expect(
            lambda seen: (
                any(each["outcome"] == outcome for each in seen.reports)
                and seen.standing.get("stage") == "idle"
                and seen.deciding == cast.NEW
            ),
            f"{folder.name} was not {outcome.replace('_', ' ')}",
        )

    def _expect(self, what: Callable[[Seen], bool], otherwise: str) -> bool:
        """Wait for something; say so where it does not come."""
        came = self._device.wait(what, CHAPTER_S)
        if not came:
            self._console.print(f"{otherwise} within {CHAPTER_S:g} s", style="bold red")
            self._console.print((self._room / "appliance.log").read_text(errors="replace")[-2000:], markup=False)
        return came

    def _appliance(self, *words: str) -> None:
        """Run a command as one would type it, and show what it says. Raises HubError, as the command did."""
        shown = [word.replace(f"{self._room}/", "") for word in words]
        self._console.print(Text(f"$ appliance {' '.join(shown)}", style="bold"), soft_wrap=True)
        command = [sys.executable, "-m", "appliance", *words]
        environment = {"COLUMNS": str(self._console.width)}
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False, env=os.environ | environment
        )
        wrong = done.returncode != 0
        said = (done.stdout + (done.stderr if wrong else "")).replace(f"{self._room}/", "").rstrip()
        if said:
            self._console.print(Text(said, style="red" if wrong else ""), soft_wrap=True)

    def _serve(self, stack: ExitStack) -> str:
        """Serve the hub's public folder on loopback; gives its address."""
        made = server(self._hub / "public", 0, lambda _: None)
        thread = Thread(target=made.serve_forever, name="hub", daemon=True)
        thread.start()
        stack.callback(made.server_close)
        stack.callback(made.shutdown)
        return f"http://127.0.0.1:{made.server_address[1]}"

    def _chapter(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(f"[bold]{title}", align="left"), width=min(self._console.width, RULE_COLUMNS_MAX))

    def _moment(self, moment: Moment) -> None:
        """Show a change as it happens."""
        self._console.print(_line(moment), soft_wrap=True)

    def _conclude(self) -> None:
        """Draw what happened, and who decided meanwhile."""
        seen = self._device.seen
        self._chapter("What the device did")
        table = Table("s", "stage", "decides", "what happened")
        for moment in seen.moments:
            style = STYLES.get(moment.deciding, "")
            table.add_row(f"{moment.at_s:.1f}", moment.stage, Text(moment.deciding, style=style), moment.words)
        self._console.print(table)
        for report in seen.reports:
            told = f"{MODEL} {report['candidate_version']}: {report['outcome'].replace('_', ' ')}: {report['reason']}"
            self._console.print(f"reported: {told}", soft_wrap=True, highlight=False, markup=False)
        self._console.print(f"now decides: {MODEL} {seen.deciding}", style="bold", highlight=False)


def _line(moment: Moment) -> Text:
    """A change in one line."""
    return Text.assemble(
        (f"{moment.at_s:7.1f} s  ", "dim"),
        (f"{moment.stage or '-':10}", "bold"),
        (f" {MODEL} {moment.deciding or '-':8}", STYLES.get(moment.deciding, "")),
        f" {moment.words}",
    )
