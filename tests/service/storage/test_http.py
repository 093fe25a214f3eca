"""Models on a plain web server: what such servers do, and what goes wrong with them."""

import base64
import itertools
import os
import shutil
import ssl
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from service.errors import StorageError
from service.storage.fetching import Pace
from service.storage.locking import lock_models
from tests.file_server import FileServer, serve_files
from tests.servables import color_card, color_model, write_servable
from tests.service.storage.conftest import Open
from tests.service.storage.models import write_large

MODEL = "/colors/1/model.onnx"


def test_a_folder_of_links_is_served_as_a_folder_is(server: FileServer, open_place: Open) -> None:
    one = write_servable(server.root)
    (server.root / "foveal.toml").write_text("[models.colors]\nttl_seconds = 5\n")
    (server.root / "crops").mkdir()
    (server.root / "crops" / "chain.toml").write_text("[[steps]]\n")
    server.links += [
        "../evil/",
        "/etc/",
        "https://example.org/x/",
        "javascript:alert(1)",
        "http://[/",
    ]
    storage = open_place(server.url)
    storage.refresh()
    ((found,), _) = storage.scan()
    assert found.path.read_bytes() == one.read_bytes()
    assert (storage.folder / "crops" / "chain.toml").read_text() == "[[steps]]\n"
    assert "ttl_seconds" in (storage.folder / "foveal.toml").read_text()


def test_a_connection_that_breaks_is_gone_on_with(server: FileServer, open_place: Open) -> None:
    path = write_large(server.root, 3_000_000)
    server.cuts[MODEL] = [1_000_000, 1_000_000]
    storage = open_place(server.url)
    storage.refresh()
    ((found,), _) = storage.scan()
    assert found.path.read_bytes() == path.read_bytes()
    first, second, third = server.fetched("model.onnx")
    assert first == ""
    begins = [int(one.removeprefix("bytes=").rstrip("-")) for one in (second, third)]
    assert 0 < begins[0] <= 1_000_000
    assert begins[0] < begins[1] <= 2_000_000


def test_a_server_without_ranges_begins_again(server: FileServer, open_place: Open) -> None:
    path = write_large(server.root, 1_000_000)
    server.cuts[MODEL] = [500_000]
    server.ranges = False
    storage = open_place(server.url)
    storage.refresh()
    ((found,), _) = storage.scan()
    assert found.path.read_bytes() == path.read_bytes()


def test_a_connection_that_always_breaks_is_given_up(server: FileServer, open_place: Open) -> None:
    write_servable(server.root)
    server.cuts[MODEL] = [0] * 100
    with pytest.raises(StorageError, match="colors/1"):
        open_place(server.url).refresh()
    assert len(server.fetched("model.onnx")) == 5


def test_redirects_are_followed_and_loops_end(server: FileServer, open_place: Open) -> None:
    path = write_servable(server.root)
    shutil.copy(path, server.root / "elsewhere")
    server.redirects[MODEL] = "/elsewhere"
    storage = open_place(server.url)
    storage.refresh()
    assert len(storage.scan()[0]) == 1
    server.redirects["/"] = "/"
    with pytest.raises(StorageError):
        storage.refresh()


def test_credentials_come_from_netrc_and_are_never_shown(
    server: FileServer, open_place: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_servable(server.root)
    server.authorization = f"Basic {base64.b64encode(b'ada:the-secret').decode()}"
    with pytest.raises(StorageError, match=r"401.*~/\.netrc"):
        open_place(server.url).refresh()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password the-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    storage = open_place(server.url)
    storage.refresh()
    assert len(storage.scan()[0]) == 1
    server.statuses["/"] = 500
    with pytest.raises(StorageError) as caught:
        storage.refresh()
    assert "the-secret" not in str(caught.value)


def test_a_redirect_out_of_https_is_refused(server: FileServer, tmp_path: Path) -> None:
    write_servable(server.root)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    command = [sys.executable, "-m", "tests.service.storage.fetch_once"]
    with serve_files(server.root, context) as safe:

        def fetch() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [*command, safe.url, str(tmp_path / "cache")],
                env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
                capture_output=True,
                text=True,
                check=False,
            )

        assert "/colors/1/model.onnx" in fetch().stdout
        safe.redirects[MODEL] = f"{server.url}{MODEL}"
        assert "redirects to a place without HTTPS" in fetch().stderr
    assert server.requests == []


def test_a_file_that_is_forbidden_is_an_error_with_the_remedy(
    server: FileServer, open_place: Open
) -> None:
    write_servable(server.root)
    server.statuses[MODEL] = 403
    with pytest.raises(StorageError, match=r"403.*~/\.netrc"):
        open_place(server.url).refresh()


def test_what_fails_for_one_version_keeps_no_other_from_being_served(
    server: FileServer, open_place: Open
) -> None:
    write_servable(server.root)
    write_servable(server.root, version=2)
    write_servable(server.root, version=3)
    changed = server.root / "colors" / "3" / "model.onnx"
    changed.write_bytes(changed.read_bytes().replace(b"ReduceMean", b"ReduceMeam"))
    half = server.root / "colors" / "2" / "model.onnx"
    whole = half.read_bytes()
    half.write_bytes(whole[:500])
    (server.root / "colors" / "4").mkdir()
    server.statuses["/gone/1/model.onnx"] = 404
    write_servable(server.root, "gone")
    storage = open_place(server.url)
    storage.refresh()
    servables, refusals = storage.scan()
    assert [(one.name, one.version) for one in servables] == [("colors", 1)]
    reasons = {f"{one.name}:{one.path.parent.name}": one.reason for one in refusals}
    assert set(reasons) == {"colors:2", "colors:3", "gone:1"}
    assert f"{server.url}/colors/2" in reasons["colors:2"]
    assert "changed after it was proved" in reasons["colors:3"]
    assert "it is not there. Is it being uploaded" in reasons["gone:1"]
    half.write_bytes(whole)
    storage.refresh()
    assert [one.version for one in storage.scan()[0]] == [1, 2]


def test_a_file_that_is_replaced_while_it_comes_is_refused(
    server: FileServer, tmp_path: Path, open_place: Open
) -> None:
    path = write_large(server.root, 1_000_000)
    newer = write_large(tmp_path / "newer", 1_000_000).read_bytes()

    def replace(_: str) -> None:
        if path.read_bytes() != newer:
            path.write_bytes(newer)

    server.before_write = replace
    storage = open_place(server.url)
    storage.refresh()
    servables, (refusal,) = storage.scan()
    assert servables == ()
    assert "was changed" in refusal.reason
    storage.refresh()
    ((found,), refusals) = storage.scan()
    assert found.path.read_bytes() == newer
    assert refusals == ()


def test_a_file_that_comes_too_slowly_is_given_up(server: FileServer, open_place: Open) -> None:
    write_large(server.root, 1_000_000)
    seconds = itertools.count()

    def pace() -> Pace:
        return Pace(1e6, least_rate=1e6, window=3, pause=0, clock=lambda: float(next(seconds)))

    with pytest.raises(StorageError, match="bytes a second, and the least is 1,000,000"):
        open_place(server.url, pace=pace).refresh()
    assert len(server.fetched("model.onnx")) == 2


def test_a_file_that_stops_coming_ends_at_the_deadline(
    server: FileServer, open_place: Open
) -> None:
    write_large(server.root, 1_000_000)
    goes_on = threading.Event()

    def wait(_: str) -> None:
        goes_on.wait()

    server.before_write = wait
    try:
        with pytest.raises(StorageError, match="took more than"):
            open_place(server.url, pace=lambda: Pace(0.3, least_rate=0, pause=0)).refresh()
    finally:
        goes_on.set()


def test_a_page_without_models_is_an_error(server: FileServer, open_place: Open) -> None:
    with pytest.raises(StorageError, match="page of links"):
        open_place(server.url).refresh()


def test_weights_beside_the_network_come_with_it_and_no_other_file_does(
    server: FileServer, open_place: Open
) -> None:
    weights = b"weights"
    card = color_card()
    proof = card.certificate.model_copy(update={"data_sha256": sha256(weights).hexdigest()})
    for version in (1, 2):
        path = write_servable(
            server.root, version=version, card=card.model_copy(update={"certificate": proof})
        )
        (path.parent / "model.onnx.data").write_bytes(weights * version)
        (path.parent / "weights.bin").write_bytes(weights)
    storage = open_place(server.url)
    storage.refresh()
    (found,), (refusal,) = storage.scan()
    assert sorted(one.name for one in found.path.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
    ]
    assert "2/model.onnx.data: the weights were changed" in refusal.reason


def test_a_place_that_is_gone_changes_nothing(server: FileServer, open_place: Open) -> None:
    write_servable(server.root)
    storage = open_place(server.url)
    storage.refresh()
    before = storage.scan()
    server.statuses["/"] = 503
    with pytest.raises(StorageError, match="503"):
        storage.refresh()
    assert storage.scan() == before


def test_a_start_without_the_place_serves_what_the_cache_has(
    server: FileServer, open_place: Open, caplog: pytest.LogCaptureFixture
) -> None:
    write_servable(server.root)
    (server.root / "foveal.toml").write_text("[models.colors]\nttl_seconds = 5\n")
    open_place(server.url).refresh()
    server.statuses["/"] = 503
    storage = open_place(server.url)
    storage.refresh()
    assert [one.version for one in storage.scan()[0]] == [1]
    assert "ttl_seconds" in (storage.folder / "foveal.toml").read_text()
    assert "SERVING FROM THE CACHE: colors:1" in caplog.text


def test_a_start_without_the_place_and_without_the_cache_is_an_error(
    server: FileServer, open_place: Open
) -> None:
    write_servable(server.root)
    server.statuses["/"] = 503
    with pytest.raises(StorageError, match=r"503.*has nothing whole.*foveal pull"):
        open_place(server.url).refresh()


def test_a_start_without_the_place_names_all_that_the_cache_lacks(
    server: FileServer, open_place: Open, tmp_path: Path
) -> None:
    for version in range(1, 8):
        write_servable(server.root, version=version)
    open_place(server.url).refresh()
    for entry in (tmp_path / "cache" / "entries").iterdir():
        shutil.rmtree(entry)
    server.statuses["/"] = 503
    with pytest.raises(StorageError) as raised:
        open_place(server.url).refresh()
    assert all(f"colors:{version}" in str(raised.value) for version in range(1, 8))


@pytest.fixture
def lock(server: FileServer, tmp_path: Path, open_place: Open) -> Path:
    """Return a lock of `colors` 1, whose cache is gone."""
    write_servable(server.root)
    path = tmp_path / "foveal.lock"
    storage = open_place(server.url)
    lock_models(storage, path, [])
    storage.close()
    shutil.rmtree(tmp_path / "cache")
    return path


def test_a_lock_replaces_the_listing(server: FileServer, lock: Path, open_place: Open) -> None:
    write_servable(server.root, version=2)
    server.lists = False
    storage = open_place(server.url, lock=lock)
    storage.refresh()
    assert [one.version for one in storage.scan()[0]] == [1]


def test_other_files_than_the_locked_are_never_served(
    server: FileServer, lock: Path, tmp_path: Path, open_place: Open
) -> None:
    other = write_servable(tmp_path / "other", model=color_model(batch="M"))
    shutil.copy(other, server.root / "colors" / "1" / "model.onnx")
    storage = open_place(server.url, lock=lock)
    for _ in range(2):
        storage.refresh()
        servables, (refusal,) = storage.scan()
        assert servables == ()
        assert refusal.reason.count("sha256:") >= 2
    assert len(server.fetched("model.onnx")) == 2, "one for the lock, one more"


def test_a_start_with_a_lock_needs_only_the_cache(
    server: FileServer, lock: Path, open_place: Open
) -> None:
    open_place(server.url, lock=lock).refresh()
    server.statuses |= {"/": 503, MODEL: 503, "/foveal.toml": 503}
    storage = open_place(server.url, lock=lock)
    storage.refresh()
    assert [one.version for one in storage.scan()[0]] == [1]


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(
    server: FileServer, lock: Path, open_place: Open
) -> None:
    first = open_place(server.url, lock=lock)
    first.refresh()
    path = first.scan()[0][0].path
    whole = path.read_bytes()
    first.close()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    second = open_place(server.url, lock=lock)
    second.refresh()
    assert second.scan()[0][0].path.read_bytes() == whole


def test_only_what_the_policy_wants_is_fetched(server: FileServer, open_place: Open) -> None:
    for version in (1, 2, 3, 4):
        write_servable(server.root, version=version)
    (server.root / "colors" / "4" / "model.onnx").write_bytes(b"broken")
    (server.root / "foveal.toml").write_text(
        '[models.colors]\nversions = "latest"\naliases = {old = 1}\n'
    )
    storage = open_place(server.url)
    storage.refresh()
    servables, refusals = storage.scan()
    assert [one.version for one in servables] == [1, 3]
    assert len(refusals) == 1
    storage.refresh(also=[("colors", 2)])
    assert [one.version for one in storage.scan()[0]] == [1, 2, 3]
