"""How the appliance announces itself to Home Assistant: one retained JSON for the whole device. Pure.

Announced is what is published, and nothing else. The entities get their state from the topics of
``appliance.core.wire``; those topics carry ``json_attributes_topic`` for none of them, because every message with
new attributes is a row in Home Assistant's recorder, which often lives on an SD card too. The event entity has the
details of each alert as its attributes anyway.

Source: Home Assistant's MQTT documentation (device discovery, binary_sensor, event, sensor), Core 2026.9.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.core.rule import Rule
from appliance.core.types import EventType, FrameKind, Message, Severity
from appliance.core.wire import Identity

STATE_EXPIRE_AFTER_S = 120
"""Without a state for this long an entity is unavailable: twice the longest state interval of the configuration."""
METRICS_EXPIRE_AFTER_S = 180
"""The same for numbers, which come each minute by default."""
MANUFACTURER = "edge-appliance"
INSTALL = "INSTALL"
"""What Home Assistant sends when somebody presses Install."""

Component = dict[str, object]


@dataclass(frozen=True, slots=True)
class ChannelCard:
    """What is announced of one channel."""

    channel: str
    rules: tuple[Rule, ...]
    kind: FrameKind
    model: str
    """Name of its model."""


def discovery(
    identity: Identity, cards: Sequence[ChannelCard], *, tpu: bool = False, models: Sequence[str] = ()
) -> Message:
    """Announce the device with an entity for each rule, one for each channel's events, and its own health.

    Args:
        identity: who is announced.
        cards: of each channel.
        tpu: a model is to run on an Edge TPU; then ``status`` says how it is.
        models: names of those that may be updated.
    """
    components: dict[str, Component] = {"degraded": _degraded(identity), "latency": _latency(identity)}
    if tpu:
        # With hyphens, as no rule's: those of the channel "tpu" are joined to it by underscores.
        components["tpu-problem"] = _tpu_problem(identity)
        components["tpu-advice"] = _tpu_advice(identity)
        components["tpu-temperature"] = _tpu_temperature(identity)
    for model in models:
        components[f"{_joined([model])}-model"] = _update(identity, model)
    for card in cards:
        components[f"{_joined([card.channel])}-alert"] = _alert(identity, card)
        for rule in card.rules:
            components[_joined([card.channel, rule.name])] = _rule(identity, card, rule)
    payload: dict[str, object] = {
        "device": {
            "identifiers": [_object_id(identity)],
            "name": identity.name,
            "manufacturer": MANUFACTURER,
            "model": identity.hardware,
            "sw_version": identity.software_version,
            "serial_number": identity.node,
        },
        "origin": {"name": "edge-appliance", "sw_version": identity.software_version},
        "availability": [{"topic": identity.availability_topic}],
        "availability_mode": "all",
        "qos": 1,
        "components": components,
    }
    return Message(_config_topic(identity), payload, retain=True)


def goodbye(identity: Identity) -> Message:
    """Remove the device, with all its entities, from Home Assistant."""
    return Message(_config_topic(identity), None, retain=True)


def _rule(identity: Identity, card: ChannelCard, rule: Rule) -> Component:
    """Return the entity that is on while the rule's event is active, and unknown while nothing can be judged."""
    component: Component = {
        "platform": "binary_sensor",
        "unique_id": _unique_id(identity, _joined([card.channel, rule.name])),
        "default_entity_id": f"binary_sensor.{_slug(card.channel, rule.name)}",
        "name": f"{_title(card.channel)} {_title(rule.name).lower()}",
        "state_topic": identity.channel_topic(card.channel, "state"),
        # In brackets: a rule may be called what is no attribute in a template (front-door, 2nd, items). Null
        # renders as "None", which a binary sensor takes as unknown.
        "value_template": f"{{{{ value_json['{rule.name}'] }}}}",
        "payload_on": "ON",
        "payload_off": "OFF",
        **_channel_availability(identity, card.channel),
    }
    device_class = _device_class(card.kind, rule)
    if device_class:
        component["device_class"] = device_class
    if card.kind is not FrameKind.RECORD:
        # Records come when somebody asks: the newest answer stands, however long nobody does.
        component["expire_after"] = STATE_EXPIRE_AFTER_S
    return component


def _device_class(kind: FrameKind, rule: Rule) -> str:
    """Return what ON means to Home Assistant: somebody is there, something is wrong, or no more than its name."""
    if kind is FrameKind.IMAGE:
        return "occupancy" if "person" in rule.labels else ""
    return "" if rule.severity is Severity.INFO else "problem"


def _alert(identity: Identity, card: ChannelCard) -> Component:
    """Return the entity that shows each step of a channel's events, with the payload's keys as attributes."""
    return {
        "platform": "event",
        "unique_id": _unique_id(identity, f"{_joined([card.channel])}-alert"),
        "default_entity_id": f"event.{_slug(card.channel, 'alert')}",
        "name": f"{_title(card.channel)} alert",
        "event_types": [event_type.value for event_type in EventType],
        "state_topic": identity.channel_topic(card.channel, "event"),
    }


def _update(identity: Identity, model: str) -> Component:
    """Return the entity that shows which version of a model runs, and lets somebody say yes to a newer one.

    Its state topic is JSON of the form that the platform reads without a template.
    """
    return {
        "platform": "update",
        "unique_id": _unique_id(identity, f"{_joined([model])}-model"),
        "default_entity_id": f"update.{_slug(model, 'model')}",
        "name": f"{_title(model)} model",
        "entity_category": "config",
        "state_topic": identity.model_topic(model, "state"),
        "command_topic": identity.model_topic(model, "set"),
        "payload_install": INSTALL,
    }


def _degraded(identity: Identity) -> Component:
    """Return the entity that is on while the appliance's health is anything but ok."""
    return {
        "platform": "binary_sensor",
        "unique_id": _unique_id(identity, "degraded"),
        "default_entity_id": f"binary_sensor.{_slug(identity.name, 'degraded')}",
        "name": "Degraded",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": identity.status_topic,
        "value_template": "{{ 'OFF' if value_json.overall == 'ok' else 'ON' }}",
        "payload_on": "ON",
        "payload_off": "OFF",
    }


def _latency(identity: Identity) -> Component:
    """Return the entity that shows how old frames are when they are decided."""
    return {
        "platform": "sensor",
        "unique_id": _unique_id(identity, "decision-p95"),
        "default_entity_id": f"sensor.{_slug(identity.name, 'decision latency p95')}",
        "name": "Decision latency p95",
        "device_class": "duration",
        "unit_of_measurement": "ms",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": METRICS_EXPIRE_AFTER_S,
        "state_topic": identity.metrics_topic,
        "value_template": "{{ value_json.decision_p95_ms }}",
    }


def _tpu_problem(identity: Identity) -> Component:
    """Return the entity that is on while there is something to do about an Edge TPU."""
    return {
        "platform": "binary_sensor",
        "unique_id": _unique_id(identity, "tpu-problem"),
        "default_entity_id": f"binary_sensor.{_slug(identity.name, 'tpu problem')}",
        "name": "Edge TPU problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": identity.status_topic,
        "value_template": "{{ 'ON' if value_json.tpu_problem else 'OFF' }}",
        "payload_on": "ON",
        "payload_off": "OFF",
    }


def _tpu_advice(identity: Identity) -> Component:
    """Return the entity that says what to do."""
    return {
        "platform": "sensor",
        "unique_id": _unique_id(identity, "tpu-advice"),
        "default_entity_id": f"sensor.{_slug(identity.name, 'tpu advice')}",
        "name": "Edge TPU advice",
        "entity_category": "diagnostic",
        "state_topic": identity.status_topic,
        "value_template": "{{ value_json.tpu_advice or 'nothing to do' }}",
    }


def _tpu_temperature(identity: Identity) -> Component:
    """Return the entity that shows how warm the hottest Edge TPU is.

    Only one on PCIe can be measured, and which one will be plugged in is not known when this is announced: so it is
    off until somebody enables it, and unknown (null) while there is nothing to measure.
    """
    return {
        "platform": "sensor",
        "unique_id": _unique_id(identity, "tpu-temperature"),
        "default_entity_id": f"sensor.{_slug(identity.name, 'tpu temperature')}",
        "name": "Edge TPU temperature",
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "enabled_by_default": False,
        "state_topic": identity.status_topic,
        "value_template": "{{ value_json.tpu_temp_c }}",
    }


def _channel_availability(identity: Identity, channel: str) -> Component:
    """Say that an entity is available while both the device and its channel are."""
    topics = (identity.availability_topic, identity.channel_topic(channel, "availability"))
    return {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"}


def _config_topic(identity: Identity) -> str:
    """Return the topic of the announcement."""
    return f"{identity.discovery_prefix}/device/{_object_id(identity)}/config"


def _object_id(identity: Identity) -> str:
    """Return the device's id in Home Assistant."""
    return _joined([identity.root, identity.node])


def _unique_id(identity: Identity, key: str) -> str:
    """Return an entity's id, which must stay the same for ever."""
    return f"{_object_id(identity)}_{key}"


def _joined(parts: Iterable[str]) -> str:
    """Join names by ``_`` so that different names never join to the same id.

    An underscore within a name is doubled: channel ``a_b`` with rule ``c`` is ``a__b_c``, channel ``a`` with rule
    ``b_c`` is ``a_b__c``. Names begin with a letter or digit, so the first run of odd length holds the joint.
    """
    return "_".join(part.replace("_", "__") for part in parts)


def _slug(*words: str) -> str:
    """Return a wish for an entity id: lower-case letters, digits, underscores."""
    joined = "_".join(words).lower()
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in joined)


def _title(name: str) -> str:
    """Return a name for people: ``front-door`` becomes ``Front door``."""
    return name.replace("_", " ").replace("-", " ").capitalize()
