"""The documentation builds as a site without a warning: a page, link or anchor that leads nowhere is one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from tests.live import serve
from tests.playground.conftest import CHROMIUM, WAIT_MS

ROOT = Path(__file__).parents[2]
SECONDS = 120


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """The site as a service shows it."""
    with serve(guide=site) as live:
        yield live.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.timeout(SECONDS)
def test_pages_that_stand_beside_their_code_are_in_it(site: Path) -> None:
    assert "torchvision:resnet50 --task classify" in (site / "exporter.html").read_text()
    assert "Quick start" in (site / "index.html").read_text()
    assert "Models come and go" in (site / "models.html").read_text()
    assert 'href="bundled-models.html"' in (site / "index.html").read_text()


@pytest.mark.timeout(SECONDS)
def test_links_lead_to_pages_of_the_site_and_to_files_on_the_code_host(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="exporter.html"' in home
    assert 'href="settings.html"' in home
    assert "exporter/README.md" not in home
    reliability = (site / "reliability.html").read_text()
    assert 'href="benchmarks.html#the-soak"' in reliability
    decision = (
        site / "decisions" / "0020-images-are-resized-by-simd-in-pillows-order.html"
    ).read_text()
    assert "/blob/main/tests/service/imaging/test_resampling.py" in decision


@pytest.mark.timeout(SECONDS)
def test_images_of_other_folders_are_copied(site: Path) -> None:
    sources = re.findall(r'<img[^>]* src="([^"]+)"', (site / "performance.html").read_text())
    assert sources
    assert all((site / source).is_file() for source in sources)


@pytest.mark.timeout(SECONDS)
def test_the_python_interface_is_there_with_its_docstrings(site: Path) -> None:
    page = (site / "python.html").read_text()
    assert 'id="service.engine.Engine.predict"' in page
    assert "Take images through a task and return each one's result, in order." in page


@pytest.mark.timeout(SECONDS)
def test_the_http_api_is_made_from_its_document(site: Path) -> None:
    page = (site / "http-api.html").read_text()
    assert "<code>POST /v1/detect</code>" in page
    assert "Boxes that overlap a better one by more are dropped" in page
    assert 'href="#cornersbox"' in page
    assert "[channel][row][column]" in page, "brackets of a description are no links"


@pytest.mark.timeout(SECONDS)
def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loaded = re.compile(
        r'<(?:script|img|iframe|source)[^>]* src="(?:https?:)?//|rel="stylesheet" href="https?:'
    )
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text()), page.name


@pytest.mark.timeout(SECONDS)
def test_the_service_shows_the_site_and_its_search_works(url: str, browser: Browser) -> None:
    page = browser.new_page()
    page.set_default_timeout(4 * WAIT_MS)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(url)
    page.get_by_role("link", name="Guide").click()
    page.get_by_role("heading", name="Quick start").wait_for()
    page.get_by_role("textbox", name="Search").fill("letterbox")
    page.locator(".md-search-result__link").first.click()
    page.locator("h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.url.startswith(f"{url}/docs/guide/")
    page.close()
    assert messages == [], "a refused request to another host is one"


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1600)])
def test_axe_finds_nothing_on_its_pages_and_none_is_wider_than_the_window(
    url: str, browser: Browser, scheme: str, width: int
) -> None:
    # axe adds its own script to the page, which the page's content security policy would refuse.
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,
    )
    page.set_default_timeout(4 * WAIT_MS)
    for name in ("index", "tutorial", "card", "batching", "proof"):
        page.goto(f"{url}/docs/guide/{name}.html")
        page.locator("h1").first.wait_for()
        found = Axe().run(page)
        assert found.response["violations"] == [], f"{name}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.close()
