"""The endpoint that most people write: FastAPI, one session, everything in the handler.

The handler is a `def`, which FastAPI runs on its thread pool. With `workers` above 1, uvicorn starts processes.
"""

from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI

from benchmarks.peers.recipe import HOST, predict, read_recipe

recipe = read_recipe()
session = recipe.open()
app = FastAPI()


@app.post("/predict")
def classify(image: Annotated[bytes, Body(media_type="image/*")]) -> list[dict[str, Any]]:
    return predict(session, [recipe.decode(image)])[0]


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.peers.naive:app",
        host=HOST,
        port=recipe.port,
        workers=recipe.workers,
        access_log=False,
    )
