"""What lies over the image and beside it: boxes and labels, masks, the part that the network sees, heat maps."""

import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from tests.live import Live
from tests.playground.conftest import close_page, open_page
from tests.playground.pages import choose_task, pixels, rectangle, settle, show

CAT = Path(__file__).parents[1] / "data" / "cat.jpg"
CUP = Path(__file__).parents[2] / "service" / "playground" / "samples" / "cup.jpg"
WIDTH, HEIGHT = 600, 400  # the sample's


def detection(
    label: str, score: float, box: tuple[float, float, float, float]
) -> dict[str, object]:
    sides = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
    return {"label": label, "class_id": 1, "score": score, "box": sides}


def answer_with(page: Page, detections: list[dict[str, object]]) -> None:
    """Let the service find these things in the cup, whatever the network says."""
    result = {"width": WIDTH, "height": HEIGHT, "detections": detections}
    page.route("**/v1/detect?*", lambda route: route.fulfill(json={"results": [result]}))
    choose_task(page, "Detect")
    expect(page.locator(".box")).to_have_count(len(detections))


def hold(page: Page, url: str | re.Pattern[str]) -> list[Route]:
    """Let requests wait in the list that is returned."""
    held: list[Route] = []

    def wait(route: Route) -> None:
        held.append(route)

    page.route(url, wait)
    return held


def test_of_boxes_in_one_place_the_better_one_is_on_top(page: Page) -> None:
    here = (200.0, 100.0, 400.0, 300.0)
    slightly_smaller = (202.0, 101.0, 399.0, 299.0)
    inside = (250.0, 150.0, 300.0, 200.0)
    answer_with(
        page,
        [
            detection("car", 0.87, here),
            detection("truck", 0.38, slightly_smaller),
            detection("wheel", 0.31, inside),
        ],
    )
    left, top, right, bottom = rectangle(page, "#boxes")

    def on_top(x: float, y: float) -> str:
        across, down = (right - left) * x / WIDTH, (bottom - top) * y / HEIGHT
        found = page.evaluate(
            "([x, y]) => document.elementFromPoint(x, y).closest('.box').textContent",
            [left + across, top + down],
        )
        return str(found)

    assert on_top(350, 250) == "car 87.0 %"
    assert on_top(275, 180) == "wheel 31.0 %"


@pytest.mark.parametrize("width", [1280, 390])
def test_labels_stay_inside_the_image_and_off_each_other(
    browser: Browser, live: Live, width: int
) -> None:
    page = open_page(browser, live, viewport={"width": width, "height": 900})
    places = [
        (0.0, 0.0, 600.0, 400.0),
        (0.0, 0.0, 599.0, 399.0),
        (560.0, 10.0, 600.0, 60.0),
        (0.0, 380.0, 30.0, 400.0),
        (590.0, 390.0, 600.0, 400.0),
    ]
    names = ["person", "a dog", "traffic light", "fire hydrant", "a label " * 40]
    answer_with(
        page,
        [
            detection(name, 0.9 - 0.1 * index, place)
            for index, (name, place) in enumerate(zip(names, places, strict=True))
        ],
    )
    left, top, right, bottom = rectangle(page, "#boxes")
    shown = []
    for index in range(len(names)):
        label = page.locator(".box span").nth(index)
        x0, y0, x1, y1 = rectangle(page, ".box span", index)
        assert (max(x0, left), max(y0, top)) == (x0, y0), label.inner_text()
        assert (min(x1, right), min(y1, bottom)) == (x1, y1), label.inner_text()
        if label.is_visible():
            shown.append((x0, y0, x1, y1))
    assert len(shown) >= 4
    for index, (x0, y0, x1, y1) in enumerate(shown):
        for u0, v0, u1, v1 in shown[:index]:
            assert x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0
    close_page(page)


def test_a_class_has_the_same_color_in_the_list_and_on_the_image(page: Page) -> None:
    boxes = [(float(60 * at), 0.0, float(60 * at + 50), 50.0) for at in range(8)]
    names = ["car", "bus", "car", "cat", "dog", "cow", "tie", "cup"]
    answer_with(page, [detection(name, 0.9, box) for name, box in zip(names, boxes, strict=True)])
    border = "node => getComputedStyle(node).borderTopColor"
    background = "node => getComputedStyle(node).backgroundColor"
    colors = {}
    for index, name in enumerate(names):
        box = page.locator(".box", has_text=f"{name} ").first
        row = page.locator(".row").nth(index)
        assert row.locator(".name").inner_text() == name
        assert box.evaluate(border) == row.locator(".swatch").evaluate(background)
        colors[name] = box.evaluate(border)
    assert len(set(colors.values())) == 7
    again = dict(colors)
    show(page, "A cat")
    expect(page.locator(".box")).to_have_count(8)
    assert page.locator(".box", has_text="cow ").evaluate(border) == again["cow"]


def test_a_mask_has_an_outline_of_a_light_and_a_dark_line(page: Page) -> None:
    choose_task(page, "Segment")
    settle(page, "object")
    mask = pixels(page, "#mask")
    inside = mask[..., 3] > 0
    edge = inside & ~(
        np.roll(inside, 1, 0)
        & np.roll(inside, -1, 0)
        & np.roll(inside, 1, 1)
        & np.roll(inside, -1, 1)
    )
    assert (mask[edge].min(axis=1) > 200).all()
    dark = mask[inside & (mask[..., 3] > 200)][:, :3].max(axis=1) < 100
    assert dark.sum() > edge.sum() / 2


def test_the_part_that_the_network_sees_is_shown_before_the_answer(page: Page, live: Live) -> None:
    held = hold(page, "**/v1/classify?*")
    show(page, "A cat")
    crop = page.locator("#crop.strong i")
    expect(crop).to_be_visible()
    expect(page.locator("#result")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#seen")).to_have_text(
        "The network sees the bright part only, at 224 × 224 pixels."
    )
    query = "view=maps&stage=stage_5&channels=1"
    explained = httpx.post(f"{live.url}/v1/explain?{query}", content=CAT.read_bytes()).json()
    left, top, right, bottom = rectangle(page, "#crop")
    found = np.subtract(rectangle(page, "#crop i"), (left, top, left, top))
    across, down = (right - left) / explained["width"], (bottom - top) / explained["height"]
    box = [explained["box"][side] for side in ("x_min", "y_min", "x_max", "y_max")]
    assert found == pytest.approx(np.multiply(box, (across, down, across, down)), abs=2)
    for route in held:
        route.continue_()
    settle(page, "Egyptian cat")
    expect(page.locator("#crop.strong")).to_have_count(0)
    choose_task(page, "Detect")
    expect(page.locator("#seen")).to_have_text(
        "The network sees the whole image, stretched to 300 × 300 pixels."
    )
    expect(page.locator("#crop")).to_be_hidden()


def test_a_channel_never_depends_on_more_pixels_than_the_network_gets(page: Page) -> None:
    page.locator("#strip").scroll_into_view_if_needed()
    expect(page.locator(".frame.waiting")).to_have_count(0)
    for stage, part in (("Stage 5", "depends on every pixel"), ("Stage 1", "depends on 7 × 7")):
        page.locator(".frame", has_text=stage).click()
        page.locator("#detail button.thumb").first.click()
        lead = page.locator("#detail .detail .lead")
        expect(lead).to_contain_text(part)
        expect(lead).to_contain_text("of the network's input, which is 224 × 224.")


def test_the_charts_of_the_robustness_test_have_named_axes_and_are_read_by_keyboard(
    page: Page,
) -> None:
    page.get_by_role("combobox", name="Model").select_option("lenet5")
    page.get_by_role("button", name="Run the test").click()
    curve = page.locator(".curve", has_text="Rotated")
    expect(curve.locator("text:not(.unit)")).to_have_text(
        ["0 %", "50 %", "100 %", "−180", "−90", "0", "90"]
    )
    expect(curve.locator(".unit")).to_have_text("angle in degrees")
    scaled = page.locator(".curve", has_text="Scaled").locator("text:not(.unit)")
    expect(scaled).to_have_text(["0 %", "50 %", "100 %", "0.25", "0.5", "1", "2", "4"])
    places = scaled.evaluate_all(
        "nodes => nodes.slice(3).map(node => Number(node.getAttribute('x')))"
    )
    assert np.ptp(np.diff(places)) < 1e-6, "half the size is as far from 1 as double the size"
    curve.get_by_role("img").focus()
    for place in ("−180 degrees", "−135 degrees"):
        page.keyboard.press("ArrowRight")
        expect(curve.locator(".caption")).to_contain_text(place)


def test_a_network_of_digits_says_that_it_can_only_answer_with_a_digit(page: Page) -> None:
    known = page.locator(".known")
    expect(known).to_have_text(
        "It always answers with one of its 1,000 labels, even if none fits the image."
    )
    page.get_by_role("combobox", name="Model").select_option("lenet5")
    expect(known).to_have_text(
        "It always answers with one of its 10 labels: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "
        "even if none fits the image."
    )


@pytest.fixture
def stages(page: Page) -> list[Route]:
    """The page with the cup's boxes; requests for heat maps wait in the list until the test answers them."""
    choose_task(page, "Detect")
    settle(page, "2 things")
    return hold(page, re.compile(r"/v1/explain\?.*view=(cam|occlusion)"))


def heat(method: str, hot: int, **more: object) -> dict[str, object]:
    values = np.zeros(4)
    values[hot] = 1.0
    grid = {"height": 2, "width": 2, "values": values.reshape(2, 2).tolist(), "low": 0, "high": 1}
    return {"width": WIDTH, "height": HEIGHT, "method": method, "heat": grid, **more}


def next_stage(page: Page, stages: list[Route]) -> Route:
    while not stages:
        page.evaluate("new Promise(requestAnimationFrame)")  # meanwhile the request arrives
    return stages.pop(0)


def test_the_heat_map_of_a_box_comes_at_once_and_becomes_finer(
    page: Page, stages: list[Route]
) -> None:
    page.locator(".row", has_text="cup").click()
    note, shown = page.locator(".note"), []
    for answer, words in (
        (heat("eigencam", 0), "A finer map follows"),
        (heat("occlusion", 1, samples=36), "covers 36 places one by one. A finer map follows"),
        (heat("occlusion", 2, samples=144), "covers 144 places one by one."),
    ):
        route = next_stage(page, stages)
        limit = route.request.headers["x-timeout-ms"]
        assert int(limit) < 30_000
        route.fulfill(json=answer)
        expect(note).to_contain_text(words)
        shown.append(pixels(page, "#heat"))
    assert not np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[1], shown[2])
    expect(note).not_to_contain_text("follows")
    expect(page.locator("#heat-legend")).to_be_visible()


def test_a_stage_that_ends_at_its_deadline_leaves_the_heat_map_that_is_there(
    page: Page, stages: list[Route]
) -> None:
    late = {"title": "Too late", "detail": "There was no time.", "code": "deadline_exceeded"}
    few = heat("occlusion", 1, samples=8, detail="There was time for 8 places.")
    page.locator(".row", has_text="cup").click()
    next_stage(page, stages).fulfill(json=heat("eigencam", 0))
    expect(page.locator("#heat")).to_be_visible()
    before = pixels(page, "#heat")
    next_stage(page, stages).fulfill(status=504, json=late, content_type="application/problem+json")
    next_stage(page, stages).fulfill(json=few)
    expect(page.locator(".note")).to_contain_text("There was no time for a finer map.")
    assert np.array_equal(pixels(page, "#heat"), before)


def test_the_next_click_ends_the_refinement(page: Page, stages: list[Route]) -> None:
    page.locator(".row", has_text="cup").click()
    next_stage(page, stages).fulfill(json=heat("eigencam", 0))
    next_stage(page, stages)  # not answered
    with page.expect_event("requestfailed") as failed:
        page.locator(".row", has_text="table").click()
    assert "view=occlusion" in failed.value.url
    assert "box=0" in failed.value.url
    assert "box=1" in next_stage(page, stages).request.url


def test_a_busy_service_is_asked_again(page: Page) -> None:
    busy = {"title": "Overloaded", "detail": "Retry after 1 s.", "code": "overloaded"}
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(route.request.url)
        return route.fulfill(status=503, json=busy, content_type="application/problem+json")

    page.route("**/v1/explain?*", refuse_once)
    page.locator(".row", has_text="espresso").click()
    expect(page.locator("#heat")).to_be_visible()
    assert len(refused) == 1


def test_the_service_answers_all_stages(page: Page) -> None:
    choose_task(page, "Detect")
    settle(page, "2 things")
    answers: list[int] = []

    def note(answer: Response) -> None:
        if "occlusion" in answer.url:
            answers.append(answer.status)

    page.on("response", note)
    page.locator(".row", has_text="cup").click()
    expect(page.locator(".note")).to_contain_text("Hot pixels support cup", timeout=40_000)
    assert 200 in answers


def test_every_sample_has_its_license_in_the_notice() -> None:
    notice = (CUP.parents[3] / "NOTICE").read_text().partition("service/playground/samples")[2]
    samples = sorted(path.name for path in CUP.parent.iterdir())
    assert len(samples) == 8
    for sample in samples:
        (line,) = [line for line in notice.splitlines() if line.strip().startswith(f"{sample}:")]
        assert "CC0" in line or "public domain" in line, line
