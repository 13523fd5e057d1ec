"""Finds a finished run by the name of its folder, and reads its weights without trusting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from job.errors import DataError, ObjectMissing, UsageError
from job.runs import RunKeys, RunResult, is_result_key, split_run
from job.storage import Store, open_store
from job.training.record.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

NUM_NAMED = 5
EXPECTED = "must be the folder or s3:// URI of a finished run, <output>/<experiment>/runs/<run id>"


@dataclass(frozen=True)
class FinishedRun:
    """A run that has a result, and the store that it lies in."""

    store: Store
    keys: RunKeys
    result: RunResult

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return self.store.locate(self.keys.prefix)

    def read_weights(self) -> dict[str, Tensor]:
        """Its final weights, by the network's names. Raises `DataError` if they are missing, damaged or not finite."""
        import safetensors.torch
        import torch

        place = self.store.locate(self.keys.model)
        try:
            state: dict[str, Tensor] = safetensors.torch.load(self.store.read(self.keys.model))
        except ObjectMissing as error:
            raise DataError(f"{place}: missing; the run has a result, but its weights are gone") from error
        except Exception as error:  # a damaged file makes the parser raise nearly anything
            raise DataError(f"{place}: damaged: {type(error).__name__}; train the run again") from error
        bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
        if bad is not None:
            raise DataError(f"{place}: {bad} holds values that are not finite; such a network predicts nothing")
        return state


def open_run(place: str) -> FinishedRun:
    """The finished run at `place`. Raises `UsageError` where there is none, and says which runs there are."""
    found = split_run(place)
    if found is None:
        raise UsageError(f"{place}: names no run; {EXPECTED}{_list_runs(place)}")
    output, keys = found
    store = open_store(output)
    result = RunFolder(store, keys).read_result()
    if result is None:
        raise UsageError(f"{place}: no finished run is here (no result.json); {EXPECTED}{_list_runs(output)}")
    return FinishedRun(store, keys, result)


def _list_runs(output: str) -> str:
    """The first finished runs below `output`, as the end of a message."""
    store = open_store(output)
    keys = [key for key in store.list_keys("") if is_result_key(key)]
    named = [store.locate(key.rpartition("/")[0]) for key in keys[:NUM_NAMED]]
    more = f" and {len(keys) - NUM_NAMED} more" if len(keys) > NUM_NAMED else ""
    return f"; there are: {', '.join(named)}{more}" if named else ""
