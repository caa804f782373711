"""Workers that do not fit each other say so, and those that are not meant to run do not."""

import dataclasses
import random

import int8_networks
import pytest
import shared_models
import waiting

from broker.transport.memory import MemoryBroker
from edge_runtime.peers.settings import Settings
from tflsplit import errors
from tflsplit.kernels import keeping
from tflsplit.placement import folder

FRAMES = 12


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), 2)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("other"), 2, model=int8_networks.pyramid)


@pytest.fixture
def machines(shared):
    made = shared_models.Machines(shared, MemoryBroker())
    yield made
    made.close()


def other_kernels():
    """A class that differs in every kind of convolution."""
    ours = keeping.here()
    changed = {kind: "00000000" if kind.startswith("CONV_2D") else told for kind, told in ours.operators.items()}
    return dataclasses.replace(ours, runtime="ai-edge-litert 0.0", operators=changed)


def test_a_worker_with_another_bundle_is_named_at_the_source_and_told(machines, shared, other):
    machines.start("m2", shared=other)
    machines.start("m1", shared_models.inputs(shared.package, FRAMES))
    machines.join("m1")
    assert "machine m2 cannot take part: it has another bundle" in str(machines.failures["m1"])


def test_a_worker_with_another_bundle_ends_when_others_run(machines, shared, other):
    source = machines.start("m1", shared_models.inputs(shared.package, FRAMES), count=10**6, wait_s=0.0)
    waiting.wait_for(lambda: source.summary.answered > 3)
    machines.start("m2", shared=other)
    machines.join("m2")
    assert isinstance(machines.failures["m2"], errors.PeerError)
    assert "give all machines the same folder" in str(machines.failures["m2"])
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered)
    source.stop()
    machines.join("m1")
    assert "m1" not in machines.failures


def test_kernels_that_differ_are_refused_with_the_machine_unless_that_is_allowed(machines, shared):
    columns = shared_models.inputs(shared.package, FRAMES)
    machines.start("m2", kernels=other_kernels())
    machines.start("m1", columns)
    machines.join("m1")
    assert "machine m2 cannot take part: its kernels are" in str(machines.failures.pop("m1"))
    assert "CONV_2D" in str(machines.failures.get("m1", "CONV_2D"))
    machines.start("m1", columns, allows_inexact=True)
    machines.join("m1")
    assert machines.failures == {}
    assert {result.is_exact for result in machines.take_results()} == {False}


def test_of_two_workers_under_one_name_the_later_one_ends(machines, shared):
    machines.start("m2")
    first = machines.workers["m2"]
    source = machines.start("m1", shared_models.inputs(shared.package, FRAMES), count=10**6)
    waiting.wait_for(lambda: source.summary.answered > 3)
    machines.start("m2")
    machines.join("m2")
    assert "another process is 'm2'" in str(machines.failures["m2"])
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered)
    assert first.summary.frames > 0
    source.stop()
    machines.join("m1")
    first.stop()


def test_letters_in_any_order_give_the_same_results(machines, shared, monkeypatch):
    order = random.Random(1)
    machines.start("m2")
    machines.start("m1", shared_models.inputs(shared.package, FRAMES))
    for worker in machines.workers.values():
        transport, held = worker._transport, []

        def receive(timeout_s, *, take=transport.receive, held=held):
            """Keeps some letters back, and gives them in another order."""
            message = take(timeout_s if not held else 0.0)
            if message is not None and not message.topic.endswith("/parts"):
                return message
            held += [] if message is None else [message]
            if held and (message is None or len(held) > 3):
                return held.pop(order.randrange(len(held)))
            return None

        monkeypatch.setattr(transport, "receive", receive)
    machines.join()
    assert machines.failures == {}
    wanted = shared_models.expected(shared.package, shared_models.inputs(shared.package, FRAMES))
    shared_models.check(machines.take_results(), wanted)


def test_names_sources_and_files_that_do_not_fit_are_refused(machines, shared, tmp_path):
    columns = shared_models.inputs(shared.package, FRAMES)
    with pytest.raises(errors.SettingsError, match=r"no machine 'm9' in this placement; there are m1, m2"):
        machines.start("m9")
    machines.start("m2", columns)
    machines.join("m2")
    assert "only m1 takes a source" in str(machines.failures["m2"])
    machines.start("m1")
    machines.join("m1")
    assert "give it --source" in str(machines.failures["m1"])
    with pytest.raises(errors.SettingsError, match="threads is 0"):
        Settings("d", "m1", threads=0)
    with pytest.raises(errors.DataError, match=r"no placement\.json in it"):
        folder.open_folder(tmp_path)


def test_a_machine_that_cannot_open_its_pieces_is_left_out(machines, shared, monkeypatch):
    source = machines.start("m1", shared_models.inputs(shared.package, FRAMES))
    worker = machines.start("m2")

    def fails(*_, **__):
        raise errors.PackageError("stage01.tflite: was changed after it was written")

    monkeypatch.setattr(worker._open, "load", fails)
    machines.join("m1")
    assert source.summary.answered == FRAMES
    assert "m2: stage01.tflite: was changed" in source.summary.epochs[-1]
