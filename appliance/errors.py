"""Every error raised on purpose, one leaf for each *reaction*.

::

    ApplianceError                 an operating error: expected in the field, never a bug
    ├── ConfigError                the configuration is wrong: say where, exit 78, a restart does not help
    ├── ModelError                 a model folder is missing, corrupt or contradicts itself: exit 78
    ├── SensorError                no frame in time: decide NO_RESULT, reopen the sensor with backoff
    ├── Idle                       nothing to judge yet, the sensor is well: no decision, no fault, ask again
    ├── EndOfRecording             a recording has no more frames: the channel ends, the process lives
    ├── FrameError                 a frame, or the answer to it, that cannot be used: decide NO_RESULT
    ├── NoSignalError              the sensor delivers, but this is no signal to judge: decide NO_SIGNAL
    ├── NoScoreError               what the frame is judged against is not there yet: decide NO_SCORE
    ├── BackendError               this backend cannot answer: drop it, serve from the next, probe it later
    │   └── UnfitError             its software is missing or does not fit: say what to install, spare the hardware
    ├── RungError                  a rung of the recovery ladder cannot be tried here: go on to the next
    ├── NoBackendError             no backend answered in time: decide NO_RESULT
    ├── OutboxError                an alert could not be stored: count it, health is failed
    ├── MemoryStoreError           what extractors remember cannot be read or written: go on, say so
    ├── UpdateError                an update cannot go on; its leaves say how
    │   ├── MetadataError          signed metadata is not trusted: keep what is, raise a flag, ask again later
    │   │   └── OlderError         it is older than what is trusted: of a stick no fault, from a server an attack
    │   ├── RepositoryError        the repository cannot be reached, or broke off: back off, go on where it stopped
    │   ├── RefusedError           the repository says no, finally (4xx): drop the candidate
    │   ├── BudgetError            the day's bytes are used up: keep what is there, go on later
    │   ├── BundleError            a bundle, or what comes out of it, is not what was signed: drop it, count it
    │   ├── StateError             a record of where an update stands is damaged: rebuild it from the store
    │   ├── StoreError             the store cannot be read or written (full, read-only): install nothing, serve on
    │   └── CandidateError         the candidate does not do what it must: never try it again
    ├── HubError                   the publishing side cannot carry out a step: say what to do, exit 65
    ├── BrokerError                no session with the broker: back off, connect again
    └── ForgeError                 a build step cannot be carried out: say what to do, exit 65

Adapters convert foreign exceptions at the port and nowhere else. A broken invariant is an ``assert``,
which ends the process; systemd starts it again.
"""


class ApplianceError(Exception):
    """Root of the tree. Raise a leaf, never this class itself."""


class ConfigError(ApplianceError):
    """The configuration is wrong; the message names file, key path and what would be right."""


class ModelError(ApplianceError):
    """A model folder cannot be trusted; the message names the folder and what disagrees."""


class SensorError(ApplianceError):
    """The sensor gave no frame within its bounded wait, or was lost."""


class Idle(ApplianceError):  # noqa: N818 - a state, not a fault: nobody asked yet
    """Nothing to judge yet; the sensor is well (no request came, a window is still filling)."""


class EndOfRecording(ApplianceError):  # noqa: N818 - an end, not a fault: nothing went wrong
    """A recording was played to its end."""


class FrameError(ApplianceError):
    """A frame has not the shape or kind that the model takes, or the model's answer to it is not finite."""


class NoSignalError(ApplianceError):
    """The sensor delivers, but what it delivers is not a signal that could be judged; the message says why."""


class NoScoreError(ApplianceError):
    """The frame is sound, but what it is judged against is not there yet (no history, no baseline).

    The message is a fixed sentence: each change of it is published.
    """


class BackendError(ApplianceError):
    """A backend died, missed its deadline, or failed its golden vectors."""


class UnfitError(BackendError):
    """What drives the hardware is not installed, or does not fit; the message says what to install."""


class RungError(ApplianceError):
    """A rung of the recovery ladder cannot be tried on this device; the message says why and what would allow it."""


class NoBackendError(ApplianceError):
    """No backend of the model's order could answer."""


class OutboxError(ApplianceError):
    """The outbox could take neither to disk nor to memory what it was given."""


class MemoryStoreError(ApplianceError):
    """What extractors remember could not be read or written; the message names the file."""


class BrokerError(ApplianceError):
    """The broker is absent, refused the connection, or ended it."""


class ForgeError(ApplianceError):
    """A build step cannot be carried out; the message says what is wrong, where, and what to do."""


class UpdateError(ApplianceError):
    """An update cannot go on. Raise a leaf, never this class itself."""


class MetadataError(UpdateError):
    """Signed metadata is not trusted: a signature, a version, a digest or an expiry; the message says which."""


class OlderError(MetadataError):
    """Signed metadata is older than what is trusted already."""


class RepositoryError(UpdateError):
    """The repository cannot be reached now, or broke off."""


class RefusedError(UpdateError):
    """The repository answered with a final no."""


class BudgetError(UpdateError):
    """The data budget does not allow more bytes now."""


class BundleError(UpdateError):
    """A bundle, or what comes out of it, is not what was signed; it is the bundle's fault, not the device's."""


class StateError(UpdateError):
    """A record of where an update stands cannot be read."""


class StoreError(UpdateError):
    """The store of models cannot be read or written; the message names the path and what the system said."""


class CandidateError(UpdateError):
    """A candidate does not do what it must; the message says what."""


class HubError(ApplianceError):
    """A step of publishing cannot be carried out; the message says what is wrong, where, and what to do."""
