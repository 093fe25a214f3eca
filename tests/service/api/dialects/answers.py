"""What answers of the Open Inference Protocol have in common."""

import httpx


def refused(answer: httpx.Response, status: int, text: str) -> None:
    """Check that an answer is an error in the protocol's own form, and says so."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert text in body["error"], body
