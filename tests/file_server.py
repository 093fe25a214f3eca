"""A plain web server of a folder: pages of links, ETag, Range; and what goes wrong with such servers."""

import hashlib
import html
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote


@dataclass
class FileServer:
    """A running server, and how it behaves.

    Attributes:
        root: the folder.
        url: of the folder.
        ranges: whether it answers with parts of files.
        lists: whether it gives pages of links.
        encodes: whether it percent-encodes the names in pages of links, as web servers do.
        links: further links on the page of the root, as they are.
        statuses: what is answered instead of a path's content.
        redirects: where a path leads instead.
        authorization: what requests must have as that header; empty: anything.
        cuts: after how many bytes the connection of a path ends, one answer each.
        before_write: called with the path before each block of a file.
        in_place: whether each block is that of the file as it is then.
        tags: the ETag of each answer; None: a digest of the file.
        requests: method, path and Range of each.
    """

    root: Path
    url: str = ""
    ranges: bool = True
    lists: bool = True
    encodes: bool = False
    links: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    authorization: str = ""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    before_write: Callable[[str], None] = lambda _: None
    in_place: bool = False
    tags: Iterator[str] | None = None
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def fetched(self, name: str) -> list[str]:
        """Return the Range of each request for the content of files of this name."""
        return [
            part for method, path, part in self.requests if method == "GET" and path.endswith(name)
        ]


BLOCK = 4096


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `files` says."""

    server: "_Server"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        files, path = self.server.files, unquote(self.path).split("?")[0]
        files.requests.append((self.command, path, self.headers.get("Range", "")))
        target = files.root / path.strip("/")
        if files.authorization and self.headers.get("Authorization") != files.authorization:
            self.send_error(401)
        elif path in files.redirects:
            self._head(302, 0, Location=files.redirects[path])
        elif path in files.statuses or not target.exists():
            self.send_error(files.statuses.get(path, 404))
        elif target.is_dir():
            self._page(path, target)
        else:
            self._file(path, target, with_body=with_body)

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _page(self, path: str, target: Path) -> None:
        files = self.server.files
        if not files.lists or not path.endswith("/"):
            self.send_error(404 if files.lists else 403)
            return
        names = [one.name + "/" * one.is_dir() for one in sorted(target.iterdir())]
        if files.encodes:
            names = [quote(one) for one in names]
        links = ["../", "?C=N;O=D", *names, *(files.links if target == files.root else [])]
        body = "".join(f'<a href="{html.escape(one)}">x</a>\n' for one in links).encode()
        self._head(200, len(body), Content_Type="text/html")
        self.wfile.write(body)

    def _file(self, path: str, target: Path, *, with_body: bool) -> None:
        files, content = self.server.files, target.read_bytes()
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        tag = f'"{digest if files.tags is None else next(files.tags)}"'
        start, part = 0, self.headers.get("Range", "")
        if files.ranges and part:
            start = int(part.removeprefix("bytes=").split("-")[0])
            given = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._head(206, len(content) - start, ETag=tag, Content_Range=given)
        else:
            self._head(200, len(content), ETag=tag)
        if not with_body:
            return
        cuts = files.cuts.get(path, [])
        end = min(start + cuts.pop(0), len(content)) if cuts else len(content)
        for begin in range(start, end, BLOCK):
            files.before_write(path)
            if files.in_place:
                content = target.read_bytes()
            self.wfile.write(content[begin : min(begin + BLOCK, end)])
        self.close_connection = end < len(content)


class _Server(ThreadingHTTPServer):
    files: FileServer
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave are part of the tests."""


@contextmanager
def serve_files(root: Path, tls: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """Serve a folder on 127.0.0.1 until the block ends, by HTTPS where there is a certificate."""
    with _Server(("127.0.0.1", 0), Handler) as http:
        scheme = "http"
        if tls is not None:
            scheme, http.socket = "https", tls.wrap_socket(http.socket, server_side=True)
        http.files = FileServer(root, f"{scheme}://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http.files
        finally:
            http.shutdown()
            thread.join()
