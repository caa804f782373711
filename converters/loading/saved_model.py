"""Opens SavedModel directories: their serving signature, retraced for one sample. No Python of theirs runs.

A SavedModel is a program of TensorFlow operations, some of which read and write files; its graph is checked before it
is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.loading import quiet, saved_graph
from converters.loading.inputs import InputShapes, given_shapes, static_input
from converters.loading.model import LoadedModel
from tflsplit import errors


def load(path: Path, *, input_shapes: InputShapes, allow_unsafe: bool, signature: str | None = None) -> LoadedModel:
    """As `formats.load`, for a SavedModel directory."""
    tf = quiet.tensorflow()
    if not allow_unsafe:
        saved_graph.check(path)
    with quiet.silenced():
        try:
            saved = tf.saved_model.load(str(path))
        except Exception as cause:
            raise errors.ModelError(
                f"{path}: TensorFlow cannot load this SavedModel ({quiet.reason(cause)})"
            ) from cause
    name, function = _chosen_signature(saved.signatures, signature, path)
    declared = function.structured_input_signature[1]
    names = _input_order(function)
    given = given_shapes(input_shapes, names, str(path))
    inputs = []
    for entry in names:
        if declared[entry].shape.rank is None:
            raise errors.ModelError(
                f"{path}: input {entry!r} of signature {name!r} has no known rank; export it with one"
            )
        if declared[entry].shape.rank == 0:
            raise errors.ModelError(
                f"{path}: input {entry!r} of signature {name!r} is one value for all samples; export a signature in "
                "which it is a constant, or has a batch"
            )
        shape = tuple(declared[entry].shape.as_list())
        inputs.append(static_input(entry, shape, declared[entry].dtype.name, given.get(entry), str(path)))
    output_names = tuple(function.structured_outputs)

    def call(*tensors: Any, owner: Any = saved) -> Any:  # `owner`: the variables live as long as the loaded object
        outputs = function(**dict(zip(names, tensors, strict=True)))
        return [outputs[entry] for entry in output_names]

    return LoadedModel(path, "saved_model", f"tensorflow {tf.__version__}", tuple(inputs), output_names, call)


def _chosen_signature(signatures: Mapping[str, Any], wanted: str | None, path: Path) -> tuple[str, Any]:
    names = list(signatures)
    chosen = wanted or (names[0] if len(names) == 1 else "serving_default")
    if chosen in names:
        return chosen, signatures[chosen]
    if not names:
        raise errors.ModelError(
            f'{path}: has no signature, so nothing says what its inputs are; export it with model.export("folder")'
        )
    missing = f"no signature {wanted!r}" if wanted else "several signatures and no 'serving_default'"
    raise errors.ModelError(f"{path}: {missing}; say --signature with one of {', '.join(names)}")


def _input_order(signature: Any) -> list[str]:
    """Keyword inputs have no order of their own; that of the function's arguments is the model's."""
    declared = list(signature.structured_input_signature[1])
    positions = {tensor.op.name.split("/")[-1]: index for index, tensor in enumerate(signature.inputs)}
    return sorted(declared, key=lambda name: positions.get(name, len(positions)))
