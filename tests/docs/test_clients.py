"""The examples for clients run as they stand on their pages, and print what these say."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.clips import bikes
from tests.docs.examples import examples, matches
from tests.live import Live, serve
from tests.playground.conftest import CHROMIUM, WAIT_MS

ROOT = Path(__file__).parents[2]
MARK = "--- the next block"
SECONDS = 120
LOCAL = "http://localhost:8000"
IMPORTABLE = f"import sys; sys.path.insert(0, {str(ROOT / 'clients' / 'python' / 'src')!r})\n"


@dataclass(frozen=True)
class Site:
    """Another site: a folder, and the origin that its pages have."""

    folder: Path
    origin: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Site(folder, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def live(site: Site) -> Iterator[Live]:
    with serve(cors_origins=[site.origin]) as service:
        yield service


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the examples read; what they write stays in it."""
    for name in ("tests", "service", "models", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "video.mp4").write_bytes(bikes())
    return tmp_path


def run(command: list[str], program: str, clone: Path, live: Live) -> list[list[str]]:
    """Run a program in the clone and return the lines that each of its blocks printed."""
    done = subprocess.run(
        command,
        input=program,
        capture_output=True,
        text=True,
        cwd=clone,
        env={**os.environ, "SERVICE_URL": live.url},
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [block.strip("\n").splitlines() for block in done.stdout.split(MARK)]


def compare(page: str, language: str, printed: list[list[str]]) -> None:
    for example, lines in zip(examples(page, language), printed, strict=True):
        expected = example.printed.splitlines()
        if expected:
            assert len(lines) == len(expected), (lines, example.code)
        for line, wanted in zip(lines, expected, strict=False):
            assert matches(line, wanted), f"{line!r}, and {page} says {wanted!r}"


CURL = re.compile(r"^ {4}(curl (?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
OTHERS = ("street.mp4", "$KEY", "$API_KEY", "--cacert", "$URL")
"""Commands with a file or a key of the reader's own."""


def curls() -> list[str]:
    """Return the commands of the pages that a reader can run in a clone."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {one for page in pages for one in CURL.findall(page.read_text(encoding="utf-8"))}
    return sorted(one for one in found if not any(other in one for other in OTHERS))


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_command_of_the_documents_is_answered(live: Live, clone: Path) -> None:
    assert len(curls()) > 15
    address = live.url.removeprefix("http://")
    for command in curls():
        shown = command.replace("localhost:8000", address).replace("curl ", "curl --fail -sS ", 1)
        done = subprocess.run(
            ["bash", "-c", shown], capture_output=True, cwd=clone, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, (command, done.stderr.decode())


PROGRAM = re.compile(r'^ {4}(?:\.venv/bin/)?python -c "(import [^"]*)"$', re.MULTILINE)


def programs(module: str) -> list[str]:
    """Return the one-line programs of the pages for other programs' clients that use a client's package."""
    pages = [ROOT / "docs" / name for name in ("clients.md", "v2.md")]
    found = [one for page in pages for one in PROGRAM.findall(page.read_text(encoding="utf-8"))]
    return [one for one in found if f"import {module}" in one or f", {module}" in one]


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("module", ["tritonclient", "kserve"])
def test_the_programs_of_one_line_for_other_clients_run(
    live: Live, clone: Path, module: str
) -> None:
    assert programs(module)
    pytest.importorskip(module, reason=f"needs {module}")
    for program in programs(module):
        shown = program.replace("localhost:8000", live.url.removeprefix("http://"))
        (printed,) = run([sys.executable, "-c", shown], "", clone, live)
        assert printed


@pytest.mark.timeout(SECONDS)
def test_the_examples_in_python_run_and_print_what_the_page_says(live: Live, clone: Path) -> None:
    blocks = [one.code for one in examples("clients-python.md", "python")]
    program = f"print({MARK!r})\n".join(blocks)
    printed = run([sys.executable, "-"], program, clone, live)
    compare("clients-python.md", "python", printed)
    assert (clone / "boxes.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.timeout(SECONDS)
def test_the_examples_of_the_typed_client_run_and_print_what_the_page_says(
    live: Live, clone: Path
) -> None:
    page = "../clients/python/README.md"
    blocks = [one.code.replace(LOCAL, live.url) for one in examples(page, "python")]
    program = f"print({MARK!r})\n".join([IMPORTABLE + blocks[0], *blocks[1:]])
    compare(page, "python", run([sys.executable, "-"], program, clone, live))


@pytest.mark.timeout(SECONDS)
def test_the_example_of_the_python_interface_runs(live: Live, clone: Path) -> None:
    (example,) = examples("python.md", "python")
    compare("python.md", "python", run([sys.executable, "-"], example.code, clone, live))


@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node: apt-get install nodejs")
def test_the_examples_in_node_run_and_print_what_the_page_says(live: Live, clone: Path) -> None:
    blocks = [one.code for one in examples("clients-javascript.md", "js")]
    program = f"console.log({MARK!r});\n".join(blocks)
    printed = run(["node", "--input-type=module", "-"], program, clone, live)
    compare("clients-javascript.md", "js", printed)
    assert (clone / "boxes.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_page_of_another_site_classifies_a_chosen_file(live: Live, site: Site) -> None:
    (example,) = examples("clients-javascript.md", "html")
    html = f'<!doctype html><html data-foveal="{live.url}"><body>{example.code}'
    (site.folder / "index.html").write_text(html, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(4 * WAIT_MS)
        page.goto(site.origin)
        page.locator("input").set_input_files(ROOT / "service/playground/samples/cup.jpg")
        page.locator("output", has_text="espresso").wait_for()
        browser.close()
