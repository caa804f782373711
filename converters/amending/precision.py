"""Models that compute in another precision than float32, opened in float32, from which int8 is made.

Policies such as mixed_float16 stand in a Keras file's configuration, layer by layer; the weights are float32 or can be
cast.
"""

import re
from typing import Any

from tflsplit import errors, text

_OTHERS = frozenset({"mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"})
# Policies of `model.quantize`: mode, and the policy that the layer had before.
_QUANTISED = re.compile(r"((?:int|float|gptq|awq)\w*?)(?:/\S+)?_from_", re.ASCII)


def in_float32(config: Any, file: str) -> tuple[Any, tuple[str, ...]]:
    """The configuration (parsed JSON) with float32 throughout, and what was changed.

    ModelError, naming `file`, for a layer whose weights are integers of Keras' own.
    """
    found: list[str] = []
    changed = _changed(config, found, file)
    kinds = ", ".join(sorted(set(found)))
    note = f"{text.counted(len(found), 'layer')} in {kinds} became float32 before the model was quantised"
    return changed, (note,) if found else ()


def _changed(config: Any, found: list[str], file: str) -> Any:
    if isinstance(config, list):
        return [_changed(entry, found, file) for entry in config]
    if not isinstance(config, dict):
        return config
    if (quantised := _QUANTISED.match(_name(config.get("dtype")))) is not None:
        raise errors.ModelError(
            f"{file}: layer {config.get('name')!r} was quantised to {quantised[1]} by Keras; convert the model as it "
            "was before quantize(), which tflsplit does itself"
        )
    return {
        key: _float32(value, found) if key == "dtype" else _changed(value, found, file) for key, value in config.items()
    }


def _name(policy: Any) -> str:
    """`dtype` is a name, or a policy with a name in it."""
    if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
        inner = policy["config"]
        policy = f"{inner['mode']}_from_{inner.get('source_name')}" if "mode" in inner else inner.get("name")
    return policy if isinstance(policy, str) else ""


def _float32(policy: Any, found: list[str]) -> Any:
    name = _name(policy)
    if name not in _OTHERS:
        return policy
    found.append(name)
    return "float32"
