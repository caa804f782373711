"""docs/service.md and examples/edge.toml against the command that they are about."""

import pathlib
import re

import click
import pytest

from tflsplit.cli import main

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLE = CHECKOUT / "examples" / "edge.toml"


def command_of(role):
    return main.cli.get_command(click.Context(main.cli, info_name="tflsplit"), role)


@pytest.fixture
def edge():
    return command_of("edge")


@pytest.mark.parametrize("role", ["edge", "cloud"])
def test_every_setting_stands_in_the_docs_as_its_help_has_it_and_no_other(role):
    text = (CHECKOUT / "docs" / "service.md").read_text("utf-8")
    _, table = text.split("## Credentials")[0].split(f"One table, `[{role}]`")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^\n]*? \| ([^\n]*) \|$", table.split("\n## ")[0], re.MULTILINE))
    helps = {key: getattr(setting, "help", None) for key, setting in command_of(role).settings.items()}
    package = rows.pop("package")

    assert package
    assert helps.pop("package") is None, "an argument has no help; the docs have their own words for it"
    assert rows == {key: told.replace("|", "\\|") for key, told in helps.items()}


def test_the_example_is_a_right_configuration(edge, tmp_path):
    """But for what it names, which is not on this machine."""
    file = tmp_path / "edge.toml"
    file.write_text(EXAMPLE.read_text("utf-8"))
    merged = edge.merged(file)

    assert merged.problems == ()
    assert merged.value("credentials") == str(tmp_path / "credentials")
    # The example has a camera; whether this machine has OpenCV is not its fault.
    with click.Context(edge):
        problems = [each for each in edge.all_problems(merged, file) if "opencv" not in each]
    assert len(problems) == 2
    assert "/srv/tflsplit/edge.tflsplit" in problems[0]
    assert f"credentials {tmp_path}/credentials" in problems[1]
