"""`foveal models` lists the precisions that lie beside a model, and those that can not stand in for it."""

from pathlib import Path

from typer.testing import CliRunner

from service.cli import cli
from tests.live import MODELS
from tests.servables import write_servable


def listed(models: Path) -> str:
    done = CliRunner().invoke(cli, ["models", "--models", str(models)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_variant_that_ships_is_listed_beside_its_model(tmp_path: Path) -> None:
    (tmp_path / "efficientnet-lite0").symlink_to(MODELS / "efficientnet-lite0")
    assert "fp32, int8 " in listed(tmp_path)


def test_a_variant_of_another_graph_is_listed_as_refused(tmp_path: Path) -> None:
    path = write_servable(tmp_path)
    assert "int8" not in listed(tmp_path)
    shipped = MODELS / "efficientnet-lite0" / "1" / "int8.onnx"
    path.with_name("int8.onnx").write_bytes(shipped.read_bytes())
    assert "fp32, int8 (refused)" in listed(tmp_path)
