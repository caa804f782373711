"""One trace of a model: its frozen graph, and the tensor in it that each of its layers puts out.

While the model runs symbolically, the calls of its layers are recorded, which works for models nested to any depth and
for both Keras versions. Everything later (calibration, conversion, float results, layer outputs) uses this frozen
graph.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from typing import Any

from converters.amending import recurrence
from converters.loading import quiet, rewrites, scopes
from converters.loading.frozen import augmentation, kept, limits
from converters.loading.frozen.weights import Runner
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a layer: the names of the layers around it and its own, its first input and its outputs (tensors)."""

    path: tuple[str, ...]
    layer: Any
    source: Any
    outputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Tap:
    """A layer's output in the graph. `layer` is its own name where only one layer has it, else the path to it;
    `operation` is the graph operation that makes it, which the converter's tensor names repeat. `computes` is false
    for a layer whose output is its input (dropout, a linear activation)."""

    layer: str
    operation: str
    computes: bool


class Trace:
    """A model's frozen graph for one sample. Arrays are (1, …) tensors in the order of the model's inputs. `run` gives
    the model's float outputs, `run_tapped` what each of `taps` puts out, in their order. `notes` say what was changed
    in the graph."""

    def __init__(
        self,
        function: Any,
        runner: Runner,
        taps: tuple[Tap, ...],
        tapped: Sequence[Any],
        *,
        output_operations: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.function = function
        self.notes = notes
        self.taps = taps
        self.output_operations = output_operations
        self._runner = runner
        self._outputs, self._tapped = ([tensor.name for tensor in tensors] for tensors in (function.outputs, tapped))

    def drop_constants(self) -> None:
        """From now on `function` takes its large weights as further inputs."""
        self.function = self._runner.pruned(self._outputs)

    def definition(self) -> Any:
        """Of a function without constants, the graph with them."""
        return self._runner.with_constants(self.function)

    @cached_property
    def run(self) -> Callable[[Sequence[Array]], tuple[Array, ...]]:
        return self._runner.computing(self._outputs)

    @cached_property
    def run_tapped(self) -> Callable[[Sequence[Array]], tuple[Array, ...]]:
        return self._runner.computing(self._tapped)


def trace_keras(model: Any, bases: Sequence[type], call: Callable[..., Any], specs: Sequence[Any], file: str) -> Trace:
    """Trace `call(*tensors)` of a Keras model; `bases` are the classes whose calls are layers' calls.

    ModelError, naming `file`, for what cannot be converted.
    """
    tf = quiet.tensorflow()
    made: list[Call] = []
    made_outputs: list[Any] = []

    def outputs_and_taps(*tensors: Any) -> Any:
        made.clear()
        with recorded_calls(model, bases, made):
            outputs = tf.nest.flatten(call(*tensors))
        made_outputs[:] = outputs
        # Cells of recurrent layers run inside the graph of a loop; their tensors do not exist outside it.
        made[:] = [one for one in made if all(output.graph is outputs[0].graph for output in one.outputs)]
        return outputs, [output for one in made for output in one.outputs]

    traced = tf.function(outputs_and_taps, autograph=False).get_concrete_function(*specs)
    outputs, _ = traced.structured_outputs
    taps = _taps(made)
    frozen, _ = _frozen(traced, specs, taps, file, is_keras=True)
    limits.check_ends(frozen, len(outputs), file)
    whole = rewrites.rewritten(frozen, specs, len(outputs))
    function = whole.prune(whole.inputs, whole.outputs[: len(outputs)])
    tapped = whole.outputs[len(outputs) :]
    makers = tuple(_maker(output) for output in made_outputs)
    return Trace(function, Runner(whole), taps, tapped, output_operations=makers)


def trace_function(call: Callable[..., Any], specs: Sequence[Any], file: str) -> Trace:
    """Trace a function that is no Keras model; its layers are found from the names in its graph."""
    tf = quiet.tensorflow()
    traced = tf.function(call, autograph=False).get_concrete_function(*specs)
    frozen, notes = _frozen(traced, specs, (), file, is_keras=False)
    limits.check_ends(frozen, len(frozen.outputs), file)
    function = rewrites.rewritten(frozen, specs, len(frozen.outputs))
    tensors = scopes.layer_tensors(function.graph)
    taps = tuple(Tap(layer, tensor.op.name, computes=True) for layer, tensor in tensors.items())
    makers = tuple(_maker(output) for output in function.outputs)
    return Trace(function, Runner(function), taps, tuple(tensors.values()), output_operations=makers, notes=notes)


def _maker(tensor: Any) -> str:
    """The operation that makes an output of a function, before any identities."""
    operation = tensor.op
    while operation.type == "Identity" and operation.inputs:
        operation = operation.inputs[0].op
    return str(operation.name)


def _frozen(
    traced: Any, specs: Sequence[Any], taps: Sequence[Tap], file: str, *, is_keras: bool
) -> tuple[Any, tuple[str, ...]]:
    """The function with its variables as constants, and what was changed in it; ModelError for what in it cannot be
    converted."""
    places = [(tap.layer, tap.operation) for tap in taps]
    layer_of: limits.LayerOf = partial(limits.layer_of, traced.graph, taps=places) if is_keras else scopes.layer_around
    written = {name: (layer_of(changing), kind) for name, (changing, kind) in kept.written(traced).items()}
    try:
        frozen = freeze(kept.without_writes(traced, specs) if written else traced)
    except ValueError as cause:
        raise limits.unfrozen(cause, layer_of, file) from cause
    frozen, drawing = (frozen, ()) if is_keras else augmentation.left_out(frozen)
    layer_of = partial(limits.layer_of, frozen.graph, taps=places) if is_keras else scopes.layer_around
    limits.check(frozen, layer_of, file, is_keras=is_keras, written=written)
    left = dict.fromkeys(map(layer_of, drawing))
    return frozen, tuple(f"layer {layer!r}, which draws random numbers as in training, was left out" for layer in left)


def freeze(concrete: Any) -> Any:
    """The same function with its variables as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # The loops of LSTMs stay whole, of which operators are to be made; choices that are settled are left out.
    has_marks = any(map(recurrence.is_marked, concrete.graph.get_operations()))
    return convert_variables_to_constants_v2(concrete, lower_control_flow=not has_marks)


@contextmanager
def recorded_calls(model: Any, bases: Sequence[type], into: list[Call]) -> Iterator[None]:
    """Append every call of a layer below `model` to `into`, in the order in which they finish.

    Of models inside models, only the layers are recorded. While the context lasts, `__call__` of the base classes is
    wrapped: both Keras versions call it for every layer and operation.
    """
    path: list[str] = []
    originals = [(base, base.__dict__["__call__"]) for base in bases]
    containers = _model_classes(model)

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            if path and path[-1] == self.name and self is active[-1]:
                return original(self, *args, **kwargs)  # a Keras 3 layer's call passes both base classes
            path.append(self.name)
            active.append(self)
            try:
                output = original(self, *args, **kwargs)
            finally:
                active.pop()
                inner = path.pop()
            # Keras 3's own layers compute with operations (`Pad`); only those that stand in a model are the user's.
            is_inner_operation = not isinstance(self, bases[0]) and not isinstance(active[-1], containers)
            if not isinstance(self, containers) and not is_inner_operation:
                into.append(Call((*path[1:], inner), self, _first_tensor(args, kwargs), _tensors(output)))
            return output

        return wrapped

    active: list[Any] = []
    for base, original in originals:
        base.__call__ = recording(original)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for base, original in originals:
            base.__call__ = original  # type: ignore[method-assign]


def _model_classes(model: Any) -> tuple[type, ...]:
    """The Model class of the Keras that `model` is made with: to the user a container, not a layer."""
    return tuple(base for base in type(model).__mro__ if base.__name__ == "Model")


def _tensors(structure: Any) -> tuple[Any, ...]:
    tf = quiet.tensorflow()
    return tuple({id(entry): entry for entry in tf.nest.flatten(structure) if tf.is_tensor(entry)}.values())


def _first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = _tensors((args, kwargs))
    return tensors[0] if tensors else None


def _taps(made: Sequence[Call]) -> tuple[Tap, ...]:
    """The shortest clear names: the layer's own, its path if another layer has that name, numbered if called again."""
    own_names = Counter(path[-1] for path in {one.path for one in made})
    called: Counter[str] = Counter()
    computed: set[str] = set()
    taps = []
    for one in made:
        name = one.path[-1] if own_names[one.path[-1]] == 1 else "/".join(one.path)
        called[name] += 1
        if called[name] > 1:
            name = f"{name}#{called[name]}"
        for number, output in enumerate(one.outputs):
            operation = output.op
            is_new = operation.type not in ("Identity", "Placeholder") and output.name not in computed
            computed.add(output.name)
            taps.append(Tap(name if number == 0 else f"{name}:{number}", operation.name, computes=is_new))
    return tuple(taps)
