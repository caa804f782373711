"""Layers with code that only scale, such as `Lambda(lambda x: x / 127.5 - 1)`, replaced by Keras' Rescaling.

What a layer's code does cannot be known without running it, so whoever gives the file says so: its name, the factor and
what is added.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tflsplit import errors

_KEPT = ("name", "dtype", "batch_input_shape", "batch_shape")


def replaced(config: Any, scales: Mapping[str, tuple[float, float]], file: str) -> tuple[Any, tuple[str, ...]]:
    """The configuration (parsed JSON) with these layers as Rescaling, and a note for each; `file` is for messages.

    ModelError for a layer that is not there, or that has weights.
    """
    if not scales:
        return config, ()
    layers = [entry for entry in _layers(config) if _name(entry) in scales]
    missing = sorted(set(scales) - {_name(entry) for entry in layers})
    if missing:
        named = [_name(entry) for entry in _layers(config) if entry.get("class_name") == "Lambda"]
        hint = f"its Lambda layers are {', '.join(named)}" if named else "it has no Lambda layer"
        raise errors.ModelError(f"{file}: no layer {missing[0]!r} to replace; {hint}")
    for entry in layers:
        if entry.get("class_name") != "Lambda":
            raise errors.ModelError(
                f"{file}: layer {_name(entry)!r} is a {entry.get('class_name')}; --replace is for Lambda layers only"
            )
        scale, offset = scales[_name(entry)]
        kept = {key: entry["config"][key] for key in _KEPT if key in entry["config"]}
        entry["class_name"] = "Rescaling"
        entry["config"] = kept | {"scale": scale, "offset": offset}
        if "module" in entry:
            entry["module"] = "keras.layers"
        for call in entry.get("inbound_nodes") or ():
            if isinstance(call, dict):  # Keras 3 gives each Lambda a mask, which no Rescaling takes
                call.get("kwargs", {}).pop("mask", None)
    return config, tuple(f"layer {name!r} became x * {one:g} + {added:g}" for name, (one, added) in scales.items())


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["config"].get("name"))


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Every description of a layer, at any depth."""
    pending = [config]
    while pending:
        entry = pending.pop()
        if isinstance(entry, dict):
            if isinstance(entry.get("config"), dict) and "class_name" in entry:
                yield entry
            pending += entry.values()
        elif isinstance(entry, list):
            pending += entry
