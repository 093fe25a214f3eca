"""Known answers on a web server: what is fetched, where to, and what goes wrong."""

from pathlib import Path

import pytest

from service.bulk.labels_elsewhere import fetch_labels, room_for
from service.bulk.remote import Places
from service.errors import ConfigurationError, LabelsError
from tests.file_server import FileServer


def write(web: FileServer, **files: bytes) -> None:
    for name, content in files.items():
        path = web.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def fetched(web: FileServer, name: str, task: str, room: Path) -> Path:
    return fetch_labels(f"{web.url}/{name}", task, room, Places())


def below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def room(tmp_path: Path) -> Path:
    folder = tmp_path / "room"
    folder.mkdir()
    return folder


def test_a_file_is_fetched_with_its_name_and_nothing_else(web: FileServer, room: Path) -> None:
    write(web, **{"set/truth.csv": b"file,label\na.jpg,x\n", "set/a.jpg": b"x"})
    assert fetched(web, "set/truth.csv", "classify", room) == room / "truth.csv"
    assert below(room) == {"truth.csv": b"file,label\na.jpg,x\n"}
    assert web.fetched("a.jpg") == []


def test_masks_have_the_names_of_images_on_a_disk(web: FileServer, room: Path) -> None:
    web.encodes = True
    files = {"set/masks/1 ü.png": b"one", "set/masks/deeper/2.png": b"two", "set/3.png": b"three"}
    write(web, **files, **{"set/masks/notes.txt": b"text"})
    assert fetched(web, "set", "segment", room) == room / "set"
    assert below(room) == {"set/masks/1 ü.png": b"one"}


def test_a_table_names_masks_below_it(web: FileServer, room: Path) -> None:
    write(web, **{"m/1 a.png": b"one", "t.csv": b"file,mask\n1.jpg,m/1 a.png\n2.jpg,m/1 a.png"})
    fetched(web, "t.csv", "segment", room)
    assert below(room)["m/1 a.png"] == b"one"
    assert web.fetched(".png") == [""]


@pytest.mark.parametrize(
    "mask", ["../out.png", "/etc/hostname.png", "a/../../out.png", "s3://b/a.png"]
)
def test_a_table_names_no_other_place(web: FileServer, room: Path, mask: str) -> None:
    write(web, **{"set/t.csv": f"file,mask\n1.jpg,{mask}".encode(), "out.png": b"x"})
    with pytest.raises(LabelsError, match="must lie in the folder of the table"):
        fetched(web, "set/t.csv", "segment", room)
    assert sorted(below(room.parent)) == ["room/t.csv", "web/out.png", "web/set/t.csv"]


def test_a_mask_that_is_not_there_is_named(web: FileServer, room: Path) -> None:
    write(web, **{"t.csv": b"file,mask\n1.jpg,m/1.png"})
    with pytest.raises(LabelsError, match=r"m/1\.png: The file can not be read: it is not there"):
        fetched(web, "t.csv", "segment", room)


def test_more_than_is_fetched_is_refused(web: FileServer, room: Path) -> None:
    write(web, **{"t.json": b"x" * 11, "m/1.png": b"x" * 6, "m/2.png": b"x" * 6})
    for name, task in (("t.json", "detect"), ("m", "segment")):
        with pytest.raises(LabelsError, match="Copy them to this machine"):
            fetch_labels(f"{web.url}/{name}", task, room, Places(), most_bytes=10)


def test_a_full_disk_is_said_with_what_to_do(web: FileServer, tmp_path: Path) -> None:
    write(web, **{"t.json": b"x"})
    gone = tmp_path / "file"
    gone.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"can not be written.*TMPDIR"):
        fetched(web, "t.json", "detect", gone / "room")


def test_what_was_fetched_is_gone_afterwards(web: FileServer) -> None:
    write(web, **{"t.json": b"x"})
    with room_for(f"{web.url}/t.json") as room:
        assert fetched(web, "t.json", "detect", room).exists()
    assert not room.exists()
    with room_for("here.json") as nothing:
        assert nothing == Path()
