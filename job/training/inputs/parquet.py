"""Images in Parquet or Arrow files, as Hugging Face keeps data sets: a column of encoded images, and one of classes.

Which part a file belongs to is told by its name or its folder's (`data/train-00000-of-00002.parquet`, `test/`), or row
by row by a column `split`. Only `job stage` reads such files. One batch of rows is in memory at a time.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from job.errors import DataError
from job.places import show_path
from job.training.inputs.encoded import TABLE_SUFFIXES, EncodedData, EncodedImage

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test",
         "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}  # fmt: skip
"""What the words in the name of a file or a folder say of the part, as Hugging Face's own guess does it."""
IN_BETWEEN = re.compile(r"cache-.*\.arrow")
"""What `map` and `filter` of Hugging Face's library leave beside a data set: no images, or the same ones again."""
SPLIT = "split"
BATCH_ROWS = 64


@dataclass(frozen=True)
class Columns:
    """Which columns hold the images and their classes, and the names of the classes where the file has them."""

    image: str
    label: str
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class _Table:
    """One file."""

    path: Path
    part: str | None
    """None where the column `split` tells it for each row."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[pq.ParquetFile | pa.RecordBatchStreamReader | pa.RecordBatchFileReader]:
        """The file, open. Raises `DataError` if it is neither Parquet nor Arrow."""
        try:
            if self.path.suffix == ".parquet":
                with pq.ParquetFile(self.path) as file:
                    yield file
            else:
                with pa.memory_map(str(self.path)) as source:
                    yield _open_arrow(source)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{show_path(self.path)}: cannot be read as a table: {error}") from error

    def schema(self) -> pa.Schema:
        with self.opened() as file:
            return file.schema_arrow if isinstance(file, pq.ParquetFile) else file.schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows, some at a time, of these columns alone."""
        with self.opened() as file:
            if isinstance(file, pq.ParquetFile):
                yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
                return
            batches = (
                file
                if isinstance(file, pa.RecordBatchStreamReader)
                else map(file.get_batch, range(file.num_record_batches))
            )
            for batch in batches:
                chosen = batch.select(columns)
                for start in range(0, chosen.num_rows, BATCH_ROWS):
                    yield chosen.slice(start, BATCH_ROWS)


def read_tables(root: Path, *, image_column: str | None = None, label_column: str | None = None) -> EncodedData:
    """The images in the file `root`, or in the tables below the folder `root`. No image is read yet.

    The test images are those of the part `test`; where there is none, those of `validation`. Raises `DataError` if the
    columns cannot be told, or if a part is missing.
    """
    tables = _find_tables(root)
    columns = _find_columns(tables[0], image=image_column, label=label_column)
    counts: Counter[str] = Counter()
    """Rows by part."""
    seen: Counter[tuple[str, object]] = Counter()
    """Rows by part and class."""
    for table in tables:
        if not {columns.image, columns.label} <= {*table.schema().names}:
            raise DataError(f"{show_path(table.path)}: lacks the columns {columns.image} and {columns.label}")
        for part, label, _ in _rows(table, [columns.label], columns):
            counts[part] += 1
            seen[part, label] += 1
    tested = "test" if counts["test"] else "validation"
    if not counts["train"] or not counts[tested]:
        found = ", ".join(sorted(part for part, number in counts.items() if number)) or "none"
        raise DataError(
            f"{show_path(root)}: must hold images to train on and images to test on; parts found: {found}. Name the "
            "files or their folders train and test, or give the rows a column split of these words"
        )
    left_out = [
        f"{number:,} images of {part} are left out" for part, number in counts.items() if part not in ("train", tested)
    ]
    labels = _find_labels(columns, seen, tested=tested)
    names = columns.names or tuple(map(str, labels))
    return EncodedData(
        classes=names,
        num_train=counts["train"],
        num_test=counts[tested],
        images=partial(_images, tables, columns, labels, ("train", tested)),
        faults=[*_find_faults(root, columns, labels, names, seen, tested=tested)],
        notes=[*left_out, *(["there is no part test: tested is on validation"] if tested == "validation" else [])],
    )


def _find_tables(root: Path) -> list[_Table]:
    paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix in TABLE_SUFFIXES)
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not root.is_file():
        paths = [path for path in paths if not IN_BETWEEN.fullmatch(path.name)]
    tables = [_Table(path, _find_part(path, root)) for path in paths]
    rowwise = [table for table in tables if table.part is None and SPLIT not in table.schema().names]
    if rowwise:
        raise DataError(
            f"{show_path(rowwise[0].path)}: neither its name nor a column {SPLIT} says whether its images are for "
            f"training or for testing; name it or its folder train or test, such as train{rowwise[0].path.suffix} (a "
            "data set of Hugging Face's library gets both parts by train_test_split)"
        )
    return tables


def _find_part(path: Path, root: Path) -> str | None:
    """The part that a name below `root` says; that of `root`, which holds all, only where no column `split` says it."""
    part = _tell_part(path.relative_to(root))
    if part is None and SPLIT not in _Table(path, None).schema().names:
        return _tell_part(Path(root.name))
    return part


def _tell_part(path: Path) -> str | None:
    """The part that the name of the file says, else that of the nearest folder that says one."""
    for name in reversed(path.parts):
        parts = {PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PARTS}
        if len(parts) == 1:
            return parts.pop()
    return None


def _find_columns(table: _Table, *, image: str | None, label: str | None) -> Columns:
    """The columns that are named, else those that the file's metadata or the types of its columns tell."""
    schema = table.schema()
    features = _read_features(schema)
    kinds = {name: features.get(name, {}).get("_type") for name in schema.names}
    images = [name for name, kind in kinds.items() if kind == "Image"] or [
        field.name for field in schema if _holds_bytes(field.type)
    ]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [
        field.name
        for field in schema
        if (pa.types.is_integer(field.type) or _is_text(field.type)) and field.name in ("label", "labels", "class")
    ]
    found: list[str] = []
    for what, option, named, known in (
        ("encoded images", "--image-column", image, images),
        ("classes", "--label-column", label, labels),
    ):
        wanted = [named] if named is not None else known
        if len(wanted) != 1 or wanted[0] not in schema.names:
            raise DataError(
                f"{show_path(table.path)}: which column holds the {what}? Name it with {option}; "
                f"its columns are {', '.join(schema.names)}"
            )
        found += wanted
    if not _holds_bytes(schema.field(found[0]).type):
        raise DataError(
            f"{show_path(table.path)}: the column {found[0]} holds {schema.field(found[0]).type}; must hold encoded "
            "images: binary, or a struct with the binary field bytes"
        )
    if pa.types.is_nested(schema.field(found[1]).type):
        raise DataError(
            f"{show_path(table.path)}: the column {found[1]} holds {schema.field(found[1]).type}; must hold the class "
            "of the row: a number or a text"
        )
    names = features.get(found[1], {}).get("names")
    return Columns(found[0], found[1], tuple(map(str, names)) if isinstance(names, list) else None)


def _read_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face says of the columns, by their names; nothing where it says nothing."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _rows(table: _Table, wanted: list[str], columns: Columns) -> Iterator[tuple[str, object, dict[str, Any]]]:
    """Part, label and values of every row. Raises `DataError` for a row whose part cannot be told."""
    number = 0
    for batch in table.batches([*wanted, *([SPLIT] if table.part is None else [])]):
        for row in batch.to_pylist():
            part = table.part or PARTS.get(str(row[SPLIT]).lower())
            if part is None:
                raise DataError(
                    f"{show_path(table.path)}: row {number}: {SPLIT} is {row[SPLIT]!r}; must be train or test"
                )
            yield part, row[columns.label], row
            number += 1


def _find_labels(columns: Columns, seen: Counter[tuple[str, object]], *, tested: str) -> dict[object, int]:
    """The index of the class of every value of the column. Values without names are classes in their own order."""
    if columns.names is not None:
        return {label: label for label in range(len(columns.names))}
    values = {label for part, label in seen if part in ("train", tested) and label is not None}
    return {label: place for place, label in enumerate(sorted(values, key=lambda value: (str(type(value)), value)))}


def _find_faults(
    root: Path,
    columns: Columns,
    labels: dict[object, int],
    names: tuple[str, ...],
    seen: Counter[tuple[str, object]],
    *,
    tested: str,
) -> Iterator[str]:
    """What is wrong with the classes."""
    strange = sorted({repr(label) for part, label in seen if part in ("train", tested) and label not in labels})
    if strange:
        yield f"{show_path(root)}: {columns.label} is {', '.join(strange[:5])} in some rows, which is no class"
    if len(names) < 2 or len({*names}) < len(names) or not all(name and name.isprintable() for name in names):
        shown = ", ".join(map(repr, names[:20]))
        yield f"{show_path(root)}: must have at least 2 classes of different printable names; it has {shown}"
    for part in ("train", tested):
        empty = [names[place] for label, place in labels.items() if not seen[part, label]]
        if empty:
            yield f"{show_path(root)}: {part} has no images of the classes {', '.join(empty)}"


def _images(
    tables: list[_Table], columns: Columns, labels: dict[object, int], parts: tuple[str, str]
) -> Iterator[EncodedImage]:
    """The images of the two parts, one part after the other, each in the order of its files and rows."""
    for wanted in parts:
        for table in tables:
            if table.part not in (None, wanted):
                continue
            rows = _rows(table, [columns.image, columns.label], columns)
            for number, (part, label, row) in enumerate(rows):
                if part == wanted:
                    name = f"{show_path(table.path)}: row {number}"
                    content = row[columns.image]
                    _refuse_path(name, content)
                    yield EncodedImage(name, labels.get(label, 0), partial(_read_bytes, content))


def _refuse_path(name: str, content: bytes | dict[str, Any] | None) -> None:
    """Raises `DataError` for a cell that says where its image lies in place of holding it, as every cell then does."""
    if isinstance(content, dict) and not content.get("bytes") and content.get("path"):
        raise DataError(
            f"{name}: holds the path of an image, {show_path(content['path'])}, and not the image; stage the folder "
            "that holds the image files, or write the data set with save_to_disk"
        )


def _read_bytes(content: bytes | dict[str, Any] | None) -> bytes:
    """The bytes in a cell. A cell without bytes counts as an empty file."""
    found = content.get("bytes") if isinstance(content, dict) else content
    return found or b""


def _open_arrow(source: pa.NativeFile) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    """Hugging Face writes Arrow's streams; others write its files."""
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source)
