"""Servers on this machine that hand out one file each, well or badly."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Host:
    """A server for one file, and what it was asked."""

    body: bytes
    ranges: bool = True
    break_after: int | None = None  # bytes of each answer after which the connection ends
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # sent beside or instead of its own
    write: Callable[[Any, bytes], None] | None = None  # how a body is sent: (file, body)
    asked: list[str | None] = field(default_factory=list)
    heard: list[dict[str, str]] = field(default_factory=list)  # all headers of each question
    url: str = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one GET request."""
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        self.heard.append(dict(handler.headers.items()))
        unchanged = handler.headers.get("If-Range") in (None, self.headers.get("ETag"))
        start = int(asked[6:-1]) if asked and self.ranges and unchanged else 0
        whole = len(self.body)
        if self.status or (start >= whole and start):
            self._head(handler, self.status or 416, f"bytes */{whole}", 0)
            return
        rest = self.body[start:]
        span = f"bytes {start}-{whole - 1}/{whole}" if start else ""
        self._head(handler, 206 if start else 200, span, len(rest))
        with suppress(ConnectionError):  # the client has had enough
            if self.write:
                self.write(handler.wfile, rest)
            else:
                handler.wfile.write(rest[: self.break_after])

    def _head(self, handler: Any, status: int, span: str, length: int) -> None:
        handler.send_response(status)
        headers = {"Content-Range": span, "Content-Length": str(length), **self.headers}
        for name, value in headers.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()


@contextmanager
def hosts() -> Iterator[Callable[..., Host]]:
    """A function that starts a `Host` of its arguments; all end with the block."""
    servers = []

    def start(body: bytes, **options: Any) -> Host:
        host = Host(body, **options)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        host.url = f"http://127.0.0.1:{server.server_port}/file"
        return host

    try:
        yield start
    finally:
        for server in servers:
            server.shutdown()
            server.socket.close()
