"""What a conversion can be refused for before the model is quantised, which is what takes the time.

Which operators there are, and so which cuts, is known only afterwards: names of operators and of tensors are checked
then, by the pipeline.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from converters import tasks
from converters.amending import recurrence
from converters.edgetpu import target
from converters.float_model import endings
from converters.loading import formats
from converters.loading.formats import Format
from converters.loading.model import LoadedModel
from converters.options import Options
from tflsplit import errors, text
from tflsplit.decoding.forms import Task
from tflsplit.graph import meanings
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import DTYPE_OF_CODE
from tflsplit.inputs import pictures
from tflsplit.inputs import samples as inputs_samples

_OPERATOR = re.compile(r"op\d{3,}", re.ASCII)
_BRANCHES = {
    "WHILE": (
        "a loop",
        "convert the Keras model it was made from, whose recurrent layers are unrolled, or export that unrolled",
    ),
    "IF": ("a choice", "export the model with the branch alone that inference takes"),
    "CALL": ("a function", "export the model frozen"),
    "CALL_ONCE": ("a function", "export the model frozen"),
}
_NO_LAYERS = ("input", "output", target.CUT)


def before_loading(source: Path, options: Options) -> None:
    """ModelError or DataError for what the files say without being opened by anybody's library."""
    kind = formats.recognise(source)
    if options.requires_calibration and options.calibration is None and kind is not Format.TFLITE:
        raise errors.DataError(
            f"{source}: --require-calibration, but no data; give --calibration a folder, .npy, .npz or .csv"
        )
    if isinstance(options.calibration, Path):
        inputs_samples.check_kind(options.calibration)


def before_quantising(model: LoadedModel, options: Options) -> None:
    """DataError or CutError for what the loaded model says."""
    found = endings.of_function(model.concrete_function(), has_labels=bool(options.labels))
    counts = [meanings.label_count(meaning, shape) for meaning, shape in found]
    # Outputs may change their order in conversion, so with several the last word is the pipeline's.
    is_plain = options.task is None or options.task.task in (Task.CLASSIFY, Task.REGRESS)
    if is_plain and len(options.labels) not in counts:
        check_labels(options.labels, counts, options.labels_name)
    for name in options.split_at:
        _check_layer(name, model)


def after_quantising(source: Path, graph: Graph, model: LoadedModel | None, options: Options) -> None:
    """ModelError or DataError for what only the int8 model says."""
    check_computes(graph, str(source))
    check_labels_of(options, graph, options.labels_name)
    if options.stateful:
        check_keeps_state(source, graph, model)


def check_is_one_model(graph: Graph, name: str) -> None:
    """ModelError for a `.tflite` of several models, each with a signature of its own."""
    found = {
        one.subgraphIndex: (one.signatureKey or b"").decode(errors="replace")
        for one in graph.source.signatureDefs or ()
    }
    if len(found) > 1:
        raise errors.ModelError(
            f"{name}: holds {len(found)} models, by their signatures {', '.join(found.values())}; write the one "
            "to be split alone (signature_keys of from_saved_model; of a SavedModel, convert takes --signature NAME)"
        )


def check_computes(graph: Graph, name: str) -> None:
    """ModelError for a model that is an empty shell."""
    lacking = [what for what in ("inputs", "operators", "outputs") if not getattr(graph, what)]
    if lacking:
        raise errors.ModelError(f"{name}: computes nothing, it has no {' and no '.join(lacking)}; give a whole model")


def check_has_no_branches(graph: Graph, name: str) -> None:
    """ModelError for a `.tflite` whose loops or choices compute in float: no quantiser goes into them."""
    found = next((one for one in graph.operators if one.name in _BRANCHES), None)
    others = graph.source.subgraphs[1:]
    is_float = any(
        DTYPE_OF_CODE.get(tensor.type, "").startswith("float") for other in others for tensor in other.tensors
    )
    if found is not None and is_float:
        what, remedy = _BRANCHES[found.name]
        raise errors.ModelError(
            f"{name}: operator {found.index} ({found.name}) is {what} in float, which cannot be quantised; {remedy}"
        )


def check_labels_of(options: Options, graph: Graph, name: str) -> None:
    """As `check_labels`, of a `.tflite`."""
    decoding = tasks.decoding_of(graph, options)
    if decoding is not None:
        tasks.check_labels(options.labels, decoding, graph, name)
        return
    found = tasks.meanings_of(graph, options)
    shapes = (graph.tensors[index].shape for index in graph.outputs)
    check_labels(options.labels, [meanings.label_count(*each) for each in zip(found, shapes, strict=True)], name)


def check_pixels_are_told(source: Path, graph: Graph, options: Options) -> None:
    """SettingsError for int16 pictures that nobody says how to make: int16 has far more steps than pixels, around 0."""
    inputs = graph.specs(graph.inputs)
    is_picture = len(inputs) == 1 and pictures.is_picture(inputs[0].shape)
    if is_picture and inputs[0].dtype == "int16" and options.preprocessing is None:
        raise errors.SettingsError(
            f"{source}: its pictures are int16, and nothing in the file says how pixels become them; say it: "
            "--preprocess unit, symmetric or SCALE,OFFSET"
        )


def check_keeps_state(source: Path, graph: Graph, model: LoadedModel | None) -> None:
    """ModelError where not all that the model would remember is kept by operators of the int8 model."""
    if not graph.variables:
        raise errors.ModelError(
            f"{source}: --stateful, but no operator of the int8 model keeps anything from one run to the next, as an "
            "LSTM layer that becomes one operator does; leave it out, or make the state an input and an output"
        )
    keras_model = None if model is None else model.keras_model
    forgetful = [] if keras_model is None else recurrence.unrolled(keras_model)
    if forgetful:
        raise errors.ModelError(
            f"{source}: --stateful, but {text.counted(len(forgetful), 'recurrent layer')} ({', '.join(forgetful[:3])}) "
            "became single steps, which keep nothing from one frame to the next; give the model their state as an "
            "input and an output"
        )


def check_labels(labels: Sequence[str], counts: Sequence[int | None], name: str) -> None:
    """There must be as many labels as the first output that has some takes: one too few, or an extra line, would name
    all later classes wrongly. `counts` has None for an output of which that is not known; `name` is the labels' own."""
    taken = next((count for count in counts if count != 0), 0)
    given = text.counted(len(labels), "label")
    if not labels or not counts or taken is None or taken == len(labels):
        return
    if taken == 0:
        raise errors.DataError(
            f"{name}: {given}, the model's output is a plain number, which has none; leave --labels out"
        )
    raise errors.DataError(
        f"{name}: {given}, the model's output has {taken} classes; give one a line for each"
        + (", first the one of values below 0.5" if taken == 2 else "")
    )


def _check_layer(name: str, model: LoadedModel) -> None:
    layers = {tap.layer for tap in model.layers}
    if not layers or name in layers or name in _NO_LAYERS or _OPERATOR.fullmatch(name) or set(name) & set("/:;"):
        return
    if any(name == operation.name for operation in model.concrete_function().graph.get_operations()):
        return  # tensors are called after them
    near = " or ".join(difflib.get_close_matches(name, sorted(layers), n=2, cutoff=0.0))
    raise errors.CutError(f"no cut or layer {name!r} in this model; did you mean {near}?")
