"""The help of every command: examples that can be typed, and a first page that fits a terminal."""

import pathlib
import re
import shlex

import click
import pytest

from tflsplit.cli import main
from tflsplit.cli.options import units

COLUMNS = 80


def commands():
    pending = [("tflsplit", main.cli)]
    while pending:
        words, command = pending.pop()
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            pending += [
                (f"{words} {name}", command.get_command(context, name)) for name in command.list_commands(context)
            ]


COMMANDS = dict(commands())
LEAVES = {words: command for words, command in COMMANDS.items() if not isinstance(command, click.Group)}


def page(words, command):
    return command.get_help(click.Context(command, info_name=words, terminal_width=COLUMNS, max_content_width=COLUMNS))


def examples(words, command):
    """The commands at the end of a help page, as a shell would join their lines."""
    _, _, shown = page(words, command).partition("\n  Example")
    return re.sub(r"\\\n\s*", "", shown.partition(":\n")[2]).splitlines()


def parsed(words):
    """The values that click makes of a command line, without the callbacks that read files."""
    command, context = main.cli, click.Context(main.cli, info_name="tflsplit")
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None
        context = click.Context(command, parent=context)
    found, left, _ = command.make_parser(context).parse_args(words)
    assert not left
    given = {name: value for name, value in found.items() if isinstance(value, str | bool | list | tuple)}
    for parameter in command.params:
        if parameter.name in given:
            parameter.type_cast_value(context, given[parameter.name])
    return command, given


def test_every_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    types = [
        parameter.type
        for command in LEAVES.values()
        for parameter in command.params
        if isinstance(parameter.type, click.Path) and not parameter.type.exists
    ]
    assert len(types) > 50
    assert {str(each.convert("~/a b", None, None)) for each in types} == {str(tmp_path / "a b")}
    assert {str(each.convert("~of-nobody/x", None, None)) for each in types} == {"~of-nobody/x"}
    pathlib.Path("~").mkdir()
    pathlib.Path("~/a b").touch()
    assert {str(each.convert("~/a b", None, None)) for each in types} == {"~/a b"}


@pytest.mark.parametrize("words", LEAVES)
def test_the_help_of_a_command_ends_with_examples_of_it_that_click_takes(words):
    lines = examples(words, LEAVES[words])

    assert lines
    for line in lines:
        program, *typed = shlex.split(line)
        command, given = parsed(typed)
        missing = [each.name for each in command.params if each.required and given.get(each.name) is None]
        assert program == "tflsplit"
        assert line.strip().startswith(words)
        assert command is LEAVES[words] or command.name == LEAVES[words].name
        assert not missing or "config" in given


@pytest.mark.parametrize("line", ["plan p --no-such-option", "plan p --objective beauty", "no-such-command", "slice"])
def test_an_example_that_is_wrong_would_be_found(line):
    command = given = None
    try:
        command, given = parsed(line.split())
    except (click.UsageError, AssertionError):
        return
    assert any(each.required and given.get(each.name) is None for each in command.params)


def test_the_first_page_groups_all_commands_in_lines_that_fit():
    shown = page("tflsplit", main.cli)

    for title, names in main.GROUPS.items():
        section = shown.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == list(names)
        assert all(line.split("  ")[-1] for line in section.splitlines())
    assert "..." not in shown.partition("Options:")[2]
    assert max(map(len, shown.splitlines())) <= COLUMNS
    summaries = {name: summary for group in main.GROUPS.values() for name, summary in group.items()}
    assert summaries == {name: COMMANDS[f"tflsplit {name}"].get_short_help_str(COLUMNS) for name in main.COMMANDS}


@pytest.mark.parametrize("words", COMMANDS)
def test_no_line_of_help_but_that_of_code_is_wider_than_a_terminal(words):
    lines = [line for line in page(words, COMMANDS[words]).splitlines() if not line.startswith("  Python: ")]

    assert not [line for line in lines if len(line) > COLUMNS]


@pytest.mark.parametrize("words", LEAVES)
def test_a_unit_is_written_the_same_way_at_every_command(words):
    """A time is TIME and a size SIZE, wherever it stands, and a default has its unit."""
    shown = page(words, LEAVES[words])
    options = [each for each in LEAVES[words].params if isinstance(each, click.Option)]
    quantities = [each for each in options if isinstance(each.type, units.Quantity)]

    assert not re.search(r"\b(FLOAT|INTEGER|RANGE|SECONDS|BYTES|MS|MB)\b", shown)
    assert not [each.name for each in options if re.match("(Seconds|Megabytes|Milliseconds) ", each.help)]
    assert [each.name for each in quantities if isinstance(each.default, int | float)] == []
    assert {each.type.name for each in quantities} <= {"time", "size", "rate", "share"}


@pytest.mark.parametrize("typed", ["10", "10s", "10000ms", "1e1"])
def test_a_time_may_have_a_unit(typed):
    for words, name in ((["profile"], "budget"), (["plan"], "rtt"), (["cloud"], "drain"), (["edge"], "keepalive")):
        command, given = parsed([*words, f"--{name}", typed])
        option = next(each for each in command.params if each.name == name)

        assert option.type_cast_value(click.Context(command), given[name]) == 10


@pytest.mark.parametrize(
    ("command", "option", "typed", "said"),
    [
        ("cloud", "--batch-window", "5", "give at most 1s"),
        ("edge", "--trace-limit", "100", "give at least 1M"),
        ("edge", "--keepalive", "1500ms", "give whole seconds"),
        ("edge", "--telemetry", "1y", "write a number with ms, s, m, h, d or w, as 90s"),
    ],
)
def test_a_quantity_that_cannot_be_meant_is_refused_with_what_can_be(command, option, typed, said):
    with pytest.raises(click.UsageError, match=said):
        parsed([command, option, typed])


@pytest.mark.parametrize("words", COMMANDS)
def test_the_first_sentence_of_a_command_and_the_help_of_an_option_are_sentences(words):
    command = COMMANDS[words]
    texts = [
        command.help.split("\n\n")[0],
        *(option.help for option in command.params if isinstance(option, click.Option)),
    ]

    assert not [text for text in texts if not re.match(r"[A-Z]|\w+:|`", text) or not text.rstrip().endswith((".", "…"))]
