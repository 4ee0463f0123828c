"""What a recipe writes into ``[[metrics]]`` and ``[provenance]``."""

from importlib.metadata import PackageNotFoundError, version
from math import isfinite

from appliance.core.facts import ModelMetric
from appliance.errors import ForgeError
from appliance.forge.report import Estimate

DIGITS = 5
"""Of a figure, behind the point: finer than any interval here."""


def figure(name: str, measured: Estimate | float, *, data: str, command: str, unit: str = "") -> ModelMetric:
    """Make a metric of what was measured, rounded to ``DIGITS``.

    Args:
        name: as the card calls it.
        measured: with its 95 % interval, or alone where there is no sampling error.
        data: what it was measured on, with the number of examples.
        command: what measures it again.
        unit: empty for fractions.

    Raises:
        ForgeError: it is not finite, or there is no command.
    """
    estimate = measured if isinstance(measured, Estimate) else Estimate.exact(float(measured))
    if not all(isfinite(each) for each in (estimate.value, estimate.low, estimate.high)):
        msg = f"metric {name!r} is {estimate.value}: not a measured figure; leave it out or measure it"
        raise ForgeError(msg)
    if not command.strip():
        msg = f"metric {name!r} has no command; no figure goes into a card that cannot be measured again"
        raise ForgeError(msg)
    value = round(float(estimate.value), DIGITS)
    if estimate.low == estimate.high == estimate.value:
        return ModelMetric(name, value, data, command, unit=unit)
    # A percentile interval may miss its own value; the wider one is the honest one.
    low, high = (round(float(each), DIGITS) for each in (estimate.low, estimate.high))
    return ModelMetric(name, value, data, command, min(low, value), max(high, value), unit)


def toolchain(*distributions: str) -> dict[str, str]:
    """Give the installed version of each package. Raises ForgeError for one that is not installed."""
    try:
        return {name: version(name) for name in distributions}
    except PackageNotFoundError as error:
        msg = f"{error.name} is not installed here, so its version cannot go into the provenance"
        raise ForgeError(msg) from error
