"""Loads libedgetpu and runs compiled models on an Edge TPU. Lives in the worker's process, and nowhere else.

The library aborts the process when a USB transfer stalls on its way out, never returns when one stalls on its way
back, takes 2 to 25 s to open, and crashes beside a runtime it was not built for (libedgetpu's ``usb_driver.cc``;
frigate#2691, edgetpu#22). Nothing here guards against that: the process boundary does.
"""

import ctypes
import re
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from appliance.adapters.backends.engines import Options, TfliteRunner
from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.tensors import first_line
from appliance.adapters.backends.tflite import RUNTIMES, load_runtime, open_network
from appliance.errors import BackendError

DEFAULT_LIBRARY = "libedgetpu.so.1"
OWN_OPTIONS = frozenset({"library", "runtime"})
"""Options that are ours; all others are handed to the library."""
PLUGIN = "tflite_plugin_create_delegate"
"""What a library exports that a runtime can load (TensorFlow Lite, ``external_delegate_interface.h``)."""
UNUSABLE = (ImportError, OSError, AttributeError, RuntimeError, SyntaxError, SystemError, TypeError, ValueError)
"""What the import of a package raises that was built for another Python, NumPy or library, or is another project."""
_NOISE = re.compile(r",?(?:DATE|TIME)=redacted")
"""What the library says of its build without saying anything."""
_Foreign = Any  # neither runtime ships types


class EdgeTpuEngine:
    """One Edge TPU. Each model has a delegate of its own; the library lets them share the device."""

    def __init__(self, options: Options) -> None:
        """Take ``library``, ``runtime``, and what the library itself takes: ``device``, ``Performance``, ..."""
        self._library = options.get("library", DEFAULT_LIBRARY)
        self._runtime = options.get("runtime", "auto")
        own = {key: value for key, value in options.items() if key not in OWN_OPTIONS and value}
        self._options = own | {"device": numbered(options.get("device", ""))}

    def facts(self) -> dict[str, str]:
        """Name the runtime and the library, with their versions: told before the two meet.

        Raises:
            BackendError: one of them is missing; the message says what to install.
        """
        package = _package_of(self._module())
        known = {"runtime": f"{package} {_version_of(package)}".strip(), "library": self._library}
        known["library_version"] = _label(self._loaded())
        if pycoral := self._pycoral(package):
            known["pycoral"] = str(pycoral.__name__)
        return known

    def load(self, signature: Signature, content: bytes) -> TfliteRunner:
        """Open the device and load a compiled model. Raises ModelError, BackendError."""
        module = self._module()
        self._loaded()
        try:
            delegate = self._loader(module)(self._library, self._options)
        except (ValueError, OSError, RuntimeError) as error:
            raise BackendError(self._why_not(error)) from error
        return TfliteRunner(open_network(signature, content, file=signature.file, module=module, delegates=[delegate]))

    def _module(self) -> _Foreign:
        """Import the runtime. Raises BackendError."""
        return load_runtime(self._runtime)  # type: ignore[arg-type]  # the configuration allows no other word

    def _loaded(self) -> ctypes.CDLL:
        """Load the library, without opening a device. Raises BackendError where it is none, or is not there."""
        try:
            library = ctypes.CDLL(self._library)
        except OSError as error:
            msg = f"{self._library} cannot be loaded ({first_line(error)}); install libedgetpu1-std"
            raise BackendError(msg) from error
        if not hasattr(library, PLUGIN):
            msg = f"{self._library} is another library (it has no {PLUGIN}); install libedgetpu1-std"
            raise BackendError(msg)
        return library

    def _loader(self, module: _Foreign) -> Callable[[str, dict[str, str]], _Foreign]:
        """Return what makes a delegate: pycoral's own way where it is installed and matches, else the runtime's."""
        pycoral = self._pycoral(_package_of(module))
        if pycoral is None:
            load: Callable[[str, dict[str, str]], _Foreign] = module.load_delegate
            return load
        return lambda _library, options: pycoral.load_edgetpu_delegate(options)

    def _pycoral(self, package: str) -> _Foreign:
        """Return ``pycoral.utils.edgetpu`` if it is Google's, is built on this runtime, and loads this library.

        The package of that name on PyPI is another project.
        """
        if package != "tflite-runtime" or self._library != DEFAULT_LIBRARY:
            return None
        try:
            module = import_module("pycoral.utils.edgetpu")
        except UNUSABLE:
            return None
        return module if hasattr(module, "load_edgetpu_delegate") else None

    def _why_not(self, error: Exception) -> str:
        """Say why the device does not open. The library itself only says that it failed."""
        said = " ".join(str(error).split())
        if said.endswith(self._library):
            said = "the library gives no reason: no Edge TPU is there, it is taken, or its device file is closed to us"
        return f"{self._library} does not open the device: {said}"


def numbered(device: str) -> str:
    """Name a device by its number: only then does libedgetpu hear the other options, ``Performance`` among them.

    Source: its ``edgetpu_delegate_for_custom_op_tflite_plugin.cc``.

    Args:
        device: as ``TpuConfig.device`` has it.
    """
    return device if ":" in device else f"{device}:0"


def _package_of(module: _Foreign) -> str:
    """Name the package of a runtime's module."""
    return next(name for name, where in RUNTIMES.items() if where == module.__name__)


def _version_of(package: str) -> str:
    """Return a package's version; empty where it is installed under another name, as a nightly build is."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _label(library: ctypes.CDLL) -> str:
    """Ask the library for its version (``edgetpu_version``, ``edgetpu_c.h``); empty where it has none to tell."""
    if not hasattr(library, "edgetpu_version"):
        return ""
    tell = library.edgetpu_version
    tell.restype = ctypes.c_char_p
    return _NOISE.sub("", (tell() or b"").decode("ascii", errors="replace"))
