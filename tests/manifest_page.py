"""The second half of docs/manifest.md, from the JSON Schema that `job schema` prints. `make docs` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from job.manifest import Manifest, Sweep
from tests.conftest import ROOT

PAGE = ROOT / "docs/manifest.md"
MARK = "<!-- From here on `make docs` writes this file, from the pydantic models in job/manifest. -->\n"
SECTIONS = {"optimizer": "Optimizers", "dataset": "Data sets", "schedule": "Schedules"}
"""The fields whose `name` says which other fields there are, and the heading above their choices."""

Schema = dict[str, Any]


def renew(page: str) -> str:
    """`page` with everything below the mark made anew; what people wrote above it stays."""
    written, mark, _ = page.partition(MARK)
    assert mark, f"{PAGE} has lost the line {MARK}"
    return written + MARK + "\n" + "\n".join(_render())


def _render() -> Iterator[str]:
    manifest, sweep = Manifest.model_json_schema(), Sweep.model_json_schema()
    choices = {field: list(_choices(manifest["properties"][field], manifest)) for field in SECTIONS}
    yield from _section("## A manifest", manifest, manifest, links=SECTIONS | {"model": "Model"})
    yield from _section("## Model", manifest["$defs"]["Model"], manifest)
    for field, heading in SECTIONS.items():
        yield from (f"## {heading}", "", f"What `{field}` may be, by its `name`:", "")
        for name, schema in choices[field]:
            yield f"- [`{name}`](#{field}-{name}): {schema['description'].replace(chr(10), ' ')}"
        yield ""
        for name, schema in choices[field]:
            yield from _section(f"### {field} `{name}`", schema, manifest)
    yield from _section("## A sweep", sweep, sweep)
    yield from _section("### A block of a sweep", sweep["$defs"]["Block"], sweep)
    yield from _section("### A range of a random block", sweep["$defs"]["Range"], sweep)


def _choices(field: Schema, root: Schema) -> Iterator[tuple[str, Schema]]:
    for part in field["oneOf"]:
        schema = _resolve(part, root)
        yield schema["properties"]["name"]["const"], schema


def _section(heading: str, schema: Schema, root: Schema, *, links: Mapping[str, str] = {}) -> Iterator[str]:
    yield from (heading, "", schema["description"].replace("\n", " "), "")
    yield from ("| field | type | default | accepted | meaning |", "|---|---|---|---|---|")
    for name, field in schema["properties"].items():
        meaning = field.get("description", "").replace("\n", " ")
        if name in links:
            meaning += f" See [{links[name]}](#{links[name].lower().replace(' ', '-')})."
        meaning = meaning or "Chooses this one."
        cells = (f"`{name}`", _type(field, root), _default(field), _accepted(field, root), meaning)
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _resolve(schema: Schema, root: Schema) -> Schema:
    return root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _type(field: Schema, root: Schema) -> str:
    field = _resolve(field, root)
    if "anyOf" in field:
        return " or ".join(_type(part, root) for part in field["anyOf"])
    if "prefixItems" in field:
        kinds = list(dict.fromkeys(_type(part, root) for part in field["prefixItems"]))
        return f"list of {len(field['prefixItems'])} {kinds[0]}s" if len(kinds) == 1 else f"list of {', '.join(kinds)}"
    if field.get("type") == "array":
        items = _type(field["items"], root) if field["items"] else "value"
        return f"list of {items}s"
    kind: str = field.get("type", "object")
    return "text" if kind == "string" else kind


def _default(field: Schema) -> str:
    if "default" in field:
        return f"`{json.dumps(field['default'])}`"
    return "`{}`" if field.get("type") == "object" else "required"


def _accepted(field: Schema, root: Schema) -> str:
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        own = [_accepted(part, root) for part in field["anyOf"] if part.get("type") != "null"]
        return ", or ".join([*own, *["null"] * (len(own) < len(field["anyOf"]))]) if any(own) else ""
    if field.get("type") == "boolean":
        return "`true`, `false`"
    if "pattern" in field:
        return f"`{field['pattern']}`"
    if "prefixItems" in field:
        parts = list(dict.fromkeys(_accepted(part, root) for part in field["prefixItems"]))
        return ", then ".join(parts) if len(parts) > 1 else f"each {parts[0]}" if parts[0] else ""
    if "oneOf" in field:
        return ", ".join(f"`{name}`" for name, _ in _choices(field, root))
    if field.get("type") == "array":
        each = _accepted(field["items"], root)
        least = "" if field.get("default") == [] else "at least one"
        return ", ".join(filter(None, [least, f"each {each}" if each else ""]))
    if field.get("type") == "string":
        return f"{field['minLength']} to {field['maxLength']} characters"
    return " and ".join(_bounds(field))


def _bounds(field: Schema) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return (f"{sign} {field[key]:g}" if abs(field[key]) < 1e5 else f"{sign} {field[key]:,.0f}"
            for key, sign in signs.items() if key in field)  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
