"""The networks that `make zoo` exports, smallest families first."""

from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["torchvision", "timm", "transformers", "smp", "ultralytics"]
Task = Literal["classify", "segment", "detect", "embed"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One network by the name that its framework gives it; `arguments` are keyword arguments of its constructor."""

    family: Family
    name: str
    task: Task
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        return f"{self.family}:{self.name}"


TORCHVISION = (
    "alexnet squeezenet1_1 squeezenet1_0 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 mobilenet_v2 regnet_y_400mf "
    "regnet_x_400mf shufflenet_v2_x1_0 shufflenet_v2_x1_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v3_large "
    "efficientnet_b0 resnet18 googlenet efficientnet_b1 densenet121 regnet_x_800mf regnet_y_800mf regnet_x_1_6gf "
    "efficientnet_b2 resnet34 resnet50 inception_v3 swin_t swin_v2_t convnext_tiny efficientnet_v2_s resnext50_32x4d "
    "wide_resnet50_2 vgg11 vgg11_bn maxvit_t vit_b_32 vit_b_16 densenet169 resnet101"
)
TORCHVISION_SEGMENT = (
    "lraspp_mobilenet_v3_large deeplabv3_mobilenet_v3_large fcn_resnet50 deeplabv3_resnet50"
)
TORCHVISION_DETECT = (
    "ssdlite320_mobilenet_v3_large ssd300_vgg16 fasterrcnn_mobilenet_v3_large_320_fpn "
    "fasterrcnn_mobilenet_v3_large_fpn retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 fcos_resnet50_fpn "
    "fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2"
)
TIMM = (
    "lcnet_050 mobilenetv3_small_050 tinynet_e ghostnet_050 efficientvit_m0 edgenext_xx_small mobilevit_xxs "
    "mobilevitv2_050 convnext_atto starnet_s050 repghostnet_050 fasternet_t0 shvit_s1 pvt_v2_b0 efficientvit_b0 "
    "mobileone_s0 regnety_002 regnetx_002 semnasnet_075 spnasnet_100 mnasnet_small fbnetc_100 hardcorenas_a dla46_c "
    "dla46x_c rexnet_100 resnet10t resnet14t vit_tiny_patch16_224 deit_tiny_patch16_224 pit_ti_224 levit_128s "
    "crossvit_tiny_240 coat_lite_tiny convit_tiny cait_xxs24_224 xcit_nano_12_p16_224 tiny_vit_5m_224 "
    "efficientformer_l1 efficientformerv2_s0 swiftformer_xs repvit_m0_9 fastvit_t8 mambaout_femto inception_next_atto "
    "hgnetv2_b0 csatv2 hrnet_w18_small ese_vovnet19b_slim_dw cspresnet50 cspdarknet53 cs3darknet_s selecsls42 "
    "skresnet18 legacy_seresnet18 resnest14d resnetv2_18 res2net50_14w_8s gernet_s densenetblur121d dpn48b "
    "efficientnet_lite0 tf_efficientnet_b0 tf_efficientnetv2_b0 mixnet_s mobilenetv4_conv_small "
    "mobilenetv4_hybrid_medium mixer_s32_224 gmlp_ti16_224 resmlp_12_224 gmixer_12_224 poolformer_s12 "
    "poolformerv2_s12 convformer_s18 caformer_s18 visformer_tiny twins_pcpvt_small twins_svt_small "
    "gcvit_xxtiny nest_tiny mvitv2_tiny swin_tiny_patch4_window7_224 "
    "swinv2_tiny_window8_256 swinv2_cr_tiny_224 focalnet_tiny_srf davit_tiny "
    "hiera_tiny_224 coatnet_nano_rw_224 maxvit_tiny_tf_224 halonet26t lambda_resnet26t botnet26t_256 "
    "eca_nfnet_l0 nf_regnet_b1 resnetv2_50 convmixer_768_32 convnextv2_atto sequencer2d_s tnt_s_patch16_224 "
    "volo_d1_224 vit_small_patch32_224 vit_relpos_small_patch16_224 xception41 inception_v4 "
    "nextvit_small rdnet_tiny iformer_t efficientvim_m1 lowformer_b0 cpubone_nano cspnext_tiny lcnetv2_small "
    "beit_base_patch16_224 dm_nfnet_f0 legacy_xception"
)
TIMM_EMBED = "eva02_tiny_patch14_224 vit_small_patch14_dinov2"
"""Networks without a classifier."""

SMP = "Unet UnetPlusPlus FPN Linknet PSPNet DeepLabV3 DeepLabV3Plus MAnet PAN UPerNet Segformer DPT"
TRANSFORMERS = (
    "mobilevit mobilevitv2 mobilenet_v1 mobilenet_v2 levit poolformer resnet regnet convnext convnextv2 cvt pvt pvt_v2 "
    "swiftformer swin swinv2 vit deit beit data2vec-vision dinov2 dinov2_with_registers focalnet hgnet_v2 hiera bit "
    "efficientnet segformer vit_msn siglip clip ijepa donut-swin"
)
TRANSFORMERS_SEGMENT = (
    "segformer mobilevit mobilevitv2 mobilenet_v2 upernet beit data2vec-vision dpt mask2former "
    "maskformer"
)
TRANSFORMERS_DETECT = (
    "yolos detr conditional_detr deformable_detr table-transformer dab-detr rt_detr rt_detr_v2 d_fine "
    "rf_detr lw_detr"
)
ULTRALYTICS = (
    "yolov5n yolov8n yolov9t yolov10n yolo11n yolo12n yolo26n yolov8s yolo11s yolov3-tiny yolov6n "
    "rtdetr-resnet50"
)
ULTRALYTICS_CLASSIFY = "yolov8n-cls yolo11n-cls yolo26n-cls"

_SMALLER = (("min_size", 320), ("max_size", 320))
"""Detectors of any input size are exported for 320 pixels; their default of 800 to 1333 takes minutes on a CPU."""

_MISSING_DEFAULTS: dict[str, tuple[tuple[str, Any], ...]] = {
    "lw_detr": (("projector_scale_factors", (1.0,)),),
    "beit (segment)": (("out_indices", (3, 5, 7, 11)),),
}
"""What a configuration of Transformers lacks by default, so that no network can be built from it."""


def networks() -> tuple[Listed, ...]:
    """Return every listed network."""
    return (
        *(Listed("torchvision", name, "classify") for name in TORCHVISION.split()),
        *(Listed("timm", name, "classify") for name in TIMM.split()),
        *(Listed("timm", name, "embed") for name in TIMM_EMBED.split()),
        *(Listed("torchvision", name, "segment") for name in TORCHVISION_SEGMENT.split()),
        *(
            Listed("torchvision", name, "detect", () if name.startswith("ssd") else _SMALLER)
            for name in TORCHVISION_DETECT.split()
        ),
        *(Listed("transformers", name, "classify") for name in TRANSFORMERS.split()),
        *(
            Listed("transformers", name, "segment", _MISSING_DEFAULTS.get(name, ()))
            for name in (f"{one} (segment)" for one in TRANSFORMERS_SEGMENT.split())
        ),
        *(
            Listed("transformers", name, "detect", _MISSING_DEFAULTS.get(name, ()))
            for name in TRANSFORMERS_DETECT.split()
        ),
        *(Listed("smp", name, "segment") for name in SMP.split()),
        *(Listed("ultralytics", name, "detect") for name in ULTRALYTICS.split()),
        *(Listed("ultralytics", name, "classify") for name in ULTRALYTICS_CLASSIFY.split()),
    )
