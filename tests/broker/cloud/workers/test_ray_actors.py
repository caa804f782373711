"""Actors of a Ray cluster as workers: they answer as one process would, and those that die or hang are replaced."""

import importlib.util
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
import tiny_models
from waiting import wait_for

from broker.cloud import engine as cloud_engine
from broker.cloud.answerer import Job
from broker.cloud.turns import streams
from broker.cloud.workers import ray_actors
from broker.messages import results, wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.interpreter import Interpreter

WAIT_S = 60.0
HUNG_S = 3.0  # what a tail may take; one that does not hang takes less on any machine

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this process with two CPUs, and the folder that its actors take for temporary files."""
    import ray

    # Sockets lie in there, whose paths may not be as long as pytest's.
    with tempfile.TemporaryDirectory(prefix="tflsplit-ray-test-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setenv("HOME", folder)  # where Ray keeps the token of its clusters
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield pathlib.Path(folder)
        ray.shutdown()


@pytest.fixture
def start(request, cluster, tiny_package):
    def begin(count=None, *, packages=None, **options):
        made = ray_actors.start(packages or [tiny_package], count, address="auto", **options)
        request.addfinalizer(made.close)
        return made

    return begin


class Answers:
    """Collects answers as they come."""

    def __init__(self):
        self._found = {}
        self._changed = threading.Condition()

    def __call__(self, answer):
        with self._changed:
            self._found[answer.key[1]] = answer
            self._changed.notify_all()

    def take(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._found) >= count, WAIT_S)
            return {sequence: results.parse(answer.result) for sequence, answer in self._found.items()}


def submit(engine, package, count, *, cuts=("op000",)):
    answers, digest = Answers(), bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
    for sequence in range(count):
        cut = package.cut(cuts[sequence % len(cuts)])
        arrays = [np.full(spec.shape, sequence % 100, spec.dtype) for spec in cut.boundary]
        frame = wire.Frame(digest, cut.position, 1, sequence, 0, 0, cut.boundary, wants_raw=True)
        engine.submit(Job("n", wire.encode(frame, arrays, feature_codec.Plain()), time.time() * 1e3), answers)
    return answers


def is_running(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def folders(cluster):
    return list(cluster.glob("tflsplit-ray-*"))


@needs_ray
def test_actors_answer_what_one_process_answers_bit_for_bit(start, tiny_package):
    several, alone = start(), cloud_engine.Inline.of(tiny_package)
    cuts = [cut.id for cut in tiny_package.cuts]
    found = submit(several, tiny_package, 40, cuts=cuts).take(40)
    expected = submit(alone, tiny_package, 40, cuts=cuts).take(40)

    assert several.workers == 2  # one for each CPU of the cluster
    for sequence, result in expected.items():
        assert result.outputs
        assert (found[sequence].cut, found[sequence].values) == (result.cut, result.values)
        assert found[sequence].outputs == result.outputs


@needs_ray
def test_the_frame_of_an_actor_that_is_killed_is_done_again(start, tiny_package):
    engine = start(1)
    (killed,) = engine.pids
    os.kill(killed, signal.SIGSTOP)  # so that it has the frame when it dies
    answers = submit(engine, tiny_package, 1)
    wait_for(lambda: engine.waiting == 0)
    os.kill(killed, signal.SIGKILL)

    assert isinstance(answers.take(1)[0], results.Result)
    assert engine.counters.workers_replaced == 1


@needs_ray
def test_streams_go_on_from_actor_to_actor_and_over_one_that_is_killed(start, tmp_path):
    model = tiny_models.remembering_model()
    package = tiny_models.write_package(tmp_path / "m.tflsplit", model, is_stateful=True)
    actors = start(packages=[package])
    engine, cut, answers = streams.Streams(actors, [package]), package.cut("input"), Answers()
    steps = np.random.default_rng(0).integers(-128, 128, (40, 1, 4), dtype=np.int8)
    for sequence, step in enumerate(steps):
        digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
        follows = max(0, sequence - 1)
        frame = wire.Frame(digest, 0, 1, sequence, 0, 0, cut.boundary, follows=follows, wants_raw=True)
        if sequence == 20:
            os.kill(actors.pids[0], signal.SIGKILL)
        engine.submit(Job("n", wire.encode(frame, (step,), feature_codec.Plain()), 0.0), answers)
    found = answers.take(40)

    with Interpreter(model) as whole:
        for sequence, step in enumerate(steps):
            (expected,) = whole.run(step, goes_on=sequence > 0)
            assert found[sequence].step == sequence + 1
            assert found[sequence].outputs[0].array().tolist() == expected.tolist()


@needs_ray
def test_an_actor_that_hangs_is_replaced_and_its_frame_done_again(start, tiny_package):
    engine = start(1, tail_timeout_s=HUNG_S)
    (hung,) = engine.pids
    os.kill(hung, signal.SIGSTOP)
    answers = submit(engine, tiny_package, 1)

    assert isinstance(answers.take(1)[0], results.Result)
    assert (engine.counters.requeued, engine.counters.workers_replaced) == (1, 1)
    wait_for(lambda: not is_running(hung))


@needs_ray
def test_a_package_that_is_not_on_the_node_is_sent_there(start, cluster, tiny_package, tmp_path):
    engine = start(1)
    (killed,) = engine.pids
    tiny_package.path.rename(tmp_path / "elsewhere")
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: engine.pids not in ((), (killed,)))
    answers = submit(engine, tiny_package, 5)

    assert all(isinstance(answer, results.Result) for answer in answers.take(5).values())
    assert [path for folder in folders(cluster) for path in folder.glob("*/manifest.json")]


@needs_ray
def test_a_package_that_was_exchanged_meanwhile_is_refused(start, tiny_package, residual_model, tmp_path):
    tiny_package.path.rename(tmp_path / "old")
    tiny_models.write_package(tiny_package.path, residual_model, labels=("x", "y"))
    with pytest.raises(errors.DeviceError, match=f"it was {tiny_package.digest[:16]}"):
        start(1)


@needs_ray
def test_closing_leaves_no_process_and_no_file(start, cluster, tiny_package):
    before = folders(cluster)
    engine = start(2)
    pids = engine.pids
    submit(engine, tiny_package, 4).take(4)
    assert len(folders(cluster)) == len(before) + 2
    engine.close()

    wait_for(lambda: not any(map(is_running, pids)))
    assert folders(cluster) == before


def test_where_there_is_no_ray_it_says_how_to_get_it(tiny_package, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(errors.DeviceError, match=r"needs Ray.*pip install ray"):
        ray_actors.start([tiny_package], 1, address="auto")


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:none"])
def test_a_cluster_that_cannot_be_reached_is_refused_at_once(tiny_package, address):
    with pytest.raises(errors.DeviceError, match=f"Ray at {address}: .*; check --ray-address"):
        ray_actors.start([tiny_package], 1, address=address)
