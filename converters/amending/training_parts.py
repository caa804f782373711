"""What a layer has for training alone, left out where its author wrote it: a finished model needs none of it.

Initialisers give values that the file's weights replace; regularisers and constraints act while a model is trained.
"""

from typing import Any

_PARTS = ("_initializer", "_regularizer", "_constraint")
# What Keras has itself, by the names that it writes; another is its author's, whatever it is.
_OF_KERAS = frozenset(
    """Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform
    Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm""".split()  # noqa: SIM905 - a table of words
)
_SPELLED = frozenset(name.lower() for name in _OF_KERAS)


def left_out(config: Any) -> tuple[Any, bool]:
    """The configuration (parsed JSON) without parts that are their author's own, and whether there were any."""
    if isinstance(config, list):
        entries = [left_out(entry) for entry in config]
        return [entry for entry, _ in entries], any(was for _, was in entries)
    if not isinstance(config, dict):
        return config, False
    found: dict[str, Any] = {}
    was_any = False
    for key, value in config.items():
        if key.endswith(_PARTS) and not _is_of_keras(value):
            found[key], was = None, True
        else:
            found[key], was = left_out(value)
        was_any = was_any or was
    return found, was_any


def _is_of_keras(part: Any) -> bool:
    name = part.get("class_name") if isinstance(part, dict) else part
    if part is None:
        return True
    return isinstance(name, str) and (name in _OF_KERAS or name.replace("_", "").lower() in _SPELLED)
