"""The only door to the TensorFlow Lite interpreter: LiteRT where it is installed, else tflite-runtime.

The interpreter's exceptions become DeviceError (it could not be opened or run) or DataError (the arrays do not fit).
"""

import enum
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tflsplit import errors, extras
from tflsplit.graph import flatgraph, kinds, native_lines
from tflsplit.graph.tensors import Array, TensorSpec


class Kernels(enum.Enum):
    """Which code computes the operators: what serves, XNNPACK where the runtime has it; the runtime's own without it;
    its plain reference code. Values as the runtime names them."""

    SERVING = "AUTO"
    BUILTIN = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
    REFERENCE = "BUILTIN_REF"


class Interpreter:
    """A loaded model, ready to run, one inference at a time; not for use by two threads at once.

    `delegates` come from `load_delegate`; `delegated_parts` is how many connected parts of the graph they took over
    (None if the runtime does not tell). With `keeps_intermediates` every tensor of the graph can be read after a run;
    that costs memory and is meant for proofs, not for service, and so are `kernels` other than those that serve.
    `batch` replaces the leading 1 of every input and output; DeviceError where the model does not allow it.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        threads: int = 1,
        keeps_intermediates: bool = False,
        delegates: Sequence[Any] = (),
        name: str = "model",
        batch: int = 1,
        kernels: Kernels = Kernels.SERVING,
    ) -> None:
        self._name = str(model) if isinstance(model, Path) else name
        self._model = model
        self._variables: tuple[tuple[int, TensorSpec], ...] | None = None
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        with _runtime_errors(self._name), native_lines.without_info(), warnings.catch_warnings():
            # LiteRT warns that keeping intermediates takes memory, which the caller has chosen.
            warnings.simplefilter("ignore", UserWarning)
            self._runtime = runtime().Interpreter(
                **source,
                num_threads=threads,
                experimental_preserve_all_tensors=keeps_intermediates,
                experimental_op_resolver_type=getattr(runtime().OpResolverType, kernels.value),
                experimental_delegates=list(delegates) or None,
            )
            # Counted before allocation, when the runtime hands the rest of the graph to a delegate of its own, XNNPACK.
            # Without delegates there is nothing to count, which takes longer than the rest for thousands of operators.
            self.delegated_parts = _delegated_parts(self._runtime) if delegates else 0
            if batch > 1:
                self._widen(batch)
            self._runtime.allocate_tensors()
            inputs, outputs = self._runtime.get_input_details(), self._runtime.get_output_details()
            self.inputs: tuple[TensorSpec, ...] = tuple(_spec(details) for details in inputs)
            self.outputs: tuple[TensorSpec, ...] = tuple(_spec(details) for details in outputs)
        if batch > 1 and any(spec.shape[:1] != (batch,) for spec in self.outputs):
            raise errors.DeviceError(f"{self._name}: its outputs do not grow with its inputs to {batch} frames")
        self._dtypes = tuple(np.dtype(spec.dtype) for spec in self.inputs)
        self._input_indices = tuple(int(details["index"]) for details in inputs)
        self._output_indices = tuple(int(details["index"]) for details in outputs)

    def _widen(self, batch: int) -> None:
        details = self._runtime.get_input_details()
        if any(len(each["shape"]) == 0 or each["shape"][0] != 1 for each in details):
            raise errors.DeviceError(
                f"{self._name}: has an input without a leading 1, so it cannot take {batch} frames"
            )
        for each in details:
            self._runtime.resize_tensor_input(each["index"], [batch, *each["shape"][1:]])

    def run(self, *arrays: Array, goes_on: bool = False) -> tuple[Array, ...]:
        """One inference. Arrays in the order, shapes and stored types of `inputs`; results are the caller's own.

        What an operator remembers, as a fused LSTM does, is reset before, unless it `goes_on` from where the last run
        ended: else the answer would depend on the frames before, which may be another device's. It takes 0.3 µs.
        """
        runtime = self._runtime
        self._check(arrays)
        try:  # and no context manager: that would cost each frame as much as this
            for index, array in zip(self._input_indices, arrays, strict=True):
                runtime.set_tensor(index, array)
            if not goes_on:
                runtime.reset_all_variables()
            runtime.invoke()
            return tuple([runtime.get_tensor(index) for index in self._output_indices])
        except _FOREIGN as cause:
            raise _error(self._name, cause) from cause

    def step(self, state: bytes | None, *arrays: Array) -> tuple[tuple[Array, ...], bytes]:
        """One inference that goes on from `state`, which an earlier one left (None: from the beginning), and the state
        that it leaves: what variable tensors hold, one after the other. It takes 2 µs for each of them."""
        self._check(arrays)
        variables = self._known_variables()
        if state is not None and len(state) != self.state_bytes:
            raise errors.DataError(f"{self._name}: a state of {len(state)} bytes is not one of this model's")
        with _runtime_errors(self._name):
            for index, array in zip(self._input_indices, arrays, strict=True):
                self._runtime.set_tensor(index, array)
            self._runtime.reset_all_variables()
            offset = 0
            for index, spec in variables if state is not None else ():
                part = np.frombuffer(state or b"", spec.dtype, count=spec.elements, offset=offset)
                self._runtime.set_tensor(index, part.reshape(spec.shape))
                offset += spec.bytes
            self._runtime.invoke()
            left = b"".join(self._runtime.get_tensor(index).tobytes() for index, _ in variables)
            return tuple(self._runtime.get_tensor(index) for index in self._output_indices), left

    @property
    def state_bytes(self) -> int:
        """How large the state is that `step` takes and leaves; 0 where no operator keeps anything."""
        return sum(spec.bytes for _, spec in self._known_variables())

    def stream(self, *, is_stateful: bool) -> Callable[..., tuple[Array, ...]]:
        """`run` for the steps of one stream: each goes on from the state that the one before left in that stream,
        whatever else is run between; of what is not stateful each is alone."""
        state: bytes | None = None

        def run(*arrays: Array) -> tuple[Array, ...]:
            nonlocal state
            if not is_stateful:
                return self.run(*arrays)
            outputs, state = self.step(state, *arrays)
            return outputs

        return run

    def _check(self, arrays: Sequence[Array]) -> None:
        if len(arrays) != len(self.inputs):
            raise errors.DataError(f"{self._name}: {len(arrays)} arrays given, the model takes {len(self.inputs)}")
        for spec, dtype, array in zip(self.inputs, self._dtypes, arrays, strict=True):
            if array.shape != spec.shape or array.dtype != dtype:
                raise errors.DataError(
                    f"{self._name}: input {spec.name!r} is {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}"
                )

    def _known_variables(self) -> tuple[tuple[int, TensorSpec], ...]:
        """Which tensors are variable only the file says, not the runtime."""
        if self._variables is None:
            data = self._model.read_bytes() if isinstance(self._model, Path) else self._model
            self._variables = flatgraph.read(data, name=self._name).variables
        return self._variables

    def tensor(self, index: int) -> Array:
        """A copy of any tensor after a run, by its index in the file; needs `keeps_intermediates`."""
        with _runtime_errors(self._name):
            array: Array = self._runtime.get_tensor(index)
            return array

    def kinds(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The operator kinds (`tflsplit.graph.kinds`) that delegates run, XNNPACK among them, and those that are left
        to the runtime's own kernels; a kind may be in both. Both are empty where the runtime does not tell."""
        if not hasattr(self._runtime, "_get_ops_details"):
            return (), ()
        details = self._runtime._get_ops_details()
        replaced = _replaced(details)
        if details and "operand_types" not in details[0]:  # tflite-runtime
            dtypes = {int(each["index"]): each["dtype"] for each in self._runtime.get_tensor_details()}
            for operator in details:
                for side, told in (("inputs", "operand_types"), ("outputs", "result_types")):
                    operator[told] = [dtypes.get(int(tensor)) for tensor in operator[side]]
        found: tuple[set[str], set[str]] = set(), set()
        for operator in details:
            if operator["op_name"] != "DELEGATE":
                types = (
                    [np.dtype(each).name for each in operator[side] if each is not None]
                    for side in ("operand_types", "result_types")
                )
                found[operator["index"] not in replaced].add(kinds.kind(operator["op_name"], *types))
        return tuple(sorted(found[0])), tuple(sorted(found[1]))

    def close(self) -> None:
        """Free the model's memory now, not when Python collects it."""
        self._runtime = None

    def __enter__(self) -> "Interpreter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def runtime() -> Any:
    """The runtime's own `interpreter` module; DeviceError says what to install when there is none."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        try:
            from tflite_runtime import interpreter
        except ImportError as missing:
            raise errors.DeviceError(extras.need("running a model", "ai_edge_litert")) from missing
    return interpreter


def load_delegate(library: str, options: Mapping[str, str]) -> Any:
    """The TensorFlow Lite delegate in a shared library. One of a wrong build takes the process down with it, so this is
    called in a child process (edge_runtime.accelerators). The DeviceError's cause is the runtime's own exception.
    """
    try:
        return runtime().load_delegate(library, dict(options))
    except (OSError, ValueError, AttributeError, RuntimeError) as cause:
        raise errors.DeviceError(f"{library}: cannot be loaded as a delegate: {cause}") from cause


def _delegated_parts(interpreter: Any) -> int | None:
    if not hasattr(interpreter, "_get_ops_details"):
        return None
    names = [operator["op_name"] for operator in interpreter._get_ops_details()]
    return names.count("DELEGATE")


def _replaced(details: Sequence[dict[str, Any]]) -> set[int]:
    """The operators that delegates took over: the list keeps them beside a DELEGATE that goes from what they read to
    what they make."""
    makers = {
        int(tensor): operator
        for operator in details
        if operator["op_name"] != "DELEGATE"
        for tensor in operator["outputs"]
    }
    found = set()
    for delegate in (operator for operator in details if operator["op_name"] == "DELEGATE"):
        outside = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            maker = makers.get(pending.pop())
            if maker is not None and maker["index"] not in found:
                found.add(maker["index"])
                pending += [int(tensor) for tensor in maker["inputs"] if int(tensor) not in outside]
    return found


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        name=str(details["name"]),
        shape=tuple(int(extent) for extent in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


# What the runtime raises: SystemError is tflite-runtime's when it meets numpy 2, the last three are exceptions of C++.
_FOREIGN = (RuntimeError, ValueError, SystemError, OSError, MemoryError, OverflowError, IndexError)


@contextmanager
def _runtime_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _FOREIGN as cause:
        raise _error(name, cause) from cause


def _error(name: str, cause: Exception) -> errors.DeviceError:
    reason = errors.one_line(cause)
    if "unresolved custom op: edgetpu-custom-op" in reason:
        return errors.DeviceError(
            f"{name}: compiled for the Edge TPU and opened without one: use --accelerator coral, or the model that "
            "it was compiled from"
        )
    return errors.DeviceError(f"{name}: the TensorFlow Lite interpreter cannot run it: {reason}")
