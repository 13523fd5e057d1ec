"""Libraries that keep something in the home directory, where there is none or it cannot be written."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path


def prepare_matplotlib() -> None:
    """Call before matplotlib is imported: it does without a home directory then, and says nothing of it.

    Where its folder cannot be written it takes a temporary one by itself, with warnings that nobody can use. Before
    3.11 it fails where there is no home directory at all.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        Path.home()
    except RuntimeError:
        if "MPLCONFIGDIR" not in os.environ:
            os.environ["MPLCONFIGDIR"] = folder = tempfile.mkdtemp(prefix="matplotlib-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
