"""docs/python.md, the notebook and the help of commands: their Python runs, and what they show is what comes out."""

import ast
import inspect
import pathlib
import re

import click
import pytest
import shown

import tflsplit
from tflsplit.cli import main

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["docs/python.md", "examples/first_steps.ipynb"])
def test_what_a_document_shows_is_what_its_code_prints(name):
    pytest.importorskip("tensorflow", reason="the documents begin with a conversion, which needs TensorFlow")
    file = CHECKOUT / name

    assert shown.run(file) == file.read_text("utf-8")


def test_a_page_that_shows_something_else_is_found():
    text = "```python\nx = 1\nprint(x)\n```\n\n```output\n2\n```\n\n```python\nx += 1\n```\n\n    x = not run\n"

    assert shown.page(text, "page") == text.replace("output\n2", "output\n1")


def test_the_page_names_every_call_of_the_root():
    page = (CHECKOUT / "docs" / "python.md").read_text("utf-8")

    assert not [name for name in tflsplit.__all__ if f"`tflsplit.{name}(" not in page and name != "__version__"]


def commands(group, words):
    """Every command below a group, with the words that a person types."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def said_calls(help_text):
    """The calls of a command's line `Python: …`, if it has one: (dotted name, call or None)."""
    for line in re.findall(r"Python: (.*)", help_text):
        first = ast.parse(line, mode="eval").body
        while inner := [node for node in ast.walk(getattr(first, "func", first)) if isinstance(node, ast.Call)]:
            first = inner[0]  # of `Edge(…).run(…)` the part that is looked up by its name
        is_call = isinstance(first, ast.Call)
        yield ast.unparse(first.func if is_call else first), first if is_call else None


@pytest.mark.parametrize(("words", "command"), tuple(commands(main.cli, "tflsplit")), ids=lambda value: str(value)[:40])
def test_what_a_command_is_in_python_can_be_called_so(words, command):
    for name, call in said_calls(command.help):
        root, _, attribute = name.rpartition(".")
        assert root == "tflsplit", f"{name} is no call of the root"
        assert attribute in tflsplit.__all__
        assert call is not None
        signature = inspect.signature(getattr(tflsplit, attribute))
        signature.bind(*call.args, **{option.arg: option.value for option in call.keywords})


def test_the_help_of_a_command_names_the_call_that_the_page_puts_beside_it():
    page = (CHECKOUT / "docs" / "python.md").read_text("utf-8")
    beside = dict(re.findall(r"^\| `tflsplit\.(\w+)\(.*\| `(tflsplit \w+)` \|$", page, re.MULTILINE))
    said = {words: [name for name, _ in said_calls(command.help)] for words, command in commands(main.cli, "tflsplit")}

    assert {words: names for words, names in said.items() if names} == {
        words: [f"tflsplit.{name}"] for name, words in beside.items()
    }
