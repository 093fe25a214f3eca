"""What a user does: open an image, read the result, request an explanation."""

import json
import re
import subprocess
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from service.api.routes.playground import FOLDER
from tests.clips import bikes, counting
from tests.live import Live, serve
from tests.playground.conftest import close_page, open_page
from tests.playground.pages import choose_task, pixels, settle, show
from tests.servables import color_card, write_servable

CAT = Path(__file__).parents[1] / "data" / "cat.jpg"
VIDEO = FilePayload(name="bikes.mp4", mimeType="video/mp4", buffer=bikes())
DROP = """async ([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
  document.getElementById("mat").dispatchEvent(
    new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def test_a_dropped_image_is_classified_with_what_it_cost(page: Page) -> None:
    page.evaluate(DROP, ["cat.jpg", list(CAT.read_bytes())])
    expect(page.locator(".headline")).to_have_text("tiger cat")
    expect(page.locator(".row")).to_have_count(5)
    expect(page.locator(".row").first).to_contain_text("38.8 %")
    expect(page.locator(".sums")).to_contain_text("385 M MACs")
    expect(page.locator(".sums")).to_contain_text("1 image in the batch")
    expect(page.locator(".stages-named")).to_contain_text("network")


def test_boxes_lie_over_the_image_and_are_highlighted_with_their_rows(page: Page) -> None:
    choose_task(page, "Detect")
    expect(page.locator(".box")).to_have_count(2)
    page.locator(".row", has_text="cup").hover()
    expect(page.locator(".box.highlighted")).to_have_text("cup 95.1 %")


def test_a_mask_over_the_image_has_a_slider_for_opacity_and_a_button_that_saves_the_cutout(
    page: Page,
) -> None:
    choose_task(page, "Segment")
    mask = page.locator("#mask")
    expect(mask).to_be_visible()
    covered = (pixels(page, "#mask")[..., 3] > 0).mean()
    shown = page.locator(".row .number").inner_text().removesuffix(" %")
    assert covered == pytest.approx(float(shown) / 100, abs=0.001)
    page.get_by_role("slider", name="Mask opacity").fill("0.2")
    alpha = pixels(page, "#mask")[..., 3]
    assert np.median(alpha[alpha > 0]) == round(0.2 * 255)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the cutout").click()
    assert download.value.suggested_filename == "cup-cutout.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_the_heat_follows_the_chosen_class(page: Page) -> None:
    heat = page.locator("#heat")
    heats = []
    for label in ("espresso", "coffee mug"):
        page.locator(".row", has_text=label).click()
        expect(page.locator(".note")).to_contain_text(f"Hot pixels support {label}.")
        expect(heat).to_be_visible()
        heats.append(pixels(page, "#heat"))
    assert not np.array_equal(heats[0], heats[1])
    page.locator(".row", has_text="coffee mug").click()
    expect(heat).to_be_hidden()


def test_the_film_strip_opens_into_filters_maps_and_the_patterns_of_a_channel(page: Page) -> None:
    show(page, "A cat")
    page.locator("#strip").scroll_into_view_if_needed()
    expect(page.locator(".frame.waiting")).to_have_count(0)
    page.locator(".frame", has_text="Filters").click()
    expect(page.locator("#detail .thumb")).to_have_count(32)
    page.locator(".frame", has_text="Stage 3").click()
    expect(page.locator("#detail button.thumb")).to_have_count(16)
    page.locator("#detail button.thumb").first.click()
    expect(page.locator("#detail .thumbs.large .thumb")).to_have_count(9)
    expect(page.locator("#heat")).to_be_visible()


def test_the_film_strip_shows_the_heat_map_of_each_new_image(page: Page) -> None:
    frame = page.locator(".frame", has_text="Heat map")
    for sample, label in (("A cat", "Egyptian cat"), ("A cup of coffee", "espresso")):
        show(page, sample)
        page.locator("#strip").scroll_into_view_if_needed()
        expect(frame).to_contain_text(label)
        expect(frame.locator("canvas")).to_be_visible()


def test_the_probe_draws_a_curve_for_each_perturbation(page: Page) -> None:
    page.get_by_role("combobox", name="Model").select_option("lenet5")
    show(page, "Handwritten digits")
    page.get_by_role("button", name="Run the test").click()
    expect(page.locator(".curve")).to_have_count(5)


def test_the_results_of_a_video_arrive_on_a_timeline(page: Page, live: Live) -> None:
    choose_task(page, "Detect")
    page.set_input_files("#choose", files=VIDEO)
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("20 frames processed")
    answer = page.request.post(f"{live.url}/v1/video?task=detect&fps=2", data=bikes()).json()
    labels = [{found["label"] for found in frame["detections"]} for frame in answer["frames"]]
    persons = sum("person" in found for found in labels)
    rects = page.locator(".lane", has_text="person").locator("rect")
    assert rects.count() == persons > 1
    expect(page.locator(".note")).to_have_text("At 0.0 s")
    page.get_by_role("slider", name="Moment in the video").fill("5.2")
    expect(page.locator(".note")).to_have_text("At 5.0 s")
    assert page.locator(".box").count() == page.locator(".row").count() > 0
    show(page, "A cat")
    expect(timeline).to_be_hidden()
    expect(page.locator(".box")).to_have_count(1)


def test_the_windows_of_a_temporal_model_are_on_the_timeline(page: Page, live: Live) -> None:
    choose_task(page, "Temporal")
    page.set_input_files("#choose", files=VIDEO)
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("60 frames processed")
    answer = page.request.post(f"{live.url}/v1/video?task=temporal", data=bikes()).json()
    first, second, *_ = windows = answer["summary"]["windows"]
    labels = [found["label"] for found in first["predictions"]]
    expect(page.locator(".row .name")).to_have_text(labels)
    expect(page.locator(".note")).to_have_text(f"From 0.0 to {first['end']:.1f} s")
    best = answer["summary"]["predictions"][0]
    share = f"{100 * best['probability']:.1f} %"
    expect(page.locator("#result")).to_contain_text(
        f"Over the whole video: {best['label']} {share}"
    )
    middle = (second["start"] + second["end"]) / 2
    page.get_by_role("slider", name="Moment in the video").fill(f"{middle:.1f}")
    expect(page.locator(".headline")).to_have_text(second["predictions"][0]["label"])
    rects = page.locator(".lane", has_text=first["predictions"][0]["label"]).first.locator("rect")
    marks = sorted(
        (float(mark.get_attribute("x") or 0), float(mark.get_attribute("width") or 0))
        for mark in rects.all()
    )
    assert 0 < len(marks) <= len(windows)
    assert marks[0][0] == 0
    assert all(x + width <= later for (x, width), (later, _) in pairwise(marks))


def test_a_video_of_fewer_frames_than_a_window_says_what_is_missing(page: Page) -> None:
    choose_task(page, "Temporal")
    short = FilePayload(name="short.mp4", mimeType="video/mp4", buffer=counting(10))
    page.set_input_files("#choose", files=short)
    expect(page.locator("#result")).to_contain_text("fewer than the 12 of one window")


def test_a_model_that_reads_videos_only_shows_the_sample_video_and_then_the_image_is_back(
    page: Page,
) -> None:
    show(page, "A cat")
    settle(page, "Egyptian cat")
    choose_task(page, "Temporal")
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("69 frames processed")
    settle(page, "growing")
    assert "sample=motion" in page.url
    moment = page.get_by_role("slider", name="Moment in the video")
    for seconds, way in ((4.5, "right"), (7.2, "clockwise"), (10, "left")):
        moment.fill(str(seconds))
        settle(page, way)
    for way in ("growing", "right", "clockwise", "left"):
        expect(timeline.locator(".lane", has_text=re.compile(f"^{way}$"))).to_be_visible()
    choose_task(page, "Classify")
    settle(page, "Egyptian cat")
    expect(timeline).to_be_hidden()
    assert "sample=cat" in page.url
    page.go_back()
    settle(page, "growing")
    # The part that the classifier gets of an image is not shown on a video that another network reads as a whole.
    expect(page.locator("#crop")).to_be_hidden()
    # A video that the user has chosen stays.
    choose_task(page, "Detect")
    expect(page.locator("#timeline-body")).to_contain_text("23 frames processed")
    expect(page.locator(".lane").first).to_contain_text("cup")
    choose_task(page, "Classify")
    expect(page.locator("#crop")).to_be_visible()
    expect(page.locator("#seen")).to_contain_text("sees the bright part only, at 224 × 224 pixels")


def test_the_panel_follows_a_video_that_plays(page: Page) -> None:
    choose_task(page, "Temporal")
    settle(page, "growing")
    expect(page.locator("#timeline-body")).to_contain_text("69 frames processed")
    page.locator("#video").evaluate("node => { node.currentTime = 4; return node.play(); }")
    settle(page, "right")
    page.locator("#video").evaluate("node => node.pause()")


def test_an_image_is_no_video_and_the_page_offers_one(page: Page) -> None:
    choose_task(page, "Temporal")
    settle(page, "growing")
    show(page, "A cat")
    expect(page.locator("#result")).to_contain_text("This model reads videos")
    page.get_by_role("button", name="Show the sample video").click()
    settle(page, "growing")


def test_the_curl_line_of_the_sample_video_gives_the_same_result(page: Page) -> None:
    choose_task(page, "Temporal")
    settle(page, "growing")
    line = page.locator("#result .curl code").inner_text()
    run = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    events = [json.loads(event) for event in run.stdout.splitlines()]
    assert [event["event"] for event in events[:1] + events[-1:]] == ["start", "summary"]
    assert events[-1]["summary"]["windows"][0]["predictions"][0]["label"] == "growing"


def test_a_result_that_the_page_does_not_draw_is_shown_as_json(page: Page) -> None:
    choose_task(page, "Embed")
    show(page, "A cat")
    expect(page.get_by_role("region", name="Result as JSON")).to_contain_text("128 values")
    expect(page.locator(".frame", has_text="Filters")).to_be_visible()
    expect(page.locator(".frame", has_text="Heat map")).to_have_count(0)


def test_a_task_that_the_page_does_not_know_is_listed_and_its_result_is_shown_as_json(
    browser: Browser, live: Live
) -> None:
    page = browser.new_context().new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    listing = page.request.get(f"{live.url}/v1/models").json()
    (model,) = [each for each in listing["models"] if each["name"] == "ssdlite-mobilenet-v2"]
    model["card"]["task"] = "optical_flow"
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": [model]}))
    result = {"arrows": [{"from": [1, 2], "label": "<b>bold</b>"}], "empty": {}}
    page.route("**/v1/optical_flow?*", lambda route: route.fulfill(json={"results": [result]}))
    page.goto(live.url)
    choose_task(page, "Optical flow")
    show(page, "A cat")
    json_text = page.get_by_role("region", name="Result as JSON")
    expect(json_text).to_contain_text("<b>bold</b>")
    assert json.loads(json_text.inner_text()) == result
    assert errors == []
    close_page(page)


def test_a_file_that_the_browser_can_not_draw_still_gets_its_result(page: Page) -> None:
    content = BytesIO()
    Image.open(CAT).save(content, "TIFF")
    image = FilePayload(name="cat.tiff", mimeType="image/tiff", buffer=content.getvalue())
    page.set_input_files("#choose", files=image)
    expect(page.locator(".headline")).to_contain_text("cat")
    expect(page.locator("#image")).to_have_text(re.compile("can not draw"))
    show(page, "A cat")
    expect(page.locator("#shown")).to_be_visible()


def test_boxes_have_the_right_place_on_an_image_that_exif_rotates(page: Page) -> None:
    rotated = Image.open(CAT).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # displayed rotated by 90° clockwise: upright again
    content = BytesIO()
    rotated.save(content, "JPEG", quality=95, exif=exif)
    choose_task(page, "Detect")
    image = FilePayload(name="cat.jpg", mimeType="image/jpeg", buffer=content.getvalue())
    page.set_input_files("#choose", files=image)
    box, shown = page.locator(".box"), page.locator("#shown")
    expect(box).to_contain_text("cat")
    inner, outer = box.bounding_box(), shown.bounding_box()
    assert inner is not None
    assert outer is not None
    assert outer["width"] / outer["height"] == pytest.approx(451 / 300, abs=0.01)
    # The cat fills nine tenths of the width, from the left, and all of the height.
    assert inner["width"] / outer["width"] == pytest.approx(0.91, abs=0.04)
    assert inner["x"] == pytest.approx(outer["x"], abs=0.04 * outer["width"])


def test_an_error_shows_the_detail_and_the_code_of_the_service(page: Page, live: Live) -> None:
    notes = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no image")
    page.set_input_files("#choose", files=notes)
    problem = page.request.post(f"{live.url}/v1/classify", data=b"no image").json()
    failure = page.get_by_role("alert")
    expect(failure).to_contain_text(problem["title"])
    expect(failure).to_contain_text(problem["detail"])
    expect(failure.locator("code")).to_have_text("unsupported_image")
    show(page, "A cat")
    expect(page.locator(".headline")).to_contain_text("cat")


@pytest.mark.parametrize("sample", [True, False])
def test_the_curl_line_gives_the_same_result(page: Page, tmp_path: Path, *, sample: bool) -> None:
    choose_task(page, "Detect")
    line = page.locator("#result .curl code")
    if not sample:
        file = tmp_path / "the cat's 'image' $(exit).jpg"
        file.write_bytes(CAT.read_bytes())
        page.set_input_files("#choose", file)
    expect(line).to_contain_text("cup.jpg" if sample else "$(exit).jpg")
    expect(line).to_contain_text("/v1/detect")
    run = subprocess.run(
        ["sh", "-c", line.inner_text()], cwd=tmp_path, capture_output=True, check=True
    )
    (result,) = json.loads(run.stdout)["results"]
    labels = [found["label"] for found in result["detections"]]
    assert labels == page.locator(".row .name").all_inner_texts()


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the result")).to_be_focused()
    page.get_by_role("radio", name="Classify").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Detect")).to_be_checked()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="A cat")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".box")).to_have_count(1)
    for _ in range(8):  # four more pictures, the video, a file, the camera
        page.keyboard.press("Tab")
    expect(page.locator(".row")).to_be_focused()
    expect(page.locator(".box.highlighted")).to_have_count(1)


def test_a_label_that_looks_like_markup_stays_text(browser: Browser, tmp_path: Path) -> None:
    label = "<img src=x onerror=alert(1)>"
    card = color_card().model_copy(update={"labels": (label, label, label), "title": label})
    write_servable(tmp_path, card=card)
    with serve(models=tmp_path) as service:
        page = open_page(browser, service)
        cat = FilePayload(name=f"{label}.jpg", mimeType="image/jpeg", buffer=CAT.read_bytes())
        page.set_input_files("#choose", files=cat)
        expect(page.locator(".headline")).to_have_text(label)
        expect(page.locator("#model option")).to_have_text(label)
        assert page.locator("img[src=x]").count() == 0
        close_page(page)


def test_versions_are_listed_with_their_aliases_and_states_and_each_can_be_chosen(
    browser: Browser, tmp_path: Path
) -> None:
    write_servable(tmp_path, version=1)
    write_servable(tmp_path, version=2)
    broken = write_servable(tmp_path, version=3)
    broken.write_bytes(broken.read_bytes().replace(b"Softmax", b"Softmix"))
    (tmp_path / "foveal.toml").write_text("[models.colors]\naliases = {stable = 1}\n")
    with serve(models=tmp_path) as service:
        page = open_page(browser, service)
        expect(page.locator("#service")).to_have_text("1 model ready")
        expect(page.locator("#model option")).to_have_text(
            [
                "Which color is it, version 3 (failed)",
                "Which color is it, version 2",
                "Which color is it, version 1, @stable",
            ]
        )
        expect(page.locator("#model option").first).to_be_disabled()
        page.set_input_files("#choose", CAT)
        for version in ("2", "1"):
            with page.expect_response(f"**/v1/classify?model=colors%3A{version}*") as answered:
                page.get_by_role("combobox", name="Model").select_option(f"colors:{version}")
                if version == "2":  # it was chosen already
                    page.set_input_files("#choose", CAT)
            assert answered.value.status == 200
        close_page(page)


def test_no_script_parses_text_as_markup_and_no_file_has_the_url_of_another_host() -> None:
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
    for path in FOLDER.rglob("*"):
        if path.suffix in {".js", ".css", ".html"}:
            text = path.read_text()
            assert not [word for word in forbidden if word in text], path.name
            assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace(
                "// ", ""
            ).replace("///", ""), path.name


def test_a_chain_is_chosen_like_a_model_and_its_readings_lie_over_the_image(page: Page) -> None:
    choose_task(page, "Chain")
    expect(page.locator("#model option")).to_have_text(["Read the digits"])
    show(page, "Handwritten digits")
    expect(page.locator(".headline")).to_have_text("3 · 5 · 9")
    expect(page.locator(".box")).to_have_count(3)
    expect(page.locator(".row")).to_have_count(3)
    page.locator(".row").nth(1).hover()
    expect(page.locator(".box.highlighted")).to_contain_text("5 ")
    expect(page.locator("#inside")).to_be_hidden()
    expect(page.locator("#probe")).to_be_hidden()
    expect(page.locator(".curl")).to_contain_text("v1/chain?model=digits")
    choose_task(page, "Classify")
    expect(page.locator(".box")).to_have_count(0)
    expect(page.locator("#inside")).to_be_visible()
