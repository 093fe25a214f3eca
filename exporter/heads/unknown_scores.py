"""The question that an export asks where a network's scores can be no logits, or it can not be known what they are."""

from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.heads.score_kind import Kind, value_range
from exporter.network import Array

_NO_ACTIVATION = "the graph does not end in a known activation"
_LOGITS = "state --activation softmax or sigmoid if training took them as logits"
_STATE = (
    "State it: --activation none (they are probabilities). If they are logits, export the network with its softmax or "
    "sigmoid behind them; or name another output with --outputs"
)
_BEHIND = (
    "If training took them as logits, export the network with its softmax or sigmoid behind them and state "
    "--activation none"
)

_FOUND: dict[Kind, tuple[str, str, str]] = {
    "bounded": (_NO_ACTIVATION, "They may be probabilities or logits", _STATE),
    "log": (
        _NO_ACTIVATION,
        "They look like logarithms of probabilities that do not sum to one, as those of a sigmoid are",
        (
            "State --activation exp if they are; or export the network without the logarithm, or name the tensor "
            f"before it with --outputs (of an ONNX file). {_BEHIND}"
        ),
    ),
    "constant_sum": (
        _NO_ACTIVATION,
        "They have the same sum for every image, as probabilities and percentages have",
        (
            "State --activation percent if they are percentages (0 to 100), none if they are probabilities (0 to 1). "
            "If another factor makes them, export the network without it, or name the tensor before it with --outputs "
            f"(of an ONNX file). {_BEHIND}"
        ),
    ),
    "positive": (
        f"they are never negative, and {_NO_ACTIVATION}",
        "They may be percentages, counts or logits",
        (
            "State --activation percent if they are percentages (0 to 100), or softmax if training took them as "
            "logits; or name the tensor before with --outputs (of an ONNX file)"
        ),
    ),
    "tanh": (
        "the graph ends in a tanh or a function like it, so that they can only be -1 to 1",
        "As logits, they would give no class a clear probability",
        (
            "Name the tensor before it with --outputs (of an ONNX file), or export the network without it, or with "
            f"(x + 1) / 2 behind it and --activation none; {_LOGITS}"
        ),
    ),
    "cosine": (
        "they are cosines, products of vectors of the length one, times 1 or less",
        (
            "Such networks are trained with a factor behind them, often 16 to 64; without it, all classes have "
            "almost the same probability"
        ),
        f"Export the network with its factor (scores * s); {_LOGITS} without one",
    ),
    "signed": (
        f"they lie in -1 to 1, and {_NO_ACTIVATION}",
        "They may be logits, cosines, or the result of a tanh",
        (
            "If they are logits, state --activation softmax or sigmoid; if -1 to 1 stands for probabilities, export "
            "the network with (x + 1) / 2 behind it and --activation none; or name another output with --outputs"
        ),
    ),
    "distance": (
        "the graph ends in a root, a length, or a sum of squares or absolute values, as distances do",
        "The best class then has the smallest value, and a softmax would answer with the worst",
        f"Export the network with the negative distance, or name another output with --outputs; {_LOGITS}",
    ),
    "negated": (
        (
            "the graph turns the sign of a linear layer's values or of cosines, or subtracts them from a constant or "
            "from their best"
        ),
        (
            "Of distances (1 - cos) and energies the best class has the smallest value, and a softmax would answer "
            "with the worst"
        ),
        (
            "Export the network without that, or with the opposite sign; if the best class has the highest value, "
            "state --activation softmax or sigmoid"
        ),
    ),
    "scaled": (
        "the graph ends in a softmax or sigmoid times a factor, as for percentages",
        "An activation on top of them would give other probabilities",
        (
            "State --activation percent if they are percentages (0 to 100). If another factor makes them, export the "
            "network without it, or name the tensor before it with --outputs (of an ONNX file). "
            f"{_BEHIND}"
        ),
    ),
    "mixed": (
        "they come from a softmax or sigmoid, but are not all probabilities",
        "Logits may stand beside them, or a cubic resize may have taken them beyond 0 to 1",
        (
            "Export the network with the same activation for all scores, and with a bilinear resize or none behind "
            "it; or name the tensor before it with --outputs (of an ONNX file)"
        ),
    ),
    "joined": (
        "they are joined of parts that end in different ways, such as a linear layer and a tanh, a ReLU or an ArgMax",
        "One activation over all of them would compare values in different units",
        (
            "Export the network with the scores of the classes alone, or name them with --outputs (of an ONNX file); "
            f"{_LOGITS}"
        ),
    ),
    "one_hot": (
        "they are 1 for one class and 0 for all others, as behind an ArgMax",
        "Every answer would have the probability 1",
        (
            "Export the network without its ArgMax, or name the tensor before it with --outputs (of an ONNX file); "
            "state --activation none if 1.0 is to be the probability"
        ),
    ),
    "amount": (
        "the graph ends in an exponential or a softplus, so that they can only be positive",
        (
            "They may be evidence: then each one's share of the sum is its probability, and a softmax would give "
            "other ones"
        ),
        (
            "Export the network with the division by the sum behind it, or name another output with --outputs; state "
            "--activation percent if they are percentages (0 to 100); "
            f"{_LOGITS}"
        ),
    ),
}
"""What the graph shows, what that may mean, and the next step."""

UNKNOWN = frozenset(_FOUND)
"""The kinds of scores that only a statement makes probabilities of."""


def unknown_scores(kind: Kind, scores: Sequence[Array]) -> RecipeError:
    """Return the error that asks for a statement, with the range of the scores and the options that give it."""
    low, high = value_range(scores)
    shows, means, how = _FOUND[kind]
    return RecipeError(
        f"What the network's scores are can not be known: {low:.3g} to {high:.3g} on real images, and {shows}. "
        f"{means}. {how}"
    )
