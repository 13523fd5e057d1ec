"""The constructors' arguments of the library's optimizers, as data. `make docs` writes them anew.

They stand in the repository, because a machine that validates, submits or reports has no timm.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from job.manifest.library import ENTRIES, FROZEN, NOT_ATTRIBUTES


def read_signatures() -> dict[str, Any]:
    """What the installed timm says: its release, and the defaults by argument and by optimizer."""
    import timm
    import timm.optim

    signatures = {entry.name: read_defaults(getattr(timm.optim, entry.kind)) for entry in ENTRIES}
    return {"timm": timm.__version__, "defaults": signatures}


def read_defaults(kind: type) -> dict[str, Any]:
    """The defaults of those arguments of the constructor of `kind` that are attributes; whole numbers as floats."""
    parameters = inspect.signature(kind).parameters
    return {name: _as_json(value.default) for name, value in parameters.items() if name not in NOT_ATTRIBUTES}


def _as_json(value: object) -> object:
    if isinstance(value, tuple):
        return [_as_json(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def render(signatures: dict[str, Any]) -> str:
    """The file, with a line for each optimizer."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(own)}" for name, own in signatures["defaults"].items())
    return f'{{\n "timm": {json.dumps(signatures["timm"])},\n "defaults": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    FROZEN.write_text(render(read_signatures()), encoding="utf-8")
