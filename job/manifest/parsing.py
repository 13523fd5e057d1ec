"""From bytes to a validated model, or to one `ManifestError` that names every fault at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from job.errors import ManifestError
from job.manifest.models import Manifest

MAX_BYTES = 1024 * 1024
"""A manifest is a few hundred bytes; anything near this size is not one."""
MAX_FAULTS = 100
"""More faults than this are counted, not listed."""
ModelT = TypeVar("ModelT", bound=BaseModel)


def parse_manifest(content: bytes, *, source: str, settings: Iterable[str] = ()) -> Manifest:
    """The manifest in `content`, after `settings` such as `optimizer.lr=0.01` are applied to it.

    Raises `ManifestError` with one line per fault, each beginning with `source` and the field's path.
    """
    document = parse_json_object(content, source=source)
    return validate(apply_settings(document, settings), Manifest, source=source)


def validate(document: dict[str, Any], model: type[ModelT], *, source: str) -> ModelT:
    """`document` as `model`. Raises `ManifestError` with one line per fault."""
    try:
        return model.model_validate_json(json.dumps(document))
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


def parse_json_object(content: bytes, *, source: str) -> dict[str, Any]:
    """The JSON object in `content`, refused where two readers could understand it differently.

    Raises `ManifestError` for a duplicate key, NaN, anything but an object, or JSON that is none.
    """

    if len(content) > MAX_BYTES:
        raise ManifestError(f"{source}: {len(content)} bytes is too large; a manifest has at most {MAX_BYTES}")
    try:
        document = _load(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise ManifestError(f"{source}: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"{source}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # what the two functions below refuse, or an integer of thousands of digits
        raise ManifestError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{source}: must be a JSON object, is {_show(document)}")
    return document


def _load(text: str) -> Any:
    """JSON as one reader alone could understand it; minus zero is zero, so that one configuration has one digest."""
    return json.loads(
        text,
        parse_constant=_refuse_constant,
        parse_float=lambda number: float(number) + 0.0,
        object_pairs_hook=_refuse_duplicates,
    )


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number; numbers must be finite")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    for key, count in counts.items():
        if count > 1:
            raise ValueError(f"key {_show(key)} stands twice in one object")
    return dict(pairs)


def apply_settings(document: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of `document` in which each setting `dotted.path=value` replaces the value at that path.

    Values are JSON; what is not JSON is taken as text, so that `dataset.name=folder` needs no quotes.
    """
    result: dict[str, Any] = json.loads(json.dumps(document))
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator or not all(path.split(".")):
            raise ManifestError(f"--set {setting}: must be KEY=VALUE, such as optimizer.lr=0.01")
        try:
            value = _load(text)
        except (json.JSONDecodeError, RecursionError):
            value = text
        except ValueError as error:
            raise ManifestError(f"--set {setting}: {error}") from error
        try:
            set_path(result, path, value)
        except ValueError as error:
            raise ManifestError(f"--set {setting}: {error}") from error
    return result


def set_path(document: dict[str, Any], path: str, value: Any) -> None:
    """Put `value` at the dotted `path` of `document`. Raises `ValueError` where the path leads through a value."""
    *parents, key = path.split(".")
    for parent in parents:
        child = document.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"{parent} is {_show(child)}, it has no fields")  # noqa: TRY004 - the document is at fault
        document = child
    document[key] = value


def _describe(fault: ErrorDetails, root: type[BaseModel]) -> str:
    """One fault as `path is value; what is accepted`."""
    path, owner = _locate(fault["loc"], root)
    kind, seen, context = fault["type"], _show(fault["input"]), fault.get("ctx", {})
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
        return f"{path}.name is {_show(name)}; {_suggest(name, accepted)}"
    if kind == "string_pattern_mismatch":
        return f"{path} is {seen}; must be 1 to 40 lower-case letters, digits and dashes, no dash at the ends"
    if kind == "literal_error":
        return f"{path} is {seen}; must be {context['expected']}"
    if kind == "value_error":
        return f"{path}: {context['error']}" if path else str(context["error"])
    accepted_text = re.sub(r"^\w+ should ", "must ", fault["msg"]).partition(" after validation")[0]
    accepted_text = accepted_text.replace("greater than or equal to", ">=").replace("greater than", ">")
    accepted_text = accepted_text.replace("less than or equal to", "<=").replace("less than", "<")
    return f"{path} is {seen}; {accepted_text}"


def _locate(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, type[BaseModel] | None]:
    """The dotted path of a fault and the model that holds its last field.

    pydantic puts the tag of a discriminated union between the field and its attribute
    (`optimizer`, `adam`, `lr`); the user never wrote that level, so it is left out.
    """
    path = ""
    owner: type[BaseModel] | None = root
    holder: type[BaseModel] | None = root
    members: list[type[BaseModel]] = []
    for part in location:
        if members and isinstance(part, int):  # a list of models
            path, holder, owner, members = f"{path}[{part}]", None, members[0], []
            continue
        if members:
            owner = next((member for member in members if _tag(member) == part), None)
            members = []
            continue
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{_show_key(part)}".lstrip(".")
        holder = owner
        field = owner.model_fields.get(str(part)) if owner else None
        members = [m for m in get_args(field.annotation) if _is_model(m)] if field else []
        owner = field.annotation if field and _is_model(field.annotation) else None  # type: ignore[assignment]
    return path, holder


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["name"].annotation)[0])


def _suggest(word: object, known: list[str]) -> str:
    close = get_close_matches(str(word), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}accepted: {', '.join(known)}"


def _show_key(key: str) -> str:
    """A key as it is where it can be read, else as JSON: it may hold line breaks, or be a megabyte long."""
    return key if re.fullmatch(r"\w{1,40}", key, re.ASCII) else _show(key)


def _show(value: object) -> str:
    """A value as JSON, shortened: messages stay readable whatever was in the file."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
