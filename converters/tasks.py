"""What a model is for, and how its outputs are read: as the user says, else as these tell themselves."""

from collections.abc import Sequence

from converters.options import Options
from tflsplit import errors, text
from tflsplit.decoding import recognition
from tflsplit.decoding.forms import Decoding, Task
from tflsplit.graph import meanings
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.meanings import Meaning

_PLAIN = (None, Task.CLASSIFY)


def meanings_of(graph: Graph, options: Options) -> tuple[Meaning, ...]:
    """Of each output. Those that are decoded are plain values, and so is what regresses."""
    wished = None if options.task is None else options.task.task
    if wished not in _PLAIN or decoding_of(graph, options) is not None:
        return tuple(Meaning.VALUES for _ in graph.outputs)
    found = meanings.of_graph(graph, has_labels=options.has_classes)
    if wished is Task.CLASSIFY and all(meaning is Meaning.VALUES for meaning in found):
        shapes = ", ".join(str(graph.tensors[index].shape) for index in graph.outputs)
        raise errors.ModelError(f"--task classify: no output ({shapes}) is a row of scores; leave it out")
    return found


def decoding_of(graph: Graph, options: Options) -> Decoding | None:
    """How its outputs are decoded; ModelError where they have not the form that is wished."""
    inputs, outputs = graph.specs(graph.inputs), graph.specs(graph.outputs)
    return recognition.recognise(inputs, outputs, options.task, labels=len(options.labels))


def check_labels(labels: Sequence[str], decoding: Decoding, graph: Graph, name: str) -> None:
    """DataError where there are not as many labels as outputs that are decoded have classes."""
    taken = recognition.class_count(decoding, graph.specs(graph.outputs))
    if labels and taken is not None and len(labels) != taken:
        raise errors.DataError(
            f"{name}: {text.counted(len(labels), 'label')}, the model's output has {taken} classes; give one a line "
            "for each"
        )
