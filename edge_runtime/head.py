"""The head of one cut, loaded and ready to run on this machine's CPU or on an accelerator."""

import contextlib
import logging
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edge_runtime.accelerators import cpu
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator, OpenModel
from edge_runtime.accelerators.service import DEFAULT_RETRIES, Condition, Counters, Retries, Service
from tflsplit import arguments, errors
from tflsplit.graph import flatgraph
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.kernels import heads, keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.kernels.heads import HeadKernels
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace

if TYPE_CHECKING:  # a head without others beside it starts without them
    from tflsplit.segments import Segments

log = logging.getLogger(__name__)

_CPU = Cpu()


class Head:
    """Runs the head of `cut`: the model's inputs in, the boundary out, both in stored types.

    PackageError if the head gives another boundary than the package states, CutError if the cut has no tail. The head
    of the cut `input` computes nothing, on any accelerator.

    DeviceError or PackageError if the accelerator cannot be opened or has no compiled head; with a `fallback` the
    uncompiled head runs there instead, and `condition` says so.

    With `segments`, which are the caller's, it is the first of these up to the cut where the CPU runs it.
    `counters`, too, may be shared by the heads of one edge.

    `kernel_class` is that of this machine's CPU, by default as it is measured and kept.

    It takes up to `batch` inputs at once, as rows, and so do its segments; SettingsError where the head cannot.
    """

    def __init__(
        self,
        package: Package,
        cut: str | Cut,
        *,
        accelerator: Accelerator = _CPU,
        fallback: Accelerator | None = None,
        retries: Retries = DEFAULT_RETRIES,
        segments: "Segments | None" = None,
        counters: Counters | None = None,
        kernel_class: KernelClass | None = None,
        batch: int = 1,
    ) -> None:
        cut = arguments.instance(package, Package, "package").cut(cut)
        package.check_has_tail(cut)
        self.cut = cut
        self.counters = counters or Counters()
        self._opened: OpenModel | Service | None = None
        self._service: Service | None = None
        self._cpu_class = keeping.told() if kernel_class is None else kernel_class
        self._kinds = package.head_kinds(cut) if cut.position > 0 else ()
        self._keeping: cpu.OnCpu | None = None
        compilation = package.manifest.compilations.get(cut.id)
        self._compiler = str(compilation and compilation.compiler)
        self._condition = Condition(accelerator.name, None if cut.position == 0 else accelerator.name)
        if cut.position == 0:
            return
        if keeps_state(package, cut):
            self._opened = self._keeping = _open_keeping(accelerator, package, cut)
        elif batch > 1 and (segments is None or accelerator.is_external):
            from edge_runtime import batched

            self._opened = batched.open_on(accelerator, package, cut, batch)
        elif not accelerator.is_external:
            self._opened = _on_cpu(accelerator, package, cut, segments)
        elif fallback is not None and not can_run(accelerator, package, cut):
            self._opened = _on_cpu(fallback, package, cut, segments)
            self._condition = Condition(accelerator.name, fallback.name, _not_compiled(package, cut))
            log.warning("head runs elsewhere name=%s runs_on=%s reason=%s", *self._condition.as_json().values())
        else:
            model = _kept_model(accelerator, package, cut)
            self._opened = self._service = Service(
                accelerator.name,
                lambda: _open(accelerator, model(), package, cut),
                None if fallback is None else _on_cpu(fallback, package, cut, segments),
                retries,
                counters=self.counters,
            )

    @property
    def condition(self) -> Condition:
        """Where the head runs now; may change from one frame to the next."""
        return self._condition if self._service is None else self._service.condition

    @property
    def kernels(self) -> HeadKernels:
        """What it is computed with now; changes as `condition` does."""
        service, runs_on, found = self._service, self.condition.runs_on, self._cpu_class
        if runs_on is None and self.cut.position > 0:
            found = None
        elif found is not None and service is not None and runs_on == service.name:
            told = dict(service.properties)
            device = told.pop("accelerator", runs_on)  # a served one computes as its owner's
            about = (self._compiler, *(f"{key}={value}" for key, value in sorted(told.items())))
            found = heads.of_accelerator(device, about, self._kinds, found)
        return HeadKernels(found, self._kinds)

    def run(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return arrays if self._opened is None else self._opened.run(*arrays)

    def step(self, arrays: tuple[Array, ...], state: bytes | None) -> tuple[tuple[Array, ...], bytes]:
        """`run` in a stream: from the `state` that an earlier frame left (None: from the beginning), and what is left
        then. A head without state leaves none."""
        if self._keeping is None:
            return self.run(arrays), b""
        return self._keeping.step(state, *arrays)

    def interrupt(self) -> None:
        """Makes a `run` that waits for its accelerator fail now; has no effect otherwise."""
        if self._service is not None:
            self._service.interrupt()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> "Head":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Chained:
    """An `OpenModel`: the segments before a cut. Closing them is their owner's."""

    name = _CPU.name

    def __init__(self, segments: "Segments", cut: Cut) -> None:
        self._segments, self._cut = segments, cut
        self.outputs = cut.boundary
        self.properties: Mapping[str, str] = {}

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        return self._segments.run(arrays, self._segments.cuts[0], self._cut)

    def close(self) -> None: ...


def _on_cpu(cpu: Accelerator, package: Package, cut: Cut, segments: "Segments | None") -> OpenModel:
    if segments is None:
        return open_on(cpu, package, cut)
    verify.check_boundary(package, cut, "head's outputs", segments.outputs(cut))
    return _Chained(segments, cut)


def keeps_state(package: Package, cut: Cut) -> bool:
    """Whether the head of a stateful package has operators whose state is to last from frame to frame."""
    if not package.manifest.is_stateful or cut.position == 0:
        return False
    return bool(flatgraph.read(package.head_bytes(cut), name=f"{package.path}: head of {cut.id}").variables)


def _open_keeping(accelerator: Accelerator, package: Package, cut: Cut) -> cpu.OnCpu:
    """On the CPU, whose interpreter lets its state be read and set; a device may hide it, or lose it when it fails."""
    opened = open_on(accelerator, package, cut) if isinstance(accelerator, Cpu) else None
    if not isinstance(opened, cpu.OnCpu):
        raise errors.DeviceError(
            f"{package.path}: it is stateful, and the head of {cut.id} keeps state, which is possible on the CPU only: "
            "leave --accelerator out, or cut before the first operator that keeps state"
        )
    return opened


def open_on(accelerator: Accelerator, package: Package, cut: Cut) -> OpenModel:
    """Opens a head on a device without a fallback; PackageError if it is not compiled or has another boundary."""
    return _open(accelerator, model_for(accelerator, package, cut), package, cut)


def _kept_model(accelerator: Accelerator, package: Package, cut: Cut) -> Callable[[], bytes]:
    """Read once: the head is opened again after the accelerator died, when the package may be gone. Both of the cut's
    models where the owner of a served one is away, which alone knows what its device needs."""
    with contextlib.suppress(errors.DeviceError):
        model = model_for(accelerator, package, cut)
        return lambda: model
    plain = package.head_bytes(cut)
    compiled = _compiled(package, cut) if is_compiled(package, cut) else None

    def needed() -> bytes:
        if not accelerator.needs_compiled:
            return plain
        if compiled is None:
            raise errors.DeviceError(_not_compiled(package, cut))
        return compiled

    return needed


def model_for(accelerator: Accelerator, package: Package, cut: Cut) -> bytes:
    """The model file that the accelerator runs for this cut; PackageError if it has not been compiled."""
    return _compiled(package, cut) if accelerator.needs_compiled else package.head_bytes(cut)


def _compiled(package: Package, cut: Cut) -> bytes:
    path = package.file(cut, "head_edgetpu")
    if path is None:
        raise errors.PackageError(_not_compiled(package, cut))
    return (package.path / path).read_bytes()


def is_compiled(package: Package, cut: Cut) -> bool:
    """Whether the package holds the cut's head compiled for the Edge TPU."""
    return package.file(cut, "head_edgetpu") is not None


def _open(accelerator: Accelerator, model: bytes, package: Package, cut: Cut) -> OpenModel:
    opened = accelerator.open(model, name=f"{package.path}: head of {cut.id}")
    outputs = opened.outputs
    if accelerator.needs_compiled and len(outputs) == len(cut.boundary):
        # The compiler may name tensors anew; what they hold has to be the same.
        outputs = tuple(replace(found, name=spec.name) for found, spec in zip(outputs, cut.boundary, strict=True))
    try:
        verify.check_boundary(package, cut, "head's outputs", outputs)
    except errors.PackageError:
        opened.close()
        raise
    return opened


def can_run(accelerator: Accelerator, package: Package, cut: Cut) -> bool:
    """Whether the package has the cut's head in the form that the accelerator runs, as far as that is known: not where
    the owner of a served one is away."""
    with contextlib.suppress(errors.DeviceError):
        return is_compiled(package, cut) or not accelerator.needs_compiled
    return True


def _not_compiled(package: Package, cut: Cut) -> str:
    compilation = package.manifest.compilations.get(cut.id)
    why = f" ({compilation.reason})" if compilation is not None and compilation.reason else ""
    return (
        f"{package.path}: the head of {cut.id} is not compiled for the Edge TPU{why}: run "
        f"`tflsplit compile {shlex.quote(str(package.path))} --cuts {cut.id}` where the compiler is, or --fallback cpu"
    )
