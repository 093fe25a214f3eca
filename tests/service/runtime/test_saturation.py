"""Whether products of bytes overflow here."""

from pathlib import Path

import pytest

from service.runtime.chip import this_chip
from service.runtime.saturation import products_saturate

VNNI = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the system names no instructions")
def test_a_processor_with_instructions_for_bytes_computes_the_largest_products_exactly() -> None:
    if VNNI.isdisjoint(this_chip().instructions):
        pytest.skip("this processor has none")
    assert not products_saturate()
