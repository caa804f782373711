"""Any external delegate of TensorFlow Lite: a shared library by which makers of NPUs, GPUs and DSPs run models."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from edge_runtime.accelerators import arena, child, diagnosis, protocol
from edge_runtime.accelerators.diagnosis import Failure
from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Delegate:
    """`options` are the library's own; `threads` are for what the delegate leaves to the CPU."""

    needs_compiled: ClassVar[bool] = False
    is_external: ClassVar[bool] = True

    library: str
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    limits: child.Limits = child.DEFAULT_LIMITS

    @property
    def name(self) -> str:
        return f"delegate:{self.library}"

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        """DeviceError if the delegate takes over no operator: the CPU would do all the work unnoticed."""
        return DelegatedModel(self.start(), model, name)

    def start(self) -> "Started":
        """Its process, in which models may be opened."""
        return Started(
            *(self, self.name, lambda failure: diagnosis.explain(failure, self.library)),
            idle=lambda name: (
                f"{self.library}: takes over none of the operators of {name}: look whether it wants another "
                "kind of model (data type, compiled or not), or run on --accelerator cpu"
            ),
        )


class Started:
    """A delegate's process. `explain` turns a failure into a message; `idle` makes one of the name of a model of which
    it takes over nothing. For one caller at a time. DeviceError from a model's run: it has ended, and all models with
    it."""

    def __init__(
        self, delegate: Delegate, name: str, explain: Callable[[Failure], str], *, idle: Callable[[str], str]
    ) -> None:
        self.name = name
        self._delegate = delegate
        self._explain = explain
        self._idle = idle
        with self.explained():
            try:
                self._child = child.Child(delegate.library, delegate.options, limits=delegate.limits)
            except OSError as cause:
                raise errors.DeviceError(f"{delegate.library}: no process can be started for it: {cause}") from cause

    @property
    def pid(self) -> int:
        return self._child.pid

    def open(self, model: int, tensors: int, *, name: str) -> child.Model:
        """As `Child.open`."""
        with self.explained():
            opened = self._child.open(model, tensors, name=name, threads=self._delegate.threads)
            if opened.delegated_parts == 0:
                opened.close()
                raise errors.DeviceError(self._idle(name))
        return opened

    def properties(self, opened: child.Model) -> Mapping[str, str]:
        """Of a model in it, for people."""
        return {"library": self._delegate.library, "build": opened.build, **self._delegate.options}

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except child.ChildError as failed:
            raise errors.DeviceError(self._explain(failed.failure)) from failed

    def close(self) -> None:
        self._child.close()


class DelegatedModel:
    """A model that has a delegate's process to itself, and ends it."""

    def __init__(self, started: Started, model: bytes, name: str) -> None:
        self.name = started.name
        self._started = started
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as stack:
            failed.callback(started.close)
            descriptors = arena.of_bytes(model), arena.create()
            for descriptor in descriptors:
                stack.callback(os.close, descriptor)
            self._opened = started.open(*descriptors, name=name)
            self._tensors = arena.Tensors(descriptors[1], self._opened.inputs, self._opened.outputs)
            failed.pop_all()
        self.properties = started.properties(self._opened)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._opened.outputs

    @property
    def pid(self) -> int:
        return self._started.pid

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        self._tensors.fill(arrays)
        with self._started.explained():
            self._opened.run()
        return self._tensors.results()

    def close(self) -> None:
        self._started.close()
