"""Versions, aliases, shares, loads and unloads on a real socket: what is served changes, and no request fails."""

import base64
import itertools
import json
import shutil
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.card import CARD_KEY
from service.runtime.host import resident_bytes
from service.servable_file import graph_sha256
from tests.images import plain
from tests.keys import bearer, write_keys
from tests.live import MODELS, Live, problem, serve
from tests.servables import color_card, color_model, swapped_colors, write_servable

IMAGE = plain("red")


@dataclass
class Service:
    live: Live
    http: httpx.Client
    admin: httpx.Client
    models: Path

    def ask(self, query: str = "") -> int:
        """Return which version of `colors` answers."""
        answer = self.http.post(f"/v1/classify{query or '?model=colors'}", content=IMAGE)
        assert answer.status_code == 200, answer.text
        version: int = answer.json()["version"]
        return version

    def states(self) -> dict[tuple[str, int], str]:
        models = self.admin.get("/v1/models").json()["models"]
        return {(one["name"], one["version"]): one["state"] for one in models}

    def do(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = self.admin.request(method, path, **body)
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json() if answer.content else {}
        return report

    def until(self, true: Callable[[], bool]) -> None:
        """Return when it is true; the test's time limit ends what never is."""
        while not true():
            self.http.get("/health/live")


def begin(models: Path, **settings: Any) -> Iterator[Service]:
    keys = write_keys(models.parent / "keys.toml")
    with (
        serve(models=models, admin=True, keys=keys, **settings) as live,
        httpx.Client(base_url=live.url, headers=bearer("ada"), timeout=15) as http,
        httpx.Client(base_url=live.url, headers=bearer("root"), timeout=15) as admin,
    ):
        yield Service(live, http, admin, models)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose `colors` has version 1."""
    models = tmp_path / "models"
    write_servable(models)
    yield from begin(models)


def servable_bytes(folder: Path, **changes: Any) -> bytes:
    card = color_card().model_copy(update=changes)
    return write_servable(folder, card=card).read_bytes()


# Versions.


def test_a_version_that_is_sent_takes_the_traffic_and_is_in_the_folder(
    service: Service, tmp_path: Path
) -> None:
    file = servable_bytes(tmp_path / "made")
    report = service.do("PUT", "/v1/models/colors/versions/2", content=file)
    assert report == {
        "loaded": ["colors:2"],
        "removed": [],
        "refused": {},
        "plans": {},
        "defaults": {},
        "drained": True,
    }
    assert (service.models / "colors" / "2" / "model.onnx").read_bytes() == file
    assert service.ask() == 2
    assert service.ask("?model=colors&version=1") == service.ask("?model=colors:1") == 1
    assert not list(service.models.glob(".*"))


def test_a_new_model_that_is_sent_is_served(service: Service, tmp_path: Path) -> None:
    file = servable_bytes(tmp_path / "made")
    service.do("PUT", "/v1/models/paints/versions/7", content=file)
    assert service.ask("?model=paints") == 7
    answer = service.http.post("/v1/classify", content=IMAGE)
    assert "colors, paints" in problem(answer, 422, "no_default_model")


def test_a_version_of_the_folder_is_served_when_a_call_names_it(service: Service) -> None:
    write_servable(service.models, version=2)
    assert service.ask() == 1
    assert service.do("PUT", "/v1/models/colors/versions/2")["loaded"] == ["colors:2"]
    assert service.ask() == 2
    assert service.do("PUT", "/v1/models/colors/versions/2")["loaded"] == [], "it is served already"


def test_a_version_that_is_deleted_is_served_no_more_and_its_file_stays_unless_asked(
    service: Service,
) -> None:
    for version in (2, 3):
        write_servable(service.models, version=version)
        service.do("PUT", f"/v1/models/colors/versions/{version}")
    assert service.do("DELETE", "/v1/models/colors/versions/3")["removed"] == ["colors:3"]
    assert service.ask() == 2
    detail = problem(
        service.http.post("/v1/classify?model=colors:3", content=IMAGE), 404, "unknown_version"
    )
    assert detail == "colors has no version 3. Versions: 1, 2. Version 3 was unloaded."
    service.do("DELETE", "/v1/models/colors/versions/2?file=true")
    assert sorted(path.name for path in (service.models / "colors").iterdir()) == ["1", "3"]
    assert service.ask() == 1


def test_a_version_that_is_not_served_can_be_removed_and_sent_again(
    service: Service, tmp_path: Path
) -> None:
    broken = service.models / "colors" / "3" / "model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"half a copy")
    assert list(service.do("POST", "/v1/admin/reload")["refused"]) == ["colors:3"]
    problem(service.admin.delete("/v1/models/colors/versions/3"), 404, "unknown_version")
    assert service.do("DELETE", "/v1/models/colors/versions/3?file=true")["refused"] == {}
    assert not broken.parent.exists()
    assert service.admin.get("/v1/models").json()["not_served"] == []
    file = servable_bytes(tmp_path / "made")
    service.do("PUT", "/v1/models/colors/versions/3", content=file)
    service.do("DELETE", "/v1/models/colors/versions/3")
    assert broken.exists(), "it was unloaded and is still there"
    service.do("DELETE", "/v1/models/colors/versions/3?file=true")
    assert not broken.parent.exists()
    assert service.ask() == 1


# Aliases, shares, shadows.


def test_an_alias_moves_and_a_version_that_it_leads_to_stays(service: Service) -> None:
    write_servable(service.models, version=2)
    service.do("PUT", "/v1/models/colors/versions/2")
    service.do("PUT", "/v1/models/colors/aliases/canary", json={"version": 2})
    assert service.ask("?model=colors@canary") == 2
    gone = service.admin.delete("/v1/models/colors/versions/2")
    assert "alias canary of colors leads to version 2" in problem(gone, 409, "model_in_use")
    service.do("PUT", "/v1/models/colors/aliases/canary", json={"version": 1})
    assert service.ask("?model=colors@canary") == 1
    service.do("DELETE", "/v1/models/colors/versions/2")
    service.do("DELETE", "/v1/models/colors/aliases/canary")
    answer = service.http.post("/v1/classify?model=colors@canary", content=IMAGE)
    assert problem(answer, 404, "unknown_version") == "colors has no alias 'canary'. Aliases: none."


def test_shares_split_the_requests_that_name_no_version(service: Service) -> None:
    write_servable(service.models, version=2)
    service.do("PUT", "/v1/models/colors/versions/2")
    service.do("PUT", "/v1/models/colors/aliases/canary", json={"version": 2})
    report = service.do("PUT", "/v1/models/colors/weights", json={"1": 75, "canary": 25})
    assert report["plans"]["colors"]["weights"] == {"1": 75, "canary": 25}
    assert report["plans"]["colors"]["aliases"] == {"canary": 2}
    assert Counter(service.ask() for _ in range(20)) == {1: 15, 2: 5}
    assert {service.ask("?model=colors:2") for _ in range(3)} == {2}
    shown = service.admin.get("/v1/models/colors").json()["models"]
    assert [(one["share"], one["aliases"]) for one in shown] == [(75, []), (25, ["canary"])]
    service.do("PUT", "/v1/models/colors/weights", json={})
    assert {service.ask() for _ in range(4)} == {2}


def test_a_shadow_runs_the_requests_too_and_their_agreement_is_counted(service: Service) -> None:
    write_servable(service.models, version=2)
    write_servable(service.models, version=3, model=swapped_colors())
    service.do("POST", "/v1/admin/reload")
    for shadow, outcome in (("2", "agreed"), ("3", "differed")):
        service.do("PUT", "/v1/models/colors/weights", json={"1": 100})
        service.do("PUT", "/v1/models/colors/shadow", json={"version": shadow})
        assert service.ask() == 1
        labels = {"model": "colors", "version": shadow, "outcome": outcome}
        service.until(lambda: service.live.sample("foveal_shadow_images_total", **labels) == 1)  # noqa: B023  # run here
    service.ask("?model=colors:1")
    service.do("DELETE", "/v1/models/colors/shadow")
    assert service.ask() == 1
    counted = sum(
        service.live.sample(
            "foveal_shadow_images_total", model="colors", version=version, outcome=outcome
        )
        for version in ("2", "3")
        for outcome in ("agreed", "differed", "failed", "dropped")
    )
    assert counted == 2, "a request that names its version has no shadow"


def test_a_model_does_not_take_the_name_of_a_chain(service: Service, tmp_path: Path) -> None:
    chain = service.models / "pair"
    chain.mkdir()
    step = '[[steps]]\nname = "{}"\ntask = "{}"\nmodel = "colors"\n'
    (chain / "chain.toml").write_text(step.format("find", "detect") + step.format("a", "classify"))
    service.do("POST", "/v1/admin/reload")
    file = servable_bytes(tmp_path / "made")
    answer = service.admin.put("/v1/models/pair/versions/1", content=file)
    assert "pair is the name of a chain" in problem(answer, 409, "model_in_use")
    assert [path.name for path in chain.iterdir()] == ["chain.toml"]
    write_servable(service.models, "pair")
    service.do("POST", "/v1/admin/reload")
    listed = service.admin.get("/v1/models/pair").json()
    assert (listed["models"][0]["name"], listed["chains"][0]["name"]) == ("pair", "pair")


def test_a_default_that_is_no_chain_is_refused_by_a_reload(service: Service) -> None:
    (service.models / "foveal.toml").write_text('[defaults]\nchain = "nothing"\n')
    detail = problem(service.admin.post("/v1/admin/reload"), 422, "refused_model")
    assert "names 'nothing' for chain. Chains: none" in detail
    assert service.ask() == 1


# Bad input.

PATHS = "/v1/models/colors"
INVALID = (422, "invalid_parameter")
NO_MODEL = (404, "unknown_model")
NO_VERSION = (404, "unknown_version")
BAD: Mapping[str, tuple[str, str, Any, int, str, str]] = {
    "alias to nothing": ("PUT", f"{PATHS}/aliases/a", {"version": 9}, *INVALID, "does not have. Versions: 1"),
    "alias of nothing": ("PUT", "/v1/models/none/aliases/a", {"version": 1}, *NO_MODEL, "no model 'none'"),
    "alias without a name": ("PUT", f"{PATHS}/aliases/1", {"version": 1}, *INVALID, "alias"),
    "alias with no version": ("PUT", f"{PATHS}/aliases/a", {}, *INVALID, "version"),
    "alias with a text": ("PUT", f"{PATHS}/aliases/a", {"version": "1"}, *INVALID, "version"),
    "alias that is not there": ("DELETE", f"{PATHS}/aliases/a", None, *NO_VERSION, "no alias 'a'"),
    "shares below 100": ("PUT", f"{PATHS}/weights", {"1": 99}, *INVALID, "add up to 99, not to 100"),
    "a negative share": ("PUT", f"{PATHS}/weights", {"1": 150, "2": -50}, *INVALID, "a share is 0 to 100"),
    "a share that is a text": ("PUT", f"{PATHS}/weights", {"1": "much"}, *INVALID, "number"),
    "a share in quotes": ("PUT", f"{PATHS}/weights", {"1": "100"}, *INVALID, "number"),
    "a share that is a truth value": ("PUT", f"{PATHS}/weights", {"1": 99, "2": True}, *INVALID, "number"),
    "a share of version 01": ("PUT", f"{PATHS}/weights", {"01": 100}, *INVALID, "leads to no alias and no version"),
    "a shadow that is a truth value": ("PUT", f"{PATHS}/shadow", {"version": True}, *INVALID, "version"),
    "a model named foveal.toml": ("PUT", "/v1/models/foveal.toml/versions/1", None, *INVALID, "can not name"),
    "a share of nothing": ("PUT", f"{PATHS}/weights", {"canary": 100}, *INVALID, "leads to no alias and no version"),
    "a share of version 9": ("PUT", f"{PATHS}/weights", {"9": 100}, *INVALID, "leads to version 9"),
    "too many shares": ("PUT", f"{PATHS}/weights", {str(n): 0 for n in range(101)}, *INVALID, "at most 100"),
    "a shadow of nothing": ("PUT", f"{PATHS}/shadow", {"version": "x"}, *INVALID, "leads to no alias and no version"),
    "a version that is not there": ("PUT", f"{PATHS}/versions/5", None, *NO_VERSION, "no version 5 in the folder"),
    "a model that is not there": ("PUT", "/v1/models/none/versions/5", None, *NO_MODEL, "none' in the folder"),
    "version 0": ("PUT", f"{PATHS}/versions/0", None, *INVALID, "version"),
    "version 01": ("PUT", f"{PATHS}/versions/01", None, *INVALID, "does not begin with 0"),
    "an unload of version 01": ("DELETE", f"{PATHS}/versions/01", None, *INVALID, "does not begin with 0"),
    "version 1.0": ("DELETE", f"{PATHS}/versions/1.0", None, *INVALID, "does not begin with 0"),
    "a shadow of version 01": ("PUT", f"{PATHS}/shadow", {"version": "01"}, *INVALID, "no alias and no version"),
    "a name that climbs": ("PUT", "/v1/models/..%2Fx/versions/5", None, 404, "not_found", ""),
    "a name of dots": ("PUT", "/v1/models/..x/versions/5", None, *INVALID, "name"),
    "an unload of what is not there": ("DELETE", f"{PATHS}/versions/5", None, *NO_VERSION, "Versions: 1"),
    "an unload of no model": ("DELETE", "/v1/models/none/versions/5", None, *NO_MODEL, "none"),
}  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = tmp_path_factory.mktemp("bad") / "models"
    write_servable(models)
    yield from begin(models, max_model_bytes=200_000)


@pytest.mark.parametrize("kind", BAD)
def test_a_call_that_can_not_be_done_says_why_and_changes_nothing(
    unchanged: Service, kind: str
) -> None:
    method, path, body, status, code, reason = BAD[kind]
    sent = {} if body is None else {"json": body}
    answer = unchanged.admin.request(method, path, **sent)
    assert reason in problem(answer, status, code)
    assert unchanged.states() == {("colors", 1): "ready"}
    assert unchanged.ask() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"version": %s}' % (b"9" * 5000), 400, "malformed_json"),
        (b'{"version": 1%s}' % (b"0" * 300), 422, "invalid_parameter"),
        (b'{"version": "%s"}' % (b"0" * 18 + b"1" * 5000), 422, "invalid_parameter"),
        (b'{"version": ' + b"[" * 50_000, 400, "malformed_json"),
        (b"[" * 50_000, 400, "malformed_json"),
        (b"{" + b'"1":0,' * 20_000 + b'"2":0}', 413, "body_too_large"),
        (b"[1]", 400, "malformed_json"),
        (b"\xff", 400, "malformed_json"),
        (b"", 400, "empty_body"),
        (b'{"1": 40, "1": 100}', 400, "malformed_json"),
        (b'{"version": 9, "versi\\u006fn": 1}', 400, "malformed_json"),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("what", ["aliases/a", "shadow", "weights"])
def test_hostile_json_of_a_call_is_refused_before_it_is_built(
    unchanged: Service, what: str, body: bytes, status: int, code: str
) -> None:
    answer = unchanged.admin.put(f"{PATHS}/{what}", content=body)
    problem(answer, status, code)
    assert unchanged.states() == {("colors", 1): "ready"}


def test_a_refused_model_leaves_a_folder_that_was_there_before(unchanged: Service) -> None:
    folder = unchanged.models / "prepared"
    folder.mkdir()
    answer = unchanged.admin.put("/v1/models/prepared/versions/1", content=b"no model at all")
    problem(answer, 422, "refused_model")
    assert list(folder.iterdir()) == []
    folder.rmdir()


def test_a_refused_model_leaves_no_folder(unchanged: Service) -> None:
    answer = unchanged.admin.put("/v1/models/none/versions/1", content=b"PK\3\4")
    problem(answer, 422, "refused_model")
    assert [one.name for one in unchanged.models.iterdir()] == ["colors"]


def without_card() -> bytes:
    return bytes(color_model().SerializeToString())


def changed_after_its_proof(folder: Path) -> bytes:
    model = onnx.load_from_string(servable_bytes(folder))
    model.graph.node[0].name = "other"
    return bytes(model.SerializeToString())


def of_another_contract(folder: Path) -> bytes:
    return write_servable(folder, model=color_model(side=9)).read_bytes()


def with_data_elsewhere(folder: Path) -> bytes:
    """Return a servable whose constant lies in a file outside of its folder."""
    model = color_model()
    (scale,) = model.graph.initializer
    scale.ClearField("float_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="../../../../etc/hostname")
    scale.external_data.add(key="length", value="4")
    return write_servable(folder, model=model).read_bytes()


FILES: Mapping[str, tuple[Callable[[Path], bytes], str]] = {
    "half a file": (lambda at: servable_bytes(at)[:-40], "cut short"),
    "noise": (lambda _: bytes(range(256)) * 9, "not an ONNX file"),
    "no card": (lambda _: without_card(), "card"),
    "another graph": (changed_after_its_proof, "changed after it was proved"),
    "another contract": (of_another_contract, "the card says"),
    "data elsewhere": (with_data_elsewhere, "etc/hostname"),
    "another task": (lambda at: servable_bytes(at, task="smell"), "task is 'smell'"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_can_not_be_served_is_refused_and_removed(
    unchanged: Service, tmp_path: Path, kind: str
) -> None:
    make, reason = FILES[kind]
    answer = unchanged.admin.put("/v1/models/colors/versions/2", content=make(tmp_path / "made"))
    detail = problem(answer, 422, "refused_model")
    assert reason in detail
    assert str(unchanged.models) not in detail
    assert [path.name for path in unchanged.models.iterdir()] == ["colors"]
    assert [path.name for path in (unchanged.models / "colors").iterdir()] == ["1"]
    assert unchanged.ask() == 1
    assert unchanged.http.get("/health/ready").status_code == 200


@pytest.mark.parametrize("kind", FILES)
def test_a_file_in_the_folder_that_can_not_be_served_is_named_and_what_served_goes_on(
    unchanged: Service, tmp_path: Path, kind: str
) -> None:
    make, reason = FILES[kind]
    place = unchanged.models / "colors" / "2" / "model.onnx"
    place.parent.mkdir()
    place.write_bytes(make(tmp_path / "made"))
    try:
        report = unchanged.do("POST", "/v1/admin/reload")
        assert reason in report["refused"]["colors:2"]
        assert unchanged.ask() == 1
        assert unchanged.http.get("/health/ready").status_code == 200
        index = unchanged.admin.post("/v2/repository/index").json()
        shown = {one["version"]: (one["state"], one["reason"]) for one in index}
        assert shown["1"] == ("READY", "")
        assert shown["2"][0] == "UNAVAILABLE"
        assert reason in shown["2"][1]
    finally:
        place.unlink()
        place.parent.rmdir()
        unchanged.do("POST", "/v1/admin/reload")
    assert unchanged.states() == {("colors", 1): "ready"}


def test_a_file_that_is_served_and_broken_in_its_place_is_named_and_goes_on_serving(
    service: Service,
) -> None:
    place = service.models / "colors" / "1" / "model.onnx"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in service.do("POST", "/v1/admin/reload")["refused"]["colors:1"]
    assert service.ask() == 1
    assert service.http.get("/health/ready").status_code == 200
    place.write_bytes(whole)
    assert service.do("POST", "/v1/admin/reload")["refused"] == {}


def test_a_file_that_is_too_large_or_there_already_is_not_taken(unchanged: Service) -> None:
    large = unchanged.admin.put("/v1/models/colors/versions/2", content=bytes(200_001))
    problem(large, 413, "body_too_large")
    streamed = unchanged.admin.put(
        "/v1/models/colors/versions/2", content=(bytes(1000) for _ in range(300))
    )
    problem(streamed, 413, "body_too_large")
    there = unchanged.admin.put("/v1/models/colors/versions/1", content=b"x")
    problem(there, 409, "version_exists")
    assert [path.name for path in unchanged.models.iterdir()] == ["colors"]


def test_a_bad_foveal_toml_is_named_and_nothing_changes(unchanged: Service) -> None:
    file = unchanged.models / "foveal.toml"
    for text, reason in (
        ("[models.colors]\naliases = {stable = 4}", "stable leads to version 4"),
        ("[models.colors]\nweights = {1 = 50}", "add up to 50"),
        ("[models.none]\nttl_seconds = 1", "there is no such model"),
        ("[models.colors]\nversions = [99]", "lists the versions 99 of 'colors'"),
        ('[defaults]\nclassify = "none"', "default of classify is 'none'"),
        ('[defaults]\nsmell = "colors"', "no task"),
        ("[", "is not TOML"),
    ):
        file.write_text(text)
        answer = unchanged.admin.post("/v1/admin/reload")
        detail = problem(answer, 422, "refused_model")
        assert reason in detail
        assert str(unchanged.models) not in detail
        assert unchanged.ask() == 1
    file.unlink()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "can not be parsed"),
        (b"[]", "Send"),
        (b'{"parameters": 3}', "Send"),
        (b'{"parameters": {"unload_dependents": "yes"}}', "must be true or false"),
        (b'{"parameters": {}, "parameters": {}}', "'parameters' twice"),
    ],
)
def test_an_unload_that_is_not_understood_unloads_nothing(
    unchanged: Service, body: bytes, reason: str
) -> None:
    answer = unchanged.admin.post("/v2/repository/models/colors/unload", content=body)
    assert answer.status_code in {400, 422}
    assert reason in answer.json()["error"]
    assert unchanged.ask() == 1


@pytest.mark.parametrize("what", ["load", "unload"])
@pytest.mark.parametrize("name", ["..%2Fcolors", "%2E%2E", "none", "colors%00"])
def test_v2_neither_loads_nor_unloads_what_is_not_there(
    unchanged: Service, what: str, name: str
) -> None:
    answer = unchanged.admin.post(f"/v2/repository/models/{name}/{what}")
    assert answer.status_code == 404
    assert answer.json()["error"]
    assert unchanged.states() == {("colors", 1): "ready"}


def test_without_the_setting_nothing_can_be_changed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models)
    keys = write_keys(tmp_path / "keys.toml")
    with (
        serve(models=models, keys=keys) as live,
        httpx.Client(base_url=live.url, headers=bearer("root")) as admin,
    ):
        problem(admin.delete("/v1/models/colors/versions/1"), 403, "admin_off")
        assert admin.post("/v2/repository/models/colors/unload").status_code == 403
        assert "model_repository" not in admin.get("/v2").json()["extensions"]
    with serve(models=models) as live, httpx.Client(base_url=live.url) as anyone:
        problem(anyone.delete("/v1/models/colors/versions/1"), 401, "unauthorized")
        assert anyone.post("/v2/repository/models/colors/unload").status_code == 401


# V2.


def test_v2_unloads_and_loads_a_model_and_announces_that_it_can(service: Service) -> None:
    assert "model_repository" in service.admin.get("/v2").json()["extensions"]
    answer = service.admin.post("/v2/repository/models/colors/unload")
    assert (answer.status_code, answer.content) == (200, b"")
    (entry,) = service.admin.post("/v2/repository/index").json()
    assert entry == {
        "name": "colors",
        "version": "1",
        "state": "UNAVAILABLE",
        "reason": "was unloaded",
    }
    problem(service.http.post("/v1/classify?model=colors", content=IMAGE), 404, "unknown_model")
    assert service.admin.post("/v2/repository/models/colors/unload").status_code == 404
    write_servable(service.models, version=2)
    assert service.admin.post("/v2/repository/models/colors/load").status_code == 200
    assert service.ask() == 2


def test_tritonclient_loads_and_unloads(service: Service) -> None:
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(service.live.url.removeprefix("http://"))
    headers = bearer("root")
    client.unload_model("colors", headers=headers)
    assert not client.is_model_ready("colors", headers=headers)
    client.load_model("colors", headers=headers)
    assert client.is_model_ready("colors", headers=headers)
    assert client.get_model_repository_index(headers=headers)[0]["state"] == "READY"
    with pytest.raises(Exception, match="config is not supported"):
        client.load_model("colors", headers=headers, config=json.dumps({}))
    client.close()


def test_a_backbone_is_not_unloaded_without_the_head_that_reads_it(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("glance", "motion"):
        shutil.copytree(MODELS / name, models / name)
    (models / "foveal.toml").write_text('[models.glance]\nversions = "latest-1"\n')
    for service in begin(models):
        glance, motion = "/v2/repository/models/glance", "/v2/repository/models/motion"
        answer = service.admin.delete("/v1/models/glance/versions/1")
        assert "motion reads the features of glance" in problem(answer, 409, "model_in_use")
        answer = service.admin.post(f"{glance}/unload")
        assert "Unload motion first, or send unload_dependents" in answer.json()["error"]
        assert set(service.states()) == {("glance", 1), ("motion", 1)}
        shutil.copytree(models / "glance" / "1", models / "glance" / "2")
        retrain(models / "glance" / "2" / "model.onnx")
        service.do("POST", "/v1/admin/reload")
        assert set(service.states()) == {("glance", 1), ("glance", 2), ("motion", 1)}, (
            "the policy has version 2, and motion needs version 1"
        )
        service.do("POST", f"{glance}/unload", json={"parameters": {"unload_dependents": True}})
        assert service.states() == {}
        service.do("POST", f"{motion}/load")
        assert ("glance", 1) in service.states()
        assert ("motion", 1) in service.states()


def retrain(path: Path) -> None:
    """Change a weight, and what the certificate says of the graph with it."""
    model = onnx.load(path)
    (card,) = (entry.value for entry in model.metadata_props if entry.key == CARD_KEY)
    model.graph.doc_string = "trained anew"
    path.write_bytes(model.SerializeToString())
    fields = json.loads(card)
    fields["certificate"]["graph_sha256"] = graph_sha256(path, fields["certificate"]["digest"])
    helper.set_model_props(model, {CARD_KEY: json.dumps(fields)})
    path.write_bytes(model.SerializeToString())


# Swaps under load, memory.


def test_a_swap_under_load_fails_no_request(service: Service, tmp_path: Path) -> None:
    ended, statuses = threading.Event(), Counter[int]()
    payload = json.dumps({"images": [base64.b64encode(IMAGE).decode()] * 2}).encode()

    def slow_body() -> Iterator[bytes]:
        for at in range(0, len(payload), 1 + len(payload) // 8):
            yield payload[at : at + 1 + len(payload) // 8]
            service.http.get("/health/live")  # so that other requests, and swaps, come between

    def send() -> None:
        with httpx.Client(base_url=service.live.url, headers=bearer("ada"), timeout=15) as http:
            for number in itertools.count():
                if ended.is_set():
                    return
                body = slow_body() if number % 3 == 0 else payload
                answer = http.post("/v1/classify?model=colors", content=body)
                statuses[answer.status_code] += 1

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    file = servable_bytes(tmp_path / "made")
    for version in range(2, 8):
        service.do("PUT", f"/v1/models/colors/versions/{version}", content=file)
        report = service.do("DELETE", f"/v1/models/colors/versions/{version - 1}")
        assert report["removed"] == [f"colors:{version - 1}"]
    ended.set()
    for sender in senders:
        sender.join()
    assert set(statuses) == {200}
    assert statuses[200] > 20
    assert service.states() == {("colors", 7): "ready"}


def heavy_servable(folder: Path, name: str, megabytes: int) -> Path:
    """Write a servable with twice so many megabytes of weights."""
    model = color_model()
    random = np.random.default_rng(0)
    weights = random.standard_normal((3, megabytes * 2**18 // 3), np.float32)
    back = random.standard_normal((megabytes * 2**18 // 3, 3), np.float32) * 1e-6
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(weights, "wide"), onnx.numpy_helper.from_array(back, "back")]
    )
    (divide,) = (node for node in model.graph.node if node.op_type == "Div")
    divide.input[0] = "mixed"
    at = list(model.graph.node).index(divide)
    model.graph.node.insert(at, helper.make_node("MatMul", ["features", "wide"], ["hidden"]))
    model.graph.node.insert(at + 1, helper.make_node("MatMul", ["hidden", "back"], ["mixed"]))
    card = color_card().model_copy(update={"max_batch": 1})
    return write_servable(folder, name, model=model, card=card)


@pytest.mark.slow
def test_the_memory_of_fifty_loads_and_unloads_goes(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models)
    heavy_servable(models, "heavy", 8)
    for service in begin(models, threads=1):
        sizes = []
        for _ in range(50):
            service.do("POST", "/v2/repository/models/heavy/unload")
            sizes.append(resident_bytes())
            service.do("POST", "/v2/repository/models/heavy/load")
            assert service.ask("?model=heavy") == 1
        (held,) = (
            one["memory_bytes"]
            for one in service.admin.get("/v1/models").json()["models"]
            if one["name"] == "heavy"
        )
        assert held > 16 << 20, "both of its matrices"
        # The allocators now and then keep some of them for a while; of what leaks, 25 times as much stays.
        grown = statistics.median(sizes[25:]) - statistics.median(sizes[:25])
        assert grown < 2 * held, "nothing stays of 50 times as much"
        service.do("POST", "/v2/repository/models/heavy/unload")
        assert resident_bytes() < sizes[0] + 2 * held


# Idle models.


def test_an_idle_model_leaves_the_memory_and_its_next_request_brings_it_back(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    write_servable(models)
    write_servable(models, "kept")
    (models / "foveal.toml").write_text("[models.colors]\nttl_seconds = 0.2\n")
    for service in begin(models, health_check_seconds=0.05):
        service.until(lambda: service.states()["colors", 1] == "asleep")  # noqa: B023  # run here
        shown = {one["name"]: one for one in service.admin.get("/v1/models").json()["models"]}
        assert shown["colors"]["memory_bytes"] == 0 < shown["kept"]["memory_bytes"]
        assert "no request came" in shown["colors"]["reason"]
        assert service.http.get("/health/ready").status_code == 200
        assert service.ask() == 1
        assert (
            service.live.sample("foveal_model_changes_total", model="colors", change="woken") == 1
        )
        service.until(lambda: service.states()["colors", 1] == "asleep")  # noqa: B023  # run here
        (models / "colors" / "1" / "model.onnx").write_bytes(b"broken")
        for _ in range(2):
            answer = service.http.post("/v1/classify?model=colors", content=IMAGE)
            assert "failed to load" in problem(answer, 503, "model_not_ready")
        assert service.ask("?model=kept") == 1


def test_a_model_that_was_loaded_for_a_request_has_its_stay_before_another_one_takes_its_room(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    for name in ("a", "b"):
        write_servable(models, name)
    for service in begin(models, models_memory_bytes=1, models_stay_seconds=600):
        assert service.states() == {("a", 1): "asleep", ("b", 1): "ready"}
        assert service.ask("?model=a") == 1
        answer = service.http.post("/v1/classify?model=b", content=IMAGE)
        assert "Send the request again after" in problem(answer, 503, "models_memory")
        assert 500 < int(answer.headers["retry-after"]) <= 600
        answer = service.http.post(
            "/v2/models/b/infer",
            content=IMAGE,
            headers={"Inference-Header-Content-Length": "0"},
        )
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert "retry-after" in answer.headers
        assert service.live.sample("foveal_model_no_room_total", model="b", outcome="refused") == 2
        assert service.ask("?model=a") == 1


def test_a_request_waits_for_the_stay_of_another_model_within_its_deadline(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    for name in ("a", "b", "c"):
        write_servable(models, name)
    for service in begin(models, models_memory_bytes=1, models_stay_seconds=0.5):
        names = ["a", "b", "c", "a", "b"]
        with ThreadPoolExecutor(len(names)) as threads:
            assert list(threads.map(service.ask, [f"?model={name}" for name in names])) == [1] * 5
        assert service.live.sample("foveal_model_no_room_total", outcome="waited") >= 1


def test_a_budget_unloads_the_least_recently_used(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("a", "b", "c"):
        heavy_servable(models, name, 4)
    for service in begin(models, threads=1, models_memory_bytes=24 << 20, models_stay_seconds=0):
        for name in ("a", "b", "c", "b"):
            assert service.ask(f"?model={name}") == 1
        states = service.states()
        held = sum(
            service.live.sample("foveal_model_memory_bytes", model=name, version="1")
            for name in ("a", "b", "c")
        )
        alone = [name for (name, _), state in states.items() if state == "ready"] == ["b"]
        assert alone or held <= 24 << 20, "one that is larger than the budget is loaded alone"
        assert states["b", 1] == "ready"
        assert states["a", 1] == "asleep"
        assert service.ask("?model=a") == 1
        assert service.http.get("/health/ready").status_code == 200
