import subprocess
from pathlib import Path

from benchmarks.commit import describe_commit


def git(folder: Path, *words: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def a_repository(folder: Path) -> Path:
    git(folder, "init")
    (folder / "service").mkdir()
    (folder / "service" / "a.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "Begin")
    return folder


def test_a_clean_tree_is_named_by_its_commit_and_a_changed_one_by_its_changes(
    tmp_path: Path,
) -> None:
    root = a_repository(tmp_path)
    clean = describe_commit(root)
    file = root / "service" / "a.py"
    file.write_text("a = 2\n")
    changed = describe_commit(root)
    file.write_text("a = 3\n")
    again = describe_commit(root)
    file.write_text("a = 1\n")

    assert len(clean) == 12
    assert changed.startswith(f"{clean}, changed (")
    assert again != changed
    assert describe_commit(root) == clean


def test_new_code_counts_and_results_do_not(tmp_path: Path) -> None:
    root = a_repository(tmp_path)
    clean = describe_commit(root)
    results = root / "benchmarks" / "results" / "today"
    results.mkdir(parents=True)
    (results / "results.json").write_text("{}")
    (root / "notes.txt").write_text("of no figure")

    assert describe_commit(root) == clean

    (root / "benchmarks" / "new.py").write_text("b = 1\n")

    assert describe_commit(root) != clean


def test_where_there_is_no_git_the_commit_is_empty(tmp_path: Path) -> None:
    assert describe_commit(tmp_path) == ""
