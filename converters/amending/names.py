"""Names of other packages for layers and activations that Keras has under names of its own.

`efficientnet` writes FixedDropout, which differs from Dropout in training alone; models of MobileNetV3 from many hands
call hard swish by one of these names.
"""

from typing import Any

_CLASSES = {"FixedDropout": "Dropout", "BatchNormalizationV1": "BatchNormalization"}
_FUNCTIONS = {"h_swish": "hard_silu", "hswish": "hard_silu", "hard_swish": "hard_silu", "HardSwish": "hard_silu"}


def of_keras(config: Any) -> tuple[Any, bool]:
    """The configuration (parsed JSON) with Keras' names, and whether there were others."""
    if isinstance(config, list):
        entries = [of_keras(entry) for entry in config]
        return [entry for entry, _ in entries], any(was for _, was in entries)
    if not isinstance(config, dict):
        return config, False
    changed = {key: of_keras(value) for key, value in config.items()}
    made = {key: value for key, (value, _) in changed.items()}
    was_any = any(was for _, was in changed.values())
    name = str(made.get("class_name")).rsplit(">", 1)[-1]
    if name in _CLASSES:
        made["class_name"], made["registered_name"], was_any = _CLASSES[name], None, True
        if "module" in made:
            made["module"] = "keras.layers"
    for key, value in made.items():
        if key.endswith("activation") and _named(value) in _FUNCTIONS:
            made[key], was_any = _FUNCTIONS[_named(value)], True
    return made, was_any


def _named(activation: Any) -> str:
    is_function = isinstance(activation, dict) and activation.get("class_name") == "function"
    name = activation.get("config") if is_function else activation
    return name.rsplit(">", 1)[-1] if isinstance(name, str) else ""
