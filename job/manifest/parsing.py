"""From a JSON document to a validated model, or to one `ManifestError` that names all faults at once.

`job.manifest.document` reads the JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from job.errors import ManifestError
from job.manifest.base import AS_WRITTEN, tag
from job.manifest.document import (
    JSON_WORDS,
    MAX_FAULTS,
    find_infinite,
    load,
    parse_json_object,
    set_path,
    show,
    show_key,
)
from job.manifest.models import Manifest
from job.manifest.optimizers import NOT_TO_BE_HAD

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_manifest(content: bytes, *, source: str, overrides: Iterable[str] = ()) -> Manifest:
    """The manifest in `content`, after `overrides` such as `optimizer.lr=0.01` are applied to it.

    Raises `ManifestError` with one line per fault, each beginning with `source` and the field's path.
    """
    document = parse_json_object(content, source=source)
    return validate(apply_overrides(document, overrides), Manifest, source=source)


def validate(document: dict[str, Any], model: type[ModelT], *, source: str) -> ModelT:
    """`document` as `model`. Raises `ManifestError` with one line per fault."""
    try:
        return model.model_validate_json(json.dumps(document), context=AS_WRITTEN)
    except RecursionError as error:
        raise ManifestError(f"{source}: nested too deeply") from error
    except ValidationError as error:
        raise ManifestError(*describe_faults(error, source=source, root=model)) from error


def describe_faults(error: ValidationError, *, source: str, root: type[BaseModel]) -> list[str]:
    """One line per fault of a document that was validated as `root`, each beginning with `source`."""
    faults = [f"{source}: {_describe(fault, root)}" for fault in error.errors(include_url=False)[:MAX_FAULTS]]
    if error.error_count() > MAX_FAULTS:
        faults.append(f"{source}: and {error.error_count() - MAX_FAULTS} faults more")
    return faults


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `document` in which each override `dotted.path=value` replaces the value at that path.

    Values are JSON; what is not JSON is taken as text, so that `dataset.name=folder` needs no quotes. Raises
    `ManifestError`, also for a word such as True, which would be taken as text and is hardly meant so.
    """
    result: dict[str, Any] = json.loads(json.dumps(document))
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not all(path.split(".")):
            raise ManifestError(f"--set {override}: must be KEY=VALUE, such as optimizer.lr=0.01")
        try:
            set_path(result, path, _parse_value(text, path=path))
        except ValueError as error:
            raise ManifestError(f"--set {override}: {error}") from error
    return result


def _parse_value(text: str, *, path: str) -> Any:
    """The value of an override for the field at `path`. Raises `ValueError`."""
    try:
        value = load(text)
    except (json.JSONDecodeError, RecursionError):
        word = JSON_WORDS.get(text.lower())
        if word and text != "none":  # which several fields accept
            accepted = "write none" if word == "null" and _accepts_none(path) else f"JSON writes {word}"
            raise ValueError(f'{accepted}; a text is "{text}", in quotes') from None
        return text
    if find_infinite(value, text):
        raise ValueError("numbers must be finite")
    return value


def _accepts_none(path: str) -> bool:
    """Whether the field at `path` of a manifest, or of a sweep's defaults, may hold the text `none`."""
    owners: list[type[BaseModel]] = [Manifest]
    *parents, key = path.removeprefix("defaults.").split(".")
    for parent in parents:
        fields = [owner.model_fields[parent] for owner in owners if parent in owner.model_fields]
        owners = [model for field in fields for model in _models_of(field.annotation)]
    for owner in owners:
        if key in owner.model_fields:
            annotation: Any = owner.model_fields[key].annotation
            with contextlib.suppress(ValidationError):
                TypeAdapter(annotation).validate_python("none")
                return True
    return False


def _describe(fault: ErrorDetails, root: type[BaseModel]) -> str:
    """`fault` as one line: `path is value; what is accepted`."""
    path, owner = _locate(fault["loc"], root)
    kind, seen, context = fault["type"], show(fault["input"]), fault.get("ctx", {})
    if kind == "json_invalid":  # Python reads it, pydantic does not: a lone surrogate, or 200 levels and more
        return f"not JSON: {context['error'].partition(' at line')[0]}"
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner else []
        return f"{path} is not known; {_suggest(fault['loc'][-1], known)}"
    if kind == "missing":
        return f"{path} is missing in {seen}" if isinstance(fault["input"], list) else f"{path} is missing"
    if kind in ("union_tag_not_found", "model_type", "dict_type"):
        return f'{path} is {seen}; must be an object with a name, such as {{"name": …}}'
    if kind == "union_tag_invalid":
        accepted = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
        name = fault["input"]["name"]
        reason = NOT_TO_BE_HAD.get(_plain(str(name))) if fault["loc"][-1] == "optimizer" else None
        if reason:
            return f"{path}.name is {show(name)}, which is not to be had: {reason}; accepted: {', '.join(accepted)}"
        return f"{path}.name is {show(name)}; {_suggest(name, accepted)}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    told = _describe_accepted(fault, path)
    field = owner.model_fields.get(str(fault["loc"][-1])) if owner else None
    if field and type(None) in get_args(field.annotation) and kind.endswith(("_type", "_parsing")):
        told += ", or null, without quotes"
    return f"{path} is {seen}; {told}"


def _describe_accepted(fault: ErrorDetails, path: str) -> str:
    """What is accepted at `path` instead of the value that `fault` is about."""
    kind, seen = fault["type"], fault["input"]
    if kind == "string_pattern_mismatch":
        return "must be 1 to 40 lower-case letters, digits and dashes, no dash at the ends"
    if kind == "literal_error":
        expected = fault["ctx"]["expected"]
        hint = _hint(seen, re.findall("'([^']*)'", expected))
        return f"{hint}must be {expected}"
    if kind in ("list_type", "tuple_type"):
        return f"must be a list{_show_as_list(seen, path)}"
    if kind == "bool_type":
        return "must be true or false, without quotes"
    accepted = re.sub(r"^\w+ should ", "must ", fault["msg"]).partition(" after validation")[0]
    accepted = accepted.replace("greater than or equal to", ">=").replace("greater than", ">")
    return accepted.replace("less than or equal to", "<=").replace("less than", "<")


def _locate(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, type[BaseModel] | None]:
    """The dotted path of a fault and the model that holds its last field.

    pydantic puts the tag of a discriminated union between the field and its attribute
    (`optimizer`, `adam`, `lr`); the user never wrote that level, so it is left out.
    """
    path = ""
    owner: type[BaseModel] | None = root
    holder: type[BaseModel] | None = root
    members: list[type[BaseModel]] = []
    is_keyed = False
    for part in location:
        if members and (isinstance(part, int) or is_keyed):  # a list of models, or models by a key of the user's
            path += f"[{part}]" if isinstance(part, int) else f".{show_key(part)}"
            holder, owner, members = None, members[0], []
            continue
        if members:
            owner = next((member for member in members if tag(member) == part), None)
            members = []
            continue
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{show_key(part)}".lstrip(".")
        holder = owner
        field = owner.model_fields.get(str(part)) if owner else None
        members = [model for model in _models_of(field.annotation) if model is not field.annotation] if field else []
        is_keyed = field is not None and get_origin(field.annotation) is dict
        owner = field.annotation if field and _is_model(field.annotation) else None  # type: ignore[assignment]
    return path, holder


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """The model that `annotation` is, or those that it is a union or list of."""
    return [model for model in (annotation, *get_args(annotation)) if _is_model(model)]


def _suggest(word: object, known: list[str]) -> str:
    return f"{_hint(word, known)}accepted: {', '.join(known)}"


def _hint(word: object, known: list[str]) -> str:
    """`did you mean …? ` with the known word that is nearest to `word`, or nothing if none is near.

    Capitals and punctuation are not looked at, so that AdamW is taken for adamw and not for adam.
    """
    plain = {_plain(name): name for name in reversed(known)}
    close = get_close_matches(_plain(str(word)), plain, n=1, cutoff=0.6 if len(plain) > 1 else 1.0)
    return f"did you mean {plain[close[0]]!r}? " if close else ""


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word.lower())


def _show_as_list(value: object, path: str) -> str:
    """How `value` would be written as a list, in a file and for `--set`."""
    parts = [part for part in re.split(r"[\s,;]+", str(value).strip("()[]{} ")) if part]
    try:
        shown = f"[{','.join(json.dumps(load(part)) for part in parts)}]"
    except (ValueError, RecursionError):
        return ", in brackets"
    return f", such as {shown}; on the command line: --set {path}={shown}" if len(shown) <= 80 else ", in brackets"
