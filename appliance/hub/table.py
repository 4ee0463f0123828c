"""What a publisher is shown: the bundles of a version, and a whole hub, as tables."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.console import Group
from rich.table import Column, Table

from appliance.hub.publish import Made, Published
from appliance.hub.signing import Role, SignedRepository
from appliance.trust.manifest import WHOLE, Manifest

BAR_COLUMNS = 24
"""Width of a bar that stands for the whole."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def published_table(published: Published) -> Table:
    """Show every bundle of a version against the whole, and what is in each."""
    whole = next(len(each.built.content) for each in published.made if each.base is None)
    title = f"{published.folder.name} {published.folder.version}: {published.folder.model_id[:12]}"
    table = Table(
        Column("bundle", no_wrap=True),
        Column("kind", no_wrap=True),
        Column("bytes", justify="right", no_wrap=True),
        Column("of the whole", no_wrap=True, min_width=BAR_COLUMNS + 7),
        title=f"{title}, {published.folder.size_bytes:,} bytes",
        title_justify="left",
    )
    for each in published.made:
        size = len(each.built.content)
        what = f"from {each.base.version}" if each.base else WHOLE
        table.add_row(f"[bold]{what}[/]", _state(each), f"[bold]{size:,}[/]", bar(size / whole))
        for path, kind, entry_bytes in _entries(each):
            table.add_row(f"  [dim]{path}[/]", f"[dim]{kind}[/]", f"[dim]{entry_bytes:,}[/]", "")
        table.add_section()
    return table


def bar(share: float) -> str:
    """Draw a share as a bar with its percentage; what is more than the whole ends there."""
    eighths = round(min(share, 1.0) * BAR_COLUMNS * 8)
    drawn = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    return f"{drawn or '▏':{BAR_COLUMNS}} {share:6.1%}"


def status(
    repository: SignedRepository,
    manifests: Mapping[str, tuple[Manifest, ...]],
    fielded: Mapping[str, list[str]],
    now: datetime,
) -> Group:
    """Show a hub.

    Args:
        repository: its signed files.
        manifests: every version that is signed, by model.
        fielded: versions that devices may run, by model, the newest last.
        now: what expiries are counted from.
    """
    return Group(_versions(manifests, fielded), _roles(repository, now))


def remaining(expires: datetime, now: datetime) -> str:
    """Say how long signed metadata is good for."""
    days = (expires - now).total_seconds() / 86_400
    left = f"in {days:,.0f} days" if days >= 1 else "[red]within a day[/]" if days > 0 else "[red]EXPIRED[/]"
    return f"{expires:%Y-%m-%d %H:%M} UTC, {left}"


def _versions(manifests: Mapping[str, tuple[Manifest, ...]], fielded: Mapping[str, list[str]]) -> Table:
    table = Table("model", "version", Column("sequence", justify="right"), "id", "rollout", "from", "terms", "fielded")
    for model in sorted({*manifests, *fielded}):
        signed = manifests.get(model, ())
        published = {manifest.version for manifest in signed}
        factory = [version for version in fielded.get(model, []) if version not in published]
        for manifest in signed:
            names = (model, manifest.version, str(manifest.sequence), manifest.model_id[:12])
            table.add_row(*names, *_offer(manifest), "published")
        for version in reversed(factory):
            table.add_row(model, version, "", "", "", "", "", "factory")
        table.add_section()
    return table


def _offer(manifest: Manifest) -> tuple[str, str, str]:
    """Say to whom a version is offered, from what, and under which terms."""
    custom = manifest.custom
    marks = [
        word
        for word, holds in {
            "on consent": custom.consent,
            "retry": custom.retry,
            "downgrade allowed": bool(custom.allow_downgrade_from),
        }.items()
        if holds
    ]
    percent = f"{custom.rollout_percent} %" if custom.rollout_percent else "[red]stopped[/]"
    deltas = sum(1 for bundle in manifest.bundles if bundle.base_id)
    carried = [f"{deltas} deltas" if deltas != 1 else "1 delta", *(["whole"] if manifest.bundle_for("") else [])]
    return " ".join([percent, *marks]), ", ".join(carried), f"{custom.terms.tries} tries, {custom.terms.duration_s:g} s"


def _roles(repository: SignedRepository, now: datetime) -> Table:
    table = Table("signed file", Column("version", justify="right"), "expires", "keys")
    expires = repository.expires()
    for name, version in repository.versions().items():
        ids = repository.key_ids(Role(name)) if name in set(Role) else repository.key_ids(Role.TIMESTAMP)
        table.add_row(name, str(version), remaining(expires[name], now), " ".join(each[:8] for each in ids))
    return table


def _state(made: Made) -> str:
    if made.signed:
        return "signed"
    return "[yellow]left out[/]" if made.base is None else "[yellow]refused: too large[/]"


def _entries(made: Made) -> Iterator[tuple[str, str, int]]:
    """Yield path, kind and payload of each file in a bundle, the largest first."""
    for entry in sorted(made.built.entries, key=lambda entry: -entry.payload_bytes):
        yield entry.path, str(entry.kind), entry.payload_bytes
