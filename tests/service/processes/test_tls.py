"""Certificates that can not be used stop the start with the reason."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from service.errors import ConfigurationError
from service.processes.tls import Tls
from service.processes.worker import tls_of
from service.settings import Settings


def write(tmp_path: Path, name: str) -> Tls:
    made = trustme.CA().issue_cert(name)
    keyfile, certfile = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
    made.private_key_pem.write_to_path(str(keyfile))
    made.cert_chain_pems[0].write_to_path(str(certfile))
    return Tls(certfile, keyfile)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = write(tmp_path, "one.example"), write(tmp_path, "other.example")
    assert one.uvicorn_options()["ssl_keyfile"] == one.keyfile
    with pytest.raises(ConfigurationError, match="must be PEM and belong together"):
        Tls(one.certfile, other.keyfile).uvicorn_options()


def test_files_that_are_missing_or_no_pem_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path, "one.example")
    nothing = tmp_path / "nothing.pem"
    with pytest.raises(ConfigurationError, match="No such file"):
        Tls(nothing, good.keyfile).uvicorn_options()
    with pytest.raises(ConfigurationError, match="No such file"):
        Tls(good.certfile, good.keyfile, "", nothing).uvicorn_options()
    nothing.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="can not be used"):
        Tls(nothing, good.keyfile).uvicorn_options()
    with pytest.raises(ConfigurationError, match="holds no certificate in PEM"):
        Tls(good.certfile, good.keyfile, "", nothing).uvicorn_options()


@pytest.mark.parametrize("name", ["ssl_keyfile", "ssl_ca_certs"])
def test_half_of_a_certificate_never_means_plain_http(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_SSL_CERTFILE is not"):
        tls_of(Settings.model_validate({name: tmp_path / "file.pem"}))


def test_a_key_with_a_password_needs_it_and_never_asks_at_the_terminal(tmp_path: Path) -> None:
    plain = write(tmp_path, "one.example")
    assert plain.keyfile is not None
    key = serialization.load_pem_private_key(plain.keyfile.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open"),
        )
    )
    Tls(plain.certfile, locked, "open").uvicorn_options()
    for wrong in ("", "shut"):
        with pytest.raises(ConfigurationError, match="FOVEAL_SSL_KEYFILE_PASSWORD"):
            Tls(plain.certfile, locked, wrong).uvicorn_options()
