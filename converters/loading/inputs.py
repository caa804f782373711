"""A model's inputs with every dimension fixed, batch 1: TFLite for accelerators has no other kind."""

from collections.abc import Mapping, Sequence

from tflsplit import arguments, errors
from tflsplit.inputs import pictures
from tflsplit.values.classes import dataclass

_NO_NUMBERS = {"string": "texts", "complex64": "complex numbers", "complex128": "complex numbers"}
InputShapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Input:
    """A model input with its static shape, batch 1 included."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_picture(self) -> bool:
        """Whether it has height, width and 1 or 3 channels."""
        return pictures.is_picture(self.shape)


def given_shapes(shapes: InputShapes, names: Sequence[str], file: str) -> dict[str, tuple[int, ...]]:
    for shape in shapes.values() if isinstance(shapes, Mapping) else shapes:
        if isinstance(shape, str) or not isinstance(shape, Sequence) or not all(isinstance(n, int) for n in shape):
            raise arguments.wrong("input shape", shape, "a sequence of whole numbers")
    if isinstance(shapes, Mapping):
        unknown = sorted(set(shapes) - set(names))
        if unknown:
            raise errors.ModelError(f"{file}: no input {unknown[0]!r}; its inputs are {', '.join(names)}")
        return {name: tuple(shape) for name, shape in shapes.items()}
    if len(shapes) > len(names):
        raise errors.ModelError(f"{file}: {len(shapes)} input shapes given, the model has {len(names)} inputs")
    return {name: tuple(shape) for name, shape in zip(names, shapes, strict=False)}


def static_input(
    name: str, declared: tuple[int | None, ...], dtype: str, given: tuple[int, ...] | None, file: str
) -> Input:
    """The input with batch 1 and every dimension fixed; ModelError if the model and `given` leave one open.

    ModelError also for an input of texts or complex numbers.
    """
    if dtype in _NO_NUMBERS:
        raise errors.ModelError(
            f"{file}: input {name!r} takes {_NO_NUMBERS[dtype]}, int8 models take real numbers: do what comes first "
            "(look-up, spectrum) before the model, and convert what is behind it"
        )
    rest = declared[1:]  # whatever the batch was, one sample at a time is run
    if given is None:
        if None in rest:
            example = ",".join(str(extent or (224 if len(rest) == 3 else 32)) for extent in rest)
            raise errors.ModelError(
                f"{file}: input {name!r} is {declared}, its size is not fixed; say it, as in --input-shape {example}"
            )
        given = tuple(int(extent) for extent in rest if extent is not None)
    if len(given) != len(rest) or any(want not in (None, have) for want, have in zip(rest, given, strict=False)):
        raise errors.ModelError(
            f"{file}: input {name!r} is {declared}, which --input-shape {','.join(map(str, given))} is not"
        )
    return Input(name, (1, *given), dtype)
