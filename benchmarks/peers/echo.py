"""A FastAPI endpoint that returns the body: the cost of HTTP in one process, without image and network."""

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")
