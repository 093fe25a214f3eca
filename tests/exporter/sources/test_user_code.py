"""Objects in the user's own code are found, and its errors are described by file and line."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.errors import GraphError, SourceError, WeightsError
from exporter.recipe import Recipe, make_recipe
from exporter.sources import user_code
from exporter.sources.user_code import (
    code_folders,
    find,
    importable,
    place_of,
    reason,
    source_named,
)


def recipe(where: str = "a:b", **fields: object) -> Recipe:
    return make_recipe({"source": f"python:{where}", "task": "classify", "name": "net", **fields})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules, which are forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("cats"), "KeyError: 'cats'"),
        (ValueError("\n  two lines \n of text"), "ValueError: two lines"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError(" \n "), "RuntimeError"),
        (ValueError("x" * 300), "ValueError: " + "x" * 300),
        (ValueError("x" * 301), "ValueError: " + "x" * 300),
    ],
)
def test_an_error_is_one_line(error: Exception, words: str) -> None:
    assert reason(error) == words


def raised_by(folder: Path, name: str, text: str) -> BaseException:
    """Return the error that running a file of this text raises."""
    (folder / f"{name}.py").write_text(text)
    with importable((folder,)), pytest.raises(BaseException) as raised:  # noqa: PT011 - any
        __import__(name)
    return raised.value


def test_the_place_is_the_last_line_of_the_user_s_own_files(folder: Path) -> None:
    code = "import json\n\ndef read():\n    json.loads('{')\n\nread()\n"
    error = raised_by(folder, "their_code", code)

    assert place_of(error, (folder,)) == " (their_code.py, line 4)"
    assert place_of(error, (folder / "other",)) == ""
    assert place_of(error, (folder / "other", folder)) == " (their_code.py, line 4)"


def test_a_line_of_an_installed_package_or_of_the_exporter_is_none_of_the_user_s(
    folder: Path,
) -> None:
    installed = folder / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "their_library.py").write_text("def fail():\n    raise KeyError('x')\n")
    code = f"import sys\nsys.path.append({str(installed)!r})\nimport their_library\n\ntheir_library.fail()\n"
    error = raised_by(folder, "their_user", code)
    assert place_of(error, (folder,)) == " (their_user.py, line 5)"

    with pytest.raises(SourceError) as raised:
        find("math", recipe())
    assert place_of(raised.value, (Path(user_code.__file__).parents[1],)) == ""


def raise_in(error: Exception, cause: BaseException | None, source: str, *folders: Path) -> None:
    with source_named(source, folders):
        raise error from cause


def test_an_error_gets_its_source_once_and_the_line_of_its_cause(folder: Path) -> None:
    cause = raised_by(folder, "their_layers", "\n\nraise ValueError('no')\n")
    for kind in (GraphError, WeightsError):
        with pytest.raises(kind, match=r"^python:a:b \(their_layers\.py, line 3\): does not run$"):
            raise_in(kind("does not run"), cause, "python:a:b", folder)
        with pytest.raises(kind, match=r"^python:a:b: does not run$"):
            raise_in(kind("does not run"), None, "python:a:b", folder)
    with pytest.raises(GraphError, match=r"^it fails \(python:a:b\)$"):
        raise_in(GraphError("it fails (python:a:b)"), cause, "python:a:b", folder)
    with pytest.raises(GraphError, match=r"^python:a:b: fails at their_layers\.py, line 3$"):
        raise_in(GraphError("fails at their_layers.py, line 3"), cause, "python:a:b", folder)
    with pytest.raises(SourceError, match=r"^no weights$"):
        raise_in(SourceError("no weights"), cause, "python:a:b", folder)


def test_the_place_of_a_syntax_error_is_in_the_error(folder: Path) -> None:
    error = raised_by(folder, "their_mistake", "x = 1\ny = (\n")

    assert place_of(error, ()) == " (their_mistake.py, line 2)"


def test_modules_are_looked_for_in_the_recipe_s_folders_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, place = tmp_path / "working", tmp_path / "place"
    working.mkdir()
    monkeypatch.chdir(working)

    assert code_folders(recipe(folder=place)) == (place, working)
    assert code_folders(recipe(folder=place, code="code")) == (place / "code", place, working)
    assert code_folders(recipe(folder=place, code="../working")) == (working, place)
    assert code_folders(recipe()) == (working,)


def test_folders_are_importable_for_a_while_and_before_all_others(tmp_path: Path) -> None:
    before = list(sys.path)

    with importable((tmp_path / "a", tmp_path / "b")):
        assert sys.path == [str(tmp_path / "a"), str(tmp_path / "b"), *before]
        sys.path.append("left over")
    assert sys.path == before


def test_folders_are_not_importable_after_an_error(tmp_path: Path) -> None:
    before = list(sys.path)

    with pytest.raises(ModuleNotFoundError), importable((tmp_path,)):
        __import__("no_such_module_of_theirs")
    assert sys.path == before


def test_a_module_in_the_recipe_s_folder_is_found_and_the_path_stays_clean(folder: Path) -> None:
    (folder / "some_networks.py").write_text("class Nets:\n    number = 7\n")
    before = list(sys.path)
    found = find("some_networks:Nets.number", recipe("some_networks:Nets.number", folder=folder))
    assert found == 7
    assert sys.path == before


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("math", "^python:math: write python:package.module:callable$"),
        ("math:", "write python:package.module:callable"),
        (":sqrt", "write python:package.module:callable"),
        ("no_such_module:net", r"there is no module no_such_module in .*, and none is installed$"),
        ("no_such.inner:net", "there is no module no_such in"),
        ("json.no_such:net", "there is no module json.no_such in"),
        ("math:no_such_name", r"math \(.*\) has no no_such_name\. If that is another module"),
        ("sys:no_such_name", r"sys \(Python itself\) has no"),
        ("math:pi.no_such", r"has no pi\.no_such"),
    ],
)
def test_what_is_not_there_is_named(where: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        find(where, recipe(where))


def test_the_kind_of_source_is_in_the_message() -> None:
    with pytest.raises(SourceError, match=r"^train:math: write train:package"):
        find("math", recipe(), "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import no_such_library\n",
            r"needs the module no_such_library.*pip install no_such_library",
        ),
        (
            "\nraise KeyError('x')\n",
            r"can not be imported: KeyError: 'x' \(their_net\.py, line 2\)",
        ),
        ("import sys\nsys.exit('usage')\n", r"SystemExit: usage \(their_net\.py, line 2\)"),
        ("def net(:\n", r"SyntaxError: [^()]* \(their_net\.py, line 1\)$"),
    ],
)
def test_a_module_that_can_not_be_imported_is_named(text: str, message: str, folder: Path) -> None:
    (folder / "their_net.py").write_text(text)

    with pytest.raises(SourceError, match=message):
        find("their_net:net", recipe(folder=folder))


def test_a_file_in_place_of_a_module_gets_the_module_s_name(folder: Path) -> None:
    package = folder / "their_package"
    package.mkdir()
    for file in (folder / "their_file.py", package / "__init__.py", package / "their_part.py"):
        file.write_text("Net = 1\n")

    for named, right in {
        "their_file.py": f"their_file:Net --code {folder}",
        f"{folder}/their_file.py": f"their_file:Net --code {folder}",
        "their_package/their_part.py": f"their_package.their_part:Net --code {folder}",
        "absent.py": "absent:Net --code FOLDER",
    }.items():
        words = f"python:{named}:Net: a source names a module, not its file. Give python:{right}"
        with pytest.raises(SourceError, match=f"{re.escape(words)}$"):
            find(f"{named}:Net", recipe(folder=folder))
