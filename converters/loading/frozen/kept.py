"""Variables that a run changes: left alone where no result depends on them, refused by the caller where one does.

Keras 3 moves the seeds of its random layers on in every run, whether anything is drawn then or not. A model that is
made of constants can keep nothing: what it only writes is left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from converters.loading import quiet
from converters.loading.frozen.graph import called_by, node_name

_WRITES = re.compile(r"Assign\w*VariableOp|ResourceScatter\w*")
_COUNTS = "RngReadAndSkip"  # gives the state that a random generator was in, and moves it on
_RENAMED = "unchanging_"  # TensorFlow knows functions by their names, and would call the one that it has


def written(traced: Any) -> Mapping[str, tuple[str, str]]:
    """The captured variables that a run of a traced function changes: by the name of each in its graph, the name and
    the kind of an operation that does."""
    definition = traced.graph.as_graph_def()
    bodies = {function.signature.name: function for function in definition.library.function}
    captured = {internal.op.name: internal.op.name for _, internal in traced.graph.captures}
    return dict(_writes(definition.node, captured, bodies))


def _writes(
    nodes: Sequence[Any], captured: Mapping[str, str], bodies: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """`captured` has, for those of these nodes' sources that are captured variables, their names in the graph."""
    passed_on = {node.name: node.input[0] for node in nodes if node.op == "Identity"}
    for node in nodes:
        sources = [_captured(source, captured, passed_on) for source in node.input if not source.startswith("^")]
        if (_WRITES.fullmatch(node.op) or node.op == _COUNTS) and sources[0]:
            yield sources[0], (node.name, node.op)
        for body in (bodies[name] for name in called_by(node) if name in bodies):
            arguments = [argument.name for argument in body.signature.input_arg]
            taken = sources[len(sources) - len(arguments) :]  # before them a choice takes what it goes by
            yield from _writes(body.node_def, dict(zip(arguments, taken, strict=True)), bodies)


def _captured(source: str, captured: Mapping[str, str], passed_on: Mapping[str, str]) -> str:
    while node_name(source) in passed_on:
        source = passed_on[node_name(source)]
    return captured.get(node_name(source), "")


def without_writes(traced: Any, specs: Sequence[Any]) -> Any:
    """The function without the operations that change variables; `specs` describe its inputs."""
    tf = quiet.tensorflow()
    definition = traced.graph.as_graph_def()
    functions = definition.library.function
    names = {function.signature.name for function in functions}
    _leave_out_writes(definition.node, names)
    for function in functions:
        gone = _leave_out_writes(function.node_def, names)
        for ended in [name for name, node in function.control_ret.items() if node in gone]:
            del function.control_ret[ended]
            function.signature.control_output.remove(ended)
        function.signature.name = _RENAMED + function.signature.name
    used = {node_name(source) for node in definition.node for source in node.input}

    def body(*tensors: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        for variable in traced.graph.variables:
            graph.watch_variable(variable)
        given = dict(zip((tensor.name for tensor in traced.inputs), tensors, strict=False))
        captured = {entry.name: graph.capture(outside, name=entry.op.name) for outside, entry in traced.graph.captures}
        sources = {name: tensor for name, tensor in (given | captured).items() if node_name(name) in used}
        outputs = [output.name for output in traced.outputs]
        return tf.import_graph_def(definition, input_map=sources, return_elements=outputs, name="")

    return tf.function(body, autograph=False).get_concrete_function(*specs)


def _leave_out_writes(nodes: Any, functions: set[str]) -> set[str]:
    """The names of the nodes that were left out, inputs among them: they come from outside."""
    gone = {node.name for node in nodes if _WRITES.fullmatch(node.op) or node.op == "Placeholder"}
    kept = [node for node in nodes if node.name not in gone]
    del nodes[:]
    nodes.extend(kept)
    for node in nodes:
        if node.op == _COUNTS:
            node.op, node.input[:] = "ReadVariableOp", node.input[:1]
            node.attr["dtype"].type = 9  # DataType of int64
        node.input[:] = [source for source in node.input if not (source.startswith("^") and node_name(source) in gone)]
        for called in (one for value in node.attr.values() for one in (value.func, *value.list.func)):
            if called.name in functions:
                called.name = _RENAMED + called.name
    return gone
