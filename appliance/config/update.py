"""Updates of models: from where, how much, and who is asked."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from appliance.config.fields import FilePath
from appliance.schema import Section

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=500)]


class UpdateConfig(Section):
    """Updates of models; without a root file there are none."""

    root_file: FilePath | None = None
    """The publisher's ``root.json``, which came with the device: whom updates are trusted from."""
    url: Url | None = None
    """The publisher's public folder on a web server; default: updates come by stick or file only."""
    report_url: Url | None = None
    """Where what happened is posted to, as JSON; default: it is told over MQTT only."""
    daily_bytes: int = Field(default=50_000_000, ge=10_000, le=100_000_000_000)
    """Bytes that may be fetched in a day of running; a metered link wants less."""
    whole: Literal["signed", "never"] = "signed"
    """Whether a whole model may be fetched where no delta fits: as the publisher signed, or never."""
    consent: Literal["signed", "always"] = "signed"
    """Whether somebody has to say yes (Home Assistant's Install): as the publisher signed, or to each update."""
    timeout_s: float = Field(default=30.0, ge=1.0, le=600.0)
    """Longest silence of the server."""
    rate_bytes_per_s_min: float = Field(default=200.0, ge=0.0, le=1e9)
    """A slower server, over a minute, is left for another time."""
    run_s_max: float = Field(default=1800.0, ge=10.0, le=3600.0)
    """Longest run of the updater; what is unfinished goes on at the next."""
