"""The standard library's data classes, with methods that are compiled when they are first looked up.

`dataclasses` compiles up to six methods where a class is defined, whether or not anyone calls them: for the seventy
classes that an edge loads, that was a third of what it did beyond a bare script until its first frame. A class from
here is the same, but for `InitVar`, which it does not know.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, astuple, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, get_origin

__all__ = ["asdict", "astuple", "dataclass", "field", "fields", "replace"]

_DESCRIBING = ("__match_args__", "__dataclass_fields__", "__dataclass_params__")


def _dataclass(
    cls: Any = None, *, frozen: bool = False, slots: bool = False, eq: bool = True, repr: bool = True
) -> Any:
    """As `dataclasses.dataclass`, of whose options it has those that this project uses."""
    if cls is None:
        return partial(_dataclass, frozen=frozen, slots=slots, eq=eq, repr=repr)
    names = [name for name, kind in cls.__annotations__.items() if get_origin(kind) is not ClassVar]
    written = {name: member for name, member in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    written["__qualname__"] = cls.__qualname__
    members = {name: member for name, member in written.items() if name not in names}
    if slots:
        members |= {"__slots__": tuple(names), "__getstate__": _state, "__setstate__": _set_state}
    if frozen:
        members |= {"__setattr__": _refuse, "__delattr__": _refuse}

    def copy(wanted: Sequence[str], **options: bool) -> None:
        whole = dataclasses.dataclass(**options)(type(cls)(cls.__name__, cls.__bases__, dict(written)))
        for name in wanted:
            setattr(made, name, vars(whole)[name])

    def initialise() -> None:
        made.__init__ = _initialiser(made, {name: written.get(name, MISSING) for name in names}, is_frozen=frozen)

    asked = {"__repr__": repr, "__eq__": eq, "__hash__": eq and frozen}
    compared = [name for name, is_asked in asked.items() if is_asked and members.get(name) is None]
    describe = partial(copy, _DESCRIBING, init=False, eq=False, repr=False)
    compare = partial(copy, compared, init=False, unsafe_hash="__hash__" in compared)
    for made_by, wanted in ((initialise, ("__init__",)), (describe, _DESCRIBING), (compare, compared)):
        members |= {name: _Later(name, made_by) for name in wanted}
    if eq:
        members.setdefault("__hash__", None)  # of values that change
    made = type(cls)(cls.__name__, cls.__bases__, members)
    return made


class _Later:
    """A member of a class that is there once `make` has run."""

    def __init__(self, name: str, make: Callable[[], None]) -> None:
        self._name, self._make = name, make

    def __get__(self, instance: object, owner: type) -> Any:
        self._make()
        return getattr(owner if instance is None else instance, self._name)


class _Anew:
    """Stands for what is made anew for each value that is given without it."""

    def __repr__(self) -> str:
        return "<factory>"


_ANEW = _Anew()


def _initialiser(made: Any, own: dict[str, Any], *, is_frozen: bool) -> Any:
    """`__init__` of a class with these fields: each with its default, a description of it, or MISSING."""
    scope: dict[str, Any] = {"put": object.__setattr__, "anew": _ANEW}
    arguments, named, lines = ["self"], ["*"], []
    bases = filter(dataclasses.is_dataclass, made.__mro__[:0:-1])
    inherited = {entry.name: entry for base in bases for entry in fields(base)}
    for name, entry in (inherited | own).items():
        told = entry if isinstance(entry, Field) else field(default=entry)
        value, is_made = name, told.default_factory is not MISSING
        scope |= {f"make_{name}": told.default_factory, f"default_{name}": told.default}
        has_default = is_made or told.default is not MISSING
        default = "anew" if is_made else f"default_{name}"
        if told.init:
            (named if told.kw_only is True else arguments).append(f"{name}={default}" if has_default else name)
        elif has_default:
            value = default
        else:
            continue
        if is_made:
            value = f"make_{name}() if {value} is anew else {value}"
        lines.append(f"put(self, {name!r}, {value})" if is_frozen else f"self.{name} = {value}")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    given = ", ".join([*arguments, *(named if len(named) > 1 else ())])
    code = f"def __init__({given}):\n " + "\n ".join(lines or ["pass"])
    exec(code, scope)  # noqa: S102 - as `dataclasses` does; all that is in it is names of fields
    scope["__init__"].__qualname__ = f"{made.__qualname__}.__init__"
    return scope["__init__"]


def _refuse(self: object, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, entry.name) for entry in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for entry, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, entry.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
