"""A device that another process owns and shares out: `served:PATH`, PATH being the socket of `tflsplit accelerator
serve`. `edge_runtime.accelerators.owner` is the other side."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

from edge_runtime.accelerators import arena, child, protocol, worker
from tflsplit import errors, strict_json
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.values.classes import dataclass, field

MOST_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True)
class Served:
    """`weight` is this user's share of the device's time against the others'. What its owner told of the device last
    stands in `told`: another owner may have another one, which is learnt when a model is opened."""

    is_external: ClassVar[bool] = True

    path: str
    weight: float = 1.0
    limits: child.Limits = child.DEFAULT_LIMITS
    told: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.weight <= MOST_WEIGHT:
            raise errors.SettingsError(f"{self.name}: weight {self.weight:g}, expected 0 < weight <= {MOST_WEIGHT:g}")

    @property
    def name(self) -> str:
        return f"served:{self.path}"

    @property
    def needs_compiled(self) -> bool:
        """As its owner says; DeviceError where none answers."""
        if not self.told:
            with contextlib.closing(_Line(self)) as line:
                self.told.update(line.about)
        return bool(self.told["needs_compiled"])

    def open(self, model: bytes, *, name: str) -> protocol.OpenModel:
        line = _Line(self)
        self.told.update(line.about)
        try:
            return ServedModel(self, line, model, name)
        except BaseException:
            line.close()
            raise


class ServedModel:
    """A model on the owner's device. `run` waits its turn behind the other users'."""

    def __init__(self, served: Served, line: "_Line", model: bytes, name: str) -> None:
        self.name = served.name
        self._line = line
        request = {"name": name, "weight": served.weight}
        content = arena.of_bytes(model)
        try:
            fields, (tensors,) = line.ask(json.dumps(request).encode(), content, wait_s=served.limits.open_s)
        finally:
            os.close(content)
        inputs, self.outputs = (
            tuple(TensorSpec.from_json(spec) for spec in fields[side]) for side in ("inputs", "outputs")
        )
        self._tensors = arena.Tensors(tensors, inputs, self.outputs)
        os.close(tensors)
        self.properties: Mapping[str, str] = fields["properties"]
        self._wait_s: float = fields["wait_s"]

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        self._tensors.fill(arrays)
        self._line.ask(worker.RUN.encode(), wait_s=self._wait_s)
        return self._tensors.results()

    def close(self) -> None:
        self._line.close()


class _Line:
    """A connection to the owner; DeviceError if that does not answer, or answers that it failed."""

    def __init__(self, served: Served) -> None:
        self._name = served.name
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._channel.settimeout(served.limits.open_s)
            self._channel.connect(served.path)
            self.about, _ = self._answer()
        except OSError as cause:
            self.close()
            raise errors.DeviceError(
                f"{self._name}: no owner answers there ({cause.strerror or cause}): start `tflsplit accelerator serve "
                f"{served.path}`, and let this user open the socket"
            ) from cause
        except BaseException:
            self.close()
            raise

    def ask(self, request: bytes, *descriptors: int, wait_s: float) -> tuple[dict[str, Any], list[int]]:
        try:
            self._channel.settimeout(wait_s)
            socket.send_fds(self._channel, [request], descriptors)
            return self._answer()
        except OSError as cause:
            self.close()
            raise errors.DeviceError(f"{self._name}: its owner does not answer ({cause.strerror or cause})") from cause

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        answer, descriptors, *_ = socket.recv_fds(self._channel, worker.MESSAGE_BYTES, 1)
        if not answer:
            self.close()
            raise errors.DeviceError(f"{self._name}: its owner has ended")
        if answer == worker.DONE:
            return {}, descriptors
        fields = strict_json.parse_object(answer)
        if "failure" in fields:
            self.close()
            raise errors.DeviceError(f"{self._name}: {fields['failure']}")
        return fields, descriptors

    def close(self) -> None:
        self._channel.close()
