"""Every view of the page: axe finds nothing, in both color schemes and at a phone's width; no view is out of reach."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.live import Live
from tests.playground.conftest import close_page, open_page
from tests.playground.pages import choose_task, settle, show

MOST_STOPS = 150
"""Of the Tab key on the whole page; more would be a trap."""


def check(page: Page, view: str) -> None:
    found = Axe().run(page)
    assert found.response["violations"] == [], f"{view}: {found.generate_report()}"
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width, view


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1600)])
def test_axe_finds_nothing_in_any_view(
    browser: Browser, live: Live, scheme: str, width: int
) -> None:
    # axe adds its own script to the page, which the page's content security policy would refuse.
    page = open_page(
        browser,
        live,
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
        bypass_csp=True,
        has_touch=width < 1000,
    )
    tops = page.eval_on_selector_all("#tasks label", "all => all.map((one) => one.offsetTop)")
    assert len(tops) == 6
    assert len(set(tops)) == 1, "all tasks stand in one line"
    page.get_by_role("combobox", name="Model").select_option("lenet5")
    show(page, "Handwritten digits")
    settle(page, "3")
    page.locator(".row").first.click()
    expect(page.locator("#heat-legend")).to_be_visible()
    page.locator("#strip").scroll_into_view_if_needed()
    expect(page.locator(".frame.waiting")).to_have_count(0)
    page.locator(".frame", has_text="Stage 2").click()
    page.locator("#detail button.thumb").first.click()
    expect(page.locator("#detail .thumbs.large .thumb").first).to_be_visible()
    page.get_by_role("button", name="Run the test").click()
    expect(page.locator(".curve")).to_have_count(5)
    check(page, "a classification with all of its explanations")
    for task, headline in (("Detect", "Nothing"), ("Segment", "object"), ("Chain", "3 · 5 · 9")):
        choose_task(page, task)
        settle(page, headline)
        check(page, task)
    choose_task(page, "Detect")
    show(page, "Grace Hopper")
    settle(page, "2 things")
    check(page, "boxes")
    choose_task(page, "Embed")
    settle(page, "128 numbers")
    expect(page.get_by_role("region", name="Result as JSON")).to_be_visible()
    check(page, "a vector")
    choose_task(page, "Temporal")
    expect(page.locator("#timeline")).to_contain_text("69 frames processed")
    settle(page, "growing")
    check(page, "a video")
    choose_task(page, "Classify")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#camera")).to_be_visible()
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator("#result[aria-busy=false] .curl")).to_be_visible()
    check(page, "the last frame of the camera")
    close_page(page)


def test_names_are_words_without_the_signs_around_them(page: Page) -> None:
    page.locator("#strip").scroll_into_view_if_needed()
    expect(page.locator(".frame.waiting")).to_have_count(0)
    spoken = page.locator("body").aria_snapshot()
    for sign in ("→", "+ The exact tensor"):
        assert sign not in spoken
    assert 'button "Copy the curl command"' in spoken
    assert 'heading "espresso" [level=2]' in spoken
    assert "can not draw" not in spoken
    note = FilePayload(name="note.txt", mimeType="text/plain", buffer=b"no image")
    page.set_input_files("#choose", files=note)
    expect(page.get_by_role("alert")).to_contain_text("Unknown image format")
    expect(page.get_by_role("figure", name="This browser can not draw the file")).to_be_visible()
    show(page, "A cat")
    expect(page.locator("figcaption").first).to_be_empty()
    choose_task(page, "Segment")
    slider = page.get_by_role("slider", name="Mask opacity")
    expect(slider).to_have_attribute("aria-valuetext", "55 %")


def test_a_result_with_its_explanations_is_reached_by_keyboard(page: Page) -> None:
    page.locator("#strip").scroll_into_view_if_needed()
    expect(page.locator(".frame.waiting")).to_have_count(0)
    page.locator(".row", has_text="espresso").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#heat")).to_be_visible()
    expect(page.locator("#announcement")).to_contain_text("which pixels support espresso")
    wanted = {"JSON", "Heat map", "Sheet", "Copy the link", "Copy", "Run the test"}
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        wanted.discard(page.evaluate("document.activeElement.textContent.trim()"))
        if not wanted:
            break
    assert wanted == set()
    page.locator(".frame", has_text="Stage 3").focus()
    page.keyboard.press("Enter")
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#detail button.thumb')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#detail button.thumb[aria-pressed=true]")).to_have_count(1)
    expect(page.locator("#detail .thumbs.large .thumb")).to_have_count(9)
