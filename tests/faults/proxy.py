"""A proxy on loopback between a client and an object store, told what to do to each request."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Rule = Callable[[str, str], str]
"""(method, unquoted path) -> one of: pass, 503, reset, slow (answers too late), half (half a body, then closes), lost
(the request is done, its reply is not sent)."""

SLOW_S = 4.0


class Proxy:
    """Forwards to ``upstream``; signatures stay right, because the Host header is passed on as it came.

    Attributes:
        rule: what to do; may be replaced at any time.
        hurt: how many requests were hurt, by rule's word.
        seen: requests by (method, path).
        sent: bytes of their bodies, as they came from the client.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.rule: Rule = lambda method, path: "pass"
        self.hurt: Counter[str] = Counter()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def decide(self, method: str, path: str, size: int) -> str:
        with self._lock:
            what = self.rule(method, path)
            self.seen[method, path] += 1
            self.sent[method, path] += size
            if what != "pass":
                self.hurt[what] += 1
            return what

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client gave up; that is what the tests are about
                    self.close_connection = True

            def _serve(self) -> None:
                body = self._body()
                what = proxy.decide(self.command, unquote(urlsplit(self.path).path), len(body))
                if what == "reset":
                    return self._reset()
                if what == "503":
                    return self._reply(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
                if what == "slow":
                    time.sleep(SLOW_S)
                status, headers, answer = self._forward(body)
                if what == "lost":
                    return self._reset()
                return self._reply(status, headers, answer, half=what == "half")

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

            def _body(self) -> bytes:
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    raise NotImplementedError("clients here send Content-Length over plain HTTP")
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                connection = http.client.HTTPConnection(proxy.upstream.hostname or "", proxy.upstream.port, timeout=60)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in ("connection", "expect"):
                            connection.putheader(name, value)
                    connection.endheaders(body)
                    reply = connection.getresponse()
                    return reply.status, reply.getheaders(), reply.read()
                finally:
                    connection.close()

            def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes, *, half: bool = False) -> None:
                self.send_response_only(status)
                skipped = {"connection", "transfer-encoding", *(["content-length"] if self.command != "HEAD" else [])}
                for name, value in headers:
                    if name.lower() not in skipped:
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if half else body)
                if half:
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True

            def _reset(self) -> None:
                """Close with RST instead of FIN."""
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                return

        return Handler

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message></Error>"
)


def once(what: str, matches: Callable[[str, str], bool] = lambda method, path: True) -> Rule:
    """Hurt the first request of each kind for which ``matches`` holds, and let all others of its kind pass.

    A kind is the method and the object's name, with all its numbers alike: a retry costs half a second on average.
    """
    met: set[tuple[str, str]] = set()

    def rule(method: str, path: str) -> str:
        kind = (method, re.sub(r"\d+", "N", path.rpartition("/")[2]))
        if not matches(method, path) or kind in met:
            return "pass"
        met.add(kind)
        return what

    return rule


def always(what: str, matches: Callable[[str, str], bool]) -> Rule:
    """Hurt every request for which ``matches`` holds."""
    return lambda method, path: what if matches(method, path) else "pass"
