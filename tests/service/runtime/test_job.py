import numpy as np

from service.runtime.job import Job, Outputs, PinnedInput, Tensor, Trace


class Pinned:
    def pinned_input(self, count: int) -> Tensor:
        return np.zeros(count)


def plain(batch: Tensor) -> Outputs:
    return {"same": batch}


def test_what_prepare_returns_beside_the_tensor_reaches_finish() -> None:
    job = Job(lambda: (np.array(2), "context"), lambda outputs, context: (outputs, context))
    tensor, context = job.prepare()
    assert job.finish(plain(tensor), context) == ({"same": np.array(2)}, "context")


def test_a_trace_begins_with_no_time_spent_and_no_batch() -> None:
    trace = Trace()
    assert (trace.decode, trace.queue, trace.infer, trace.head, trace.batch_size) == (0, 0, 0, 0, 0)


def test_a_run_that_offers_pinned_memory_is_recognized_and_a_plain_one_is_not() -> None:
    assert isinstance(Pinned(), PinnedInput)
    assert not isinstance(plain, PinnedInput)
