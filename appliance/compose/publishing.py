"""Who speaks, and how the publisher is made: what it announces, says and listens to."""

import random
from collections.abc import Mapping
from pathlib import Path

from appliance import __version__
from appliance.adapters.identity import hardware, node_id
from appliance.commands import Commands
from appliance.config import Config
from appliance.core import wire
from appliance.core.discovery import ChannelCard, discovery
from appliance.core.model import Model
from appliance.loop import Edges
from appliance.ports import Clock, Link
from appliance.publisher import Publisher
from appliance.trial import Trials


def make_publisher(
    config: Config, link: Link, edges: Edges, models: Mapping[str, Model], trials: Trials | None
) -> Publisher:
    """Wire the publisher; ``models`` are those that serve, by key, and ``trials`` those that may be updated."""
    mqtt, identity, updated = config.mqtt, edges.identity, trials.names if trials else ()
    commands = Commands(
        identity,
        edges.board,
        edges.outbox,
        edges.clock,
        edges.meter,
        consents=dict.fromkeys(trials.names, trials.consent) if trials else {},
    )
    cards = [
        ChannelCard(
            name,
            tuple(rule.to_rule() for rule in channel.rules),
            models[channel.model].preprocess.kind,
            channel.model,
        )
        for name, channel in config.channels.items()
    ]
    tpu = any("tpu" in section.backends for section in config.models.values())
    return Publisher(
        link,
        edges.outbox,
        edges.board,
        edges.clock,
        edges.meter,
        mqtt,
        sync_interval_s=config.outbox.sync_interval_s,
        announce=lambda: [discovery(identity, cards, tpu=tpu, models=updated)] if mqtt.discovery else [],
        on_command=commands.obey,
        birth_topic=identity.birth_topic if mqtt.discovery else None,
        command_topics=commands.topics,
        online=wire.availability(identity, online=True),
        offline=wire.availability(identity, online=False),
        jitter=random.random,
    )


def identity_of(config: Config, folder: Path, clock: Clock) -> wire.Identity:
    """Who this device is."""
    return wire.Identity(
        root=config.mqtt.root,
        node=config.node.id or node_id(folder),
        name=config.node.name,
        boot_id=clock.boot_id,
        software_version=__version__,
        hardware=hardware(),
        discovery_prefix=config.mqtt.discovery_prefix,
    )
