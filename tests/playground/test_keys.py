"""The playground of a service with keys, and of one without."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.keys import key_of, write_keys
from tests.live import MODELS, Live, serve
from tests.playground.conftest import WAIT_MS, close_page


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    keys = write_keys(tmp_path_factory.mktemp("keys") / "keys.toml")
    with serve(models=MODELS, keys=keys) as service:
        yield service


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Page]:
    """A page in a separate browser context; what the browser refuses by a policy fails the test."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(WAIT_MS)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    close_page(page)
    assert [line for line in messages if "status of 4" not in line] == []


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_a_key_is_requested_and_used_in_this_tab_only(fresh: Page, keyed: Live) -> None:
    fresh.goto(keyed.url)
    expect(fresh.locator(".headline")).to_have_text("This service needs a key")
    expect(fresh.locator("#access")).to_be_hidden()
    enter(fresh, "foveal_wrong")
    expect(fresh.locator(".key")).to_contain_text("The API key is not valid.")
    enter(fresh, key_of("bob"))
    expect(fresh.locator("#service")).to_contain_text("models ready")
    fresh.get_by_role("button", name="A cat").click()
    expect(fresh.locator(".headline")).to_have_text("Egyptian cat")
    expect(fresh.locator(".curl code")).to_contain_text('-H "Authorization: Bearer $API_KEY"')
    assert key_of("bob") not in fresh.content()
    fresh.reload()
    expect(fresh.locator("#service")).to_contain_text("models ready")
    other = fresh.context.new_page()
    other.goto(keyed.url)
    expect(other.locator(".headline")).to_have_text("This service needs a key")
    assert other.evaluate("Object.keys(localStorage).length") == 0
    assert fresh.context.cookies() == []


def test_the_arithmetic_and_the_panels_use_the_key(fresh: Page, keyed: Live) -> None:
    fresh.goto(keyed.url)
    enter(fresh, key_of("bob"))
    fresh.get_by_role("button", name="A cat").click()
    fresh.locator(".headline", has_text="cat").wait_for()
    fresh.locator("#how").scroll_into_view_if_needed()
    fresh.locator("#how .verdict").wait_for()
    fresh.locator("#favorites").scroll_into_view_if_needed()
    fresh.locator("#favorites .thumb").first.wait_for()
    fresh.locator("#engineer summary", has_text="Request and raw JSON").click()
    fresh.get_by_role("region", name="Answer as JSON").wait_for()
    expect(fresh.locator("#engineer .curl code")).to_contain_text("$API_KEY")
    assert fresh.evaluate("Object.keys(localStorage).length") == 0


def test_a_key_that_was_revoked_is_requested_again(fresh: Page, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    with serve(models=MODELS, keys=keys) as live:
        fresh.goto(live.url)
        enter(fresh, key_of("bob"))
        expect(fresh.locator("#service")).to_contain_text("models ready")
        write_keys(keys, {"new": ["infer", "explain"]})
        sample, form = fresh.get_by_role("button", name="A cat"), fresh.get_by_label("API key")
        while not form.is_visible():  # within a second the service looks at the file
            sample.click()
            fresh.locator(".headline, .key").first.wait_for()
        form.fill(key_of("new"))
        with fresh.expect_response("**/v1/classify?*") as refused:
            fresh.get_by_role("button", name="A cup of coffee").click()
        assert refused.value.status == 401
        expect(fresh.locator(".key")).to_contain_text("The API key is not valid.")
        expect(form).to_have_value(
            key_of("new")
        )  # what was typed stays in the form that comes again
        assert key_of("new") not in fresh.content()
        fresh.get_by_role("button", name="Use this key").click()
        expect(fresh.locator(".headline")).to_have_text("espresso")
        expect(fresh.locator("#access")).to_contain_text("This tab uses an API key")
        fresh.goto("about:blank")  # or it would still ask when the service has ended


def test_the_tab_can_forget_its_key(fresh: Page, keyed: Live) -> None:
    fresh.goto(keyed.url)
    enter(fresh, key_of("bob"))
    expect(fresh.locator("#access")).to_contain_text("This tab uses an API key")
    fresh.get_by_role("button", name="Forget the key").click()
    for _ in range(2):
        expect(fresh.locator(".headline")).to_have_text("This service needs a key")
        fresh.reload()


def test_without_keys_the_page_says_that_everyone_may_use_the_service(page: Page) -> None:
    expect(page.locator("#access")).to_have_text(
        "No key is needed: everyone who reaches this address may use this service."
    )
    assert page.get_by_label("API key").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_form_is_accessible_and_fits(
    browser: Browser, keyed: Live, scheme: str, width: int
) -> None:
    page = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    ).new_page()
    page.goto(keyed.url)
    page.get_by_label("API key").wait_for()
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    close_page(page)


def test_the_api_page_works_under_its_policy(fresh: Page, keyed: Live) -> None:
    answer = fresh.goto(f"{keyed.url}/docs")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    expect(fresh.locator(".opblock-summary-path").first).to_be_visible()


def test_no_page_of_another_site_can_show_the_playground_in_a_frame(
    browser: Browser, keyed: Live
) -> None:
    page = browser.new_context().new_page()
    for path in ("/", "/docs"):
        page.set_content(f'<iframe src="{keyed.url}{path}"></iframe>')
        page.wait_for_load_state("networkidle")
        frame = page.frames[1]
        assert "Foveal" not in frame.content()
    close_page(page)
