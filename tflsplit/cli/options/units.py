"""The types of options with a unit: times, sizes, bandwidths and shares, written the same way at every command.

Help shows TIME, SIZE, RATE and SHARE for them, N for what is counted, and NUMBER for what is left.
"""

from collections.abc import Callable
from typing import Any

import click

from tflsplit import errors, quantities


class Quantity(click.ParamType[Any]):
    """`least` and `most` are written as on the command line; with `is_whole` only whole numbers of the unit are taken,
    and given as int."""

    def __init__(
        self,
        name: str,
        parse: Callable[[str | float, str], float],
        *,
        least: str | None = None,
        most: str | None = None,
        is_whole: bool = False,
    ) -> None:
        self.name = name
        self._parse = parse
        self._least, self._most, self._is_whole = least, most, is_whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = self._parse(value, self.name)
        except errors.SettingsError as problem:
            self.fail(str(problem), param, ctx)
        if self._least is not None and found < self._parse(self._least, self.name):
            self.fail(f"{value}: give at least {self._least}", param, ctx)
        if self._most is not None and found > self._parse(self._most, self.name):
            self.fail(f"{value}: give at most {self._most}", param, ctx)
        if self._is_whole and found != int(found):
            self.fail(f"{value}: give whole seconds", param, ctx)
        return int(found) if self._is_whole else found


def time(*, least: str | None = None, most: str | None = None, is_whole: bool = False) -> Quantity:
    """Seconds, from `10`, `10s`, `500ms`, `2m`."""
    return Quantity("time", quantities.parse_duration, least=least, most=most, is_whole=is_whole)


def size(*, least: str | None = None) -> Quantity:
    """Bytes, from `4096`, `512M`, `1G`."""
    return Quantity("size", quantities.parse_bytes, least=least)


TIME, SIZE = time(), size()
RATE = Quantity("rate", quantities.parse_bandwidth)
SHARE = Quantity("share", quantities.parse_share)


def name_numbers(command: click.Command) -> None:
    """Gives options with bare numbers a word in the help that says no more than that."""
    for parameter in command.params:
        if parameter.metavar is None and isinstance(parameter, click.Option) and not parameter.is_flag:
            if isinstance(parameter.type, type(click.INT)):
                parameter.metavar = "N"
            elif isinstance(parameter.type, type(click.FLOAT)):
                parameter.metavar = "NUMBER"
