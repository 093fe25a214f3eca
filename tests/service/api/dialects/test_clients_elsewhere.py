"""Clients in environments of their own, because of their licenses or what they need: each is run where it is named.

`KSERVE_PYTHON` names the Python of an environment with kserve, `LABEL_STUDIO_PYTHON` one with label-studio-sdk, and
`X_ANYLABELING_PYTHON` one with x-anylabeling-cvhub. `test_ultralytics.py` does the same with Ultralytics.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.live import Live
from tests.service.api.dialects.elsewhere import lines_of

ORANGE = (200, 150, 60)
"""The best class of `colors` is red; `finder` finds a cup with 0.78 and a dining table with 0.59."""

KSERVE = """
import asyncio, base64, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, path = sys.argv[1:]
image = open(path, "rb").read()


def request(given, datatype, shape, binary):
    tensor = InferInput("image", shape, datatype)
    tensor.set_data_from_numpy(given, binary_data=binary)
    wanted = [RequestedOutput("probabilities", {"binary_data": binary})]
    return InferRequest("colors", [tensor], request_outputs=wanted)


async def main():
    new = InferenceRESTClient(RESTConfig(protocol="v2"))
    print(await new.is_server_live(url), await new.is_server_ready(url))
    print(await new.is_model_ready(url, "colors"), await new.is_model_ready(url, "gone"))
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    for binary in (False, True):
        answer = await new.infer(url, request(red, "UINT8", [2, 8, 8, 3], binary), model_name="colors")
        print([one.as_numpy().argmax(1).tolist() for one in answer.outputs])
    encoded = request(np.array([image], object), "BYTES", [1], True)
    answer = await new.infer(url, encoded, model_name="colors")
    print(answer.outputs[0].name, answer.outputs[0].as_numpy().argmax(1).tolist())
    try:
        await new.infer(url, request(red[0], "UINT8", [8, 8, 3], False), model_name="colors")
    except Exception as error:
        print("unexpected shape for input 'image'" in str(error))
    old = InferenceRESTClient(RESTConfig(protocol="v1"))
    given = {"instances": [{"b64": base64.b64encode(image).decode()}]}
    [row] = (await old.infer(url, given, model_name="colors"))["predictions"]
    print(np.argmax(row["probabilities"]), await old.is_model_ready(url + "/kserve", "colors"))


asyncio.run(main())
"""

LABEL_STUDIO = """
import base64, json, sys, urllib.request
import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

url, path = sys.argv[1:]
data = "data:image/png;base64," + base64.b64encode(open(path, "rb").read()).decode()
VIEW = "<View><Image name='i' value='$image'/><{0}Labels name='l' toName='i'>{1}</{0}Labels></View>"
CHOICES = "<View><Image name='i' value='$image'/><Choices name='c' toName='i'>{}</Choices></View>"
THINGS = "<Label value='cup'/><Label value='dining table'/>"
PAINTS = "<Label value='green'/><Label value='blue'/>"


def post(path, body):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + "/label-studio" + path, json.dumps(body).encode(), headers)
    return json.loads(urllib.request.urlopen(request).read())


for config in (
    VIEW.format("Rectangle", THINGS),
    VIEW.format("Polygon", PAINTS),
    VIEW.format("Brush", PAINTS),
    CHOICES.format("<Choice value='red'/><Choice value='blue'/>"),
):
    setup = post("/setup", {"project": "1.0", "schema": config, "hostname": "http://x", "access_token": "t"})
    task = {"id": 1, "data": {"image": data}}
    [found] = post("/predict", {"tasks": [task], "label_config": config, "project": "1.0"})["results"]
    faults = LabelInterface(config).validate_prediction(found, return_errors=True)
    print(setup["model_version"] == found["model_version"], faults, end=" ")
    for one in found["result"]:
        value = one["value"]
        if "rle" in value:
            mask = decode_rle(value["rle"]).reshape(one["original_height"], one["original_width"], 4)
            print(np.abs(np.argwhere(mask[..., 3]).min(0) - (20, 40)).max() <= 1, end=" ")
        print(value[one["type"]], end=" ")
    print()
"""

X_ANYLABELING = """
import sys, tempfile
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QApplication

app = QApplication([])
import yaml
from anylabeling import config

url, path = sys.argv[1:]
config.set_work_directory(tempfile.mkdtemp())
config.current_config_file = yaml.safe_dump({"remote_server_settings": {"server_url": url + "/x-anylabeling"}})
from anylabeling.services.auto_labeling.remote_server import RemoteServer

messages = []
server = RemoteServer({"type": "remote_server", "name": "foveal", "display_name": "Foveal"}, messages.append)
models = server.get_available_models()
print(sorted(models))
server.set_auto_labeling_conf(0.5)
server.set_auto_labeling_iou(0.5)
for name in sorted(models):
    server.set_model_id(name)
    found = server.predict_shapes(QImage(path), path)
    shapes = [(one.label, one.shape_type, len(one.points)) for one in found.shapes]
    print(shapes, repr(found.description), found.replace)
server.set_model_id("finder")
server.set_auto_labeling_filter_classes(["cup"])
print([one.label for one in server.predict_shapes(QImage(path), None).shapes], len(messages))
server.set_model_id("gone")
print(server.predict_shapes(QImage(path), path).shapes, "404" in messages[-1])
"""


def orange() -> Image.Image:
    return Image.fromarray(np.broadcast_to(np.array(ORANGE, np.uint8), (80, 80, 3)).copy())


@pytest.mark.timeout(300)
def test_kserves_client_infers_by_both_versions(spoken: Live, tmp_path: Path) -> None:
    assert lines_of("KSERVE_PYTHON", KSERVE, spoken, tmp_path, orange()) == [
        "True True",
        "True False",
        "[[0, 0]]",
        "[[0, 0]]",
        "probabilities [0]",
        "True",
        "0 True",
    ]


@pytest.mark.timeout(300)
def test_label_studios_sdk_finds_nothing_wrong_in_predictions(spoken: Live, tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[...] = ORANGE
    pixels[20:, 40:] = (0, 255, 0)
    picture = Image.fromarray(pixels)
    assert lines_of("LABEL_STUDIO_PYTHON", LABEL_STUDIO, spoken, tmp_path, picture) == [
        "True [] ['dining table'] ['cup'] ",
        "True [] ['green'] ",
        "True [] True ['green'] ",
        "True [] ['red'] ",
    ]


@pytest.mark.timeout(300)
def test_x_anylabelings_remote_server_draws_shapes(spoken: Live, tmp_path: Path) -> None:
    found = lines_of("X_ANYLABELING_PYTHON", X_ANYLABELING, spoken, tmp_path, orange())
    assert found == [
        "['colors', 'finder', 'painter']",
        "[] 'red' False",
        "[('cup', 'rectangle', 4), ('dining table', 'rectangle', 4)] '' True",
        "[] '' True",
        "['cup'] 0",
        "[] True",
    ]
