"""Paths of options and arguments: what begins with ~ and is not there is below the home folder.

A shell replaces only what stands at the beginning of a word, and nothing behind `=` or in quotes.
"""

import os
from pathlib import Path
from typing import Any

import click

from tflsplit import arguments


class _FromHome(click.Path):
    def __init__(self, given: click.Path) -> None:
        vars(self).update(vars(given))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = os.fspath(value)
        is_at_home = isinstance(text, str) and text.startswith("~")
        return super().convert(str(arguments.beside(text, Path())) if is_at_home else value, param, ctx)


def begin_at_home(command: click.Command) -> None:
    """For every path that the command takes."""
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type = _FromHome(parameter.type)
