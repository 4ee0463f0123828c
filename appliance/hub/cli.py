"""``appliance hub``: the commands of whoever publishes updates."""

import typer

from appliance.hub.change_cli import (
    allow_downgrade_command,
    retry_command,
    rollout_command,
    stop_command,
)
from appliance.hub.key_cli import (
    init_command,
    renew_root_command,
    rotate_key_command,
    sign_root_command,
    timestamp_command,
)
from appliance.hub.publish_cli import field_command, publish_command
from appliance.hub.share_cli import export_command, serve_command, status_command

HELP = """Publish updates of models: signed, as small deltas, to some devices first, and to be stopped at once.

A hub is a folder. [bold]init[/] makes it and its keys, [bold]field[/] notes what devices left the factory with,
[bold]publish[/] adds a version to its public/ folder: static files, for any web server, object store or CDN.
[bold]rollout[/] widens it, [bold]stop[/] ends it, [bold]export[/] puts it on a stick, [bold]timestamp[/] is for a cron
job.

docs/publishing.md walks through all of it.
"""
EPILOG = "Exit codes: 0 done · 2 wrong usage · 65 it cannot be done; nothing that devices see was changed."

app = typer.Typer(
    name="hub",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(init_command)
app.command("field")(field_command)
app.command("publish")(publish_command)
app.command("rollout")(rollout_command)
app.command("stop")(stop_command)
app.command("retry")(retry_command)
app.command("allow-downgrade")(allow_downgrade_command)
app.command("export")(export_command)
app.command("timestamp")(timestamp_command)
app.command("rotate-key")(rotate_key_command)
app.command("sign-root")(sign_root_command)
app.command("renew-root")(renew_root_command)
app.command("status")(status_command)
app.command("serve")(serve_command)
