"""The page printed by a Chromium that is on the machine. No library knows the style sheet as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from job.errors import UsageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT = 300
"""Seconds; a page of 10,000 runs takes half a minute."""
FLAGS = (
    "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--no-pdf-header-footer",
)  # fmt: skip


def find_browser() -> str:
    """The path of a Chromium. Raises `UsageError` where there is none."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    raise UsageError(
        "--pdf needs Chromium, and none is on PATH: install it (apt-get install chromium), or leave --pdf out, open "
        "index.html in a browser and print it to a file"
    )


def print_page(page: bytes, *, browser: str) -> bytes:
    """The page as PDF, with every fold open. Raises `UsageError` where the browser ends without one."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "index.html"), Path(folder, "report.pdf")
        source.write_bytes(page)
        # Chromium's sandbox refuses to start as root, as in a container; the page is our own and asks for nothing.
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = [
            browser, *FLAGS, *sandbox, f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"--pdf: {browser} did not print the page within {TIMEOUT} s") from error
        if not target.is_file():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise UsageError(f"--pdf: {browser} ended with {done.returncode} and wrote no PDF: {last[0]}")
        return target.read_bytes()
