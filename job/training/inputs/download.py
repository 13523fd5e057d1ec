"""Fetches a published file over TLS, with bounded waits. The caller checks by a digest whether it is the right file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from job.errors import DataError

TIMEOUT_SECONDS = 60.0
"""A server that sends nothing for this long is given up."""
CHUNK_BYTES = 1024 * 1024


class _KeepTLS(HTTPRedirectHandler):
    """Follows redirects, but not out of TLS."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if req.type == "https" and not newurl.startswith("https://"):
            fp.close()
            raise URLError(f"redirected out of TLS, to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def receive(url: str, *, advice: str) -> Iterator[bytes]:
    """The content of `url` in pieces. A terminal shows how much has arrived.

    Raises `DataError` if it cannot be downloaded. The message ends with `advice`.
    """
    try:
        request = Request(url, headers={"User-Agent": "job"})  # noqa: S310 - the callers pass constants
        with build_opener(_KeepTLS).open(request, timeout=TIMEOUT_SECONDS) as answer:
            num_bytes, received = int(answer.headers.get("Content-Length", 0)), 0
            while chunk := answer.read(CHUNK_BYTES):
                received += len(chunk)
                if sys.stderr.isatty() and num_bytes:
                    sys.stderr.write(f"\r{url}: {received / num_bytes:.0%}" + "\n" * (received == num_bytes))
                yield chunk
    except (OSError, HTTPException, ValueError) as error:  # URLError and TimeoutError are OSErrors
        if isinstance(error, HTTPError):
            error.close()  # an HTTPError is also the server's answer, which is still open
        is_silent = isinstance(getattr(error, "reason", error), TimeoutError)
        reason = f"no answer for {TIMEOUT_SECONDS:.0f} s" if is_silent else error
        raise DataError(f"{url}: cannot be downloaded ({reason}); {advice}") from error
