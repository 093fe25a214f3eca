"""Raw boxes and class scores → the best candidates, sorted; non-maximum suppression is part of each request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from onnx import TensorProto, helper

from exporter.backbone import FEATURES
from exporter.graph import BATCH, Graph, float_output, integers
from exporter.heads.activation import GIVEN, activate, graft_activation
from exporter.heads.boxes import FARTHEST, Candidates, Decoder, graft_xyxy, xyxy
from exporter.heads.candidate_distance import BEHIND, above_own_cut, largest_distance
from exporter.heads.detections import (
    Detections,
    mean_average_precision,
    rank_difference,
    score_difference,
)
from exporter.heads.metrics import inside_frame, suppress
from exporter.heads.thinning import CLEAR, MOST_CONSIDERED, NMS_IOU, considered, places
from exporter.network import Array, Outputs
from exporter.recipe import Task
from exporter.recipe_tables import Activation, BoxPart, DetectRecipe
from service.card import ImageInput, Metric

POOL = 2
"""`expected` keeps this many times the number of candidates: at the end of the list, candidates of almost the same
score may change places."""

NO_CLASS = 1e6
"""By so much the score of an id that no column has, as that of the background, is behind each class's."""

SHOWN_SCORE = CLEAR
SHOWN = 100
"""Detections are reduced to these before they are compared; as in COCO's evaluation, at most 100 per image."""


@dataclass(frozen=True, slots=True)
class LikelyBackground:
    """The `first` or `last` column of the scores, which is the best one of this share of the boxes on real images."""

    which: str
    share: float

    @property
    def words(self) -> str:
        return f"the {self.which} column is the best one of {self.share:.0%} of the boxes on real images"


@dataclass(frozen=True, slots=True)
class DetectHead:
    """Candidates of a decoder → `boxes` (N, D, 4), `scores` (N, D), `classes` (N, D).

    Boxes are as the network gives them, and may reach beyond the frame: suppression reads them so, and what is kept is
    cut to the image after it (docs/decisions/0071).

    A candidate is a pair of box and class; with `one_class_a_box` each box has only one candidate, its best class.
    `columns` are those of the scores, 0 where the network names the class of each box; `known_classes` is how many it
    then chooses from, where the graph shows it. `assumed` are the parts of the boxes' form that nothing states;
    `assumes_nms_free`, whether the form of the outputs or the graph alone says that no suppression is needed;
    `is_free_by_form`, whether only the form does: the graph has neither a suppression nor the attention of queries;
    `assumes_no_background`, whether no column of the scores is taken for the background because each has a label;
    `doubted` is the column that looks like the background where another one, or none, is stated.
    `is_written_so` is whether the tool that wrote the file has these outputs for networks of one box an object alone.
    `is_known` is whether the source knows the form of its outputs, as that of a network of torchvision does: then
    values show nothing better. `is_form_seen` is whether real images show the form of the boxes, and `tested_by` the
    number of images and of clear detections in them that a stated form could only be tested by, too few to show it.
    """

    decoder: Decoder
    recipe: DetectRecipe
    anchors: int
    columns: int
    known_classes: int | None = None
    assumed: tuple[BoxPart, ...] = ()
    assumes_nms_free: bool = False
    is_free_by_form: bool = False
    assumes_no_background: bool = False
    doubted: LikelyBackground | None = None
    is_written_so: bool = False
    is_known: bool = False
    is_form_seen: bool = False
    tested_by: tuple[int, int] | None = None
    task: ClassVar[Task] = "detect"
    outputs: ClassVar[tuple[str, ...]] = ("boxes", "scores", "classes", FEATURES)
    metric: ClassVar[Metric] = "map50"

    @property
    def classes(self) -> int | None:
        count = self.columns or self.known_classes
        return count + self.recipe.class_offset if count else None

    @property
    def activation(self) -> Activation:
        return self.recipe.score_activation or "none"

    @property
    def _notation(self) -> Activation:
        """What makes probabilities of the scores of a network that names the class of each box."""
        return self.activation if self.activation in GIVEN else "none"

    @property
    def candidates(self) -> int:
        """How many candidates the graph returns."""
        return min(self.recipe.candidates, self.anchors * self._kinds_a_box)

    @property
    def is_cut(self) -> bool:
        """Whether the network has more candidates than the graph returns."""
        return self.candidates < self.anchors * self._kinds_a_box

    @property
    def thins(self) -> bool:
        """Whether what suppression keeps gets a place first: where there is a choice, and requests suppress."""
        return self.is_cut and not self.recipe.best_only and not self.recipe.nms_free

    @property
    def _kinds_a_box(self) -> int:
        """How many classes one box may have."""
        first, last = self._foreground()
        return 1 if self.recipe.one_class_a_box or not self.columns else last - first

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:
        found = self.decoder.graft(graph, raw)
        boxes = graft_xyxy(graph, found.boxes, self.recipe, image_input, self.anchors)
        if found.classes is not None:
            boxes, scores, classes = self._graft_classified(graph, boxes, found)
        else:
            boxes, scores, classes = self._graft_best(
                graph, boxes, self._graft_scores(graph, found)
            )
        if self.recipe.class_offset:
            offset = graph.constant("class_offset", integers(self.recipe.class_offset))
            classes = graph.add("Add", [classes, offset])
        if self.recipe.class_offset < 0:
            # Rows that fill up a list have no class, and often the id 0.
            classes = graph.add("Max", [classes, graph.constant("first_class", integers(0))])
        bounds = (np.array(bound, np.float32) for bound in (-FARTHEST, FARTHEST))
        low, high = (graph.constant("farthest", bound) for bound in bounds)
        graph.add("Clip", [boxes, low, high], output="boxes")
        graph.add("Identity", [scores], output="scores")
        graph.add("Cast", [classes], output="classes", to=TensorProto.INT32)
        count = self.candidates
        class_dims: list[str | int | None] = [BATCH, count]
        graph.set_outputs(
            [
                float_output("boxes", count, 4),
                float_output("scores", count),
                helper.make_tensor_value_info("classes", TensorProto.INT32, class_dims),
            ]
        )

    def _graft_scores(self, graph: Graph, found: Candidates[str]) -> str:
        """Return the scores (N, A, K') of the classes that are no background, multiplied by the objectness."""
        scores = graft_activation(graph, found.scores, self.activation, axis=2)
        if found.objectness is not None:
            objectness = graft_activation(graph, found.objectness, self.activation, axis=2)
            scores = graph.add("Mul", [scores, objectness])
        first, last = self._foreground()
        if (first, last) == (0, self.columns):
            return scores
        bounds = [graph.constant("bound", integers(n)) for n in (first, last, 2)]
        return graph.add("Slice", [scores, *bounds])

    def _graft_best(self, graph: Graph, boxes: str, scores: str) -> tuple[str, str, str]:
        """Select the boxes with the best best class, then the best D pairs of these boxes and their classes.

        Without a crowd D boxes are enough, since none of the best D pairs can belong to another one; and few values are
        sorted.
        """
        first, last = self._foreground()
        kinds = last - first
        class_axis = graph.constant("class_axis", integers(2))
        best = graph.add("ReduceMax", [scores, class_axis], keepdims=0)
        several = self._count(graph, best, min(self.candidates, self.anchors), self.anchors)
        top, where = graph.add_many("TopK", [best, several], outputs=2, axis=1)
        boxes, scores = _picked(graph, boxes, where), _picked(graph, scores, where)
        if self.recipe.one_class_a_box or kinds == 1:
            classes = graph.add("ArgMax", [scores], axis=2, keepdims=0)
            many = several
        else:
            pairs = graph.constant("pairs", integers(0, -1))
            flat = graph.add("Reshape", [scores, pairs])
            many = self._count(graph, flat, self.candidates, self.anchors * kinds)
            top, where = graph.add_many("TopK", [flat, many], outputs=2, axis=1)
            count = graph.constant("classes", integers(kinds))
            boxes = _picked(graph, boxes, graph.add("Div", [where, count]))
            classes = graph.add("Mod", [where, count])
        boxes, top, classes = self._graft_thinned(graph, boxes, top, classes, many)
        if first:
            classes = graph.add("Add", [classes, graph.constant("first", integers(first))])
        return boxes, top, classes

    def _graft_classified(
        self, graph: Graph, boxes: str, found: Candidates[str]
    ) -> tuple[str, str, str]:
        """Sort candidates whose classes the network itself has chosen: scores (N, A) and classes (N, A)."""
        assert found.classes is not None
        scores = graft_activation(graph, found.scores, self._notation, axis=1)
        many = self._count(graph, scores, self.candidates, self.anchors)
        top, where = graph.add_many("TopK", [scores, many], outputs=2, axis=1)
        classes = graph.add("Cast", [found.classes], to=TensorProto.INT64)
        classes = graph.add("GatherElements", [classes, where], axis=1)
        return self._graft_thinned(graph, _picked(graph, boxes, where), top, classes, many)

    def _count(self, graph: Graph, scores: str, least: int, most: int) -> str:
        """Return how many of the scores (N, P) are looked at, int64 (1,)."""
        if self.thins:
            return considered(graph, scores, least, most)
        return graph.constant("candidates", integers(least))

    def _graft_thinned(
        self, graph: Graph, boxes: str, scores: str, classes: str, count: str
    ) -> tuple[str, str, str]:
        """Reduce sorted candidates to the D that are returned."""
        if not self.thins:
            return boxes, scores, classes
        kinds = self.columns or self.known_classes
        where = places(graph, (boxes, scores, classes), count, self.candidates, kinds)
        scores = graph.add("GatherElements", [scores, where], axis=1)
        classes = graph.add("GatherElements", [classes, where], axis=1)
        return _picked(graph, boxes, where), scores, classes

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:
        found = self.decoder.split(raw)
        boxes = np.clip(xyxy(found.boxes, self.recipe, image_input), -FARTHEST, FARTHEST)
        scores, anchors, classes = self.pairs(found)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._pool(scores)]
        anchors, classes = (np.take_along_axis(a, order, axis=1) for a in (anchors, classes))
        outputs = {
            "boxes": np.take_along_axis(boxes, anchors[..., None], axis=1),
            "scores": np.take_along_axis(scores, order, axis=1),
            "classes": self._offset(classes),
        }
        if found.classes is not None:
            outputs[BEHIND] = self._behind_given(outputs)
        elif self.recipe.one_class_a_box:
            every = np.take_along_axis(self._class_scores(found), anchors[..., None], axis=1)
            outputs[BEHIND] = self._behind(every)
        return outputs

    def _behind(self, scores: Array) -> Array:
        """Return by how much each class id's score is behind the best one (N, P, K), of the classes' (N, P, K')."""
        ids = self._offset(np.arange(*self._foreground()))
        behind = np.full((*scores.shape[:2], ids.max() + 1), NO_CLASS, np.float32)
        best = scores.max(axis=2)
        for column, kind in enumerate(ids):
            behind[..., kind] = np.minimum(behind[..., kind], best - scores[..., column])
        return behind

    def _behind_given(self, outputs: Outputs) -> Array:
        """Return the same where the network names a box's class and gives one score: at most that one."""
        count = max(self.classes or 0, int(outputs["classes"].max(initial=0)) + 1)
        scores = outputs["scores"]
        return np.broadcast_to(scores[..., None], (*scores.shape, count))

    def _offset(self, classes: Array) -> Array:
        """Return the class ids that a caller reads."""
        ids: Array = classes + self.recipe.class_offset
        return np.maximum(ids, 0) if self.recipe.class_offset < 0 else ids

    def pairs(self, found: Candidates[Array]) -> tuple[Array, Array, Array]:
        """Return score, anchor and class of every pair that can be among the best, each (N, P)."""
        if found.classes is not None:
            anchors = np.broadcast_to(np.arange(self.anchors), found.scores.shape)
            scores = activate(found.scores, self._notation, axis=1)
            return scores, anchors, found.classes.astype(np.int64)
        first, last = self._foreground()
        scores = self._class_scores(found)
        if self.recipe.one_class_a_box:
            anchors = np.broadcast_to(np.arange(self.anchors), scores.shape[:2])
            return scores.max(axis=2), anchors, scores.argmax(axis=2) + first
        best = scores.max(axis=2)
        several = _best_places(best, self._pool(best))
        flat = np.take_along_axis(scores, several[..., None], axis=1).reshape(len(scores), -1)
        where = _best_places(flat, self._pool(flat))
        kinds = last - first
        anchors = np.take_along_axis(several, where // kinds, axis=1)
        return np.take_along_axis(flat, where, axis=1), anchors, where % kinds + first

    def _class_scores(self, found: Candidates[Array]) -> Array:
        """Return the scores (N, A, K) of the classes that are no background, multiplied by the objectness."""
        scores = activate(found.scores, self.activation, axis=2)
        if found.objectness is not None:
            scores = scores * activate(found.objectness, self.activation, axis=2)
        first, last = self._foreground()
        return scores[:, :, first:last]

    def _pool(self, scores: Array) -> int:
        """Return how many candidates are expected: of a crowd all clear ones, for the graph may return any of them."""
        clear = int((scores >= CLEAR).sum(axis=1).max(initial=0)) if self.thins else 0
        return max(POOL * self.candidates, min(clear, POOL * MOST_CONSIDERED))

    def _foreground(self) -> tuple[int, int]:
        """Return the first column that is no background, and the one after the last such column."""
        first = 1 if self.recipe.background == "first" else 0
        return first, self.columns - (1 if self.recipe.background == "last" else 0)

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference between a candidate and the nearest expected one of its class.

        Scores are also compared rank by rank, but not those of a crowd, of which the graph returns a choice: its
        agreement shows whether that is right. Boxes are not, since candidates of the same score have no order.
        """
        ranks = min(found["scores"].shape[1], expected["scores"].shape[1])
        apart = np.abs(found["scores"][:, :ranks] - expected["scores"][:, :ranks]).max(axis=1)
        if self.thins:
            apart = apart[expected["scores"][:, ranks - 1] < CLEAR]
        worst = float(apart.max(initial=0.0))
        for index in range(len(found["boxes"])):
            one, other = (
                {name: values[index] for name, values in outputs.items() if name != FEATURES}
                for outputs in (found, expected)
            )
            if not self.columns:
                one = above_own_cut(one, other, CLEAR)
            worst = largest_distance(one, other, worst)
        return worst if np.isfinite(worst) else float("inf")

    def result_difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference of score between a detection and the one expected at its place.

        Where one side has no detection, the best scores are compared, whatever their boxes are. Else a detection
        without a counterpart does not count here: the agreement is about those.
        """
        expected = self._as_many(expected, found)
        return max(
            self._score_difference(found, expected, index) for index in range(len(found["boxes"]))
        )

    def _score_difference(self, found: Outputs, expected: Outputs, index: int) -> float:
        one, other = self._shown(found, index), self._shown(expected, index)
        if len(one) and len(other):
            return score_difference(one, other)
        return rank_difference(found["scores"][index], expected["scores"][index], SHOWN)

    def agreement(self, found: Outputs, expected: Outputs, tolerance: float) -> list[float]:
        """Return each image's mAP at IoU 0.5 over the classes that either side has, as requests get detections.

        Only detections match whose scores differ by at most the tolerance. An image in which neither has a detection
        counts 1; one in which only one of them clearly has any counts 0. Where the graph returns the best candidates
        alone, both sides have equally many: what fewer of them would lose is no difference to its source.
        """
        expected = self._as_many(expected, found)
        return [
            mean_average_precision(
                self._shown(found, index),
                self._shown(expected, index),
                tolerance,
                SHOWN_SCORE,
                SHOWN,
            )
            for index in range(len(found["boxes"]))
        ]

    def _as_many(self, expected: Outputs, found: Outputs) -> Outputs:
        """Return the best expected candidates, as many as were found, if these are not chosen by suppression."""
        if self.thins:
            return expected
        count = found["scores"].shape[1]
        return {name: values[:, :count] for name, values in expected.items()}

    def _shown(self, outputs: Outputs, index: int) -> Detections:
        """Return one image's detections as a request gets them by default, and as many more, the best first."""
        every = Detections(*(outputs[name][index] for name in ("boxes", "scores", "classes")))
        seen = every.only(every.scores >= SHOWN_SCORE)
        if self.recipe.nms_free:
            best_first = _on_image(seen.only(np.argsort(-seen.scores, kind="stable")))
            return best_first.only(np.arange(min(POOL * SHOWN, len(best_first))))
        kept = suppress(seen.boxes, seen.scores, seen.classes, NMS_IOU, most=POOL * SHOWN)
        return _on_image(seen.only(kept))


def _on_image(found: Detections) -> Detections:
    """Return the detections cut to the frame, without those that have no area in it."""
    cut = replace(found, boxes=inside_frame(found.boxes))
    has_area = (cut.boxes[:, 2:] > cut.boxes[:, :2]).all(axis=1)
    return cut.only(np.flatnonzero(has_area))


def _picked(graph: Graph, values: str, where: str) -> str:
    """Return values (N, D, …) at the indices (N, D) of their second axis."""
    last = graph.constant("last_axis", integers(-1))
    return graph.add("GatherND", [values, graph.add("Unsqueeze", [where, last])], batch_dims=1)


def _best_places(scores: Array, most: int) -> Array:
    """Return the places of the best scores (N, P), at most so many, the best first.

    Of equal scores the first are taken, as ONNX's TopK does: a cut may fall among thousands of the same score, and all
    of them are right.
    """
    if scores.shape[1] <= most:
        return np.argsort(-scores, axis=1, kind="stable")
    lowest = -np.partition(-scores, most - 1, axis=1)[:, most - 1]
    places = []
    for row, least in zip(scores, lowest, strict=True):
        at = np.flatnonzero(row >= least)
        places.append(at[np.argsort(-row[at], kind="stable")][:most])
    return np.stack(places)
