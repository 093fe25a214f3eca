"""The next step for files and folders of tools whose networks are not read, by their names."""

from pathlib import Path

_SAVED_MODEL = "saved_model.pb"

_TENSORRT = (
    "A TensorRT engine can not be converted back; export from the network that it was made of"
)
_CORE_ML = "Core ML's form can not be read; export from the network that it was made of"
_NEXT_STEPS = {
    ".h5": "Convert it: python -m tf2onnx.convert --keras FILE --output net.onnx",
    ".keras": "Convert it with Keras: model.export('net.onnx', format='onnx')",
    ".tflite": "Convert it: python -m tf2onnx.convert --tflite FILE --output net.onnx",
    ".pb": "Convert it: python -m tf2onnx.convert --graphdef FILE --output net.onnx",
    ".engine": _TENSORRT,
    ".trt": _TENSORRT,
    ".mlpackage": _CORE_ML,
    ".mlmodel": _CORE_ML,
    ".pdmodel": "Convert it: paddle2onnx --model_dir FOLDER --model_filename FILE --params_filename FILE "
    "--save_file net.onnx",
    ".pdiparams": "Give the .pdmodel beside it to paddle2onnx",
    ".caffemodel": "Export from the network that it was made of, to ONNX",
    ".prototxt": "Export from the network that it was made of, to ONNX",
    ".param": "ncnn's form can not be read; export from the network that it was made of",
    ".mnn": "MNN's form can not be read; export from the network that it was made of",
    ".rknn": "A network for a Rockchip NPU can not be converted back; export from the one that it was made of",
    ".weights": "Darknet's weights can not be read; export the network to ONNX with a tool that reads them",
    ".mar": "An archive of TorchServe: unpack it (it is a ZIP file) and give the network inside",
    ".xml": "OpenVINO's form can not be read; export from the network that it was made of",
}


def next_step(path: Path) -> str | None:
    """Return what to do with a file or a folder of another tool, None where its name is of none."""
    if path.name == _SAVED_MODEL:
        return f"It is a part of a SavedModel of TensorFlow. {_converted(path.parent)}"
    if path.is_dir() and (path / _SAVED_MODEL).is_file():
        return f"It is a SavedModel of TensorFlow. {_converted(path)}"
    return _NEXT_STEPS.get(path.suffix.lower())


def is_foreign(path: Path) -> bool:
    """Return whether the name of a file or a folder is one of another tool."""
    return path.name == _SAVED_MODEL or path.suffix.lower() in _NEXT_STEPS


def _converted(folder: Path) -> str:
    return f"Convert its folder: python -m tf2onnx.convert --saved-model {folder} --output net.onnx"
