"""Stand-ins for Google Cloud Storage and for the hub of Hugging Face: as much of them as reading a folder needs."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 3


@dataclass
class StandIn:
    """A running stand-in.

    Attributes:
        url: where it listens.
        files: content by path; a change is a new version, of the hub's repository a new commit.
        before_part: called with the path before a part of a file is given.
        requests: method and path of each, and its headers.
    """

    url: str
    files: Mapping[str, bytes]
    before_part: Callable[[str], None] = lambda _: None
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    _commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self) -> str:
        """Return the newest commit, which has the files as they are now."""
        now = dict(self.files)
        name = _oid(b"".join(path.encode() + _oid(one).encode() for path, one in now.items()))
        self._commits[name] = now
        return name

    def at(self, revision: str) -> Mapping[str, bytes] | None:
        """Return the files of a branch or commit; None where there is none of this name."""
        self.commit()
        return self.files if revision == "main" else self._commits.get(revision)

    def environment(self, home: Path) -> dict[str, str]:
        """Return this process' environment for one whose home is `home` and whose places are this stand-in."""
        return {
            **os.environ,
            "HOME": str(home),
            "STORAGE_EMULATOR_HOST": self.url,
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": "hf_secret",
            "NO_GCE_CHECK": "true",
        }


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), {key: one[0] for key, one in parse_qs(url.query).items()}
        stand_in = self.server.stand_in
        stand_in.requests.append((f"{self.command} {path}", dict(self.headers)))
        if re.fullmatch(r"/storage/v1/b/bucket/o", path):
            self._json(_gs_listing(stand_in.files, query))
        elif found := re.fullmatch(r"(/download)?/storage/v1/b/bucket/o/(.+)", path):
            wants_content = bool(found[1]) or query.get("alt") == "media"
            self._gs_object(found[2], query.get("generation"), wants_content=wants_content)
        elif found := re.fullmatch(r"/api/models/owner/name(?:/([\w-]+)/(\w+)(?:/(.*))?)?", path):
            self._hub(found[1] or "revision", found[2] or "main", found[3] or "")
        elif found := re.fullmatch(r"/owner/name/resolve/(\w+)/(.+)", path):
            self._hub_file(found[1], found[2])
        else:
            self.send_error(404)

    def _gs_object(self, path: str, generation: str | None, *, wants_content: bool) -> None:
        """Answer as a bucket that keeps no versions does."""
        if wants_content and self.headers.get("Range"):
            self.server.stand_in.before_part(path)
        content = self.server.stand_in.files.get(path)
        if content is None or generation not in {None, _generation(content)}:
            self.send_error(404)
        elif wants_content:
            self._content(content)
        else:
            self._json(_gs_object(path, content))

    def _hub(self, what: str, revision: str, path: str) -> None:
        stand_in = self.server.stand_in
        files, commit = stand_in.at(revision), stand_in.commit()
        if files is None:
            self.send_error(404)
        elif what == "revision":
            sha = commit if revision == "main" else revision
            self._json({"id": "owner/name", "sha": sha, "siblings": []})
        elif what == "tree":
            self._json(_hf_tree(files, path))
        else:
            asked = parse_qs(self.body.decode()).get("paths") or json.loads(self.body)["paths"]
            self._json([_hf_file(one, files[one], commit) for one in asked if one in files])

    def _hub_file(self, revision: str, path: str) -> None:
        stand_in = self.server.stand_in
        if self.headers.get("Range"):
            stand_in.before_part(path)
        content = (stand_in.at(revision) or {}).get(path)
        self._content(content) if content is not None else self.send_error(404)

    def _json(self, value: object) -> None:
        self._content(json.dumps(value).encode(), "application/json")

    def _content(self, content: bytes, kind: str = "application/octet-stream") -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        body = content[int(part[1]) : int(part[2]) + 1 if part[2] else None] if part else content
        self.send_response(206 if part else 200)
        if part:
            end = int(part[1]) + len(body) - 1
            self.send_header("Content-Range", f"bytes {part[1]}-{end}/{len(content)}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", self.server.stand_in.commit())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _oid(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:40]


def _generation(content: bytes) -> str:
    return str(int(_oid(content)[:12], 16))


def _gs_object(path: str, content: bytes) -> dict[str, str]:
    return {
        "kind": "storage#object",
        "name": path,
        "bucket": "bucket",
        "size": str(len(content)),
        "etag": _oid(content),
        "generation": _generation(content),
        "updated": "2026-01-01T00:00:00Z",
        "timeCreated": "2026-01-01T00:00:00Z",
    }


def _gs_listing(files: Mapping[str, bytes], query: Mapping[str, str]) -> dict[str, object]:
    prefix = query.get("prefix", "")
    inside = {path: one for path, one in files.items() if path.startswith(prefix)}
    if "delimiter" not in query:
        return _gs_page(inside, query.get("pageToken", ""))
    folders = {
        prefix + path.removeprefix(prefix).split("/")[0] + "/"
        for path in inside
        if "/" in path.removeprefix(prefix)
    }
    items = [
        _gs_object(path, one)
        for path, one in inside.items()
        if "/" not in path.removeprefix(prefix)
    ]
    return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}


def _gs_page(files: Mapping[str, bytes], token: str) -> dict[str, object]:
    """Return the files behind the one that a token names, a few in a page."""
    left = sorted(path for path in files if path > token)
    items = [_gs_object(path, files[path]) for path in left[:PAGE]]
    more = {"nextPageToken": left[PAGE - 1]} if len(left) > PAGE else {}
    return {"kind": "storage#objects", "items": items, **more}


def _hf_file(path: str, content: bytes, commit: str) -> dict[str, object]:
    last = {"id": commit, "title": "a change", "date": "2026-01-01T00:00:00.000Z"}
    return {
        "type": "file",
        "path": path,
        "oid": _oid(content),
        "size": len(content),
        "lastCommit": last,
    }


def _hf_tree(files: Mapping[str, bytes], folder: str) -> list[dict[str, object]]:
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, object]] = {}
    for path, content in files.items():
        name, _, deeper = path.removeprefix(prefix).partition("/")
        if not path.startswith(prefix):
            continue
        kind = "directory" if deeper else "file"
        size = 0 if deeper else len(content)
        place = f"{prefix}{name}"
        found[place] = {"type": kind, "path": place, "oid": _oid(content), "size": size}
    return list(found.values())


class _Server(ThreadingHTTPServer):
    stand_in: StandIn
    daemon_threads = True


@contextmanager
def stand_in_for(files: Mapping[str, bytes]) -> Iterator[StandIn]:
    """Serve files on 127.0.0.1, as `bucket` and as `owner/name`, until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as http:
        http.stand_in = StandIn(f"http://127.0.0.1:{http.server_port}", files)
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http.stand_in
        finally:
            http.shutdown()
            thread.join()
