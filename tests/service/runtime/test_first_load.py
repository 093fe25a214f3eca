"""A version whose first load ended with its process is refused until somebody sends it again."""

from pathlib import Path

from service.runtime.first_load import MARK, FirstLoad, interrupted
from service.runtime.repository import scan_repository
from tests.servables import write_servable


def sent(root: Path) -> tuple[Path, FirstLoad]:
    folder = write_servable(root, "colors").parent
    return folder, FirstLoad(folder)


def test_a_version_that_is_being_loaded_is_found_by_all(tmp_path: Path) -> None:
    folder, mark = sent(tmp_path)
    (one,), refusals = scan_repository(tmp_path)
    assert (one.name, refusals) == ("colors", ())
    mark.end(folder)
    assert not (folder / MARK).exists()
    assert len(scan_repository(tmp_path)[0]) == 1


def test_a_version_whose_process_ended_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder, mark = sent(tmp_path)
    mark.release()  # as the system does at the end of a process
    servables, (refusal,) = scan_repository(tmp_path)
    assert not servables
    assert "ended while it was loaded for the first time" in refusal.reason
    assert not refusal.has_answered, "so that the service is ready without it"
    (folder / MARK).unlink()
    assert len(scan_repository(tmp_path)[0]) == 1


def test_two_may_see_that_a_load_was_interrupted_and_one_alone_may_act(tmp_path: Path) -> None:
    folder, mark = sent(tmp_path)
    mark.release()
    with interrupted(folder) as first, interrupted(folder) as second:
        assert first
        assert second
        with interrupted(folder, alone=True) as third:
            assert not third


def test_a_mark_that_went_with_its_version_is_no_fault(tmp_path: Path) -> None:
    folder, mark = sent(tmp_path)
    (folder / MARK).unlink()
    mark.end(folder)
    with interrupted(tmp_path / "nowhere") as ended:
        assert not ended
