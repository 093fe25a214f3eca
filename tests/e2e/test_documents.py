"""`/docs` and `/openapi.json`: complete, and whole without the internet."""

import re

import httpx


def test_the_docs_load_nothing_from_elsewhere(tiny: httpx.Client) -> None:
    page = tiny.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"https?://|//cdn", page.text)
    assets = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
    assert len(assets) == 2
    for asset in assets:
        got = tiny.get(f"/{asset}")
        assert got.status_code == 200
        assert len(got.content) > 100_000
    assert "openapi.json" in page.text


def test_every_option_of_explain_is_described(tiny: httpx.Client) -> None:
    operation = tiny.get("/openapi.json").json()["paths"]["/v1/explain"]["post"]
    given = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert {"view", "class", "stage", "channel", "samples", "seed", "steps"} <= set(given)
    assert all(parameter.get("description") for parameter in given.values())
    assert {"application/json", "image/png"} <= set(operation["responses"]["200"]["content"])


def test_the_document_is_written_once_and_not_sent_again_to_who_has_it(tiny: httpx.Client) -> None:
    first = tiny.get("/openapi.json")
    assert first.headers["Content-Type"] == "application/json"
    assert tiny.get("/openapi.json").content == first.content
    assert tiny.head("/openapi.json").headers["Content-Length"] == str(len(first.content))

    known = tiny.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert (known.status_code, known.content) == (304, b"")
    assert tiny.get("/openapi.json", headers={"If-None-Match": '"another"'}).status_code == 200
