"""What is installed in this Python: our four packages, the libraries beside them, and an interpreter that really runs.

Nothing is imported to find out its version: TensorFlow would take seconds, and a broken library could end us. `path`
stands for `sys.path` throughout.
"""

import base64
import importlib.util
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tflsplit import errors, extras
from tflsplit.extras import Requirement, version_of
from tflsplit.findings import Finding, State

PACKAGES = ("tflsplit", "converters", "edge_runtime", "broker")

LITERT, TFLITE_RUNTIME = "ai-edge-litert", "tflite-runtime"

# An int8 ADD of a tensor of shape (1, 4) to itself, whose output scale is twice the input's: it gives what it takes.
_TINY_MODEL = zlib.decompress(
    base64.b85decode(
        "c-m!9s}{mA484Jhvh|FKi3vV}b1*X?Q4@#>1d@+{|3OUi9pjrylBPV<bDQR-xlP&v820@JsL-HBfM>>W1df1~aUfvMo-_lDF-Ed{"
        "cvU&x6E`r9jFZ(g5UbS7-"
        "O}_EkFvJ2)0JujGrWyH0Lz`NpF8&>8tar=h`%xCO_%U(5<jMXC;n<$dA9ryOFnt)bH(UPyVIG226<+0bJO1&(^mZD=Z*Y#K%uq57"
        "Ix<eqMH|Y"
    )
)

# With our own search path, so that the child finds what we would find.
_CHILD = """
import sys
sys.path[:] = sys.argv[1:]
from tflsplit import errors, installation
try:
    print(installation.run_tiny_model())
except errors.DeviceError as refused:
    print(installation.with_root(refused))
    sys.exit(1)
"""


def packages() -> Finding:
    """Whether the names of our packages, which others use too, lead to ours."""
    ours = Path(__file__).resolve().parents[1]
    foreign = {name: place for name in PACKAGES if (place := _place(name)) != ours}
    if foreign:
        found = ", ".join(f"{name} is {f'in {place}' if place else 'absent'}" for name, place in foreign.items())
        return Finding(
            "packages",
            State.WRONG,
            f"{found}, tflsplit is in {ours}",
            f"uninstall or rename the other {' and '.join(foreign)}, or take its folder out of PYTHONPATH",
        )
    installed = version_of("tflsplit")
    if installed is None:
        remedy = f"pip install --editable {ours}"
        return Finding("packages", State.MISSING, f"found in {ours}, but tflsplit is not installed", remedy)
    return Finding("packages", State.OK, f"tflsplit {installed}, all four in {ours}")


def python(
    version: tuple[int, ...] = sys.version_info[:3],
    executable: str = sys.executable,
    supported: str | None = None,
    *,
    is_64_bit: bool = sys.maxsize > 2**32,
) -> Finding:
    """Whether this is a Python that the project says it supports; `supported` is like ">=3.10,<3.14".

    The kernel is not asked for its word size: on a 32-bit Raspberry Pi OS it often has 64 bits.
    """
    if not is_64_bit:
        detail = f"{'.'.join(map(str, version))} of 32 bits, {executable}; LiteRT has no release for 32-bit systems"
        return Finding(
            "Python", State.WRONG, detail, "install the 64-bit system on this device: 32 bits are not supported"
        )
    supported = supported or metadata.metadata("tflsplit")["Requires-Python"]
    bounds = re.findall(r"(>=|<)([\d.]+)", supported)
    fits = all((version >= _release(bound)) == (sign == ">=") for sign, bound in bounds)
    detail = f"{'.'.join(map(str, version))}, {executable}"
    if fits:
        return Finding("Python", State.OK, detail)
    return Finding("Python", State.WRONG, detail, f"make a virtual environment with Python {supported}")


def library(requirement: Requirement, path: Sequence[str] | None = None) -> Finding:
    name, minimum, below = requirement.distribution, requirement.minimum, requirement.below
    version = version_of(name, path)
    if not requirement.applies:
        remedy = f"use a Python that it supports for what needs the extra {requirement.extra!r}"
        return Finding(name, State.MISSING, "has no release for this Python on this machine", remedy)
    if version is None:
        return Finding(name, State.MISSING, "not installed", extras.install(requirement.extra))
    if _release(version) < _release(minimum):
        return Finding(name, State.WRONG, f"{version}, {minimum} is needed", f"pip install '{requirement}'")
    if below and _release(version) >= _release(below):
        detail = f"{version}, which is not tested: a version before {below} is needed"
        return Finding(name, State.WRONG, detail, f"pip install '{requirement}'")
    return Finding(name, State.OK, version)


def numpy(path: Sequence[str] | None = None) -> Finding:
    """Whether the numpy here is one that the interpreter here was built for."""
    version = version_of("numpy", path)
    if version is None:
        return Finding("numpy", State.MISSING, "not installed", "pip install numpy")
    runtime = version_of(TFLITE_RUNTIME, path)
    if _release(version) >= (2,) and runtime is not None and version_of(LITERT, path) is None:
        detail = f"{version}, but {TFLITE_RUNTIME} {runtime} was built for numpy 1 and fails when a model is opened"
        return Finding(
            "numpy", State.WRONG, detail, f"`pip install {LITERT}`; where there is none: `pip install 'numpy<2'`"
        )
    return Finding("numpy", State.OK, version)


def interpreter(python: str = sys.executable, timeout_s: float = 30.0) -> Finding:
    """Whether a model can be opened and run, not only imported, tried in a child process: a build for another processor
    ends its process without an exception."""
    name = "interpreter"
    reinstall = f"pip install --force-reinstall {LITERT}"
    if version_of(LITERT) is None:
        reinstall = (
            f"`pip install {LITERT}`; where there is none for this machine: `pip install 'numpy<2' {TFLITE_RUNTIME}`"
        )
    try:
        child = subprocess.run(
            [python, "-c", _CHILD, *sys.path], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(name, State.WRONG, f"a model of one operator did not end within {timeout_s:g} s", reinstall)
    if child.returncode == 0:
        return Finding(name, State.OK, child.stdout.strip())
    if child.returncode < 0:
        ended_by = signal.Signals(-child.returncode).name
        remedy = f"`{reinstall}`; if that does not help, this processor needs another build of it"
        return Finding(name, State.WRONG, f"opening a model ended the process by {ended_by}", remedy)
    if version_of(LITERT) is None and version_of(TFLITE_RUNTIME) is None:
        detail = f"neither {LITERT} nor {TFLITE_RUNTIME} is installed"
        return Finding(name, State.MISSING, detail, extras.install("edge"))
    reasons = (child.stdout or child.stderr).strip().splitlines() or [f"exit status {child.returncode}"]
    return Finding(name, State.WRONG, reasons[-1], reinstall)


def run_tiny_model() -> str:
    """The runtime's name and version, once it has run a model of one operator; DeviceError if it cannot."""
    import numpy as np

    from tflsplit.graph import interpreter as door

    given = np.array([[-128, -1, 0, 127]], np.int8)
    with door.Interpreter(_TINY_MODEL, name="model of one operator") as opened:
        (got,) = opened.run(given)
    if not np.array_equal(got, given):
        raise errors.DeviceError(f"model of one operator gives {got.tolist()}, expected {given.tolist()}")
    module = door.runtime().__name__.partition(".")[0]
    distribution = module.replace("_", "-")
    return f"{distribution} {version_of(distribution) or 'of unknown version'} opens and runs a model"


def with_root(error: BaseException) -> str:
    """`error` and the first of the errors that led to it, which is where a library's own reason stands."""
    root = error
    while root.__context__ is not None:
        root = root.__context__
    reason = f"{error} ({type(root).__name__}: {root})" if root is not error else str(error)
    return " ".join(reason.split())


def _place(name: str) -> Path | None:
    """The folder that a package is found in; None also for a bare folder that Python would take for a package."""
    found = importlib.util.find_spec(name)
    return Path(found.origin).resolve().parents[1] if found and found.origin else None


def _release(version: str) -> tuple[int, ...]:
    """The numbers in front: (2, 21, 0) of "2.21.0rc1+cpu"."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()
