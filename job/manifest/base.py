"""The base of every model that a user writes or a run records, and the rule for fields that are added to one.

A run id is a digest of its manifest, and it must never change: after an update every finished sweep would be trained
again. So a field that is added to a manifest, an optimizer or a sweep

1. is marked with the release that brings it: `clip_norm: Annotated[float, Field(ge=0), Since("0.2.0")] = 0.0`;
2. has a default that means "as it was before there was this field", and keeps that default for ever.

While the field stands at its default, the digest leaves it out. A new class, such as another optimizer, marks all of
its fields that have a default. tests/unit/test_ids.py fails for a field without its mark.

The files with most of the models leave out `from __future__ import annotations`: it makes texts of annotations, and
pydantic would compile each of them again whenever a command starts.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import FieldInfo

NESTED = (BaseModel, dict, list, tuple)
"""What a value may hold others in."""
AS_WRITTEN = "as written"
"""The context in which a user's own document is validated: what no earlier version refused, records may hold."""


class StrictModel(BaseModel):
    """Immutable, without coercion; unknown keys, NaN and infinity are faults.

    A new field of a subclass is marked `Since`: see the rule at the top of this file.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON Schema of this class, in which the docstrings of its fields describe them.

        pydantic's `use_attribute_docstrings` does the same when the class is made, and so at the start of each command.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for owner in reversed(cls.__mro__):
            for name in properties.keys() & vars(owner).get("__annotations__", {}).keys():
                text = _read_docstrings(owner.__module__).get(owner.__name__, {}).get(name)
                if text and cls.model_fields[name].description is None:
                    properties[name]["description"] = text
        return schema


@cache
def _read_docstrings(module: str) -> dict[str, dict[str, str]]:
    """The docstrings of attributes in the source of a module, by class and attribute; none where there is no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    found: dict[str, dict[str, str]] = {}
    for owner in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for pair in pairwise(owner.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found.setdefault(owner.name, {})[name] = inspect.cleandoc(text)
    return found


def tag(kind: type[BaseModel]) -> str:
    """The `name` by which a document chooses `kind` among other classes, such as `adam` for `Adam`."""
    return str(get_args(kind.model_fields["name"].annotation)[0])


@dataclass(frozen=True)
class Since:
    """Marks a field that was added after the first schema version."""

    release: str
    """Of this program, the first one that knows the field."""


def later_defaults(value: object) -> dict[Any, Any]:
    """The fields in `value`, at any depth, that are marked `Since` and stand at their default.

    In the form that `exclude` of pydantic's `model_dump` takes: such a dump is what an earlier program would make.
    """
    found: dict[Any, Any] = {}
    for key, part, field in _parts(value):
        if field is not None and _is_later(field) and part == field.get_default(call_default_factory=True):
            found[key] = True
        elif isinstance(part, NESTED) and (nested := later_defaults(part)):
            found[key] = nested
    return found


def _parts(value: object) -> Iterator[tuple[Any, object, FieldInfo | None]]:
    """What `value` is made of, by the key that `exclude` knows it by; with its field where it is one."""
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name), field) for name, field in type(value).model_fields.items())
    elif isinstance(value, dict):
        yield from ((key, part, None) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((index, part, None) for index, part in enumerate(value))


def _is_later(field: FieldInfo) -> bool:
    return any(isinstance(mark, Since) for mark in field.metadata)
