"""A stream whose accelerator, a real delegate, dies: every frame is accounted for, and the birth says so."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import memory_cloud
import numpy as np
import pytest
import running_edge
import watching
from kernel_classes import HERE

from broker.messages import topics
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.accelerators import child, choice, coral
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.service import Condition, Retries
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels.heads import Standing
from tflsplit.package import writing

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
WAIT_S = 60.0
SOON = Retries(first_s=0.05, longest_s=0.2, tries=3)
CUT = "op001"


@contextmanager
def edge_on(package, accelerator, *, fallback=None, retries=SOON, on_result=lambda result: None, **changes):
    """An edge whose cloud answers, and a person who reads its births."""
    network = memory.MemoryBroker()
    settings = running_edge.settings(**changes)
    with (
        memory_cloud.cloud_for(package, network),
        memory.MemoryTransport(network, client_id="person") as person,
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(package, package.cut(CUT), accelerator=accelerator, fallback=fallback, retries=retries) as ready,
    ):
        for connection in (person, transport):
            connection.connect()
        person.subscribe(topics.topic("d", "n", topics.Kind.BIRTH))
        yield loop.Edge(package, ready, transport, settings, observers=[watching.Watching(on_result)]), person, ready


def delegate(library, options="", *, run_s=10.0):
    return choice.parse(f"delegate:{library}{options}", limits=child.Limits(run_s=run_s))


def source_of(package):
    return frames.from_arrays((INPUTS,), package.manifest, name="test")


def born(person):
    return json.loads(person.receive(WAIT_S).payload)["accelerator"]


def expected(package):
    spec = package.manifest.outputs[0]
    with Interpreter(package.model_bytes()) as whole:
        return [whole.run(row[None])[0].ravel() * np.float32(spec.scale) for row in INPUTS]


def test_a_delegate_killed_mid_stream_is_replaced_by_the_cpu_and_no_frame_is_lost(library, tiny_package):
    got = {}
    killed_s = []

    def kill_at_ten(result):
        got[result.sequence] = dict(result.values)["c"]
        if len(got) == 10:
            killed_s.append(time.monotonic())
            os.kill(ready._service._device.pid, signal.SIGKILL)

    never = Retries(first_s=WAIT_S, longest_s=WAIT_S)
    started = edge_on(
        tiny_package, delegate(library), fallback=Cpu(), retries=never, on_result=kill_at_ten, count=200, rate_fps=100
    )
    with started as (edge, person, ready):
        running = threading.Thread(target=edge.run, args=(source_of(tiny_package),))
        running.start()
        assert born(person) == {"name": f"delegate:{library}", "runs_on": f"delegate:{library}", "reason": None}
        said = born(person)
        said_s = time.monotonic()
        running.join(WAIT_S)

    assert said["runs_on"] == "cpu"
    assert "its process was ended by SIGKILL during an inference" in said["reason"]
    assert said_s - killed_s[0] < 1.0
    summary = edge.summary
    assert (summary.frames, summary.results, summary.unanswered) == (200, 200, 0)
    assert summary.accelerator.failures == 1
    assert 0 < summary.accelerator.frames_on_fallback <= 190
    assert summary.as_json()["accelerator"]["frames_on_fallback"] == summary.accelerator.frames_on_fallback
    answers = expected(tiny_package)
    assert all(np.allclose(values, answers[sequence % 40], rtol=1e-6) for sequence, values in got.items())


@pytest.mark.parametrize("how", ["fail", "crash", "hang"])
def test_a_device_that_dies_is_opened_again_and_does_the_frame_in_hand_again(library, tiny_package, how):
    # The count of inferences begins anew with each process, so it dies over and over.
    accelerator = delegate(library, f"?invoke={how}&from=12", run_s=0.3)
    with edge_on(tiny_package, accelerator) as (edge, _, _):
        summary = edge.run(source_of(tiny_package))

    assert (summary.frames, summary.results) == (40, 40)
    assert summary.accelerator.failures == summary.accelerator.reopenings == 3
    assert summary.accelerator.frames_on_fallback == 0


def test_without_fallback_the_birth_says_that_frames_wait(library, tiny_package, tmp_path):
    broken = tmp_path / "broken"
    accelerator = delegate(library, f"?invoke=fail&create=refuse&while={broken}")
    got = []

    def break_at_five(result):
        got.append(result)
        if len(got) == 5:
            broken.touch()

    patient = Retries(first_s=0.05, longest_s=0.1, tries=1000)
    # So slowly that frames are left when the edge next looks whether its birth has changed.
    started = edge_on(tiny_package, accelerator, retries=patient, on_result=break_at_five, window=1, rate_fps=20)
    with started as (edge, person, _):
        running = threading.Thread(target=edge.run, args=(source_of(tiny_package),))
        running.start()
        births = [born(person), born(person)]
        broken.unlink()
        births.append(born(person))
        running.join(WAIT_S)

    assert [birth["runs_on"] for birth in births] == [f"delegate:{library}", None, f"delegate:{library}"]
    assert "the device is gone" in births[1]["reason"]
    assert (edge.summary.results, edge.summary.accelerator.reopenings) == (40, 1)


def test_without_fallback_a_device_that_stays_away_ends_the_edge_with_the_reason(library, tiny_package, tmp_path):
    broken = tmp_path / "broken"
    accelerator = delegate(library, f"?invoke=fail&create=complain&while={broken}")
    started = edge_on(tiny_package, accelerator, on_result=lambda result: broken.touch(), window=1)
    with started as (edge, _, _), pytest.raises(errors.DeviceError) as ended:
        edge.run(source_of(tiny_package))

    assert "given up after 3 failures in a row, the last: " in str(ended.value)
    assert str(ended.value).endswith("all devices are busy; --fallback cpu goes on without it")
    # The next frame may be taken before the first result breaks the device.
    assert edge.summary.frames == edge.summary.results > 0
    assert edge.summary.dropped["head_failed"] == 1


def test_an_edge_that_waits_for_its_device_can_be_stopped(library, tiny_package, tmp_path):
    broken = tmp_path / "broken"
    accelerator = delegate(library, f"?invoke=fail&create=refuse&while={broken}")
    patient = Retries(first_s=WAIT_S, longest_s=WAIT_S)
    started = edge_on(tiny_package, accelerator, retries=patient, on_result=lambda result: broken.touch(), window=1)
    with started as (edge, person, _):
        ended = []

        def run():
            with pytest.raises(errors.DeviceError, match="stopped while a frame waited") as stopped:
                edge.run(source_of(tiny_package))
            ended.append(stopped)

        running = threading.Thread(target=run)
        running.start()
        births = [born(person), born(person)]
        edge.stop()
        running.join(WAIT_S)

    assert births[1]["runs_on"] is None
    assert len(ended) == 1


def test_a_device_that_is_not_there_at_the_start_is_refused_or_replaced(library, tiny_package):
    cut = tiny_package.cut(CUT)
    absent = delegate(library, "?create=complain")
    with pytest.raises(errors.DeviceError, match="all devices are busy"):
        head.Head(tiny_package, cut, accelerator=absent)

    with head.Head(tiny_package, cut, accelerator=absent, fallback=Cpu(), retries=SOON) as ready:
        outputs = ready.run((INPUTS[:1],))
        condition = ready.condition

    assert [output.shape for output in outputs] == [spec.shape for spec in cut.boundary]
    assert (condition.runs_on, condition.reason) == ("cpu", f"{library}: gave no delegate: all devices are busy")


def test_an_edge_tpu_wants_a_compiled_head(tiny_package):
    cut = tiny_package.cut(CUT)
    edge_tpu = choice.parse("coral")
    with pytest.raises(errors.PackageError, match=r"head of op001 is not compiled .* run `tflsplit compile .* op001`"):
        head.Head(tiny_package, cut, accelerator=edge_tpu)

    with head.Head(tiny_package, cut, accelerator=edge_tpu, fallback=Cpu()) as ready:
        ready.run((INPUTS[:1],))
        condition = ready.condition

    assert condition.runs_on == "cpu"
    assert "is not compiled for the Edge TPU" in condition.reason


def test_an_edge_tpu_runs_the_compiled_head_whatever_the_compiler_calls_its_tensors(library, tiny_package, builder):
    cut = tiny_package.cut(CUT)
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a_1", (1, 4))
    b = builder.add(a, a, "b_1", (1, 4), scale=0.4)
    compiled = {f"cuts/{CUT}/head_edgetpu.tflite": builder.build((x,), (a, b))}
    made = writing.update(tiny_package, tiny_package.manifest, (cut,), compiled)
    edge_tpu = coral.Coral(library=library)
    with head.Head(made, cut, accelerator=edge_tpu) as there, head.Head(made, cut) as here:
        outputs, expected_outputs = there.run((INPUTS[:1],)), here.run((INPUTS[:1],))
        condition = there.condition

    assert [array.tolist() for array in outputs] == [array.tolist() for array in expected_outputs]
    assert condition == Condition("coral", "coral")


def test_the_birth_of_an_edge_on_the_cpu_says_cpu(tiny_package):
    with edge_on(tiny_package, Cpu()) as (edge, person, ready):
        edge.run(source_of(tiny_package))
        birth = born(person)

    assert birth == Condition("cpu", "cpu").as_json()
    assert ready.counters == edge.summary.accelerator


def test_a_head_on_a_delegate_has_a_class_of_its_own_and_on_the_fallback_that_of_the_cpu(library, tiny_package):
    """Two builds of one library, or other options of it, are different classes; the same ones again are the same."""

    def class_on(accelerator, **options):
        with head.Head(tiny_package, CUT, accelerator=accelerator, kernel_class=HERE, **options) as opened:
            assert opened.kernels.kinds == ("ADD/int8",)
            return opened.kernels

    first, again, other = (class_on(delegate(library, options)) for options in ("", "", "?off_by=1"))
    on_the_cpu = class_on(Cpu())

    assert first == again
    assert first.against(again.kernel_class).is_exact
    assert {first.against(found.kernel_class).standing for found in (other, on_the_cpu)} == {Standing.INEXACT}
    assert on_the_cpu.kernel_class == HERE
    assert class_on(delegate("/nowhere/libnothing.so"), fallback=Cpu()).kernel_class == HERE
