"""What earlier reports have read, so that the next one reads only new results: one zip of Parquet tables.

It lies in the output, so its content is data and never code. What does not fit is read again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

import pandas as pd

from job.errors import ObjectMissing
from job.logs import get_logger
from job.manifest import Manifest
from job.report.read.frames import (
    CLASS_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    EPOCH_COLUMNS,
    RUN_COLUMNS,
)
from job.storage import Store

CACHE_KEY = "report/cache.zip"
VERSION_NAME = "version.txt"
TABLES: Mapping[str, list[str]] = {
    "runs": ["version", *RUN_COLUMNS],
    "epochs": ["run", *EPOCH_COLUMNS],
    "classes": list(CLASS_COLUMNS),
    "diagnostics": ["run", "group", *DIAGNOSTIC_COLUMNS],
}
Tables = dict[str, pd.DataFrame]


def empty_tables() -> Tables:
    """Tables without rows."""
    return {name: pd.DataFrame(columns=columns) for name, columns in TABLES.items()}


def read_cache(store: Store) -> Tables:
    """The tables of an earlier report, empty where there is none of this version."""
    try:
        with zipfile.ZipFile(io.BytesIO(store.read(CACHE_KEY))) as archive:
            version = archive.read(VERSION_NAME).decode()
            tables = {name: pd.read_parquet(io.BytesIO(archive.read(f"{name}.parquet"))) for name in TABLES}
    except ObjectMissing:
        return empty_tables()
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:  # pyarrow's errors are ValueErrors or OSErrors
        get_logger().warning("cache_ignored", cache=store.locate(CACHE_KEY), reason=str(error)[:200])
        return empty_tables()
    if version != _version() or any(list(tables[name].columns) != columns for name, columns in TABLES.items()):
        get_logger().info("cache_ignored", cache=store.locate(CACHE_KEY), reason="written by another version")
        return empty_tables()
    return tables


def write_cache(store: Store, tables: Tables) -> None:
    """Keep `tables` for the next report."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(VERSION_NAME, _version())
        for name in TABLES:
            archive.writestr(f"{name}.parquet", tables[name].to_parquet(index=False))
    store.write(CACHE_KEY, buffer.getvalue())


def _version() -> str:
    """Changes with the fields that a manifest has: cached rows would lack the default of an added one."""
    schema = json.dumps(Manifest.model_json_schema(), sort_keys=True)
    return hashlib.sha256(schema.encode()).hexdigest()
