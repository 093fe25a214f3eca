"""A bare FastAPI echo of the body: what its HTTP alone costs in one process, with no image and no network."""

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")
