"""Each command as people meet it: its help, and paths, folders and pipes as they come."""

import os
import re
import subprocess
import sys

import click
import pytest

from tflsplit import extras
from tflsplit.cli import main
from tflsplit.kernels import keeping


def commands():
    pending = [((), main.cli)]
    while pending:
        words, command = pending.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            pending += [((*words, name), command.get_command(context, name)) for name in names]
        else:
            yield words, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_names_every_default(typed, words):
    text = typed(*words, "--help").out

    for option in COMMANDS[words].params:
        if isinstance(option, click.Option) and isinstance(option.default, int | float) and not option.is_flag:
            assert re.search(rf"{option.opts[-1]}.*?\[default:\s+{option.default}", text, re.DOTALL), option.name


@pytest.mark.parametrize(
    ("words", "option", "unit"),
    [
        (("edge",), "--rate", "Inputs a second"),
        (("edge",), "--resend-after", "Default: 5s"),
        (("edge",), "--window", "Frames"),
        (("edge",), "--threads", "CPU threads"),
        (("cloud",), "--count", "results"),
        (("broker", "run"), "--port", "TCP port"),
    ],
)
def test_help_says_in_what_a_number_is_counted(words, option, unit):
    (found,) = (parameter for parameter in COMMANDS[words].params if option in parameter.opts)

    assert unit.casefold() in found.help.casefold()


def test_the_version_is_told(typed):
    assert re.fullmatch(r"\S+, version \d+\.\d+\.\d+\S*\n", typed("--version").out)


# Runs a command where a library is not installed.
WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from tflsplit.cli import main; main.main()"


@pytest.mark.parametrize(
    ("module", "command", "library"), [("h5py", "convert", "h5py"), ("paho", "cloud", "paho-mqtt")]
)
def test_a_library_that_is_not_installed_is_named(tiny_package, demo_model, module, command, library):
    options = {
        "convert": (demo_model,),
        "cloud": (tiny_package.path, "--broker", "mqtt://127.0.0.1:1", "--deployment", "d"),
    }
    # Found before the library, by the processes that a command starts too.
    absent = f"raise ModuleNotFoundError('No module named {module}', name='{module}')"
    folder = tiny_package.path.parent
    (folder / f"{module}.py").write_text(absent)
    line = [sys.executable, "-m", "tflsplit", command, *map(str, options[command])]
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": path}
    )

    assert done.returncode == 1
    assert done.stderr == f"tflsplit: {extras.need('this command', module)}\n"
    assert f"needs {library}, which is not installed" in done.stderr


def test_tables_need_no_library(tiny_package):
    line = [sys.executable, "-c", WITHOUT, "rich", "inspect", str(tiny_package.path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert re.search(r"^op000 +4 +1", done.stdout, re.MULTILINE)


@pytest.fixture
def model(residual_model, tmp_path):
    """An int8 `.tflite` under a name that a person might give it."""
    folder = tmp_path / "Meine Modelle, été"
    folder.mkdir()
    (folder / "modèle 1.tflite").write_bytes(residual_model)
    return folder / "modèle 1.tflite"


def test_spaces_and_accents_in_paths(run, model):
    made = model.with_name("ein Paket.tflsplit")
    halves = model.with_name("zwei Hälften")

    assert run("convert", model, "-o", made, "--pairs", "all").code == 0
    assert "modèle 1.tflite" in run("inspect", made, "--json").out
    proof, made_on = run("verify", made).out.splitlines()
    assert proof == "4 cuts x 8 samples: bit-exact"
    assert made_on == f"kernel class {keeping.here()}"
    assert run("slice", made, "--cut", "op001", "-o", halves).out.splitlines()[0] == str(halves / "head.tflite")


def test_spaces_and_accents_where_the_locale_knows_no_accents(run, model):
    plain = {"LC_ALL": "C", "PATH": os.environ["PATH"]}

    assert run("convert", model, "-o", model.with_name("é.tflsplit"), env=plain).code == 0
    assert run("inspect", model.with_name("é.tflsplit"), env=plain).code == 0


def test_without_an_output_the_package_stands_where_the_command_ran(typed, model, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    typed("convert", "../Meine Modelle, été/modèle 1.tflite", cwd=elsewhere)

    assert [path.name for path in elsewhere.iterdir()] == ["modèle 1.tflsplit"]
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    assert typed("verify", "modèle 1.tflsplit", cwd=elsewhere).code == 0


def test_no_folder_on_the_way_to_the_output_is_made_for_its_name_may_be_mistyped(typed, model, tmp_path):
    assert "there is no folder a/b; make it first" in typed("convert", model, "-o", "a/b/c.tflsplit").refusal()
    assert not (tmp_path / "a").exists()
    assert typed("convert", model, "-o", "c.tflsplit").code == 0
    assert typed("slice", "c.tflsplit", "--cut", "op000", "-o", "e").code == 0
    assert (tmp_path / "e" / "tail.tflite").is_file()


def test_a_package_may_be_moved_and_named_otherwise(typed, tiny_package, tmp_path):
    tiny_package.path.rename(tmp_path / "renamed")

    assert typed("verify", "renamed/").code == 0
    assert typed("inspect", "./renamed", "--json").json()["name"] == "tiny"


def test_force_replaces_a_package_and_only_then(typed, model):
    assert typed("convert", model, "-o", "made.tflsplit", "--pairs", "none").code == 0
    assert "made.tflsplit exists" in typed("convert", model, "-o", "made.tflsplit").refusal()
    assert typed("convert", model, "-o", "made.tflsplit", "--pairs", "all", "--force").code == 0
    assert typed("inspect", "made.tflsplit", "--json").json()["cuts"][1]["head"] == "cuts/op000/head.tflite"


@pytest.mark.parametrize("command", ["convert", "slice"])
def test_a_destination_that_is_read_only(run, model, tiny_package, mounted, command):
    made = mounted("ro") / "made"
    words = (model,) if command == "convert" else (tiny_package.path, "--cut", "op000")

    assert f"{made}: cannot be written (Read-only file system)" in run(command, *words, "-o", made).refusal()
