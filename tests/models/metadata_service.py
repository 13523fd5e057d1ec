"""A stand-in for the metadata service of an EC2 machine, version 2 alone: it answers nobody without a token.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "a-token"


class MetadataService(ThreadingHTTPServer):
    """Answers what `facts` hold, by their path below `/latest/meta-data/`, and 404 for everything else."""

    def __init__(self, facts: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.facts = facts
        self.asked: list[str] = []
        """The paths that were asked for with a token."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: MetadataService

    def do_PUT(self) -> None:
        has_lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
        if self.path == "/latest/api/token" and has_lifetime:
            self._answer(200, TOKEN)
        else:
            self._answer(400)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401)
            return
        name = self.path.removeprefix("/latest/meta-data/")
        self.server.asked.append(name)
        if name in self.server.facts:
            self._answer(200, self.server.facts[name])
        else:
            self._answer(404)

    def _answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def metadata_service(facts: dict[str, str]) -> Iterator[MetadataService]:
    """A metadata service in a thread."""
    service = MetadataService(facts)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join()
