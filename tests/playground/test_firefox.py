"""The playground in Firefox too, driven by WebDriver BiDi: it answers for each task, and its console stays empty."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.live import Live

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
SECONDS = 90

pytestmark = [
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(FIREFOX is None, reason="needs Firefox: apt-get install firefox-esr"),
]

SETTLED = """() => new Promise((resolve) => {
  const panel = document.getElementById("result");
  const look = () => {
    const headline = panel.querySelector(".headline");
    if (!headline || panel.getAttribute("aria-busy") === "true") return false;
    resolve(headline.textContent);
    return true;
  };
  const observer = new MutationObserver(() => look() && observer.disconnect());
  if (!look()) observer.observe(panel, { attributes: true, childList: true, subtree: true });
})"""
COVERED = """() => {
  const canvas = document.getElementById("mask");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, at) => at % 4 === 3 && value > 0).length / (data.length / 4);
}"""


class Firefox:
    """A window of Firefox: commands of WebDriver BiDi, and what the page has logged."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._commands = 0
        self.logged: list[str] = []
        self.command("session.new", capabilities={})
        self.command("session.subscribe", events=["log.entryAdded"])
        (window,) = self.command("browsingContext.getTree")["contexts"]
        self._window = window["context"]

    def command(self, method: str, **params: object) -> Any:
        self._commands += 1
        call = {"id": self._commands, "method": method, "params": params}
        self._connection.send(json.dumps(call))
        while True:
            message = json.loads(self._connection.recv())
            if message["type"] == "event":
                self.logged.append(str(message["params"].get("text")))
            elif message["id"] == self._commands:
                assert message["type"] == "success", message
                return message["result"]

    def open(self, url: str) -> None:
        self.command("browsingContext.navigate", context=self._window, url=url, wait="complete")

    def call(self, function: str) -> Any:
        """Return the value of a function of the page, which may be a promise."""
        target = {"context": self._window}
        done = self.command(
            "script.callFunction", functionDeclaration=function, target=target, awaitPromise=True
        )
        return done["result"]["value"]


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    profile = tmp_path_factory.mktemp("firefox")
    assert FIREFOX is not None
    process = subprocess.Popen(
        [FIREFOX, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(profile)},
        start_new_session=True,
    )
    assert process.stderr is not None
    found = (re.search(r"WebDriver BiDi listening on (ws://\S+)", line) for line in process.stderr)
    address = next(match[1] for match in found if match)
    reader = threading.Thread(target=process.stderr.read)
    reader.start()
    try:
        with connect(f"{address}/session", max_size=None) as connection:
            yield Firefox(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        process.stderr.close()


@pytest.mark.parametrize(
    ("task", "sample", "headline"),
    [
        ("classify", "cup", "espresso"),
        ("detect", "hopper", "2 things"),
        ("segment", "cup", "object"),
        ("chain", "digits", "3 · 5 · 9"),
        ("embed", "cat", "128 numbers"),
        ("temporal", "motion", "growing"),
    ],
)
def test_each_task_is_answered_and_nothing_is_logged(
    firefox: Firefox, live: Live, task: str, sample: str, headline: str
) -> None:
    firefox.open(f"{live.url}/?task={task}&sample={sample}")
    assert firefox.call(SETTLED) == headline
    if task == "segment":
        share = firefox.call("() => document.querySelector('.row .number').textContent")
        covered = float(share.removesuffix(" %")) / 100
        assert firefox.call(COVERED) == pytest.approx(covered, abs=0.001)
    assert firefox.logged == []
    # What is logged is seen at all.
    firefox.call("() => { console.error('seen'); return 0; }")
    assert firefox.logged == ["seen"]
    firefox.logged.clear()


def test_views_below_the_result_are_there_when_they_are_scrolled_to(
    firefox: Firefox, live: Live
) -> None:
    firefox.open(f"{live.url}/?task=classify&sample=cup")
    firefox.call(SETTLED)
    shown = """() => new Promise((resolve) => {
      const strip = document.getElementById("strip");
      strip.scrollIntoView();
      const look = () => strip.querySelector(".frame.waiting") || resolve(strip.innerText);
      new MutationObserver(look).observe(strip, { attributes: true, childList: true, subtree: true });
    })"""
    assert "Stage 5\n1280 maps, 7\u00a0×\u00a07" in firefox.call(shown)
    assert firefox.logged == []
