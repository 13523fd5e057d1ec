"""What lies in the folder of a run, read and validated. Readable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from job.errors import ConflictError, ObjectMissing, UsageError
from job.logs import get_logger
from job.manifest import Manifest
from job.runs import Environment, Progress, RunKeys, RunResult
from job.storage import NO_S3, Store, is_remote, quote_page


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run in a store, and the keys of its files."""

    store: Store
    keys: RunKeys

    def locate_result(self) -> str:
        """Where the run's result lies, for people."""
        return self.store.locate(self.keys.result)

    def read_result(self) -> RunResult | None:
        """The run's result, or None before it is complete. Raises `ConflictError` for what is not a result."""
        try:
            content = self.store.read(self.keys.result)
        except ObjectMissing:
            return None
        return self.parse_result(content)

    def parse_result(self, content: bytes) -> RunResult:
        """What the run's result.json holds. Raises `ConflictError` for what is not a result."""
        try:
            return RunResult.model_validate_json(content)
        except ValidationError as error:
            page = quote_page(content) if is_remote(self.store.uri) else None
            if page:
                raise UsageError(
                    f"{self.locate_result()}: the answer is no result but a page in HTML, {page!r}; {NO_S3}"
                ) from error
            fault = str(error).partition("\n")[0]
            raise ConflictError(f"{self.locate_result()}: not a result ({fault}); remove it and run again") from error

    def read_environment(self) -> Environment | None:
        """What an earlier attempt at the run depended on, if one came so far."""
        try:
            return Environment.model_validate_json(self.store.read(self.keys.environment))
        except (ObjectMissing, ValidationError):
            return None

    def read_progress(self) -> Progress | None:
        """What an earlier attempt reported last, if there was one."""
        try:
            return Progress.model_validate_json(self.store.read(self.keys.progress))
        except ObjectMissing:
            return None
        except ValidationError:
            get_logger().warning("progress_ignored", reason="not a progress record")
            return None

    def check_owner(self, manifest: Manifest) -> None:
        """Raises `ConflictError` when the manifest of another configuration lies here.

        A manifest that an earlier version wrote is read as this version would: fields that it did not know have their
        defaults.
        """
        try:
            found = type(manifest).model_validate_json(self.store.read(self.keys.manifest))
        except ObjectMissing:
            return
        except ValidationError:
            found = None
        if found != manifest:
            raise ConflictError(
                f"{self.store.locate(self.keys.manifest)}: another configuration lies under this run id; "
                "name another --output or --experiment"
            )
