"""What the routes get: the parts of the service, and the record of their request."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.api.deps import RecordDep, Services, ServicesDep
from service.api.ingest.admission import Admission
from service.api.ingest.arriving import ArrivingBodies
from service.api.ingest.model_upload import UploadPlaces
from service.api.output_room import OutputRoom
from service.api.record import RECORD_KEY, RequestRecord
from service.body_memory import BodyMemory
from service.engine import Engine
from service.imaging.room import PixelRoom
from service.settings import Settings
from service.video_memory import VideoMemory

pytestmark = pytest.mark.anyio


def services_of(engine: Engine, **changed: Any) -> Services:
    bodies = ArrivingBodies(100)
    admission: Any = Admission.__new__(Admission)  # it is only passed on
    return Services(
        engine=engine,
        outputs=OutputRoom(1),
        admission=admission,
        arriving=bodies,
        arriving_videos=bodies,
        video_memory=VideoMemory(BodyMemory(), PixelRoom(1), most_file_bytes=1),
        uploads=UploadPlaces(1),
        max_body_bytes=1,
        max_images=2,
        max_form_fields=3,
        max_json_depth=4,
        max_video_bytes=5,
        min_bytes_per_second=6,
        longest_seconds=7,
        **changed,
    )


async def test_a_route_gets_the_services_of_its_app_and_the_record_of_its_request(
    tmp_path: Path,
) -> None:
    services = services_of(Engine(Settings(models=tmp_path)))
    app = FastAPI()
    app.state.services = services
    record = RequestRecord("an-id")
    got: list[object] = []

    async def route(services: ServicesDep, record: RecordDep) -> None:
        got.extend((services, record))

    app.add_api_route("/", route)

    async def with_record(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, RECORD_KEY: record}, receive, send)

    transport = httpx.ASGITransport(with_record)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/")).status_code == 200
    assert got[0] is services
    assert got[1] is record


def test_what_the_engine_knows_is_passed_on(tmp_path: Path) -> None:
    engine = Engine(Settings(models=tmp_path, timeout_ms=1250))
    services = services_of(engine)
    assert services.metrics is engine.metrics
    assert services.timeout_seconds == 1.25
    assert not services.draining
    services.draining = True
    assert engine.draining
    assert services.draining
    engine.draining = False
    assert not services.draining


def test_one_process_without_limits_by_client_is_the_usual_case(tmp_path: Path) -> None:
    services = services_of(Engine(Settings(models=tmp_path)))
    assert (services.peers, services.shares, services.sheds) == (None, None, True)
