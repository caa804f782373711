"""A small deployment in which models are updated."""

import contextlib

import memory_cloud
import pytest
import tiny_models
import updatable

from broker.transport import memory
from tflsplit.package import signing


class Field:
    """A device, its operator and its cloud. `start` starts the device, `serve` the cloud; they end with the test."""

    def __init__(self, folder, model, stack):
        self.network = memory.MemoryBroker()
        self.models = folder / "models"
        self.old = tiny_models.write_package(folder / "old.tflsplit", model)
        # The same model with other labels: another package.
        self.new = tiny_models.write_package(folder / "new.tflsplit", model, labels=("x", "y"))
        public = signing.make(folder / "plant.pem")
        self.signer = signing.open_private(folder / "plant.pem")
        self._verifier = signing.open_public(public)
        self._stack = stack

    def start(self, original=None, **options):
        device = updatable.Device(self.network, self.models, original or self.old, self._verifier, **options)
        self._stack.callback(device.stop)
        return device

    def serve(self):
        self._stack.enter_context(memory_cloud.cloud_for(self.old, self.network, self.new))

    def push(self, pushed, *, signer=None, **options):
        return updatable.push(self.network, pushed, signer or self.signer, **options)

    def push_until(self, state, pushed, *, signer=None, **options):
        updatable.push_until(self.network, state, pushed, signer or self.signer, **options)


@pytest.fixture
def field(residual_model, tmp_path):
    with contextlib.ExitStack() as stack:
        yield Field(tmp_path, residual_model, stack)


@pytest.fixture
def served(field):
    """With a cloud that has both packages, as during a roll-out."""
    field.serve()
    return field
