"""The tutorial runs as it stands, from its first block to its last, and prints what it says."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```\n(?:\n(?P<printed>(?:^ {4}[^\n]*\n)+))?',
    re.MULTILINE | re.DOTALL,
)
OTHER_TERMINAL = "in a second terminal"
PERCENT = re.compile(r"(\d+\.\d+)(%|$)")
NEAR = 15
"""Percent that a measured figure may differ: another processor rounds otherwise, and trains another network."""

MARK = "--- the next block"
SECONDS = 600


@dataclass(frozen=True)
class Block:
    """A file to write, or commands to run in a terminal, and the lines that they print."""

    title: str
    code: str
    expected: list[str]


def blocks(port: int) -> list[Block]:
    """Return the blocks of the page, which listen on this port."""
    text = PAGE.replace("localhost:8000", f"localhost:{port}").replace(
        ":8000 serves", f":{port} serves"
    )
    return [
        Block(
            found["title"] or "",
            found["code"],
            [line[4:] for line in (found["printed"] or "").splitlines()],
        )
        for found in BLOCK.finditer(text)
    ]


def plain(line: str) -> str:
    """Return a line without the frame of a table, and with single blanks."""
    return " ".join(line.replace("│", " ").split())


def matches(line: str, expected: str) -> bool:
    """Return whether a line is the expected one: … stands for anything, and a measured figure may differ a little."""
    pattern = re.escape(plain(expected)).replace("…", ".*")
    pattern = re.sub(r"\d+\\\.\d+(?=%|$)", r"(\\d+\\.\\d+)", pattern)
    found = re.fullmatch(pattern, plain(line))
    figures = [float(number) for number, _ in PERCENT.findall(plain(expected))]
    return found is not None and all(
        abs(float(is_) - wanted) <= NEAR
        for is_, wanted in zip(found.groups(), figures, strict=True)
    )


def compare(block: Block, lines: list[str]) -> None:
    """Assert that the lines which the page shows were printed, in their order."""
    rest = iter(lines)
    for expected in block.expected:
        assert any(matches(line, expected) for line in rest), (
            f"{expected!r} was not printed after {block.code}\nbut " + "\n".join(lines)
        )


class Terminal:
    """A shell in a folder that runs one block after the other."""

    def __init__(self, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str) -> list[str]:
        """Run commands, each of which must succeed, and return what they print."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"set -e\n{code}echo\necho '{MARK}'\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line.rstrip() == MARK:
                return lines
            lines.append(line.rstrip())
        raise AssertionError(f"this failed: {code}\n" + "\n".join(lines))

    def close(self) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.wait()
        self._shell.stdout.close()


def environment() -> dict[str, str]:
    """Return the environment of a user who has activated the one that the test runs in."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": programs, "FOVEAL_LOG_FORMAT": "text"}


@contextmanager
def second_terminal(block: Block, folder: Path, port: int) -> Iterator[None]:
    """Run commands that do not end, and begin once they have printed what the page shows."""
    process = subprocess.Popen(
        ["bash", "-c", "exec env " + block.code],
        cwd=folder,
        env={**environment(), "FOVEAL_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    stdout = process.stdout
    lines: list[str] = []
    (last,) = block.expected
    for line in stdout:
        lines.append(line)
        if matches(line, last):
            break
    else:
        raise AssertionError("".join(lines))
    reader = threading.Thread(target=lambda: lines.extend(stdout))  # or the service waits for it
    reader.start()
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
        reader.join()
        stdout.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Read:
    """The figures that a run printed, one after the other."""

    trained: list[float]
    measured: list[float]
    answered: list[float]


@pytest.mark.timeout(SECONDS)
def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path) -> None:
    printed = follow(tmp_path)
    first, better = printed.trained
    assumed, stated, of_better = printed.measured
    assert (stated, of_better) == (first, better), "the export has the accuracy of PyTorch by hand"
    assert assumed < first - 10, "without mean and std the accuracy is clearly lower"
    assert better > first
    assert printed.answered == [first, first, better, first, better], "and so have the answers"


def follow(folder: Path) -> Read:
    """Do what the page says, in a folder, and return the accuracies that were printed."""
    port = free_port()
    terminal = Terminal(folder)
    seen: list[str] = []
    steps = iter(blocks(port))
    try:
        for block in steps:
            if block.title == OTHER_TERMINAL:
                with second_terminal(block, folder, port):
                    for later in steps:
                        do(later, terminal, folder, seen)
            else:
                do(block, terminal, folder, seen)
    finally:
        terminal.close()
    text = "\n".join(map(plain, seen))
    return Read(
        figures(r"([\d.]+)% of 1000 held-out", text),
        figures(r"measured top1 ([\d.]+)%", text),
        figures(r"([\d.]+)% are right", text),
    )


def do(block: Block, terminal: Terminal, folder: Path, seen: list[str]) -> None:
    """Write the file that a block is, or run its commands and compare what they print."""
    if block.title:
        (folder / block.title).write_text(block.code, encoding="utf-8")
        return
    lines = terminal.run(block.code)
    compare(block, lines)
    seen += lines


def figures(pattern: str, text: str) -> list[float]:
    return [float(figure) for figure in re.findall(pattern, text)]
