"""A hub on the loopback: one repository with one commit, whose files can be asked for whole or from a byte on.

It keeps the rules that the hub's client relies on: an ETag and the commit with every file, `Range`, and a listing.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

COMMIT = "c0ffee" + 34 * "0"


class FakeHub:
    """Serves files by name while it is entered. `cut_after_bytes` breaks off what begins at 0."""

    def __init__(self, files: Mapping[str, bytes], *, cut_after_bytes: int | None = None) -> None:
        self.files = dict(files)
        self.cut_after_bytes = cut_after_bytes
        self.asked: list[tuple[str, str, int]] = []
        """Of every request the method, the file (or what of the listing), and the byte that it begins at."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __repr__(self) -> str:
        return f"<FakeHub {len(self.files)} files | {len(self.asked)} requests>"

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    """Answers for the hub that it is told."""

    hub: ClassVar[FakeHub]

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""

    def do_HEAD(self) -> None:
        """Describe a file."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Give the listing, or a file from a byte on."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        self.hub.asked.append((self.command, name, self._start()))
        if "/api/" in self.path:
            self._send(json.dumps(self._listing()).encode(), with_body=with_body)
        elif name in self.hub.files:
            self._send(self.hub.files[name], with_body=with_body)
        else:
            self.send_error(404)

    def _listing(self) -> Any:
        if "/tree/" in self.path:
            return [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324 - as the hub does.
                for name, data in self.hub.files.items()
            ]
        return {"id": "fake", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.hub.files]}

    def _send(self, data: bytes, *, with_body: bool) -> None:
        start = self._start()
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self.wfile.write(self._cut(data[start:]))

    def _start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0] or 0)

    def _cut(self, data: bytes) -> bytes:
        limit = self.hub.cut_after_bytes
        if limit is None or len(data) <= limit or "/api/" in self.path or self._start():
            return data
        self.close_connection = True
        return data[:limit]
