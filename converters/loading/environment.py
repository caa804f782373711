"""Checks for converting, beside libraries that are new enough: versions that fit together, and Google's compiler.

TensorFlow and Keras are never imported here: their versions are read where pip wrote them.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Sequence

from tflsplit import extras
from tflsplit.findings import Finding, State

COMPILER = "edgetpu_compiler"


def keras_fits(path: Sequence[str] | None = None) -> Finding:
    """Whether tf-keras, which opens Keras 2 files, is the one made for this TensorFlow: their versions are equal."""
    title = "Keras 2 files"
    tensorflow, tf_keras = (extras.version_of(name, path) for name in ("tensorflow", "tf-keras"))
    if tensorflow is None or tf_keras is None:
        return Finding(title, State.INFO, "not examined: TensorFlow and tf-keras are not both installed")
    wanted = ".".join(tensorflow.split(".")[:2])
    if tf_keras.split(".")[:2] == wanted.split("."):
        return Finding(title, State.OK, f"tf-keras {tf_keras} with TensorFlow {tensorflow}")
    remedy = f"pip install 'tf-keras=={wanted}.*'"
    return Finding(title, State.WRONG, f"tf-keras {tf_keras} was not made for TensorFlow {tensorflow}", remedy)


def compiler(program: str = COMPILER, *, timeout_s: float = 10.0, machine: str = platform.machine()) -> Finding:
    """Whether Google's compiler is here and answers; it can hang, so it is asked in a child process."""
    found = shutil.which(program)
    if found is None:
        where = "not installed; only heads for an Edge TPU need it"
        if machine != "x86_64":
            return Finding(COMPILER, State.INFO, f"{where}, and it runs on x86-64 Linux only")
        return Finding(
            COMPILER, State.INFO, where, "install Google's package edgetpu-compiler, here or on another x86-64"
        )
    try:
        child = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=timeout_s, check=False)
        output = child.stdout + child.stderr
    except subprocess.TimeoutExpired:
        output = f"no answer within {timeout_s:g} s"
    except OSError as problem:
        output = str(problem)
    version = re.search(r"Edge TPU Compiler version ([\d.]+)", output)
    if version:
        return Finding(COMPILER, State.OK, f"{version[1]}, {found}")
    output = " ".join(output.split()) or "nothing"
    return Finding(COMPILER, State.WRONG, f"{found} does not print its version: {output}", "reinstall edgetpu-compiler")
