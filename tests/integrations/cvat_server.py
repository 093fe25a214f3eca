"""As much of a CVAT server as its SDK's driver of auto-annotation needs: one task of images, on a real socket."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TASK = 42
DATE = "2026-01-01T00:00:00Z"


@dataclass
class CvatTask:
    """A task: its frames as files by name, its labels, and what was stored as its annotations."""

    frames: Mapping[str, bytes]
    labels: Mapping[str, str]
    url: str = ""
    stored: dict[str, Any] = field(default_factory=dict)

    def answer(self, path: str) -> Any:
        if path == f"/api/tasks/{TASK}":
            return self._task()
        if path == "/api/labels":
            found = [self._label(index, *one) for index, one in enumerate(self.labels.items(), 1)]
            return {"count": len(found), "next": None, "previous": None, "results": found}
        if path == f"/api/tasks/{TASK}/data/meta":
            return self._meta(list(self.frames))
        if path == f"/api/tasks/{TASK}/data":
            chunk = io.BytesIO()
            with zipfile.ZipFile(chunk, "w") as archive:
                for index, content in enumerate(self.frames.values()):
                    archive.writestr(f"{index:06d}.png", content)
            return chunk.getvalue()
        return None

    def _task(self) -> dict[str, Any]:
        return {
            "url": f"{self.url}/api/tasks/{TASK}",
            "id": TASK,
            "name": "frames",
            "project_id": None,
            "mode": "annotation",
            "owner": None,
            "assignee": None,
            "bug_tracker": "",
            "created_date": DATE,
            "updated_date": DATE,
            "overlap": 0,
            "segment_size": len(self.frames),
            "status": "annotation",
            "data_chunk_size": len(self.frames),
            "data_compressed_chunk_type": "imageset",
            "data_original_chunk_type": "imageset",
            "size": len(self.frames),
            "image_quality": 70,
            "data": 1,
            "dimension": "2d",
            "subset": "",
            "organization": None,
            "target_storage": None,
            "source_storage": None,
            "jobs": {"url": "", "count": 1, "completed": 0, "validation": 0},
            "labels": {"url": f"{self.url}/api/labels?task_id={TASK}"},
        }

    @staticmethod
    def _label(index: int, name: str, kind: str) -> dict[str, Any]:
        return {
            "id": 100 + index,
            "name": name,
            "color": "#000000",
            "attributes": [],
            "type": kind,
            "sublabels": [],
            "project_id": None,
            "task_id": TASK,
            "parent_id": None,
            "has_parent": False,
        }

    @staticmethod
    def _meta(names: Sequence[str]) -> dict[str, Any]:
        frames = [
            {
                "width": 8,
                "height": 8,
                "name": name,
                "related_files": 0,
                "has_related_context": False,
            }
            for name in names
        ]
        return {
            "chunk_size": len(names),
            "size": len(names),
            "image_quality": 70,
            "start_frame": 0,
            "stop_frame": len(names) - 1,
            "frame_filter": "",
            "frames": frames,
            "deleted_frames": [],
            "included_frames": None,
            "chunks_updated_date": DATE,
        }


@contextmanager
def cvat(frames: Mapping[str, bytes], labels: Mapping[str, str]) -> Iterator[CvatTask]:
    """Run the server until the block ends; `labels` are names with their types."""
    task = CvatTask(frames, labels)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(task.answer(self.path.partition("?")[0].rstrip("/")))

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            task.stored = body
            self._send({"version": 1, "tags": [], "shapes": [], "tracks": []})

        def _send(self, answer: Any) -> None:
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(404 if answer is None else 200)
            kind = "application/zip" if isinstance(answer, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    task.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield task
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
