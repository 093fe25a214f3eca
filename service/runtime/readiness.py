"""Whether what is served answers, and the reasons where it does not."""

from service.errors import for_clients
from service.runtime.finder import Finder
from service.runtime.model import STILL_LOADING
from service.runtime.served import Served
from service.runtime.wanted import key_of
from service.runtime.workers import Workers


class Readiness:
    """Says whether the service is ready.

    It is ready when each model has a version that answers, nothing loads for the first time any more, and what a
    default names answers. A version that was refused beside one that answers takes no readiness away, nor does a model
    that came while the service ran and has never answered, also before its process ended, nor one that rests because
    its runs did not end: another process would fare no better with its images, and the other models go on.

    Args:
        served: what is served.
        finder: says what is wanted.
        workers: the threads that run batches.
    """

    def __init__(self, served: Served, finder: Finder, workers: Workers) -> None:
        self._served = served
        self._finder = finder
        self._workers = workers
        wanted = finder.wanted
        self._expected = {one.name for one in wanted.servables} | {
            one.name for one in wanted.refusals if one.has_answered
        }

    def expect(self) -> None:
        """Expect answers from all models that answer now, too."""
        self._expected |= {model.name for model in self._served.models if model.can_answer}

    def reasons(self) -> list[str]:
        """Return the reasons why the service is not ready."""
        models, wanted = self._served.models, self._finder.wanted
        answering = {model.name for model in models if model.can_answer}
        named = {
            (one.name, version)
            for one in wanted.defaults.values()
            if (version := self._finder.known_version(one)) is not None
        }
        reasons = [
            f"{model} {model.reason}"
            for model in models
            if not model.can_answer
            and not (model.queue is not None and model.queue.rests)
            and (
                (model.name not in answering and model.name in self._expected)
                or (model.state == "loading" and model.reason == STILL_LOADING)
                or key_of(model.servable) in named
            )
        ]
        reasons += [
            for_clients(one.reason, one.path)
            for one in wanted.refusals
            if one.name not in answering and one.name in self._expected
        ]
        if not self._workers.left:
            reasons.append(
                f"all {self._workers.count} threads that run batches are in runs that do not end; restart the service"
            )
        elif self._workers.lost:
            reasons.append(
                "no thread that runs batches is alive, and the system gives no other one; it is tried again each second"
            )
        return reasons or ([] if models else ["the model repository is empty"])
