"""Small networks of Transformers with random weights, in folders of save_pretrained, and the library run by hand."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from exporter.outcome import Exported
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from tests.exporter.exporting import export_to, outputs_of
from tests.images import photograph

tf = pytest.importorskip(
    "transformers", reason="needs Transformers: pip install -e '.[transformers]'"
)

SIDE = 64
NAMED = {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}}
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 64,
}
SQUARE = {"height": SIDE, "width": SIDE}
PROOF = {"limit": 4, "largest": 3, "agreement": 0.0}

Processed = tuple[Any, Any]
"""A network and its image processor."""


def vit() -> Processed:
    config = tf.ViTConfig(**SMALL, image_size=SIDE, **NAMED)
    return tf.ViTForImageClassification(config), tf.ViTImageProcessorPil(size=SQUARE)


def swin() -> Processed:
    config = tf.SwinConfig(
        image_size=SIDE, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, **NAMED
    )
    return tf.SwinForImageClassification(config), tf.ViTImageProcessorPil(size=SQUARE)


def convnext() -> Processed:
    config = tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], **NAMED)
    processor = tf.ConvNextImageProcessorPil(size={"shortest_edge": SIDE})
    return tf.ConvNextForImageClassification(config), processor


def resnet() -> Processed:
    config = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **NAMED
    )
    processor = tf.ConvNextImageProcessorPil(size={"shortest_edge": 384})
    return tf.ResNetForImageClassification(config), processor


def mobilevit() -> Processed:
    config = tf.MobileViTConfig(
        image_size=SIDE,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 32],
        **NAMED,
    )
    processor = tf.MobileViTImageProcessorPil(size={"shortest_edge": 80}, crop_size=SQUARE)
    return tf.MobileViTForImageClassification(config), processor


def segformer() -> Processed:
    config = tf.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        **NAMED,
    )
    processor = tf.SegformerImageProcessorPil(size=SQUARE)
    return tf.SegformerForSemanticSegmentation(config), processor


def upernet() -> Processed:
    backbone = tf.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = tf.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_in_channels=24, **NAMED
    )
    return tf.UperNetForSemanticSegmentation(config), tf.SegformerImageProcessorPil(size=SQUARE)


def mask2former() -> Processed:
    backbone = tf.SwinConfig(
        image_size=SIDE,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[2, 2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = tf.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        dim_feedforward=16,
        num_attention_heads=2,
        num_queries=8,
        **NAMED,
    )
    processor = tf.Mask2FormerImageProcessorPil(size=SQUARE)
    return tf.Mask2FormerForUniversalSegmentation(config), processor


def maskformer() -> Processed:
    backbone = tf.SwinConfig(
        image_size=SIDE,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[2, 2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    decoder = tf.DetrConfig(**TRANSFORMER, num_queries=8)
    config = tf.MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        **NAMED,
    )
    processor = tf.MaskFormerImageProcessorPil(size=SQUARE)
    return tf.MaskFormerForInstanceSegmentation(config), processor


def dpt() -> Processed:
    config = tf.DPTConfig(
        **{**SMALL, "num_hidden_layers": 4},
        image_size=SIDE,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        auxiliary_loss_weight=0.4,
        **NAMED,
    )
    processor = tf.DPTImageProcessorPil(size=SQUARE, keep_aspect_ratio=False)
    network = tf.DPTForSemanticSegmentation(config)
    last = network.head.head[-1 if hasattr(network.head.head[-1], "weight") else -2]
    with torch.no_grad():  # else one class has every pixel
        means = network.eval()(torch.randn(1, 3, SIDE, SIDE)).logits.mean(dim=(0, 2, 3))
        last.bias -= means
        last.weight *= 100
        last.bias *= 100
    return network, processor


def beit() -> Processed:
    config = tf.BeitConfig(
        **{**SMALL, "num_hidden_layers": 4},
        image_size=SIDE,
        use_relative_position_bias=True,
        out_indices=[1, 2, 3, 4],
        **NAMED,
    )
    processor = tf.BeitImageProcessorPil(size=SQUARE, do_center_crop=False)
    return tf.BeitForSemanticSegmentation(config), processor


def eomt() -> Processed:
    config = tf.EomtConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=SIDE,
        patch_size=16,
        num_blocks=1,
        num_queries=8,
        num_upscale_blocks=1,
        num_register_tokens=0,
        **NAMED,
    )
    # Its postprocessing reads the two edges.
    size = {"shortest_edge": SIDE, "longest_edge": SIDE}
    processor = tf.EomtImageProcessorPil(size=size, do_split_image=False, do_pad=False)
    return tf.EomtForUniversalSegmentation(config), processor


def yolos() -> Processed:
    config = tf.YolosConfig(**SMALL, image_size=[SIDE, SIDE], num_detection_tokens=10, **NAMED)
    return tf.YolosForObjectDetection(config), tf.YolosImageProcessorPil(size=SQUARE, do_pad=False)


def resnet_backbone() -> Any:
    return tf.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )


TRANSFORMER = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}


def detr() -> Processed:
    config = tf.DetrConfig(
        **TRANSFORMER, backbone_config=resnet_backbone(), num_queries=12, **NAMED
    )
    return tf.DetrForObjectDetection(config), tf.DetrImageProcessorPil(size=SQUARE, do_pad=False)


def table_transformer() -> Processed:
    config = tf.TableTransformerConfig(
        **TRANSFORMER, backbone_config=resnet_backbone(), num_queries=12, **NAMED
    )
    processor = tf.DetrImageProcessorPil(size=SQUARE, do_pad=False)
    return tf.TableTransformerForObjectDetection(config), processor


def conditional_detr() -> Processed:
    config = tf.ConditionalDetrConfig(
        **TRANSFORMER, backbone_config=resnet_backbone(), num_queries=50, **NAMED
    )
    processor = tf.ConditionalDetrImageProcessorPil(size=SQUARE, do_pad=False)
    return tf.ConditionalDetrForObjectDetection(config), processor


def deformable_detr() -> Processed:
    backbone = resnet_backbone()
    backbone.out_features = ["stage2", "stage3", "stage4"]
    config = tf.DeformableDetrConfig(
        **{**TRANSFORMER, "d_model": 64},
        backbone_config=backbone,
        num_feature_levels=4,
        num_queries=50,
        **NAMED,
    )
    processor = tf.DeformableDetrImageProcessorPil(size=SQUARE, do_pad=False)
    return tf.DeformableDetrForObjectDetection(config), processor


HYBRID = {
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [16, 24, 32],
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 20,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 32,
    "decoder_attention_heads": 2,
}


def rt_detr() -> Processed:
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = tf.RTDetrConfig(**HYBRID, decoder_layers=1, backbone_config=backbone, **NAMED)
    return tf.RTDetrForObjectDetection(config), tf.RTDetrImageProcessorPil(size=SQUARE)


def d_fine() -> Processed:
    backbone = tf.HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 16, 24, 32],
        stage_in_channels=[8, 8, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = tf.DFineConfig(
        **HYBRID,
        decoder_layers=2,
        depth_mult=0.34,
        max_num_bins=8,
        backbone_config=backbone,
        **NAMED,
    )
    return tf.DFineForObjectDetection(config), tf.RTDetrImageProcessorPil(size=SQUARE)


def rt_detr_v2() -> Processed:
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = tf.RTDetrV2Config(**HYBRID, decoder_layers=2, backbone_config=backbone, **NAMED)
    return tf.RTDetrV2ForObjectDetection(config), tf.RTDetrImageProcessorPil(size=SQUARE)


def dab_detr() -> Processed:
    config = tf.DabDetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=resnet_backbone(),
        hidden_size=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=50,
        **NAMED,
    )
    processor = tf.ConditionalDetrImageProcessorPil(size=SQUARE, do_pad=False)
    return tf.DabDetrForObjectDetection(config), processor


PLAIN_BACKBONE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
    "out_indices": [1, 3],
}
LIGHT = {
    "decoder_ffn_dim": 32,
    "decoder_layers": 2,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2,
    "num_queries": 20,
    "group_detr": 2,
    "d_model": 16,
    "c2f_num_blocks": 1,
}


def lw_detr() -> Processed:
    backbone = tf.LwDetrViTConfig(
        **PLAIN_BACKBONE, pretrain_image_size=SIDE, num_windows=4, window_block_indices=[0, 2]
    )
    config = tf.LwDetrConfig(
        **LIGHT, backbone_config=backbone, projector_scale_factors=[1.0], **NAMED
    )
    processor = tf.DeformableDetrImageProcessorPil(size=SQUARE, do_pad=False)
    return tf.LwDetrForObjectDetection(config), processor


def rf_detr() -> Processed:
    backbone = tf.RfDetrDinov2Config(**PLAIN_BACKBONE, num_windows=2)
    config = tf.RfDetrConfig(**LIGHT, backbone_config=backbone, **NAMED)
    return tf.RfDetrForObjectDetection(config), tf.RfDetrImageProcessor(size=SQUARE)


def saved(make: Callable[[], Processed], folder: Path) -> Path:
    """Write a network as save_pretrained does, with weights by which images differ and no two scores are equal."""
    torch.manual_seed(0)
    model, processor = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if hasattr(model, "class_predictor"):
        image = Image.open(BytesIO(as_png(photograph("chelsea"))))
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        spread_queries(model.eval(), pixels)
    elif "SemanticSegmentation" in type(model).__name__:
        spread_classes(model.eval(), processor)
    place = folder / "network"
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def spread_classes(model: Any, processor: Any) -> None:
    """Give no class all pixels: let each be as large as the others on the average of an image."""
    image = Image.open(BytesIO(as_png(photograph("chelsea"))))
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
    classes = logits.shape[1]
    last = [part for part in model.modules() if getattr(part, "out_channels", None) == classes]
    for part in last:
        if part.bias is not None:
            part.bias.data -= logits.mean(dim=(0, 2, 3))


def spread_queries(model: Any, pixels: torch.Tensor) -> None:
    """Let queries differ in class and mask, as in a trained network: else one class has every pixel."""
    masks = getattr(model, "mask_embedder", None)
    last = [part for part in masks.modules() if isinstance(part, nn.Linear)][-1:] if masks else []
    for layer in (model.class_predictor, *last):
        seen: list[torch.Tensor] = []
        hook = layer.register_forward_hook(lambda _layer, _read, made, to=seen: to.append(made))
        with torch.no_grad():
            model(pixel_values=pixels)
            layer.bias -= seen[-1].reshape(-1, seen[-1].shape[-1]).mean(dim=0)
            layer.weight *= 10
            layer.bias *= 10
        hook.remove()


def exported(place: Path, folder: Path, task: str, **fields: Any) -> Exported:
    source = f"transformers:{place.name}"
    return export_to(folder, source, task=task, proof=PROOF, **fields)


def by_hand(place: Path, automatic: str, body: bytes) -> tuple[Any, Any]:
    """Return what Transformers' own model says of an encoded image, and the image processor."""
    model = getattr(tf, automatic).from_pretrained(place).eval()
    processor = tf.AutoImageProcessor.from_pretrained(place, backend="pil")
    pixels = processor(images=Image.open(BytesIO(body)).convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        return model(pixel_values=pixels["pixel_values"]), processor


def as_png(body: bytes) -> bytes:
    """Return an image at the network's size, as PNG."""
    buffer = BytesIO()
    Image.open(BytesIO(body)).convert("RGB").resize((SIDE, SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


def served(done: Exported, body: bytes) -> dict[str, NDArray[Any]]:
    """Return what the servable says of an encoded image, by the service's own decode and resize."""
    assert done.card.input is not None
    frame, _ = fit_encoded(body, done.card.input, Limits())
    return outputs_of(done.path, frame[None])


def edit(place: Path, **changes: Any) -> None:
    """Change fields of a config.json."""
    path = place / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
