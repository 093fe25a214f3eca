"""The panels for the engineer: arrays, options, a second model, a folder of images, latencies."""

import json
import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from service.runtime.model import ASLEEP
from tests.images import photograph
from tests.live import MODELS, Live
from tests.playground.conftest import WAIT_MS, close_page, open_page
from tests.playground.pages import rectangle

MODEL = MODELS / "efficientnet-lite0" / "1" / "model.onnx"
PIXELS = np.asarray(Image.open(BytesIO(photograph("coffee"))).convert("RGB"))[:256, 200:456]
MARGIN = 16
"""An image of 256×256 pixels is cropped to its middle and not resized."""


def square() -> FilePayload:
    content = BytesIO()
    Image.fromarray(PIXELS).save(content, "PNG")
    return FilePayload(name="square.png", mimeType="image/png", buffer=content.getvalue())


def panel(page: Page, name: str) -> Locator:
    """Open a panel."""
    node = page.locator("#engineer .panels > details", has=page.get_by_text(name, exact=True))
    if node.get_attribute("open") is None:
        node.locator("summary").first.click()
    return node.locator(".panel")


@pytest.fixture(scope="module")
def opened(browser: Browser, live: Live) -> Iterator[Page]:
    """One page with one image for all tests that only look at it."""
    page = open_page(browser, live)
    page.set_input_files("#choose", files=square())
    page.locator("#result[aria-busy=false]").wait_for()
    page.locator("#engineer").wait_for()
    yield page
    close_page(page)


def test_the_saved_array_is_the_image_and_gives_the_same_answer(opened: Page) -> None:
    tensors = panel(opened, "The exact tensor")
    with opened.expect_download() as download:
        tensors.get_by_role("button", name="Save frame.npy").click()
    assert download.value.suggested_filename == "square-efficientnet-lite0-frame.npy"
    frame = np.load(download.value.path())
    np.testing.assert_array_equal(frame, PIXELS[None, MARGIN:-MARGIN, MARGIN:-MARGIN])
    row = tensors.locator("table").first.locator("tbody tr").nth(1)
    expect(row.locator("td").nth(2)).to_have_text(f"{frame[..., 1].mean():.4g}")
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"image": frame})
    shown = opened.locator(".row .number").first.inner_text().removesuffix(" %")
    assert float(shown) == pytest.approx(100 * probabilities.max(), abs=0.06)


def test_the_card_is_told_in_words(opened: Page) -> None:
    card = panel(opened, "Card and preprocessing")
    expect(card).to_contain_text("Its shorter side is resized to 256 pixels (bicubic)")
    expect(card).to_contain_text(
        "127 is subtracted from each byte, then the result is divided by 128."
    )
    expect(card).to_contain_text("1000 classes")
    stages = panel(opened, "The network by stages")
    last = re.compile("Stage 5: 1280 × 7 × 7$")
    expect(stages.get_by_role("img")).to_have_attribute("aria-label", last)


def card_with(page: Page, name: str, changes: dict[str, object]) -> Locator:
    """Return the panel of a model's card with these changes to what the service says of it."""
    listed = page.request.get(f"{page.url.partition('?')[0]}v1/models").json()
    (model,) = [each for each in listed["models"] if each["name"] == name]
    model["card"].update(changes)
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    page.goto(f"{page.url.partition('?')[0]}?task={model['card']['task']}&model={name}")
    page.locator("#result[aria-busy=false] .curl").wait_for()
    return panel(page, "Card and preprocessing")


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (
            {"format": "xyxy", "unit": "frame", "assumed": []},
            "left, top, right and bottom, as shares of its frame, from 0 to 1.",
        ),
        (
            {"format": "cxcywh", "unit": "pixel", "assumed": ["unit"]},
            (
                "the center's x and y, width and height, in pixels of its frame. "
                "Nobody stated their unit, and real images did not show it: it is assumed."
            ),
        ),
        (
            {"format": "yxyx", "unit": "pixel", "assumed": ["format", "unit"]},
            (
                "top, left, bottom and right, in pixels of its frame. Nobody stated the order of "
                "these numbers and their unit, and real images did not show it: both are assumed."
            ),
        ),
        (
            {"format": "grid", "unit": "pixel", "assumed": []},
            "center and size relative to a cell of a grid.",
        ),
    ],
)
def test_the_card_says_how_boxes_are_read_and_what_of_it_is_assumed(
    page: Page, boxes: dict[str, object], words: str
) -> None:
    card = card_with(page, "ssdlite-mobilenet-v2", {"boxes": boxes})
    step = card.get_by_role("listitem").filter(has_text="The four numbers of a box")
    expect(step).to_have_text(f"The four numbers of a box are {words}")


def test_a_card_without_the_form_of_its_boxes_says_nothing_of_it(page: Page) -> None:
    card = card_with(page, "ssdlite-mobilenet-v2", {"boxes": None})
    expect(card).to_contain_text("of boxes that overlap the best one is kept")
    expect(card).not_to_contain_text("The four numbers")


def test_the_card_has_the_measured_accuracy_and_how_scores_become_probabilities(page: Page) -> None:
    accuracy = {
        "images": 500,
        "scores": {"top1": 0.75, "top5": 0.925},
        "reference": {"top1": 0.752},
        "by_label": {},
    }
    changes = {"accuracy": accuracy, "multi_label": True}
    card = card_with(page, "efficientnet-lite0", changes)
    expect(card).to_contain_text(
        "top1 75.0 % (its source: 75.2 %), top5 92.5 %, on 500 images with known answers"
    )
    expect(card).to_contain_text("a sigmoid makes each a probability of its own")


def test_an_option_reaches_the_service_and_the_curl_line_repeats_it(
    opened: Page, tmp_path: Path
) -> None:
    request = panel(opened, "Request and raw JSON")
    answer = request.get_by_role("region", name="Answer as JSON")
    answer.wait_for()
    request.get_by_label("top_k").fill("2")
    request.get_by_role("button", name="Send the request").click()
    line = request.locator(".curl code")
    expect(line).to_contain_text("top_k=2")
    file = square()
    (tmp_path / file["name"]).write_bytes(file["buffer"])
    run = subprocess.run(
        ["sh", "-c", line.inner_text()], cwd=tmp_path, capture_output=True, check=True
    )
    shown = json.loads(answer.inner_text())
    assert shown == json.loads(run.stdout)
    assert len(shown["results"][0]["predictions"]) == 2
    request.get_by_label("top_k").fill("")


def test_a_second_model_answers_beside_the_first(opened: Page, live: Live) -> None:
    compared = panel(opened, "Two models side by side")
    expect(compared.get_by_role("combobox", name="Compare with")).to_contain_text("LeNet-5")
    url = f"{live.url}/v1/classify?model=lenet5"
    result = httpx.post(url, content=square()["buffer"]).json()["results"][0]
    best = result["predictions"][0]
    row = compared.locator("tbody tr").filter(
        has=opened.get_by_role("rowheader", name=best["label"], exact=True)
    )
    expect(row.locator("td").nth(0)).to_have_text("does not know this label")
    expect(row.locator("td").nth(1)).to_contain_text(f"{100 * best['probability']:.1f}")


def test_a_model_that_is_asleep_can_be_compared(page: Page, live: Live) -> None:
    listed = httpx.get(f"{live.url}/v1/models").json()
    for model in listed["models"]:
        if model["name"] == "lenet5":
            model["state"], model["reason"] = "asleep", ASLEEP
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    page.reload()
    page.locator("#result .curl").wait_for()
    compared = panel(page, "Two models side by side")
    expect(compared.get_by_role("combobox", name="Compare with")).to_contain_text("LeNet-5")


def test_a_folder_is_a_grid_sorted_by_error(opened: Page) -> None:
    folder = panel(opened, "A folder of images")
    coffee, cat = photograph("coffee"), photograph("chelsea")
    files = [
        FilePayload(name="espresso-1.png", mimeType="image/png", buffer=coffee),
        FilePayload(name="TENCH_2.png", mimeType="image/png", buffer=cat),
        FilePayload(name="4711.png", mimeType="image/png", buffer=cat),
        FilePayload(name="broken.png", mimeType="image/png", buffer=b"no image"),
    ]
    opened.set_input_files("#engineer input[multiple]:not([webkitdirectory])", files=files)
    progress = folder.get_by_role("status")
    expect(progress).to_have_text(
        "4 of 4 images. 1 of 2 with a label are right: 50.0 %. 1 could not be read.",
        timeout=WAIT_MS,
    )
    folder.get_by_role("combobox", name="Order").select_option("Errors first, surest first")
    cards = folder.get_by_role("listitem")
    expect(cards.first).to_contain_text("should be tench")
    expect(cards.filter(has_text="right")).to_contain_text("espresso")
    folder.get_by_role("combobox", name="Order").select_option("Least sure first")
    expect(cards.first).to_contain_text("no result")


def test_the_requests_of_the_page_are_counted(opened: Page) -> None:
    latency = panel(opened, "Latency")
    summary = latency.locator("p.number")
    before = int(summary.inner_text().split()[0])
    assert before >= 1
    latency.get_by_role("button", name="Send 20 more").click()
    expect(summary).to_contain_text(f"{before + 20} requests", timeout=WAIT_MS)
    bars = [
        int(text) for text in latency.locator("svg text[text-anchor=middle]").all_text_contents()
    ]
    assert sum(bars) == before + 20
    halves = """async () => {
      const { quantile } = await import("./playground/script/latency.js");
      return [[1, 9], [1, 2, 9], [4]].map((values) => quantile(values, 0.5));
    }"""
    assert opened.evaluate(halves) == [1, 2, 4]
    expect(latency.locator("tbody tr")).to_have_count(6)


def test_the_page_works_behind_a_prefix(browser: Browser, live: Live) -> None:
    page = browser.new_context(reduced_motion="reduce").new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))

    def pass_on(route: Route) -> None:
        path = route.request.url.removeprefix("http://proxy.test/vision/")
        route.fulfill(response=route.fetch(url=f"{live.url}/{path}"))

    page.route("http://proxy.test/vision/**", pass_on)
    page.goto("http://proxy.test/vision/")
    page.locator("#model:enabled").wait_for()
    page.get_by_role("button", name="A cat").click()
    page.locator(".headline", has_text="cat").wait_for()
    page.locator("#how").scroll_into_view_if_needed()
    expect(page.locator("#how .verdict")).to_contain_text("the same number", timeout=WAIT_MS)
    panel(page, "Request and raw JSON").get_by_role("region", name="Answer as JSON").wait_for()
    assert errors == []
    close_page(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_open_panels(browser: Browser, live: Live, scheme: str) -> None:
    # axe adds its own script to the page, which the page's content security policy would refuse.
    page = open_page(
        browser, live, viewport={"width": 390, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page.get_by_role("button", name="A cat").click()
    page.locator(".headline", has_text="cat").wait_for()
    page.locator("#engineer").wait_for()
    for summary in page.locator("#engineer .panels > details > summary").all():
        summary.focus()
        page.keyboard.press("Enter")
    cat = FilePayload(name="cat.png", mimeType="image/png", buffer=photograph("chelsea"))
    page.set_input_files("#engineer input[multiple]:not([webkitdirectory])", files=cat)
    for content in (".tensor", ".facts", ".flow", ".curl", ".pair-table", ".card", ".histogram"):
        page.locator(f"#engineer {content}").first.wait_for()
    name, number = "#engineer .tensor tbody th span", "#engineer .tensor tbody td:nth-child(2)"
    for row in range(6):
        (_, _, end, _), (begin, _, _, _) = rectangle(page, name, row), rectangle(page, number, row)
        assert end <= begin, "the name of a channel and its least value do not lie on each other"
    _, top, _, bottom = rectangle(page, "#engineer .histogram text")
    assert bottom - top >= 10, "its text is as large on a phone"
    found = Axe().run(page).response["violations"]
    assert found == [], json.dumps(found, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    close_page(page)


def test_the_card_says_what_crowds_may_lose(page: Page) -> None:
    card = card_with(page, "ssdlite-mobilenet-v2", {"cut": {"images": 3, "of": 70, "below": 0.25}})
    expect(card).to_contain_text(
        "On 3 of 70 images of the proof there were more candidates than there are places"
    )
