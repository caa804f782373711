"""Inputs that a model casts before it does anything else, given in the type it computes on.

TF-Hub's detectors take uint8 and cast it to float, Keras' Embedding takes floats and casts them to int32: an int8 model
has no kernel for either cast, and needs none.
"""

from collections.abc import Callable
from typing import Any

from converters.loading import quiet, rewrites
from converters.loading.model import LoadedModel
from tflsplit.values.classes import replace


def with_numbers_it_computes_on(model: LoadedModel) -> LoadedModel:
    """The model with another type for inputs of which it only uses a cast; the model itself where it has none."""
    types = [_cast_to(tensor) for tensor in model.concrete_function().inputs]
    if not any(types):
        return model
    inputs = tuple(replace(entry, dtype=kind or entry.dtype) for entry, kind in zip(model.inputs, types, strict=True))
    pairs = zip(model.inputs, types, strict=True)
    notes = tuple(f"input {entry.name!r} takes {kind} instead of {entry.dtype}" for entry, kind in pairs if kind)
    return replace(model, inputs=inputs, call=_casting(model, types), notes=(*model.notes, *notes))


def _cast_to(tensor: Any) -> str | None:
    """The type that all users of an input cast it to, if there is one."""
    users = tensor.consumers()
    while len(users) == 1 and users[0].type == "Identity":
        users = users[0].outputs[0].consumers()
    kinds = {user.outputs[0].dtype.name for user in users if user.type == "Cast"}
    is_cast = len(kinds) == 1 and all(user.type == "Cast" for user in users)
    pair = (tensor.dtype.name, *kinds)
    return next(iter(kinds)) if is_cast and pair in _CASTS else None


_CASTS = frozenset(
    {
        *((kind, "float32") for kind in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")),
        *((kind, "float32") for kind in ("float16", "bfloat16", "float64")),
        ("float32", "int32"),
        ("float32", "int64"),
    }
)


def _casting(model: LoadedModel, types: list[str | None]) -> Callable[..., Any]:
    def call(*tensors: Any) -> Any:
        tf = quiet.tensorflow()
        given = [
            tensor if kind is None else tf.cast(tensor, entry.dtype, name=rewrites.INPUT_TYPE)
            for tensor, entry, kind in zip(tensors, model.inputs, types, strict=True)
        ]
        return model.call(*given)

    return call
