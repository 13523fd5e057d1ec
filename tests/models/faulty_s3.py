"""A real S3 API (moto) over HTTP whose answers a test can spoil: it shares its buckets with the `bucket` fixture."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

Environ = dict[str, Any]
Fault = Callable[[WSGIApplication, Environ, StartResponse], Iterable[bytes]]
ALWAYS = 10**9


def refuse_keys(code: str) -> Fault:
    """A request to delete many is answered with 200, and with `code` for each of its keys; none is deleted.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
    """

    def fault(_api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        keys = re.findall(rb"<Key>([^<]*)</Key>", get_input_stream(environ).read())
        errors = b"".join(
            b"<Error><Key>%s</Key><Code>%s</Code><Message>said the test</Message></Error>" % (key, code.encode())
            for key in keys
        )
        body = b'<?xml version="1.0"?><DeleteResult>%s</DeleteResult>' % errors
        start("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return fault


def answer(
    status: str, code: str, message: str = "said the test", *, extra: str = "", headers: Mapping[str, str] | None = None
) -> Fault:
    """The request changes nothing and is answered with this error, without a body where the method is HEAD.

    `extra` is XML beside code and message.
    """

    def fault(_api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        get_input_stream(environ).read()
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>'.encode()
        told = {"Content-Type": "application/xml", "Content-Length": str(len(body))} | dict(headers or {})
        start(status, list(told.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return fault


def cut(_api: WSGIApplication, environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    """The connection ends before the request is carried out."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError


def lose_answer(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """The request is carried out, and its answer never arrives."""
    list(api(environ, lambda *_: lambda _data: None))
    return cut(api, environ, start)


def truncate(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """The connection ends in the middle of the body."""
    body = b"".join(api(environ, start))
    return [body[: len(body) // 2]]


def delay(seconds: float) -> Fault:
    """The request is carried out, and nobody is served meanwhile."""

    def fault(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        time.sleep(seconds)
        return list(api(environ, start))

    return fault


def without_conditions(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A server that does not know If-None-Match and says so."""
    if "HTTP_IF_NONE_MATCH" in environ:
        told = "A header you provided implies functionality that is not implemented"
        return answer("501 Not Implemented", "NotImplemented", told)(api, environ, start)
    return list(api(environ, start))


def ignoring_conditions(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A server that does not know If-None-Match and passes over it."""
    environ.pop("HTTP_IF_NONE_MATCH", None)
    return list(api(environ, start))


def wordless(status: str, body: bytes = b"") -> Fault:
    """An answer without S3's XML, as of a server that is none."""

    def fault(_api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        get_input_stream(environ).read()
        start(status, [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return fault


def refusing_conditions(status: str) -> Fault:
    """A server that refuses If-None-Match otherwise than with 501."""

    def fault(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" in environ:
            return wordless(status)(api, environ, start)
        return list(api(environ, start))

    return fault


def without_checksums(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A server that refuses S3's newer checksums, in the words of Backblaze (boto/s3transfer#327)."""
    if "HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM" in environ:
        told = "Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call."
        return answer("400 Bad Request", "InvalidArgument", told)(api, environ, start)
    return list(api(environ, start))


def echo(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Access is denied, and the message quotes the request's headers, as a server that is being debugged does."""
    headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    return answer("403 Forbidden", "AccessDenied", escape(f"{headers} {json.dumps(headers)}"))(api, environ, start)


def damage(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """One bit of what is sent changes on its way. As S3 does, and moto does not, the checksum is compared."""
    body = bytearray(get_input_stream(environ).read())
    body[-1] ^= 1
    environ["wsgi.input"] = io.BytesIO(body)
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    if checksum != environ["HTTP_X_AMZ_CHECKSUM_CRC32"]:
        return answer("400 Bad Request", "BadDigest")(api, environ, start)
    return list(api(environ, start))


def flip(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """One bit of the body is another."""
    body = b"".join(api(environ, start))
    return [bytes([body[0] ^ 1]), body[1:]]


def without_length(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A gateway that compresses, or does not wait for the whole object, and so cannot say how long it is."""

    def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        return start(status, [header for header in headers if header[0].lower() != "content-length"], *rest)

    return list(api(environ, begin))


def carry_out(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """No fault."""
    return list(api(environ, start))


@dataclass
class Rule:
    """A fault that is to come; with `times` 0 it is over."""

    method: str
    target: str
    fault: Fault
    times: int
    until: Callable[[], object] = lambda: True
    """What the request waits for."""


@dataclass
class FaultyS3:
    """moto, with `spoil` between it and the network; `requests` are those that arrived, such as `PUT /bucket/key?`."""

    requests: list[str] = field(default_factory=list)
    endpoint: str = ""
    _rules: list[Rule] = field(default_factory=list)
    _api: WSGIApplication = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """moto looks whether a key is taken and stores it in two steps; S3 does it in one."""

    def spoil(self, method: str, target: str, fault: Fault, *, times: int = 1) -> Rule:
        """Give `fault` to the next requests whose method and path with query match these patterns."""
        self._rules.append(Rule(method, target, fault, times))
        return self._rules[-1]

    def hold(self, method: str, target: str, *, until: Callable[[], object], times: int = 1) -> Rule:
        """Carry out the next requests that match these patterns once `until` is true; others are served meanwhile."""
        self._rules.append(Rule(method, target, carry_out, times, until))
        return self._rules[-1]

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        method, target = environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        with self._one_at_a_time:
            self.requests.append(f"{method} {target}")
            rule = self._take_rule(method, target)
        while rule is not None and not rule.until():
            time.sleep(0.01)
        with self._one_at_a_time:
            return (rule.fault if rule else carry_out)(self._api, environ, start)

    def _take_rule(self, method: str, target: str) -> Rule | None:
        for rule in self._rules:
            if rule.times and re.fullmatch(rule.method, method) and re.search(rule.target, target):
                rule.times -= 1
                return rule
        return None


@contextmanager
def serve_faulty_s3() -> Iterator[FaultyS3]:
    """A `FaultyS3` that listens at its `endpoint` until the block ends."""
    faulty = FaultyS3()
    server = make_server("127.0.0.1", 0, faulty, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    faulty.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faulty
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
