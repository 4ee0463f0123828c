"""``python -m appliance`` is ``appliance``."""

from appliance.cli import main
from appliance.ending import run_to_end


def start() -> None:
    """Run the command line, and end the process."""
    run_to_end(main)


if __name__ == "__main__":
    start()
