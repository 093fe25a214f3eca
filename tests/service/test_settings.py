import re
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.runtime.device import DEVICES
from service.settings import Settings, read_settings


def test_an_option_beats_the_environment_and_that_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOVEAL_PORT", "9000")
    assert read_settings({}, {}).port == 9000
    assert read_settings({}, {"port": 9001}).port == 9001
    assert read_settings({}, {"port": None, "models": Path("m")}).models == Path("m")
    monkeypatch.delenv("FOVEAL_PORT")
    assert read_settings({}, {}).port == 8000


def test_a_misspelt_variable_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError,
        match="FOVEAL_QUEU_SIZE is not a setting; did you mean FOVEAL_QUEUE_SIZE",
    ):
        read_settings({"FOVEAL_QUEU_SIZE": "5"}, {})


def test_a_value_that_is_not_valid_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_PORT=99999"):
        read_settings({}, {"port": 99999})


def test_a_value_of_another_kind_is_refused_in_plain_words() -> None:
    with pytest.raises(
        ConfigurationError, match=r"FOVEAL_QUEUE_SIZE=many: A whole number is expected$"
    ):
        read_settings({}, {"queue_size": "many"})


def test_the_devices_are_those_of_the_runtime() -> None:
    names = "auto", *DEVICES
    assert {read_settings({}, {"device": name}).device for name in names} == set(names)
    with pytest.raises(ConfigurationError) as refused:
        read_settings({}, {"device": "rocm"})
    assert set(re.findall(r"'(\w+)'", str(refused.value))) == set(names)


def test_defaults_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_DEFAULTS", '{"classify": "lenet5"}')
    assert read_settings({}, {}).defaults == {"classify": "lenet5"}


def test_defaults_that_are_no_json_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_DEFAULTS", "nope")
    with pytest.raises(ConfigurationError, match="write it as JSON"):
        read_settings({}, {})


def test_what_kubernetes_injects_is_recognized() -> None:
    injected = {"FOVEAL_SERVICE_HOST": "10.0.0.1", "FOVEAL_PORT": "tcp://10.0.0.1:80"}
    with pytest.raises(ConfigurationError, match="enableServiceLinks: false"):
        read_settings(injected, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", '["*"]'),
        ("ALLOWED_HOSTS", '["vision.example.org:8000"]'),
        ("ALLOWED_HOSTS", '["https://vision.example.org"]'),
        ("ALLOWED_HOSTS", '[""]'),
        ("CORS_ORIGINS", '["app.example.org"]'),
        ("CORS_ORIGINS", '["https://app.example.org/"]'),
        ("TRUSTED_PROXIES", '["*"]'),
        ("TRUSTED_PROXIES", '["10.0.0.7/8"]'),
        ("TRUSTED_PROXIES", '["proxy.lan"]'),
        ("QUEUE_SHARE", "0"),
        ("QUEUE_SHARE", "1.5"),
    ],
)
def test_what_could_match_no_request_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FOVEAL_{name}", value)
    with pytest.raises(ConfigurationError, match=f"FOVEAL_{name}="):
        read_settings({}, {})


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "FOVEAL_ALLOWED_HOSTS", '["vision.example.org", "*.lan", "10.0.0.1", "[::1]"]'
    )
    monkeypatch.setenv(
        "FOVEAL_CORS_ORIGINS", '["https://app.example.org", "http://localhost:3000"]'
    )
    monkeypatch.setenv("FOVEAL_TRUSTED_PROXIES", '["10.0.0.7", "fd00::/8"]')
    settings = read_settings({}, {})
    assert settings.allowed_hosts == ["vision.example.org", "*.lan", "10.0.0.1", "[::1]"]
    assert settings.cors_origins == ["https://app.example.org", "http://localhost:3000"]
    assert [str(one) for one in settings.trusted_proxies] == ["10.0.0.7/32", "fd00::/8"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("dialects", ["deepstack"], ["smtp"]),
        ("fetch_hosts", ["a.test", "*.b.test", "c.test:8443"], ["http://a.test"]),
        ("fetch_hosts", [], ["a.test/path"]),
        ("fetch_hosts", [], ["*.a.test:80"]),
        ("label_studio_url", "http://labels.lan:8080", "labels.lan"),
        ("label_studio_url", "", "http://labels.lan/"),
        ("label_studio_url", "https://labels.example.org", "http://a:b@labels.lan"),
    ],
)
def test_hosts_and_servers_are_written_so_that_they_match(
    name: str, good: object, bad: object
) -> None:
    assert getattr(read_settings({}, {name: good}), name) == good
    with pytest.raises(ConfigurationError, match=f"FOVEAL_{name.upper()}"):
        read_settings({}, {name: bad})


def test_each_worker_has_one_of_the_gpus_in_turn() -> None:
    settings = Settings(device="cuda", device_ids=[2, 5], workers=5)
    settings.require_worker_for_each_device()
    assert [settings.of_worker(index).device_id for index in range(5)] == [2, 5, 2, 5, 2]
    alone = Settings(device_id=3)
    assert alone.of_worker(1) is alone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device_ids": [0, 1], "workers": 1}, "2 GPUs need as many workers or more, and FOVEAL_W"),
        ({"device_ids": [1, 1], "workers": 2}, "names a GPU twice"),
        ({"device_ids": [0], "device": "cpu"}, "cpu has no GPUs"),
    ],
)
def test_gpus_that_no_worker_would_use_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Settings(**given).require_worker_for_each_device()
