"""Places of models as URLs."""

from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.settings import read_settings
from service.storage.url import StorageUrl, parse_place, redacted


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("s3://bucket", "s3", "bucket"),
        ("S3://bucket/a/b/", "s3", "bucket/a/b"),
        ("gs://bucket/models", "gs", "bucket/models"),
        ("hf://owner/name@main/folder", "hf", "owner/name@main/folder"),
        ("https://host:8443/a", "https", "host:8443/a"),
        ("http://127.0.0.1:9000/a", "http", "127.0.0.1:9000/a"),
        ("http://localhost/a", "http", "localhost/a"),
    ],
)
def test_a_place_elsewhere_is_read(text: str, scheme: str, path: str) -> None:
    assert parse_place(text) == StorageUrl(scheme, path)


@pytest.mark.parametrize("text", ["models", "/srv/models", "./a:b", "c:/models"])
def test_everything_else_is_a_folder(text: str) -> None:
    assert parse_place(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/a", "write a folder, or a URL: s3://"),
        ("file:///etc", "write a folder, or a URL"),
        ("memory://a", "write a folder, or a URL"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3:///a", "s3://BUCKET/PREFIX"),
        ("s3://bucket/../other", r"without \.\."),
        ("s3://bucket//a", "without empty parts"),
        ("s3://bucket/a\nb", "s3://BUCKET/PREFIX"),
        ("https://host/a?X-Amz-Signature=secret", "no query"),
        ("https://host/a#secret", "no query and no fragment"),
        ("https://user:secret@host/a", r"~/\.netrc"),
        ("s3://key:secret@bucket/a", "no password"),
        ("s3://" + "a" * 2000, "1024 characters"),
        ("http://example.org/a", "write https"),
        ("http://127.0.0.1.example.org/a", "write https"),
    ],
)
def test_what_is_no_place_is_refused_without_its_secrets(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse_place(text)
    assert "secret" not in str(caught.value)


def test_a_setting_that_is_refused_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_MODELS", "https://user:secret@host/a?token=secret")
    with pytest.raises(ConfigurationError, match="FOVEAL_MODELS=https://") as caught:
        read_settings({}, {})
    assert "secret" not in str(caught.value)


def test_the_setting_keeps_folders_and_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings({}, {"models": "a/b"}).models == Path("a/b")
    monkeypatch.setenv("FOVEAL_MODELS", "s3://bucket/prefix")
    assert read_settings({}, {}).models == StorageUrl("s3", "bucket/prefix")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://u:p@host/a failed", "GET https://***@host/a failed"),
        ("see https://cdn/x?sig=1&a=2, then", "see https://cdn/x then"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_a_message_shows_no_secret_of_a_url(text: str, shown: str) -> None:
    assert redacted(text) == shown
