"""An answer on load, addresses that can be shared, the browser's history, files to take away, and the camera."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Request, Route, expect

from tests.keys import key_of, write_keys
from tests.live import Live, serve
from tests.playground.conftest import WAIT_MS, close_page
from tests.playground.pages import choose_task, pixels, settle, show

CUP = Path(__file__).parents[2] / "service" / "playground" / "samples" / "cup.jpg"
HIDE = """() => {
  Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def query(page: Page) -> str:
    return urlsplit(page.url).query


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Page]:
    """A page that is still empty; the address is the test's."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    close_page(page)
    assert errors == []


def test_the_page_answers_without_a_click(fresh: Page, live: Live) -> None:
    fresh.goto(live.url)
    settle(fresh, "espresso")
    expect(fresh.get_by_role("button", name="A cup of coffee")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert query(fresh) == "task=classify&model=efficientnet-lite0&sample=cup"


def test_an_address_opens_the_same_task_model_image_and_option(fresh: Page, live: Live) -> None:
    fresh.goto(f"{live.url}/?task=detect&model=ssdlite-mobilenet-v2&sample=cat&threshold=0.95")
    settle(fresh, "Nothing")
    expect(fresh.get_by_role("radio", name="Detect")).to_be_checked()
    expect(fresh.get_by_role("slider", name="Minimum score")).to_have_value("0.95")
    expect(fresh.get_by_role("button", name="A cat")).to_have_attribute("aria-pressed", "true")


def test_an_address_has_the_opacity_of_the_mask(fresh: Page, live: Live) -> None:
    fresh.goto(f"{live.url}/?task=segment&model=unet-digits&sample=digits&opacity=0.2")
    settle(fresh, "3 areas")
    slider = fresh.get_by_role("slider", name="Mask opacity")
    expect(slider).to_have_value("0.2")
    alpha = pixels(fresh, "#mask")[..., 3]
    assert np.median(alpha[alpha > 0]) == round(0.2 * 255)
    slider.fill("0.9")
    assert query(fresh) == "task=segment&model=unet-digits&sample=digits&opacity=0.9"
    slider.fill("0.55")
    assert query(fresh) == "task=segment&model=unet-digits&sample=digits"
    slider.fill("0.9")
    choose_task(fresh, "Classify")
    fresh.locator("#result[aria-busy=false] .headline").wait_for()
    assert "opacity" not in query(fresh)
    fresh.go_back()
    settle(fresh, "3 areas")
    expect(slider).to_have_value("0.9")


@pytest.mark.parametrize(
    "address",
    [
        "task=nothing&model=nobody&sample=none&threshold=x",
        "threshold=9",
        "opacity=2",
        "task=classify&opacity=half",
        "%00=%ff&sample=../../docs",
    ],
)
def test_an_address_that_names_nothing_here_shows_the_first_model(
    fresh: Page, live: Live, address: str
) -> None:
    fresh.goto(f"{live.url}/?{address}")
    settle(fresh, "espresso")
    notice = fresh.locator("#notice")
    if "model=" in address:
        expect(notice).to_have_text(
            "No model “nobody” is ready here. EfficientNet-Lite0 answers instead."
        )
    else:
        expect(notice).to_be_hidden()


def test_back_and_forward_go_through_what_was_chosen(fresh: Page, live: Live) -> None:
    fresh.goto(live.url)
    settle(fresh, "espresso")
    show(fresh, "A cat")
    settle(fresh, "Egyptian cat")
    choose_task(fresh, "Detect")
    settle(fresh, "1 thing")
    fresh.get_by_role("slider", name="Minimum score").fill("0.95")
    settle(fresh, "Nothing")
    assert query(fresh).endswith("&sample=cat&threshold=0.95")
    own = Image.new("RGB", (64, 64), "red")
    content = BytesIO()
    own.save(content, "PNG")
    file = FilePayload(name="own.png", mimeType="image/png", buffer=content.getvalue())
    fresh.set_input_files("#choose", files=file)
    expect(fresh.locator("#shown")).to_have_attribute("alt", "Your image")
    assert "sample" not in query(fresh)
    fresh.go_back()
    expect(fresh.locator("#shown")).to_have_attribute("alt", "A cat")
    settle(fresh, "Nothing")
    fresh.go_back()
    settle(fresh, "Egyptian cat")
    fresh.go_back()
    settle(fresh, "espresso")
    for _ in range(3):
        fresh.go_forward()
    expect(fresh.locator("#shown")).to_have_attribute("alt", "Your image")


def test_the_page_works_under_a_path_of_a_proxy_and_with_a_key(fresh: Page, tmp_path: Path) -> None:
    keys = write_keys(tmp_path / "keys.toml")
    with serve(keys=keys) as live:
        prefix = f"{live.url}/vision/foveal"

        def strip(route: Route) -> None:
            passed.append(route.request.url)
            route.fulfill(response=route.fetch(url=route.request.url.replace("/vision/foveal", "")))

        passed: list[str] = []
        fresh.route(f"{prefix}/**", strip)
        requested: list[str] = []
        fresh.on("request", lambda one: requested.append(one.url))
        fresh.goto(f"{prefix}/?task=classify&sample=cat")
        fresh.get_by_label("API key").fill(key_of("bob"))
        fresh.get_by_role("button", name="Use this key").click()
        settle(fresh, "Egyptian cat")
        assert query(fresh).endswith("sample=cat")
        assert fresh.url.startswith(f"{prefix}/?")
        fresh.locator(".row").first.click()
        expect(fresh.locator("#heat")).to_be_visible()
        with fresh.expect_download() as saved:
            fresh.get_by_role("button", name="Heat map", exact=True).click()
        assert saved.value.suggested_filename == "cat-heat.png"
        assert key_of("bob") not in fresh.url
        # Files that the page saves have addresses of their own, which are not requested from any server.
        assert [url for url in requested if not url.startswith((prefix, "blob:"))] == []
        assert len(passed) > 20


def test_the_result_can_be_saved_as_json_and_drawn_on_the_image(fresh: Page, live: Live) -> None:
    fresh.goto(f"{live.url}/?task=detect")
    settle(fresh, "2 things")
    saved = {}
    for name in ("JSON", "Image", "Sheet"):
        with fresh.expect_download() as download:
            fresh.get_by_role("button", name=name, exact=True).click()
        saved[download.value.suggested_filename] = download.value.path().read_bytes()
    found = httpx.post(f"{live.url}/v1/detect?score_threshold=0.3", content=CUP.read_bytes())
    assert json.loads(saved["cup-result.json"])["results"] == found.json()["results"]
    drawn = next(content for name, content in saved.items() if name.startswith("cup-overlay."))
    assert Image.open(BytesIO(drawn)).size == (600, 400)
    assert Image.open(BytesIO(saved["cup-sheet.png"])).width == 1240


def test_the_link_that_is_copied_shows_the_same(fresh: Page, live: Live) -> None:
    fresh.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live.url)
    fresh.goto(f"{live.url}/?task=detect&sample=hopper&threshold=0.5")
    settle(fresh, "2 things")
    fresh.get_by_role("button", name="Copy the link").click()
    expect(fresh.get_by_role("button", name="Copied")).to_be_visible()
    link = fresh.evaluate("navigator.clipboard.readText()")
    fresh.goto("about:blank")
    fresh.goto(link)
    settle(fresh, "2 things")
    expect(fresh.locator(".row .name")).to_have_text(["person", "tie"])


def test_the_camera_sends_one_frame_at_a_time_and_stops_when_the_page_is_hidden(
    fresh: Page, live: Live
) -> None:
    fresh.goto(f"{live.url}/?task=detect")
    settle(fresh, "2 things")
    open_requests, most, frames = 0, 0, 0

    def begin(request: Request) -> None:
        nonlocal open_requests, most, frames
        if "/v1/detect" in request.url:
            open_requests, frames = open_requests + 1, frames + 1
            most = max(most, open_requests)

    def end(request: Request) -> None:
        nonlocal open_requests
        if "/v1/detect" in request.url:
            open_requests -= 1

    fresh.on("request", begin)
    fresh.on("requestfinished", end)
    fresh.on("requestfailed", end)
    fresh.get_by_role("button", name="Use the camera").click()
    live_image = fresh.get_by_label("Live image of the camera")
    expect(live_image).to_be_visible()
    settle(fresh, "Nothing")
    slider = fresh.get_by_role("slider", name="Minimum score")
    slider.evaluate("node => (node.mine = true)")
    for _ in range(4):
        with fresh.expect_response("**/v1/detect?*"):
            pass
    assert slider.evaluate("node => node.mine")  # it can be dragged while the frames come
    assert frames >= 4
    assert most == 1
    fresh.evaluate(HIDE)
    expect(live_image).to_be_hidden()
    expect(fresh.locator("#shown")).to_have_attribute("alt", "The last frame of your camera")
    assert fresh.evaluate("document.getElementById('camera').srcObject") is None
    expect(fresh.locator("#result")).to_have_attribute("aria-busy", "false")
    expect(fresh.locator("#result .curl")).to_contain_text("camera.jpg")


def test_a_camera_that_is_refused_says_what_to_do(fresh: Page, live: Live) -> None:
    fresh.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') }"
    )
    fresh.goto(live.url)
    settle(fresh, "espresso")
    fresh.get_by_role("button", name="Use the camera").click()
    expect(fresh.get_by_role("alert")).to_contain_text("Allow it in the browser's settings")
    show(fresh, "A cat")
    settle(fresh, "Egyptian cat")


def test_the_page_can_be_installed_as_an_app(fresh: Page, live: Live) -> None:
    fresh.goto(live.url)
    settle(fresh, "espresso")
    session = fresh.context.new_cdp_session(fresh)
    manifest = session.send("Page.getAppManifest")
    assert manifest["errors"] == []
    assert json.loads(manifest["data"])["name"] == "Foveal"
    faults = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A window of the tests is like a private one, where nothing can be installed.
    assert [one for one in faults if one["errorId"] != "in-incognito"] == []
