"""How a network computes: the page's own arithmetic, held against NumPy and ONNX Runtime by hand."""

import json
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.live import MODELS, Live
from tests.playground.conftest import close_page, open_page

MODEL = MODELS / "efficientnet-lite0" / "1" / "model.onnx"
MEAN, SCALE, MARGIN = 127.0, 128.0, 16
"""From models/efficientnet-lite0/recipe.toml; an image of 256×256 pixels is cropped to its middle and not resized."""
PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(4).integers(0, 256, (40, 40, 3), dtype=np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
)
FRAME = PIXELS[MARGIN:-MARGIN, MARGIN:-MARGIN]


def noise() -> FilePayload:
    content = BytesIO()
    Image.fromarray(PIXELS).save(content, "PNG")
    return FilePayload(name="noise.png", mimeType="image/png", buffer=content.getvalue())


def weight(name: str) -> NDArray[np.float64]:
    tensors = {one.name: one for one in onnx.load(MODEL).graph.initializer}
    return numpy_helper.to_array(tensors[name]).astype(np.float64)


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def numbers(table: Locator) -> list[float]:
    return [number(text) for text in table.locator("td").all_inner_texts()]


@pytest.fixture(scope="module")
def opened(browser: Browser, live: Live) -> Iterator[Page]:
    """One page with one image for all tests that only look at it."""
    page = open_page(browser, live)
    page.set_input_files("#choose", files=noise())
    page.locator("#result[aria-busy=false]").wait_for()
    page.locator("#how").scroll_into_view_if_needed()
    page.locator("#how .verdict").wait_for()
    yield page
    close_page(page)


def test_the_numbers_on_the_page_are_pixels_times_weights(opened: Page) -> None:
    how = opened.locator("#how")
    how.locator(".pair", has_text="#9").last.click()
    expect(how.locator(".bench")).to_contain_text("Map of filter 9:")
    how.get_by_role("slider", name="Row").fill("31")
    how.get_by_role("slider", name="Column").fill("90")
    patch = FRAME[62:65, 180:183].astype(np.float64).transpose(2, 0, 1)
    patch = (patch - MEAN) / SCALE
    weights = weight("_conv_stem.weight")[9]
    bias = weight("_conv_stem.weight_bias")[9]
    for channel, color in enumerate(["Red", "Green", "Blue"]):
        for what, values in (("patch", patch), ("filter", weights), ("products", patch * weights)):
            shown = numbers(how.locator("table", has_text=f"{color}, {what}"))
            assert shown == pytest.approx(values[channel].ravel(), abs=0.0051)
    total = (patch * weights).sum() + bias
    results = how.locator("dd.result").all_inner_texts()
    assert [number(text) for text in results] == pytest.approx(
        [total, min(6, max(0, total))], abs=0.0051
    )
    verdict = how.locator(".verdict").inner_text()
    assert "the same number" in verdict
    assert number(verdict.split()[0]) == pytest.approx(min(6, max(0, total)), abs=1e-3)
    expect(how.get_by_role("status").last).to_contain_text("Cell in row 31, column 90: 27 products")


def test_the_cell_follows_the_pointer_on_the_map_and_on_the_image(opened: Page) -> None:
    how = opened.locator("#how")
    panes = how.locator(".pane")
    for index, expected in ((1, (56, 28)), (0, (56, 28))):
        pane = panes.nth(index)
        pane.scroll_into_view_if_needed()
        box = pane.bounding_box()
        assert box is not None
        opened.mouse.move(box["x"] + box["width"] * 0.254, box["y"] + box["height"] * 0.504)
        found = [
            int(how.get_by_role("slider", name=name).input_value()) for name in ("Row", "Column")
        ]
        assert found == pytest.approx(expected, abs=1)


def test_the_filter_slides_until_it_is_stopped(opened: Page) -> None:
    how = opened.locator("#how")
    row = how.get_by_role("slider", name="Row")
    column = how.get_by_role("slider", name="Column")
    row.fill("5")
    column.fill("5")
    how.get_by_role("button", name="Slide the filter").click()
    expect(column).not_to_have_value("5")  # reduced motion: one cell at a time
    how.get_by_role("button", name="Stop").click()
    stopped = column.input_value()
    expect(how.get_by_role("status").last).to_contain_text(f"row 5, column {stopped}")


def test_features_times_weights_on_the_page_are_the_logit(opened: Page) -> None:
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    logits, features = session.run(["logits", "features"], {"image": FRAME[None]})
    evidence = opened.locator("#evidence")
    evidence.scroll_into_view_if_needed()
    select = evidence.get_by_role("combobox", name="Class")
    for option in (1, 0):
        class_id = int(select.locator("option").nth(option).get_attribute("value") or "")
        select.select_option(index=option)
        products = features[0].astype(np.float64) * weight("_fc.weight")[class_id]
        best = int(products.argmax())
        expect(evidence.locator(".side").first.locator(".term").first).to_contain_text(
            f"Channel {best}"
        )
        gain, loss = products[products > 0].sum(), products[products < 0].sum()
        bias = weight("_fc.bias")[class_id]
        shown = [number(text) for text in evidence.locator(".balance-row b").all_inner_texts()]
        assert shown == pytest.approx([gain, loss, bias, logits[0, class_id]], abs=0.006)
        expect(evidence.locator(".balance")).to_contain_text("the number that the network computed")


def test_a_channel_gets_a_word_that_stays_in_the_browser(page: Page) -> None:
    page.set_input_files("#choose", files=noise())
    page.locator("#result[aria-busy=false]").wait_for()
    page.get_by_role("button", name="A cat").click()
    page.locator(".headline", has_text="cat").wait_for()
    evidence = page.locator("#evidence")
    evidence.scroll_into_view_if_needed()
    term = evidence.locator(".side").first.locator(".term").first
    name = (term.locator(".name").text_content() or "").removeprefix("Channel ")
    term.click()
    favorites = page.locator("#favorites")
    expect(favorites.get_by_role("spinbutton", name="Channel")).to_have_value(name)
    # Three samples, and the user's own image.
    samples = page.locator("#samples .sample:not(.video)").count()
    expect(favorites.get_by_role("status")).to_contain_text(f"in {samples + 1} images")
    values = [float(text) for text in favorites.locator("figcaption").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert len(values) > 1
    favorites.get_by_label("Your word for this channel").fill("<b>fur</b>")
    expect(term.locator(".name")).to_have_text(f"Channel {name}, <b>fur</b>")
    page.reload()
    page.get_by_role("button", name="A cat").click()
    page.locator(".headline", has_text="cat").wait_for()
    page.locator("#evidence").scroll_into_view_if_needed()
    expect(term.locator(".name")).to_have_text(f"Channel {name}, <b>fur</b>")
    favorites.get_by_role("button", name="<b>fur</b>").click()
    expect(favorites.get_by_label("Your word for this channel")).to_have_value("<b>fur</b>")
    favorites.get_by_role("combobox", name="Stage").select_option("stage_3")
    favorites.get_by_role("spinbutton", name="Channel").fill("19")
    favorites.get_by_role("button", name="Find its favorite patches").click()
    expect(favorites.get_by_role("status")).to_contain_text("They are equal because")
    assert set(favorites.locator("figcaption").all_inner_texts()) == {"6.00"}


def test_a_network_with_pooling_shows_it_and_says_what_its_features_are_not(page: Page) -> None:
    page.get_by_role("combobox", name="Model").select_option("lenet5")
    page.get_by_role("button", name="Handwritten digits").click()
    how = page.locator("#how")
    how.scroll_into_view_if_needed()
    expect(how.locator(".verdict")).to_contain_text("the same number")
    pooling = how.locator(".step", has_text="Average pooling")
    mean = np.mean(numbers(pooling.locator("table")))
    assert number(pooling.locator("dd").inner_text()) == pytest.approx(mean, abs=0.0101)
    page.locator("#evidence").scroll_into_view_if_needed()
    expect(page.locator("#evidence")).to_contain_text("These features are not averages of maps")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_arithmetic(browser: Browser, live: Live, scheme: str) -> None:
    # axe adds its own script to the page, which the page's content security policy would refuse.
    page = open_page(
        browser, live, viewport={"width": 390, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page.get_by_role("button", name="A cat").click()
    page.locator(".headline", has_text="cat").wait_for()
    for section, content in (("how", ".verdict"), ("favorites", ".thumb"), ("evidence", ".term")):
        page.locator(f"#{section}").scroll_into_view_if_needed()
        page.locator(f"#{section} {content}").first.wait_for()
    violations = Axe().run(page).response["violations"]
    assert violations == [], json.dumps(violations, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    close_page(page)
