"""A plain web server of a folder: pages of links, ETag, Range; and what goes wrong with such servers."""

import hashlib
import html
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class FileServer:
    """A running server, and how it behaves.

    Attributes:
        root: the folder.
        url: of the folder.
        ranges: whether it answers with parts of files.
        lists: whether it gives pages of links.
        links: further links on the page of the root, as they are.
        statuses: what is answered instead of a path's content.
        redirects: where a path leads instead.
        cuts: after how many bytes the connection of a path ends, one answer each.
        before_write: called with the path before each block of a file.
        requests: method, path and Range of each.
    """

    root: Path
    url: str = ""
    ranges: bool = True
    lists: bool = True
    links: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    before_write: Callable[[str], None] = lambda _: None
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def fetched(self, name: str) -> list[str]:
        """Return the Range of each request for the content of files of this name."""
        return [part for method, path, part in self.requests if method == "GET" and path.endswith(name)]


BLOCK = 4096


@contextmanager
def serve_files(root: Path) -> Iterator[FileServer]:
    """Serve a folder on 127.0.0.1 until the block ends."""
    server = FileServer(root)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self._answer(with_body=True)

        def do_HEAD(self) -> None:  # noqa: N802
            self._answer(with_body=False)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(self.path).split("?")[0]
            server.requests.append((self.command, path, self.headers.get("Range", "")))
            target = root / path.strip("/")
            if path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path in server.statuses or not target.exists():
                self.send_error(server.statuses.get(path, 404))
            elif target.is_dir():
                self._page(path, target)
            else:
                self._file(path, target, with_body=with_body)

        def _page(self, path: str, target: Path) -> None:
            if not server.lists or not path.endswith("/"):
                self.send_error(403 if not server.lists else 404)
                return
            names = [one.name + "/" * one.is_dir() for one in sorted(target.iterdir())]
            links = ["../", "?C=N;O=D", *names, *(server.links if target == root else [])]
            body = "".join(f'<a href="{html.escape(one)}">x</a>\n' for one in links).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _file(self, path: str, target: Path, *, with_body: bool) -> None:
            content = target.read_bytes()
            start = 0
            part = self.headers.get("Range", "")
            if server.ranges and part:
                start = int(part.removeprefix("bytes=").split("-")[0])
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if not with_body:
                return
            cuts = server.cuts.get(path, [])
            end = start + cuts.pop(0) if cuts else len(content)
            for begin in range(start, min(end, len(content)), BLOCK):
                server.before_write(path)
                self.wfile.write(content[begin : min(begin + BLOCK, end)])
            if end < len(content):
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
