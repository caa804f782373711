"""Refusals in the words of who made the call: the library names options of the command line, a call has arguments.

Only what the call really takes is named anew, and nothing within backticks, where commands to type stand.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

from tflsplit import errors

_OPTION = re.compile(r"(`[^`]*`)|--([a-z][a-z-]*)")


def in_python(call: Any) -> Any:
    """A public call, or a class whose instances are made by one, that says its arguments' names where it refuses."""
    if inspect.isclass(call):
        setattr(call, "__init__", _worded(call.__init__))  # noqa: B010 - to a type checker it is no variable
        return call
    return _worded(call)


def _worded(function: Callable[..., Any]) -> Callable[..., Any]:
    parameters = inspect.signature(function).parameters

    def named(found: re.Match[str]) -> str:
        name = (found[2] or "").replace("-", "_")
        if name not in parameters:
            return found[0]
        return f"{name}=True" if isinstance(parameters[name].default, bool) else f"{name}="

    @functools.wraps(function)
    def worded(*arguments: Any, **others: Any) -> Any:
        try:
            return function(*arguments, **others)
        except errors.TflsplitError as refused:
            refused.args = tuple(_OPTION.sub(named, each) if isinstance(each, str) else each for each in refused.args)
            raise

    return worded
