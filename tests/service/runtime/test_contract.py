"""What a servable's graph must be, held against sessions that only describe themselves."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import onnx
import pytest

from service.card import Card, Window
from service.errors import ServableError
from service.runtime.contract import (
    blank_input,
    check_contract,
    outputs_of,
    require_certificate,
    weights_beside,
)
from service.runtime.repository import Servable, scan_repository
from service.runtime.session import Session
from service.runtime.signature import TensorInfo
from tests.servables import color_card, write_servable

PATH = Path("colors.onnx")
IMAGES = TensorInfo("image", "tensor(uint8)", (None, 8, 8, 3))
FEATURES = TensorInfo("features", "tensor(float)", (None, 4, 3))
TEMPORAL = color_card().model_copy(
    update={"task": "temporal", "input": None, "window": Window(frames=4, stride=2, fps=6)}
)


@dataclass
class Described:
    """A session that only says what its graph takes and gives."""

    inputs: tuple[TensorInfo, ...] = (IMAGES,)
    outputs: tuple[TensorInfo, ...] = (
        TensorInfo("logits", "tensor(float)", (None, 3)),
        TensorInfo("probabilities", "tensor(float)", (None, 3)),
    )

    @property
    def session(self) -> Session:
        return cast("Session", self)


def check(card: Card, *inputs: TensorInfo, expected: tuple[str, ...] = ("logits",)) -> None:
    check_contract(Described(inputs).session, card, PATH, expected)


def servable(root: Path) -> Servable:
    write_servable(root, card=color_card())
    ((one,), _) = scan_repository(root)
    return one


def test_a_graph_that_keeps_the_contract_is_accepted() -> None:
    check(color_card(), IMAGES, expected=("logits", "probabilities"))
    check(TEMPORAL, FEATURES)


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ((), r"inputs are \[\], the contract requires \['image'\]"),
        ((IMAGES, FEATURES), r"inputs are \['image', 'features'\]"),
        ((FEATURES,), r"inputs are \['features'\]"),
        (
            (TensorInfo("image", "tensor(float)", IMAGES.shape),),
            r"tensor\(float\).*tensor\(uint8\)",
        ),
        ((TensorInfo("image", "tensor(uint8)", (None, 3, 8, 8)),), r"\(None, 8, 8, 3\)"),
        ((TensorInfo("image", "tensor(uint8)", (None, 8, None, 3)),), r"\(None, 8, None, 3\)"),
        ((TensorInfo("image", "tensor(uint8)", (1, 8, 8, 3)),), "a dynamic batch axis"),
    ],
)
def test_a_graph_for_images_that_breaks_it_is_refused(
    inputs: tuple[TensorInfo, ...], fault: str
) -> None:
    with pytest.raises(ServableError, match=fault):
        check(color_card(), *inputs)


def test_only_a_card_of_batches_of_one_may_have_a_fixed_batch_axis() -> None:
    one = color_card().model_copy(update={"max_batch": 1})
    check(one, TensorInfo("image", "tensor(uint8)", (1, 8, 8, 3)))
    with pytest.raises(ServableError, match=r"\(2, 8, 8, 3\)"):
        check(one, TensorInfo("image", "tensor(uint8)", (2, 8, 8, 3)))


@pytest.mark.parametrize("shape", [(None, 5, 3), (None, 4, None), (None, 4), (None, 4, 3, 1)])
def test_a_graph_over_time_has_the_frames_of_the_window(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ServableError, match=r"the card says \(None, 4, features\)"):
        check(TEMPORAL, TensorInfo("features", "tensor(float)", shape))


def test_all_outputs_that_a_graph_lacks_are_named() -> None:
    with pytest.raises(ServableError, match=r"classify graph lacks the outputs \['a', 'b'\]"):
        check(color_card(), IMAGES, expected=("a", "logits", "b"))


def test_a_blank_input_is_black_or_a_window_of_zeros() -> None:
    image = blank_input(Described().session, color_card())
    window = blank_input(Described((FEATURES,)).session, TEMPORAL)
    assert (image.shape, image.dtype.name, bool(image.any())) == ((8, 8, 3), "uint8", False)
    assert (window.shape, window.dtype.name, bool(window.any())) == ((4, 3), "float32", False)


def test_a_task_that_is_not_known_is_refused_with_those_that_are(tmp_path: Path) -> None:
    one = servable(tmp_path)
    assert outputs_of(one, {"classify": ("logits",)}) == ("logits",)
    known: dict[str, Any] = {"segment": (), "detect": ()}
    with pytest.raises(ServableError, match=r"'classify'.*Known tasks: detect, segment\."):
        outputs_of(one, known)


def test_a_file_that_was_changed_after_its_proof_is_refused(tmp_path: Path) -> None:
    one = servable(tmp_path)
    require_certificate(one)
    assert weights_beside(one) is None
    model = onnx.load(one.path)
    model.graph.name += "2"
    onnx.save(model, one.path)
    with pytest.raises(ServableError, match="changed after it was proved"):
        require_certificate(one)


def test_weights_are_beside_the_graph_where_the_card_says_so(tmp_path: Path) -> None:
    one = servable(tmp_path)
    proof = one.card.certificate.model_copy(update={"data_sha256": "0" * 64})
    one = replace(one, card=one.card.model_copy(update={"certificate": proof}))
    assert weights_beside(one) == one.path.with_name("model.onnx.data")
    with pytest.raises(ServableError, match=r"model\.onnx\.data is missing"):
        require_certificate(one)
