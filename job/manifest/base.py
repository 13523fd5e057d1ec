"""The base of every model that a user writes or a run records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

AS_WRITTEN = "as written"
"""The context in which a user's own document is validated: what no earlier version refused, records may hold."""


class StrictModel(BaseModel):
    """Immutable, without coercion; unknown keys, NaN and infinity are faults."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )
