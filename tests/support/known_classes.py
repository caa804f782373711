"""Measures the kernel classes of `tflsplit/kernels/known.json` again: each runtime in a throw-away environment.

    python tests/support/known_classes.py NAME...    measures those machines and writes them into the file

x86-64 is this machine; the processors of Arm are emulated by qemu-user, with Debian's Python for them.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from tflsplit.kernels import exactness
from tflsplit.kernels.classes import KernelClass

CHECKOUT = Path(__file__).resolve().parents[2]
RUNTIMES = {
    "LiteRT 1.4.0": ("ai-edge-litert==1.4.0", "numpy"),
    "LiteRT 2.0.3": ("ai-edge-litert==2.0.3", "numpy"),
    "LiteRT 2.3.0": ("ai-edge-litert==2.3.0", "numpy"),
    "tflite-runtime 2.14.0": ("tflite-runtime==2.14.0", "numpy<2"),
}
BESIDE = ("flatbuffers", "packaging")
MEASURE = (
    "import json, sys; sys.path.append(sys.argv[1]); from tflsplit.kernels import probe; "
    "print(json.dumps(probe.measure().as_json()))"
)


class NotInstallableError(Exception):
    """The runtime has no release for this Python, or the index cannot be reached."""


def supported() -> tuple[str, str]:
    """LiteRT's oldest version that pyproject.toml takes, and the one that it takes no more; all extras say the same."""
    (bounds,) = set(
        re.findall(r'"ai-edge-litert>=([\d.]+),<([\d.]+)"', (CHECKOUT / "pyproject.toml").read_text("utf-8"))
    )
    return bounds


def measured_here(runtime: str, folder: Path) -> KernelClass:
    """This machine's class with a runtime, installed into a new environment in the folder."""
    return class_of(environment(folder / runtime.replace(" ", "-"), RUNTIMES[runtime]))


def environment(place: Path, wanted: Sequence[str]) -> Path:
    """The Python of a new environment with what is wanted and what our code needs beside a runtime."""
    venv.create(place, with_pip=True, symlinks=True)
    python = place / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    installed = subprocess.run((*pip, *wanted, *BESIDE), capture_output=True, text=True, check=False)
    if installed.returncode:
        raise NotInstallableError(installed.stderr.strip().splitlines()[-1])
    return python


def class_of(python: Path) -> KernelClass:
    """This machine's class with the runtime of a Python."""
    child = subprocess.run((python, "-c", MEASURE, CHECKOUT), capture_output=True, text=True, check=True)
    return KernelClass.from_json(json.loads(child.stdout))


def write(found: dict[str, KernelClass]) -> None:
    """One class a line, so that a change shows which."""
    lines = [f"{json.dumps(name)}: {json.dumps(each.as_json())}" for name, each in sorted(found.items())]
    exactness.KNOWN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    found = dict(exactness.known())
    with tempfile.TemporaryDirectory() as folder:
        for runtime in sys.argv[1:] or RUNTIMES:
            found[f"x86-64, {runtime}"] = measured_here(runtime, Path(folder))
    write(found)


if __name__ == "__main__":
    main()
