"""The events of a training, taken one by one as the run takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from job.training.engine.loop import Epoch, Sources, train_epochs
from job.training.engine.state import TrainingState


def whole_epochs(
    state: TrainingState, sources: Sources, *, on_pause: Callable[[], object] = lambda: None
) -> Iterator[Epoch]:
    """Train to the end; gives the whole epochs, and calls `on_pause` at every pause between them."""
    for event in train_epochs(state, sources):
        if isinstance(event, Epoch):
            yield event
        else:
            on_pause()
