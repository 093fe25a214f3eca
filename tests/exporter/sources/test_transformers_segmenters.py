"""Segmentation networks of Transformers, compared with the library's own postprocessing run by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.errors import ExportError, RecipeError
from tests.exporter.families import families
from tests.exporter.sources.pretrained import (
    SIDE,
    Processed,
    as_png,
    beit,
    by_hand,
    dpt,
    edit,
    eomt,
    exported,
    mask2former,
    maskformer,
    saved,
    segformer,
    served,
    upernet,
)
from tests.images import photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the library's own, about its own internals
]

UNIVERSAL = {mask2former, maskformer, eomt}


@pytest.mark.parametrize(
    "make", families(segformer, mask2former, eomt, others=(upernet, dpt, beit, maskformer))
)
def test_a_segmenter_says_what_transformers_says(
    make: Callable[[], Processed], tmp_path: Path
) -> None:
    place = saved(make, tmp_path)
    kind = "Universal" if make in UNIVERSAL else "Semantic"

    done = exported(place, tmp_path, "segment")

    # At the network's size, without losses: the classes of an untrained network nearly tie at many pixels, and on a
    # processor with AMX rounding decides 0.9 % of MaskFormer's.
    body = as_png(photograph("chelsea"))
    outputs, processor = by_hand(place, f"AutoModelFor{kind}Segmentation", body)
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(SIDE, SIDE)])
    same = (served(done, body)["mask"][0] == expected[0].numpy()).mean()
    assert same > 0.98
    shares = expected[0].unique(return_counts=True)[1] / expected[0].numel()
    assert (shares > 0.05).sum() > 1
    assert done.card.background_id is None


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("DPTForDepthEstimation", "it estimates depth"),
        ("DetrForSegmentation", "panoptic"),
        ("BeitModel", "a backbone without a head"),
        ("BeitForMaskedImageModeling", "pretraining"),
        ("VitPoseForPoseEstimation", "it is for pose estimation"),
        ("SuperPointForKeypointDetection", "it is for keypoint detection"),
        ("OwlViTForZeroShotObjectDetection", "text beside the image"),
    ],
)
@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_a_network_for_something_else_is_refused(
    architecture: str, words: str, task: str, tmp_path: Path
) -> None:
    place = tmp_path / "network"
    place.mkdir()
    (place / "config.json").write_text(
        f'{{"model_type": "beit", "architectures": ["{architecture}"]}}'
    )

    with pytest.raises(RecipeError, match=f"{architecture}: .*{words}.*classify, segment, detect"):
        exported(place, tmp_path, task)


def test_a_network_that_reads_a_text_too_is_refused(tmp_path: Path) -> None:
    place = saved(segformer, tmp_path)
    edit(place, model_type="oneformer", architectures=["OneFormerForUniversalSegmentation"])

    with pytest.raises(ExportError, match="the task is semantic"):
        exported(place, tmp_path, "segment")


def test_a_detector_of_text_regions_is_refused_with_what_it_returns(tmp_path: Path) -> None:
    place = saved(segformer, tmp_path)
    (place / "config.json").write_text(
        '{"model_type": "pp_ocrv5_mobile_det", "architectures": ["PPOCRV5MobileDetForObjectDetection"]}'
    )
    (place / "model.safetensors").unlink()

    with pytest.raises(ExportError, match="needs pred_boxes"):
        exported(place, tmp_path, "detect", weights="none")
