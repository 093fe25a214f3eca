"""The outputs that one request may make the service hold."""

import pytest

from service.api.tensors import require_holdable
from service.errors import TooManyImagesError
from service.runtime.signature import Signature, TensorInfo

MIB = 2**20


def outputs(*shapes: tuple[int | None, ...]) -> Signature:
    return Signature(outputs=tuple(TensorInfo("a", "tensor(float)", shape) for shape in shapes))


def test_as_many_rows_as_can_be_held() -> None:
    maps = outputs((None, 21, 512, 512), (None, 43, 512, 512))  # 64 MiB a row
    require_holdable(maps, 4)
    with pytest.raises(TooManyImagesError, match=f"of {5 * 64 * MIB} bytes.* at most 4 rows"):
        require_holdable(maps, 5)


def test_one_row_is_always_allowed() -> None:
    require_holdable(outputs((None, 1024, 1024, 1024)), 1)


def test_unstated_axes_count_as_one() -> None:
    require_holdable(outputs((None, None, 512)), 64)
