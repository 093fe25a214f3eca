import asyncio
from pathlib import Path

import pytest

from benchmarks.capacity.sender import Course, send
from tests.service.planning.profiles import make_profile

pytestmark = pytest.mark.anyio


async def test_every_answer_of_the_open_loop_is_counted_by_its_kind() -> None:
    statuses = [200, 503, 504, 500, 0]
    asked = 0

    handlers: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        handlers.append(handler)
        nonlocal asked
        while await reader.read(64):
            status = statuses[asked % len(statuses)]
            asked += 1
            if not status:
                break
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\nok" % status)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    answers = await send(port, request, Course(400.0, 0.25))
    server.close()
    await asyncio.gather(*handlers)
    assert answers.sent == asked >= 40
    kinds = (len(answers.seconds), answers.refused, answers.late, answers.broken)
    expected = [len(range(index, asked, 5)) for index in range(5)]
    assert kinds == (*expected[:3], expected[3] + expected[4])


async def test_a_plot_has_the_colors_of_light_and_dark_pages(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.capacity.curves import curves_of  # noqa: PLC0415  # they need Matplotlib
    from benchmarks.capacity.plot import DARK, draw_curves  # noqa: PLC0415

    lines: list[str] = []
    curves = curves_of(
        make_profile(), lines.append, machines=(1, 3), shares=(0.2, 0.9), most_requests=3000
    )
    assert [(one.machines, one.balancer) for one in curves] == [
        (1, "least-outstanding"),
        *((3, name) for name in ("least-outstanding", "power-of-two", "round-robin", "random")),
    ]
    assert all(one.p99[0] < one.p99[1] for one in curves)
    draw_curves(curves, 0.010, "p99", tmp_path / "p99.svg")
    drawn = (tmp_path / "p99.svg").read_text()
    style, _, rest = drawn.partition("</style>")
    assert "prefers-color-scheme:dark" in style
    assert not any(color in rest for color in DARK)
    assert "var(--c0)" in rest
