"""Libraries that only the forge needs: what their objects are called here, and what to do when one is missing."""

import importlib
from typing import Any

from appliance.errors import ForgeError

Foreign = Any
"""An object of tensorflow, of a quantiser or of a runtime: none of them ships types."""

INSTALL = "make forge"
"""The command that makes the forge's environment; decision 0009 says why it is more than one ``pip install``."""


def load_library(module: str, purpose: str) -> Foreign:
    """Import a library the device does not have.

    Args:
        module: its dotted name.
        purpose: what it is needed for, as it completes "... is needed to".

    Raises:
        ForgeError: it is not installed, or is broken; names the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        msg = f"{name} is needed to {purpose} and cannot be imported ({error}); `{INSTALL}` installs the forge's tools"
        raise ForgeError(msg) from error
