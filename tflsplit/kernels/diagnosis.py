"""The kernel class of this machine as a finding for `tflsplit doctor`.

It is asked for in a process of its own: who examines whether numpy and an interpreter work must not load them.
"""

import json
import subprocess
import sys

from tflsplit import errors, strict_json
from tflsplit.findings import Finding, State
from tflsplit.kernels import exactness
from tflsplit.kernels.classes import KernelClass

NAME = "kernels"

# With our own search path, so that the child finds what we would find.
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from tflsplit.kernels import diagnosis; diagnosis.main()"


def kernel_class(timeout_s: float = 120.0) -> tuple[Finding, KernelClass | None]:
    """The class itself too, None where it cannot be found out."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, *sys.path], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        said = strict_json.parse_object(child.stdout)
        found = KernelClass.from_json(said["class"])
    except subprocess.TimeoutExpired:
        return Finding(NAME, State.INFO, f"not known: the probe did not end within {timeout_s:g} s"), None
    except (ValueError, KeyError):
        last = (child.stdout or child.stderr).strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        return Finding(NAME, State.INFO, f"not known: {last[0]}"), None
    return finding(found, str(said["change"])), found


def finding(here: KernelClass, change: str = "") -> Finding:
    """Good if other machines are known to compute as this one does; a word of caution for other runtimes. `change` is
    what changed since the last start."""
    detail = f"class {here}" + (f"; {change}" if change else "")
    if not here.is_litert:
        # Both were measured: docs/measurements/runtimes.md.
        detail += "; XNNPACK does not compute int8 here: nearly every head gives other integers than with LiteRT"
        detail += ", and only heads that the package or bundle holds can be run"
        return Finding(NAME, State.CAUTION, detail, "where there is one for this machine: pip install ai-edge-litert")
    if not here.is_delegated:
        detail += "; LiteRT was expected to hand int8 to XNNPACK, without which processors differ"
        return Finding(NAME, State.WRONG, detail, "pip install --force-reinstall ai-edge-litert")
    names = exactness.names_of(here)
    if names:
        return Finding(NAME, State.OK, f"{detail}, as measured on {'; '.join(names)}")
    detail += ", which is none of those that were measured"
    remedy = "prove the pair: tflsplit verify PKG --record FILE here, --against FILE at the other side"
    return Finding(NAME, State.INFO, detail, remedy)


def main() -> None:
    from tflsplit.kernels import keeping

    try:
        found = keeping.find()
    except errors.DeviceError as cause:
        print(cause)
        sys.exit(1)
    print(json.dumps({"class": found.kernel_class.as_json(), "change": found.change}))
