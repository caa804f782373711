"""What the names in a Keras file stand for: objects that come with Keras, though its loader would not find them, and
classes and functions of the author's own, which no file holds.

ConvNeXt and InceptionResNetV2 of keras.applications have layers of their own; tf-keras lacks one activation of Keras 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from converters.loading import quiet
from tflsplit import text

# Class: the module of keras.applications that has it.
OF_APPLICATIONS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}

EXPORT = (
    'export the model as a SavedModel (model.export("folder"), in Keras 2 model.save("folder")) where it was made, '
    "and convert that folder"
)
_MODELS = ("Functional", "Sequential", "Model")
# Where a configuration keeps other layers.
_INNER = ("layers", "layer", "cell", "cells", "backward_layer")
_FUNCTIONS = ("activation", "recurrent_activation")


def objects(library: Any) -> Mapping[str, Any]:
    """By the names that files have; `library` is the module of either Keras."""
    root = f"{library.__name__}.src.applications"
    found = {name: getattr(import_module(f"{root}.{module}"), name) for name, module in OF_APPLICATIONS.items()}
    found |= {f"Custom>{name}": layer for name, layer in found.items()}  # as tf-keras registers one of them
    return found if hasattr(library.activations, "hard_silu") else found | {"hard_silu": _hard_swish}


def _hard_swish(x: Any) -> Any:
    """Howard et al., arXiv 1905.02244: x * relu6(x + 3) / 6."""
    return x * quiet.tensorflow().nn.relu6(x + 3.0) / 6.0


def told(config: Any, libraries: Sequence[Any]) -> str | None:
    """A sentence on the classes and functions that none of these Kerases has, and what to do; None without any.

    Asked only after no loader opened the file: it names the cause where the loaders print the whole model.
    """
    found = list(dict.fromkeys(_missing(config, "the model", libraries, is_listed=True)))
    if not found:
        return None
    named = ", ".join(found[:3]) + (f" and {text.counted(len(found) - 3, 'other')}" if len(found) > 3 else "")
    return f"{named}: not of Keras, and a file holds no code of its author's; {EXPORT}"


def _missing(entry: Any, place: str, libraries: Sequence[Any], *, is_listed: bool = False) -> Iterator[str]:
    if isinstance(entry, list):
        for one in entry:
            yield from _missing(one, place, libraries, is_listed=is_listed)
    if not isinstance(entry, dict):
        return
    name, inner = entry.get("class_name"), entry.get("config")
    if isinstance(name, str):
        own = inner.get("name") if isinstance(inner, dict) else None
        here = f"layer {own!r}" if isinstance(own, str) and place != "the model" else place
        if name == "function":
            yield from _function(inner, here, libraries)
        elif (is_listed or entry.get("registered_name")) and not _has_class(name, libraries):
            yield f"{here} (class {name.split('>')[-1]})"
        place = here if here != "the model" else ""
    for key, value in entry.items():
        if key in _FUNCTIONS and isinstance(value, str):
            yield from _function(value, place, libraries)
        elif key not in ("build_config", "compile_config"):
            yield from _missing(value, place, libraries, is_listed=key in _INNER)


def _function(name: Any, place: str, libraries: Sequence[Any]) -> Iterator[str]:
    if isinstance(name, str) and not any(_has_function(name, library) for library in libraries):
        yield f"{place} (function {name.split('>')[-1]})"


def _has_class(name: str, libraries: Sequence[Any]) -> bool:
    return name in _MODELS or any(
        hasattr(library.layers, name) or hasattr(library, name) or name in objects(library) for library in libraries
    )


def _has_function(name: str, library: Any) -> bool:
    try:
        return name in objects(library) or callable(library.activations.get(name))
    except (ValueError, TypeError):
        return False
