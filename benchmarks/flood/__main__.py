"""`python -m benchmarks.flood`: what ten times the capacity leaves of the service, for a minute each."""

import json
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from benchmarks.commit import describe_commit
from benchmarks.contenders import CACHE, ROOT, foveal_command
from benchmarks.flood.crowd import Crowd, Tally
from benchmarks.flood.page import page_of, problems_of
from benchmarks.flood.run import Flooded, run_flood
from benchmarks.images import IMAGES
from benchmarks.load import HOW_TO_GET
from benchmarks.machine import describe_machine
from benchmarks.models import REPOSITORY
from benchmarks.server import Server, free_port, run_server
from benchmarks.soak.bodies import make_bodies
from service.settings import Settings

RESULTS = ROOT / "benchmarks" / "results"
BODIES = CACHE / "bodies" / "flood"
MODEL = "efficientnet-lite0"
CLASSIFY, EXPLAIN = f"/v1/classify?model={MODEL}", f"/v1/explain?view=cam&model={MODEL}"
VIDEO, CHAIN = f"/v1/video?model={MODEL}", "/v1/chain"
DIGITS = ROOT / "service" / "playground" / "samples" / "digits.jpg"
PEAK_CLIENTS, FEW_CLIENTS = 16, 4


def crowds_of(bodies: Mapping[str, Path]) -> dict[str, list[Crowd]]:
    """Return the floods by their names, as the clients that find their peaks.

    Args:
        bodies: the files of a `photograph`, a `camera`'s image, `digits` and a `video`.
    """
    photograph, jpeg = bodies["photograph"], "image/jpeg"
    images = Crowd("images", CLASSIFY, photograph, jpeg, PEAK_CLIENTS)
    return {
        "640×480 JPEG": [images],
        "4000×3000 JPEG": [Crowd("images", CLASSIFY, bodies["camera"], jpeg, PEAK_CLIENTS)],
        "with explanations and videos": [
            images,
            Crowd("explanations", EXPLAIN, photograph, jpeg, FEW_CLIENTS),
            Crowd("videos", VIDEO, bodies["video"], "video/mp4", FEW_CLIENTS),
        ],
        "with chains": [images, Crowd("chains", CHAIN, bodies["digits"], jpeg, FEW_CLIENTS)],
    }


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long each flood lasts")] = 60,
    peak_seconds: Annotated[float, typer.Option(min=1, help="How long a peak is measured")] = 10,
    only: Annotated[list[str] | None, typer.Option(help="A flood whose name has this text")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for flood.json and README.md")] = None,
) -> None:
    """Flood the service with ten times what it answers, and end with 1 where a promise was not kept."""
    # A SIGTERM becomes an exception, so that the run also ends the service.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if shutil.which("wrk") is None:
        _end(HOW_TO_GET)
    floods = {
        name: crowds
        for name, crowds in crowds_of(_bodies()).items()
        if not only or any(text in name for text in only)
    }
    if not floods:
        _end(f"No flood has such a name. There are: {', '.join(crowds_of(_bodies()))}.")
    machine, today = describe_machine(), datetime.now(UTC).date().isoformat()
    found = []
    for name, crowds in floods.items():
        with _serving() as server:
            found.append(
                run_flood(
                    name,
                    server,
                    crowds,
                    seconds=seconds,
                    peak_seconds=peak_seconds,
                    waiting=Settings.model_fields["queue_size"].default,
                )
            )
    deadline_ms = Settings.model_fields["timeout_ms"].default
    problems = problems_of(found, deadline_ms)
    page = page_of(found, problems, machine, seconds=seconds, deadline_ms=deadline_ms)
    folder = out or RESULTS / f"{today}-{machine.slug}-flood"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page)
    content = {
        "date": today,
        "commit": describe_commit(),
        "machine": asdict(machine),
        "seconds": seconds,
        "floods": [_content(one) for one in found],
        "problems": problems,
    }
    (folder / "flood.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(page)
    print(f"written: {folder}")
    raise typer.Exit(1 if problems else 0)


def _serving() -> AbstractContextManager[Server]:
    return run_server(
        foveal_command(port := free_port()),
        {"FOVEAL_MODELS": str(REPOSITORY)},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / "flood-foveal.log",
    )


def _bodies() -> dict[str, Path]:
    """Write what is sent to files, and return them."""
    BODIES.mkdir(parents=True, exist_ok=True)
    made = {
        "photograph": IMAGES["640×480 JPEG"](),
        "camera": IMAGES["4000×3000 JPEG"](),
        "digits": DIGITS.read_bytes(),
        "video": make_bodies().mp4,
    }
    files = {name: BODIES / name for name in made}
    for name, content in made.items():
        files[name].write_bytes(content)
    return files


def _content(flood: Flooded) -> dict[str, Any]:
    parts = [
        {
            "name": part.before.name,
            "path": part.before.path,
            "clients": [part.before.clients, part.flooding.clients],
            "goodput": part.goodput,
            "without_clients": flood.without_clients(part),
            "recovered": part.recovered,
            **{
                name: _counts(tally)
                for name, tally in (
                    ("peak", part.peak),
                    ("flood", part.flood),
                    ("after", part.after),
                )
            },
        }
        for part in flood.parts
    ]
    return {
        "name": flood.name,
        "parts": parts,
        "cores": flood.cores,
        "client_cores": [flood.peak_cores, flood.flood_cores],
        "memory_bytes": [flood.memory_before, flood.memory_most, flood.memory_after],
    }


def _counts(tally: Tally) -> dict[str, Any]:
    times = {
        str(status): [tally.quantile_ms([status], share) for share in (0.5, 0.99)]
        for status in tally.statuses
    }
    return {
        "seconds": tally.seconds,
        "statuses": tally.statuses,
        "unanswered": tally.unanswered,
        "median_and_p99_ms": times,
    }


def _end(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
