"""What shells are told: scripts that they take, and the cuts of the package that is typed already."""

import dataclasses
import shutil
import subprocess

import pytest
import tiny_models
from click.shell_completion import ShellComplete

from tflsplit.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_takes(shell, typed):
    script = typed("completion", shell).out

    assert "_TFLSPLIT_COMPLETE" in script
    if shutil.which(shell) is not None:
        command = [shell, "-n"] if shell != "fish" else [shell, "--no-execute"]
        assert subprocess.run(command, input=script, text=True, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", ["edge", "slice", "bundle", "verify", "compile", "replay"])
def test_cuts_are_completed_by_id(command, tiny_package):
    option = "--cuts" if command in ("verify", "compile", "replay") else "--cut"
    complete = ShellComplete(main.cli, {}, "tflsplit", main.COMPLETE).get_completions
    typed = [command, str(tiny_package.path), option]
    cuts = tiny_package.cuts

    assert {each.value for each in complete(typed, "op")} >= {cut.id for cut in cuts if cut.id.startswith("op")}
    assert complete([command, "/nowhere", option], "op") == []
    if option == "--cuts":
        assert {each.value for each in complete(typed, "input,out")} == {"input,output"}


def test_cuts_are_completed_by_their_layers_too(tmp_path):
    model = tiny_models.residual_model()
    found = tiny_models.describe(model).cuts
    named = (found[0], *(dataclasses.replace(cut, layer=f"block{cut.position}") for cut in found[1:]))
    package = tiny_models.write_package(tmp_path / "m.tflsplit", model, cuts=named)
    complete = ShellComplete(main.cli, {}, "tflsplit", main.COMPLETE).get_completions

    assert {each.value for each in complete(["slice", str(package.path), "--cut"], "bl")} == {
        cut.layer for cut in named[1:]
    }
