"""Invented kernel classes, of machines that compute alike but for the kinds that a test names."""

from tflsplit.kernels import keeping
from tflsplit.kernels.classes import KernelClass

KINDS = ("ADD/int8", "CONV_2D/int8", "FULLY_CONNECTED/int8", "MEAN/int8", "MUL/int8", "SOFTMAX/int8")
HERE = KernelClass("ai-edge-litert 2.3.0", "x86_64", True, dict.fromkeys(KINDS, "00000001"))


def unlike(*kinds, runtime="ai-edge-litert 2.3.0", machine="aarch64"):
    """A machine that computes these kinds in a way of its own."""
    return KernelClass(runtime, machine, True, HERE.operators | dict.fromkeys(kinds, "000000ff"))


def keep(folder, kernel_class):
    """As if this machine had measured that class; `folder` is for XDG_CACHE_HOME."""
    keeping.find_in(folder / "tflsplit", lambda: kernel_class)
    return folder
