"""The probe: small fixed models, one operator each, whose results tell the kernels of runtimes and processors apart.

`tests/support/probe_pieces.py` made them. They run in a process of their own, since a kernel that a build has no right
code for ends its process: what it takes down is one operator kind without a fingerprint.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tflsplit import errors, processor
from tflsplit.graph import interpreter
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels.classes import KernelClass

PIECES = Path(__file__).with_name("probe.zip")
# Whether int8 is delegated is seen at what every network of pictures is made of.
_DELEGATED = "CONV_2D/int8"
_MOST_CRASHES = 8

# With our own search path, so that the child finds what we would find.
_CHILD = "import sys; sys.path[:] = sys.argv[2:]; from tflsplit.kernels import probe; probe.main(sys.argv[1])"


def runtime_version() -> str:
    """The interpreter's distribution and version, as `ai-edge-litert 2.3.0`; DeviceError where there is none."""
    package = interpreter.runtime().__name__.partition(".")[0]
    # Not from the distribution's metadata: reading them would add 10 ms to each start of an edge.
    return f"{package.replace('_', '-')} {getattr(sys.modules[package], '__version__', 'of unknown version')}"


def kinds() -> tuple[str, ...]:
    """The operator kinds that the probe tells apart."""
    return tuple(_pieces())


def run(wanted: Iterable[str] | None = None, *, threads: int = 1) -> Iterator[tuple[str, str, bool]]:
    """Kind, fingerprint and whether a delegate ran it, for each operator kind (all by default) that can be run here.

    In this process, which a broken kernel may end: `measure` is for those who want to live.
    """
    for kind in kinds() if wanted is None else wanted:
        digest, delegated, ran = hashlib.sha256(), False, 0
        for data in _pieces()[kind]:
            try:
                with Interpreter(data, name=f"probe of {kind}", threads=threads) as piece:
                    (made,) = piece.run(*(pattern(spec, place) for place, spec in enumerate(piece.inputs)))
                    delegated |= bool(piece.kinds()[0])
            except errors.DeviceError:
                digest.update(b"cannot run")  # of this version, or with a scale for each channel
                continue
            ran += 1
            digest.update(made.tobytes())
        if ran:
            yield kind, digest.hexdigest()[:8], delegated


def measure(*, timeout_s: float = 60.0) -> KernelClass:
    """The kernel class of this machine, measured in a process of its own. DeviceError if there is no interpreter."""
    runtime = runtime_version()
    found: dict[str, str] = {}
    is_delegated = False
    left = list(kinds())
    for _ in range(_MOST_CRASHES):
        said = [line.split() for line in _said(left, timeout_s)]
        for kind, *result in said:
            if result:
                found[kind] = result[0]
                is_delegated |= kind == _DELEGATED and result[1] == "True"
        tried = {kind for kind, *_ in said}
        left = [kind for kind in left if kind not in tried]
        if not left or not tried:
            break
    return KernelClass(runtime, processor.machine(), is_delegated, found)


def main(wanted: str) -> None:
    """Says each kind before it runs it, so that the last one said is what ended the process."""
    for kind in wanted.split(","):
        print(kind, flush=True)
        for result in run([kind]):
            print(*result, flush=True)


def _said(wanted: list[str], timeout_s: float) -> list[str]:
    import subprocess

    try:
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, ",".join(wanted), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                said, complaints = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                said, complaints = child.communicate()
        if child.returncode > 0:
            last = complaints.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise errors.DeviceError(f"the probe of this machine's kernels failed: {''.join(last)}")
    except OSError as cause:
        raise errors.DeviceError(f"the probe of this machine's kernels cannot be started: {cause}") from cause
    return said.decode("utf-8", "replace").splitlines()


@cache
def _pieces() -> dict[str, list[bytes]]:
    import zipfile

    found: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(PIECES) as archive:
        for name in archive.namelist():
            found.setdefault(name.rpartition("/")[0], []).append(archive.read(name))
    return found


def pattern(spec: TensorSpec, seed: int) -> Array:
    """Values over the whole range: of 256 in a row each occurs once. Floats are eighths, so that some are ties."""
    import numpy as np

    places = np.arange(spec.elements)
    stored = (places * 167 ^ (places >> 8) * 91 + seed * 37) & 255
    if spec.dtype == "float32":
        return ((stored - 128) * 0.125).astype(np.float32).reshape(spec.shape)
    return stored.astype(np.uint8).view(spec.dtype).reshape(spec.shape)
