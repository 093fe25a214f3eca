"""What several tests of the playground do on the page, and how they read its pixels."""

import re
from base64 import b64decode

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

_PIXELS = """node => {
  const copy = new OffscreenCanvas(node.width, node.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(node, 0, 0);
  const { data } = context.getImageData(0, 0, node.width, node.height);
  let text = "";
  for (let start = 0; start < data.length; start += 8192) {
    text += String.fromCharCode(...data.subarray(start, start + 8192));
  }
  return [node.width, btoa(text)];
}"""
"""A list of a million numbers takes seconds on its way out of the browser."""


def choose_task(page: Page, task: str) -> None:
    page.get_by_role("radio", name=task).check()


def show(page: Page, sample: str) -> None:
    """Open a sample, which is not the one that is shown, and wait until the one before is cleared."""
    page.get_by_role("button", name=sample).click()
    expect(page.locator("#shown")).to_have_attribute("alt", re.compile(sample))


def settle(page: Page, headline: str) -> None:
    """Wait until the result with this headline is there, and no other is awaited."""
    expect(page.locator("#result[aria-busy=false] .headline")).to_have_text(headline)


def pixels(page: Page, canvas: str) -> NDArray[np.int64]:
    """Return RGBA, (H, W, 4) in 0–255, of a canvas."""
    width, encoded = page.eval_on_selector(canvas, _PIXELS)
    return np.frombuffer(b64decode(encoded), np.uint8).reshape(-1, width, 4).astype(np.int64)


def rectangle(page: Page, selector: str, nth: int = 0) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of an element on the screen, in CSS pixels."""
    box = page.locator(selector).nth(nth).bounding_box()
    assert box is not None, selector
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
