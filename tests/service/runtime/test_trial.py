"""Networks that end, fill or hold up a process do so in one of their own; what passes is not tried again."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import pytest

from service.errors import ServableError
from service.runtime.repository import Servable, scan_repository
from service.runtime.trial import HELPER, Trial
from tests.bad_networks import endless, endless_when_bright, failing
from tests.hostile_networks import crashing, huge_computed, huge_constant
from tests.servables import color_model, write_servable

OUTPUTS = ("logits", "probabilities")
GIB = 2**30


def servable(root: Path, model: onnx.ModelProto | None = None) -> Servable:
    write_servable(root, model=model)
    ((one,), _) = scan_repository(root)
    return one


def trial(root: Path, *, seconds: float = 15, helper: Sequence[str] = HELPER) -> Trial:
    return Trial(seconds, GIB, root / "passed", helper)


def speaking(code: str) -> tuple[str, ...]:
    """Return the command of a helper that reads its order and then does something else."""
    return (sys.executable, "-c", f"import os, sys, signal; sys.stdin.read(); {code}")


def passed(root: Path) -> list[Path]:
    return [path for path in (root / "passed").glob("*") if path.name != "lock"]


def test_a_network_that_is_fine_passes_and_is_not_tried_again(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    trial(tmp_path).require(one, OUTPUTS)
    assert len(passed(tmp_path)) == 1
    trial(tmp_path, helper=speaking("sys.exit(3)")).require(one, OUTPUTS)


def test_one_trial_object_remembers_without_a_folder(tmp_path: Path) -> None:
    (tmp_path / "passed").write_text("a file where the folder should be")
    counting = tmp_path / "count"
    helper = speaking(f"open({str(counting)!r}, 'a').write('x'); print('{{\"reason\": \"\"}}')")
    one, tried = servable(tmp_path / "models"), trial(tmp_path, helper=helper)
    tried.require(one, OUTPUTS)
    tried.require(one, OUTPUTS)
    assert counting.read_text() == "x"


def test_another_file_is_tried_and_so_is_the_same_with_other_limits(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    trial(tmp_path).require(one, OUTPUTS)
    refusing = partial(trial, tmp_path, helper=speaking("sys.exit(3)"))
    with pytest.raises(ServableError, match="exit code 3"):
        refusing(seconds=14).require(one, OUTPUTS)
    with one.path.open("ab") as file:
        file.write(b"\x12\x04more")  # ModelProto.producer_name
    with pytest.raises(ServableError, match="exit code 3"):
        refusing().require(one, OUTPUTS)


def test_a_verdict_that_names_the_file_names_it_once(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    says = "print(__import__('json').dumps({'reason': %r}))"
    for verdict, reason in (
        (f"{one.path} can not be loaded on cpu", f"{one.path} can not be loaded on cpu"),
        ("it lacks outputs", f"{one.path}: it lacks outputs"),
    ):
        with pytest.raises(ServableError) as raised:
            trial(tmp_path, helper=speaking(says % verdict)).require(one, OUTPUTS)
        assert str(raised.value) == reason


HOSTILE = {
    "endless": (endless, r"did not end within 2 s \(FOVEAL_TRIAL_SECONDS\)"),
    "endless when bright": (endless_when_bright, "did not end within 2 s"),
    "64 GiB": (huge_constant, r"needs more than 1,024 MiB of memory \(FOVEAL_TRIAL_BYTES\)"),
    "64 GiB, computed": (huge_computed, "needs more than 1,024 MiB of memory"),
    "failing": (failing, "its trial failed: .*indices element out of data bounds"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_network_that_fails_its_trial_is_refused_with_the_reason(
    tmp_path: Path, kind: str
) -> None:
    make, reason = HOSTILE[kind]
    one = servable(tmp_path / "models", make())
    with pytest.raises(ServableError, match=reason) as raised:
        trial(tmp_path, seconds=2).require(one, OUTPUTS)
    assert str(raised.value).startswith(f"{one.path}: ")
    assert passed(tmp_path) == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors give a quotient")
def test_a_network_that_ends_its_process_is_refused_and_not_this_process(tmp_path: Path) -> None:
    one = servable(tmp_path / "models", crashing())
    with pytest.raises(ServableError, match="ended its process with SIGFPE"):
        trial(tmp_path).require(one, OUTPUTS)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "with SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "did not end within 15 s"),
        ("os.kill(os.getpid(), signal.SIGALRM)", "did not end within 15 s"),
        ("sys.exit(0)", "with exit code 0"),
        ("print('[1]')", "with exit code 0"),
        ("print('{\"reason\": 1}')", "with exit code 0"),
        ('print(\'{"reason": "is bad."}\')', r"model\.onnx: is bad\.$"),
    ],
)
def test_a_process_without_a_verdict_is_no_pass(tmp_path: Path, code: str, reason: str) -> None:
    with pytest.raises(ServableError, match=reason):
        trial(tmp_path, helper=speaking(code)).require(servable(tmp_path / "models"), OUTPUTS)


def test_a_file_that_is_changed_during_its_trial_has_not_passed(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    helper = speaking(f"open({str(one.path)!r}, 'ab').write(b'x'); print('{{\"reason\": \"\"}}')")
    with pytest.raises(ServableError, match="was changed while it was tried"):
        trial(tmp_path, helper=helper).require(one, OUTPUTS)
    assert passed(tmp_path) == []


def test_a_process_that_can_not_start_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(ServableError, match="could not start: No such file"):
        trial(tmp_path, helper=(str(tmp_path / "absent"),)).require(
            servable(tmp_path / "models"), OUTPUTS
        )


def test_a_missing_output_is_found_by_the_trial(tmp_path: Path) -> None:
    with pytest.raises(ServableError, match="lacks the outputs"):
        trial(tmp_path).require(servable(tmp_path / "models"), ("boxes",))


def test_the_process_sees_no_setting_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_SSL_KEYFILE_PASSWORD", "secret")
    helper = speaking(
        "print('{\"reason\": \"%s\"}' % ' '.join(n for n in os.environ if 'FOVEAL' in n))"
    )
    trial(tmp_path, helper=helper).require(servable(tmp_path / "models"), OUTPUTS)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    gone = replace(servable(tmp_path / "models", color_model()), path=tmp_path / "gone")
    with pytest.raises(ServableError, match="gone can not be read: No such file"):
        trial(tmp_path).require(gone, OUTPUTS)
