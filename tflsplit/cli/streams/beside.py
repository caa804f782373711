"""What is wrong with streams beside each other: names, and files that one of them alone can have. Pure."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edge_runtime.accelerators import choice
from tflsplit import errors

if TYPE_CHECKING:
    from tflsplit.cli.settings.merging import Merged


def problems(streams: "Sequence[Merged]", written: Iterable[str]) -> list[str]:
    """In words; `written` are the keys of files and folders that a stream writes."""
    found = [twice_named(name) for name in _twice([each.value("device") for each in streams])]
    found += [
        f"{key}: two streams write to {place}: give each a place of its own"
        for key in written
        for place in _twice([each.value(key) for each in streams])
    ]
    if any(each.value("accelerator") == choice.AUTO for each in streams):
        found.append(str(automatic()))
    return found


def twice_named(name: str) -> str:
    return f"two streams are of device {name!r}: each needs a name of its own"


def automatic() -> errors.SettingsError:
    return errors.SettingsError("accelerator auto: several streams share one accelerator, so name it")


def _twice(values: Sequence[Any]) -> list[Any]:
    return sorted({each for each in values if each is not None and values.count(each) > 1})
