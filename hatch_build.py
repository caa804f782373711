"""How the wheel names the machines that it is for: Linux of 64 bits on x86-64 and Arm, as LiteRT's own wheels are.

It is pure Python, yet `any` would let pip on a 32-bit system go on to libraries that have no release for it, and end
with "no matching distribution found for numpy". Markers cannot tell: the kernel there often says aarch64.
"""

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The C library that LiteRT's and numpy's wheels ask for.
TAG = "py3-none-manylinux_2_27_aarch64.manylinux_2_27_x86_64"


class Hook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if sys.maxsize < 2**32:
            raise RuntimeError("this Python is of 32 bits, and tflsplit is not for such: take the 64-bit system")
        if version == "standard":  # a checkout may be worked in anywhere
            build_data["tag"] = TAG
