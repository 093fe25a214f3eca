from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.planning.profile import BatchTime, quantiles, read_profile, write_profile
from tests.full_disk import small_files
from tests.service.planning.profiles import make_profile

SIZES = (
    BatchTime(size=1, seconds=1.0),
    BatchTime(size=2, seconds=1.5),
    BatchTime(size=4, seconds=2.0),
)


def test_sizes_between_the_measured_ones_are_between_them() -> None:
    assert make_profile(batches=SIZES).replica().run == pytest.approx((1.0, 1.5, 1.75, 2.0))


def test_padded_sizes_take_as_long_as_the_next_measured_one() -> None:
    assert make_profile(batches=SIZES, padded=True).replica().run == (1.0, 1.5, 2.0, 2.0)


def test_the_efficiency_makes_the_capacity_that_was_measured() -> None:
    profile = make_profile(
        workers=2, instances=2, decode=0.002, head=0.001, http=0.0005, crowded=1.2, efficiency=0.9
    )
    from_stages = profile.replica(calibrated=False).capacity
    assert profile.replica().capacity == pytest.approx(0.9 * from_stages)


def test_a_measurement_survives_its_file(tmp_path: Path) -> None:
    profile = make_profile(batches=SIZES, wide=0.5, foreign_cores=0.25)
    write_profile(profile, tmp_path / "m.json")
    assert read_profile(tmp_path / "m.json") == profile


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1}',
        make_profile().model_dump_json().replace('"crowded":1.0', '"crowded":NaN').encode(),
        make_profile().model_dump_json().replace('"crowded":1.0', '"crowded":-1').encode(),
        make_profile().model_dump_json().replace('"format":1', '"format":2').encode(),
        make_profile().model_dump_json().replace('"size":1', '"size":2').encode(),
        make_profile().model_dump_json().replace('"size":1', '"size":999999').encode(),
        b" " * (2**20 + 1),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"m\.json is no measurement"):
        read_profile(file)


def test_a_file_that_can_not_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json can not be read: No such file"):
        read_profile(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match="can not be written"):
        write_profile(make_profile(), tmp_path / "none" / "m.json")


def test_a_full_disk_leaves_the_measurement_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    earlier = make_profile(batches=SIZES)
    write_profile(earlier, path)
    large = tuple(BatchTime(size=size, seconds=float(size)) for size in range(1, 33))
    with small_files(), pytest.raises(ConfigurationError, match="File too large"):
        write_profile(make_profile(batches=large), path)
    assert read_profile(path) == earlier
    assert list(tmp_path.iterdir()) == [path]


def test_quantiles_reach_from_the_least_to_the_largest() -> None:
    assert quantiles([float(one) for one in range(1001)], 5) == (0.0, 250.0, 500.0, 750.0, 1000.0)
    assert quantiles([2.0, 1.0], 5) == (1.0, 2.0)
