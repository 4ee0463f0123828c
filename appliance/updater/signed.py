"""What is signed, asked for once in a run, and then as it was answered."""

from collections.abc import Callable

from appliance.errors import MetadataError, RefusedError, RepositoryError, StoreError
from appliance.trust.manifest import Manifest
from appliance.updater.refresh import Refreshed

_Refusal = MetadataError | RefusedError | RepositoryError | StoreError


class Signed:
    """One answer a run, or one refusal; what was trusted before is known all the same."""

    def __init__(self, refresh: Callable[[], Refreshed], known: Callable[[], Refreshed | None]) -> None:
        """Ask nothing yet; ``refresh`` may raise what ``_Refusal`` names, ``known`` StoreError."""
        self._refresh, self._known = refresh, known
        self._answer: Refreshed | None = None
        self._refusal: _Refusal | None = None

    @property
    def fresh(self) -> bool:
        """Whether the repository has answered in this run, and was believed."""
        self._try()
        return self._answer is not None

    @property
    def stale(self) -> str:
        """Why nothing new may be begun on what is known; empty where it may. Raises StoreError."""
        known = self._newest()
        return known.stale if known else ""

    @property
    def refused(self) -> str:
        """Why the answer of this run was not believed; empty where it was, or where there was none."""
        return str(self._refusal) if isinstance(self._refusal, MetadataError | RefusedError) else ""

    def ask(self) -> Refreshed:
        """Return the answer. Raises what it was refused with."""
        self._try()
        if self._answer is None:
            assert self._refusal is not None, "an answer or a refusal"
            raise self._refusal
        return self._answer

    def offers(self, model: str) -> tuple[Manifest, ...]:
        """Return the updates that are signed for a model: by the answer, else as known before. Raises StoreError."""
        known = self._newest()
        return known.manifests.get(model, ()) if known else ()

    def _newest(self) -> Refreshed | None:
        self._try()
        if self._answer is not None:
            return self._answer
        try:
            return self._known()
        except MetadataError:  # what came with the device is damaged: ``ask`` says so
            return None

    def _try(self) -> None:
        if self._answer is None and self._refusal is None:
            try:
                self._answer = self._refresh()
            except (MetadataError, RefusedError, RepositoryError, StoreError) as error:
                self._refusal = error
