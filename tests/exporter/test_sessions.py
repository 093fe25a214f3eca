"""Sessions on the CPU."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from exporter.sessions import (
    alternating_session,
    optimized_session,
    served_session,
    unoptimized_session,
)
from tests.exporter.graphs import SIDE, normal, small_classifier

Make = Callable[..., onnxruntime.InferenceSession]


def test_all_sessions_compute_the_same_and_run_on_the_cpu(tmp_path: Path) -> None:
    model = small_classifier()
    onnx.save(model, tmp_path / "model.onnx")
    sessions = [
        optimized_session(model),
        unoptimized_session(model),
        alternating_session(model),
        alternating_session(model, optimized=False),
        served_session(tmp_path / "model.onnx"),
    ]
    pixels = normal(2, 3, SIDE, SIDE)

    found = [session.run(None, {"pixels": pixels})[0] for session in sessions]

    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-4, atol=1e-4)
    assert {tuple(session.get_providers()) for session in sessions} == {("CPUExecutionProvider",)}


@pytest.mark.parametrize("make", [optimized_session, alternating_session, unoptimized_session])
def test_a_model_above_the_limit_of_one_message_gets_a_session_all_the_same(make: Make) -> None:
    model = small_classifier()
    pixels = normal(2, 3, SIDE, SIDE)

    apart = make(model, limit=0).run(None, {"pixels": pixels})[0]

    np.testing.assert_allclose(
        apart, unoptimized_session(model).run(None, {"pixels": pixels})[0], rtol=1e-4, atol=1e-4
    )


def test_without_space_for_files_a_model_of_one_message_is_passed_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    model = small_classifier()
    pixels = normal(2, 3, SIDE, SIDE)

    found = optimized_session(model, limit=0).run(None, {"pixels": pixels})[0]

    expected = unoptimized_session(model).run(None, {"pixels": pixels})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
