"""The server that most people write: FastAPI, Pillow, torchvision's transforms, PyTorch in the handler.

python -m benchmarks.gpu.naive_torch PORT NETWORK DEVICE
"""

import sys
from io import BytesIO
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image
from torchvision import transforms

from benchmarks.gpu.torch_networks import Probabilities, make

HOST = "127.0.0.1"
TOP_K = 5
FIT = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])


def make_app(network: Probabilities, device: str) -> FastAPI:
    """Return the app. Its handler is a `def`, which FastAPI runs on its thread pool."""
    app = FastAPI()

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {"device": device}

    @app.post("/predict")
    def predict(image: Annotated[bytes, Body(media_type="image/*")]) -> list[dict[str, Any]]:
        opened = FIT(Image.open(BytesIO(image)).convert("RGB"))
        frame = transforms.functional.pil_to_tensor(opened).permute(1, 2, 0)
        with torch.inference_mode():
            probabilities = network(frame[None].to(device))[0]
            best = probabilities.topk(TOP_K)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"class_id": index, "probability": value} for index, value in pairs]

    return app


def main(port: int, name: str, device: str) -> None:
    network = make(name, channels_last=False, dtype=torch.float32, device=device)
    with torch.inference_mode():
        network(torch.zeros((1, 224, 224, 3), dtype=torch.uint8, device=device))
    uvicorn.run(make_app(network, device), host=HOST, port=port, access_log=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
