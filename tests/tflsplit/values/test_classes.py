"""Each class is made twice, by the standard library and by ours, and has to do the same."""

import copy
import dataclasses
import inspect
import pickle
from typing import ClassVar

import pytest

from tflsplit.values import classes


def plain(dataclass):
    @dataclass(slots=True)
    class Plain:
        """Changes."""

        name: str
        sizes: list[int] = dataclasses.field(default_factory=list)
        count: int = 1

    return Plain


def frozen(dataclass):
    @dataclass(frozen=True, slots=True)
    class Frozen:
        """Stays."""

        kind: ClassVar[str] = "frozen"

        name: str
        secret: str = dataclasses.field(default="", repr=False)
        seen: int = dataclasses.field(default=0, compare=False)
        later: int | None = dataclasses.field(default=None, kw_only=True)
        twice: str = dataclasses.field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "twice", 2 * self.name)

        @property
        def size(self):
            return len(self.name)

    return Frozen


def identical(dataclass):
    @dataclass(frozen=True, eq=False, repr=False)
    class Identical:
        """Is equal to itself alone, and has a `__dict__`."""

        kind: ClassVar[str] = "identical"

        name: str

    return Identical


def inheriting(dataclass):
    base = identical(dataclass)

    @dataclass(frozen=True)
    class Inheriting(base):
        """Has a field more than what it comes from, and a way of its own to be shown."""

        more: tuple[int, ...] = ()

        def __repr__(self):
            return f"<{self.name}>"

    return Inheriting


MADE = {
    plain: [("a",), ("a", [1]), ("a", [1], 2)],
    frozen: [("a",), ("b",), ("a", "s"), ("a", "s", 5)],
    identical: [("a",), ("a",)],
    inheriting: [("a",), ("a", (1,))],
}


@pytest.fixture(params=MADE, ids=lambda kind: kind.__name__)
def both(request):
    """Ours, the standard's, and arguments."""
    return request.param(classes.dataclass), request.param(dataclasses.dataclass), MADE[request.param]


def test_classes_are_made_alike(both):
    ours, standard, _ = both

    def told(kind):
        fields = [(each.name, each.type, each.default, each.init, each.repr) for each in dataclasses.fields(kind)]
        return fields, getattr(kind, "__slots__", None), kind.__match_args__, kind.__doc__, kind.__hash__ is None

    assert told(ours) == told(standard)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(standard).parameters)


def test_values_are_compared_shown_and_taken_apart_alike(both):
    ours, standard, given = both

    def told(kind):
        made = [kind(*each) for each in given]
        equal = [[one == other for other in made] for one in made]
        shown = [repr(each) for each in made if "0x" not in repr(each)]
        return equal, shown, [dataclasses.asdict(each) for each in made]

    assert told(ours) == told(standard)


def test_hashes_are_those_of_equal_values():
    ours = frozen(classes.dataclass)

    assert {ours("a"), ours("a", "", 7), ours("b")} == {ours("a"), ours("b")}
    with pytest.raises(TypeError, match="unhashable"):
        hash(plain(classes.dataclass)("a"))


def test_each_value_gets_a_default_of_its_own():
    ours = plain(classes.dataclass)
    ours("a").sizes.append(1)

    assert ours("b").sizes == []


def test_a_frozen_value_refuses_changes_and_can_be_replaced():
    made = frozen(classes.dataclass)("a", later=3)

    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        made.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del made.name
    changed = dataclasses.replace(made, name="bb")
    assert (changed.later, changed.size, changed.twice, made.name) == (3, 2, "bbbb", "a")


def test_arguments_are_checked_as_of_any_function():
    ours = frozen(classes.dataclass)

    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'name'"):
        ours()
    with pytest.raises(TypeError, match="unexpected keyword argument 'twice'"):
        ours("a", twice="b")


@classes.dataclass(frozen=True, slots=True)
class Packed:
    name: str
    count: int = 2


def test_values_can_be_copied_and_pickled():
    assert pickle.loads(pickle.dumps(Packed("a"))) == copy.deepcopy(Packed("a")) == copy.copy(Packed("a"))


def test_methods_are_compiled_when_they_are_used():
    @classes.dataclass(frozen=True, slots=True)
    class Unused:
        name: str

    compiled = {name for name, member in vars(Unused).items() if inspect.isfunction(member)}
    assert not compiled & {"__init__", "__eq__", "__repr__", "__hash__"}
    assert repr(Unused("a")).endswith("Unused(name='a')")
