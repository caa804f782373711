"""Models that compute in another precision than float32, opened in float32, from which int8 is made.

Policies such as mixed_float16 stand in a Keras file's configuration, layer by layer; the weights are float32 or can be
cast.
"""

from typing import Any

from tflsplit import text

_OTHERS = frozenset({"mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"})


def in_float32(config: Any) -> tuple[Any, tuple[str, ...]]:
    """The configuration (parsed JSON) with float32 throughout, and what was changed."""
    found: list[str] = []
    changed = _changed(config, found)
    kinds = ", ".join(sorted(set(found)))
    note = f"{text.counted(len(found), 'layer')} in {kinds} became float32 before the model was quantised"
    return changed, (note,) if found else ()


def _changed(config: Any, found: list[str]) -> Any:
    if isinstance(config, list):
        return [_changed(entry, found) for entry in config]
    if not isinstance(config, dict):
        return config
    return {key: _float32(value, found) if key == "dtype" else _changed(value, found) for key, value in config.items()}


def _float32(policy: Any, found: list[str]) -> Any:
    """`dtype` is a name, or a policy with a name in it."""
    name = policy
    if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
        name = policy["config"].get("name")
    if not isinstance(name, str) or name not in _OTHERS:
        return policy
    found.append(name)
    return "float32"
