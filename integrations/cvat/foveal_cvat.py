"""An auto-annotation function for CVAT: each frame goes to Foveal, and comes back as boxes, masks or tags.

    pip install 'cvat-sdk[masks]' cvat-cli
    cvat-cli --server-host https://app.cvat.ai task auto-annotate 42 --function-file foveal_cvat.py \
        -p url=str:http://localhost:8000 -p model=str:ssdlite-mobilenet-v2 --allow-unmatched-labels

CVAT matches labels by name. The file needs nothing of Foveal but its address.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import urllib3
from cvat_sdk.masks import encode_mask

LABEL_TYPES = {"detect": "rectangle", "segment": "mask", "classify": "tag"}
"""CVAT's name of what each task finds."""
DEFAULT_SCORE = 0.3


class Foveal:
    """One model of a Foveal service.

    Args:
        url: the address of the service.
        model: its name; None: the default model of `task`.
        task: what is wanted where no model is named: `detect`, `segment` or `classify`.
        key: an API key with the scope infer, where the service has keys.

    Raises:
        RuntimeError: the service does not answer, or has no such model.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        model: str | None = None,
        task: str = "detect",
        key: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A full queue answers 503, a limit 429, both with the time after which to try again.
        retry = urllib3.Retry(
            5, status_forcelist=(429, 503), allowed_methods=None, backoff_factor=1
        )
        self._http = urllib3.PoolManager(headers=headers, retries=retry, timeout=120)
        card = self._card_of(model, task)
        self._task, self._model = card["task"], card["name"]
        self._background = card.get("background_id")
        self._labels: Sequence[str] = card["labels"]
        kind = LABEL_TYPES[self._task]
        self.spec = cvataa.DetectionFunctionSpec(
            labels=[
                cvataa.label_spec(label, index, type=kind)
                for index, label in enumerate(self._labels)
                if label and index != self._background
            ]
        )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        """Return what is in a frame, at least as sure as `context.conf_threshold`."""
        given = context.conf_threshold
        threshold = DEFAULT_SCORE if given is None else given
        body = _png(image)
        if self._task == "detect":
            return self._boxes(body, threshold)
        if self._task == "classify":
            return self._tags(body, given or 0.0)
        return self._areas(body, given or 0.0, as_polygons=context.conv_mask_to_poly)

    def _boxes(self, body: bytes, threshold: float) -> list[cvataa.DetectionAnnotation]:
        found = self._result(body, {"score_threshold": threshold})["detections"]
        corners = ("x_min", "y_min", "x_max", "y_max")
        return [
            cvataa.rectangle(one["class_id"], [one["box"][corner] for corner in corners])
            for one in found
        ]

    def _tags(self, body: bytes, threshold: float) -> list[cvataa.DetectionAnnotation]:
        [best] = self._result(body, {"top_k": 1})["predictions"]
        return [cvataa.tag(best["class_id"])] if best["probability"] >= threshold else []

    def _areas(
        self, body: bytes, threshold: float, *, as_polygons: bool
    ) -> list[cvataa.DetectionAnnotation]:
        found = self._result(body, {"polygons": "true"} if as_polygons else {})["segments"]
        sure = [one for one in found if one["confidence"] >= threshold]
        if as_polygons:
            return [
                cvataa.polygon(one["class_id"], outline)
                for one in sure
                for outline in _without_holes(one["polygons"])
            ]
        if not sure:
            return []
        answer = self._post(body, {"format": "mask"})
        ids = np.asarray(PIL.Image.open(io.BytesIO(answer)))
        return [cvataa.mask(one["class_id"], encode_mask(ids == one["class_id"])) for one in sure]

    def _card_of(self, model: str | None, task: str) -> dict[str, Any]:
        listed = json.loads(self._ask("GET", "/v1/models"))["models"]
        fitting = [
            one["card"]
            for one in listed
            if (one["card"]["name"] == model if model else one["default"])
            and (model or one["card"]["task"] == task)
        ]
        if not fitting or fitting[-1]["task"] not in LABEL_TYPES:
            able = sorted(
                {one["card"]["name"] for one in listed if one["card"]["task"] in LABEL_TYPES}
            )
            raise RuntimeError(
                f"{self._url} has no model {model or 'for ' + task} that CVAT can use. Models: {', '.join(able)}."
            )
        card: dict[str, Any] = fitting[-1]
        return card

    def _result(self, body: bytes, options: Mapping[str, object]) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self._post(body, options))["results"][0]
        return result

    def _post(self, body: bytes, options: Mapping[str, object]) -> bytes:
        query = urlencode({"model": self._model, **options})
        return self._ask("POST", f"/v1/{self._task}?{query}", body)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            answer = self._http.request(method, f"{self._url}{path}", body=body)
        except urllib3.exceptions.HTTPError as error:
            raise RuntimeError(f"{self._url} does not answer: {error}") from error
        if answer.status != 200:
            raise RuntimeError(f"{self._url} answers {answer.status}: {answer.data[:500].decode()}")
        return answer.data


create = Foveal
"""By which cvat-cli makes the function."""


def _png(image: PIL.Image.Image) -> bytes:
    """Return a frame without loss. CVAT has turned it already, so its orientation must not be sent."""
    buffer = io.BytesIO()
    plain = image if image.mode in {"L", "RGB", "RGBA"} else image.convert("RGB")
    plain.save(buffer, "PNG", compress_level=1, exif=b"")
    return buffer.getvalue()


def _without_holes(outlines: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Return the outlines that turn as the first one does; holes, which CVAT has none of, turn the other way."""
    areas = [_signed_area(one) for one in outlines]
    return [one for one, area in zip(outlines, areas, strict=True) if area * areas[0] > 0]


def _signed_area(outline: Sequence[float]) -> float:
    x, y = outline[::2], outline[1::2]
    return sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))
