"""The next step for sources that are written as other tools name networks."""

_HUB = "Download it first: hf download {where} --local-dir FOLDER, then give the folder"
_KERAS = (
    "Convert the network with Keras: model.export('net.onnx', format='onnx'). Then give net.onnx"
)
_SMP = (
    "It is python:segmentation_models_pytorch:{where}, with --weights FILE, --arg encoder_name=NAME and "
    "--arg encoder_weights=None"
)
_TENSORFLOW = "Convert its folder: python -m tf2onnx.convert --saved-model FOLDER --output net.onnx. Then give net.onnx"
_ULTRALYTICS = "Export it: yolo export model={where}.pt format=onnx. Then give {where}.onnx"

_NEXT_STEPS = {
    "hf": _HUB,
    "hf-hub": _HUB,
    "hf_hub": _HUB,
    "huggingface": _HUB,
    "keras": _KERAS,
    "segmentation_models_pytorch": _SMP,
    "smp": _SMP,
    "tensorflow": _TENSORFLOW,
    "tf": _TENSORFLOW,
    "ultralytics": _ULTRALYTICS,
    "yolo": _ULTRALYTICS,
}


def next_step_of(kind: str, where: str) -> str | None:
    """Return what to do with `kind:where`, None where no other tool writes so."""
    if not where:
        return None
    step = _NEXT_STEPS.get(kind.lower())
    return None if step is None else step.format(where=where.removesuffix(".pt"))
