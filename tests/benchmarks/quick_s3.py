"""A small S3 server that is quicker than what is measured with it: half a millisecond for a request.

    python -m tests.benchmarks.quick_s3 FOLDER

It serves one bucket from memory, without credentials, until its standard input ends, and begins with the files of
FOLDER. It knows what a store of this project asks for over HTTP: GET with a range, HEAD, PUT with If-None-Match: *,
DELETE of one key and of many, copies, and LIST version 2 by pages and folders. It refuses uploads in parts, which begin
at 16 MiB, with 501. `tests/integration/test_quick_s3.py` holds its answers against moto's.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape, unescape

BUCKET = "bench"
PAGE_SIZE = 1000
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
REASONS = {100: "Continue", 200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found",
           412: "Precondition Failed", 416: "Requested Range Not Satisfiable", 501: "Not Implemented"}  # fmt: skip


@dataclass
class Request:
    """One request, whole."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Bucket:
    """Objects by key, and their keys in order."""

    def __init__(self, folder: Path | None = None) -> None:
        """With the files of `folder`, which are read when they are asked for."""
        paths = [path for path in folder.rglob("*") if path.is_file()] if folder else []
        self._objects: dict[str, bytes | Path] = {path.relative_to(str(folder)).as_posix(): path for path in paths}
        self._tags = {key: f'"{hashlib.md5(key.encode()).hexdigest()}"' for key in self._objects}
        self._keys = sorted(self._objects)

    def answer(self, request: Request) -> Answer:
        """What S3 would say to `request`."""
        match request.method:
            case _ if request.bucket != BUCKET:
                return _fault(404, "NoSuchBucket")
            case "GET" if not request.key and request.query.get("list-type") == "2":
                return self._list(request.query)
            case "GET" | "HEAD" if request.key:
                return self._get(request)
            case "PUT" if request.key and "uploadId" not in request.query:
                return self._put(request)
            case "DELETE" if request.key:
                self._delete(request.key)
                return Answer(204)
            case "POST" if "delete" in request.query:
                for key in re.findall("<Key>(.*?)</Key>", request.body.decode()):
                    self._delete(unescape(key))
                return _document("DeleteResult", "")
        return _fault(501, "NotImplemented")

    def _get(self, request: Request) -> Answer:
        content = self._objects.get(request.key)
        if content is None:
            return _fault(404, "NoSuchKey")
        content = content.read_bytes() if isinstance(content, Path) else content
        headers = {"ETag": self._tags[request.key], "Last-Modified": DATE, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if asked is None:
            return Answer(200, content, headers)
        begin, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if begin >= len(content):
            return _fault(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
        return Answer(206, content[begin : end + 1], headers)

    def _put(self, request: Request) -> Answer:
        if request.headers.get("if-none-match") == "*" and request.key in self._objects:
            return _fault(412, "PreconditionFailed")
        content: bytes | Path = request.body
        source = unquote(request.headers.get("x-amz-copy-source", "")).removeprefix("/")
        if source:
            found = self._objects.get(source.removeprefix(f"{BUCKET}/"))
            if found is None:
                return _fault(404, "NoSuchKey")
            content = found
        if request.key not in self._objects:
            insort(self._keys, request.key)
        self._objects[request.key] = content
        self._tags[request.key] = f'"{hashlib.md5(request.body).hexdigest()}"'
        tag = f"<ETag>{escape(self._tags[request.key])}</ETag>"
        return _document("CopyObjectResult", tag) if source else Answer(200, b"", {"ETag": self._tags[request.key]})

    def _delete(self, key: str) -> None:
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def _list(self, query: Mapping[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        place = bisect_right(self._keys, after) if after > prefix else bisect_left(self._keys, prefix)
        size = min(int(query.get("max-keys", PAGE_SIZE)), PAGE_SIZE)
        entries: list[str] = []
        last = after
        while place < len(self._keys) and self._keys[place].startswith(prefix) and len(entries) < size:
            last = self._keys[place]
            folder, found, _ = last[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                name = prefix + folder + delimiter
                last = name + "\U0010ffff"  # behind every key of the folder
                place = bisect_right(self._keys, last)
                entries.append(f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>")
            else:
                place += 1
                entries.append(self._describe(last))
        is_cut = place < len(self._keys) and self._keys[place].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if is_cut else ""
        head = f"<Name>{BUCKET}</Name><Prefix>{quote(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
        head += f"<MaxKeys>{size}</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{str(is_cut).lower()}"
        return _document("ListBucketResult", f"{head}</IsTruncated>{token}{''.join(entries)}")

    def _describe(self, key: str) -> str:
        content = self._objects[key]
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        return (
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(self._tags[key])}</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )


def _document(name: str, content: str) -> Answer:
    return Answer(
        200,
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {NAMESPACE}>{content}</{name}>'.encode(),
        {"Content-Type": "application/xml"},
    )


def _fault(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{REASONS[status]}</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


async def _serve(bucket: Bucket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until the client closes it."""
    try:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            if headers.get("expect") == "100-continue":  # botocore waits a second for it
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            path, _, query = target.partition("?")
            name, _, key = unquote(path.lstrip("/")).partition("/")
            values = dict(parse_qsl(query, keep_blank_values=True))
            answer = bucket.answer(Request(method, name, key, values, headers, body))
            told = {"Content-Length": str(len(answer.body)), **answer.headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            writer.write(f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\n{head}\r\n".encode())
            if method != "HEAD":
                writer.write(answer.body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _run(folder: Path | None) -> None:
    bucket = Bucket(folder)
    server = await asyncio.start_server(lambda *ends: _serve(bucket, *ends), "127.0.0.1", 0, limit=2**20)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    os._exit(0)  # connections that clients keep open are no reason to wait, nor to complain


class QuickS3(AbstractContextManager["QuickS3"]):
    """The server in a process of its own, with the files of a folder. Ended by its exit."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.quick_s3", str(folder)]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, text=True)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()

    def cpu_seconds(self) -> float:
        """What it has taken so far, by https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate("")


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
