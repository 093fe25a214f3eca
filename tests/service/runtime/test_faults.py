"""Messages as ONNX Runtime 1.2x wrote them."""

import pytest

from service.runtime.faults import is_out_of_memory, reason_of, tells_of_lost_device

FRAME = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
    "Name:'conv' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 "
    "void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
    "Failed to allocate memory for requested buffer of size 4294967296\n"
)


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (FRAME, True),
        ("CUDA failure 2: out of memory ; GPU=0 ; hostname=h", True),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", True),
        ("std::bad_alloc", True),
        ("Available memory of 1024 is smaller than requested bytes of 4096", True),
        ("indices element out of data bounds, idx=9 must be within the inclusive range", False),
        ("Exiting due to terminate flag being set to true.", False),
    ],
)
def test_a_lack_of_memory_is_distinguished_from_other_errors(message: str, *, short: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) == short


def test_python_s_own_lack_of_memory_is_one_too() -> None:
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        (
            "Error in execution: CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; line=85",
            True,
        ),
        ("CUDA failure 715: an illegal instruction was encountered ; GPU=0", True),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", True),
        ("CUDA failure 2: out of memory ; GPU=0", False),
        ("CUDA failure 900: operation not permitted when stream is capturing ; GPU=0", False),
        ("CUDA failure 7001: no such number", False),
        (FRAME, False),
    ],
)
def test_what_may_be_a_gpu_that_is_lost_to_the_process_is_distinguished(
    message: str, *, lost: bool
) -> None:
    assert tells_of_lost_device(RuntimeError(message)) == lost


def test_a_reason_names_no_source_file_and_has_one_line() -> None:
    reason = reason_of(RuntimeError(FRAME))
    assert "onnxruntime_src" not in reason
    assert "\n" not in reason
    assert reason.endswith("Failed to allocate memory for requested buffer of size 4294967296")
    assert reason.startswith("Non-zero status code returned while running Conv node.")


def test_an_error_without_words_is_named_by_its_kind() -> None:
    assert reason_of(MemoryError()) == "MemoryError"
