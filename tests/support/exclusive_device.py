"""A stand-in for an accelerator on USB, which computes on the CPU what it is given."""

import threading

from waiting import WAIT_S

from edge_runtime.accelerators.cpu import Cpu
from tflsplit import errors


class Exclusive:
    """Opens one head, or as many as it `holds`; `refused` and `wrong` name those that it does not or badly."""

    name, needs_compiled, is_external = "stick", False, True

    def __init__(self):
        self.refused = ""
        self.wrong = ""
        self.opened = []
        self.holds = 1
        self.may_open = threading.Event()  # a test may make it take its time
        self.may_open.set()
        self.is_taken = 0

    def open(self, model, *, name):
        assert self.may_open.wait(WAIT_S)
        if self.is_taken >= self.holds:
            raise errors.DeviceError("the stick is taken")
        if self.refused and self.refused in name:
            raise errors.DeviceError("the stick does not like it")
        self.is_taken += 1
        self.opened.append(name)
        return Opened(self, Cpu().open(model, name=name), is_wrong=bool(self.wrong) and self.wrong in name)

    def free(self):
        self.is_taken -= 1


class Opened:
    """A model on it."""

    name, properties = "stick", {}

    def __init__(self, stick, opened, *, is_wrong):
        self._stick, self._opened, self._is_wrong = stick, opened, is_wrong
        self.outputs = opened.outputs

    def run(self, *arrays):
        found = self._opened.run(*arrays)
        return tuple(~array for array in found) if self._is_wrong else found

    def close(self):
        if self._opened is not None:
            self._stick.free()
            self._opened.close()
            self._opened = None
