"""Worker processes: they answer as one process would, and what dies, hangs or cannot start is dealt with."""

import functools
import os
import pathlib
import queue
import signal
import sys
import time

import numpy as np
import odd_worker
import pytest
import tiny_models
from waiting import wait_for

from broker.cloud import answerer
from broker.cloud import engine as cloud_engine
from broker.cloud.workers import main, pool, process
from broker.messages import results, wire
from tflsplit import errors
from tflsplit.coding import feature_codec

WAIT_S = 60.0
HUNG_S = 3.0  # what a tail may take; one that does not hang takes less on any machine
ODD = pathlib.Path(odd_worker.__file__)


def frame_of(package, cut, sequence):
    cut = package.cut(cut)
    arrays = [np.full(spec.shape, sequence % 100, spec.dtype) for spec in cut.boundary]
    frame = wire.Frame(bytes.fromhex(package.digest)[:16], cut.position, 1, sequence, 0, 0, cut.boundary)
    return wire.encode(frame, arrays, feature_codec.Plain())


def job_of(package, sequence, *, cut="op000", device="n"):
    return answerer.Job(device, frame_of(package, cut, sequence), time.time() * 1e3)


class Answers:
    """Collects answers as they come."""

    def __init__(self):
        self._queue = queue.Queue()

    def __call__(self, answer):
        self._queue.put(answer)

    def next(self):
        return self._queue.get(timeout=WAIT_S)

    def take(self, count):
        return {answer.key[1]: answer for answer in (self.next() for _ in range(count))}


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def start(request, tiny_package):
    def begin(count=2, **options):
        made = pool.Workers([tiny_package], count, **options)
        request.addfinalizer(made.close)
        return made

    return begin


@pytest.fixture
def start_odd(start, tmp_path):
    begin = functools.partial(process.WorkerProcess, (sys.executable, str(ODD), str(tmp_path)))
    return lambda count=2, **options: start(count, make_worker=begin, **options)


def values_of(answer):
    return results.parse(answer.result).values


def is_running(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_answer_what_one_process_answers(start, tiny_package, answers):
    several, alone = start(2), cloud_engine.Inline.of(tiny_package)
    cuts = [cut.id for cut in tiny_package.cuts]
    for sequence in range(40):
        several.submit(job_of(tiny_package, sequence, cut=cuts[sequence % len(cuts)]), answers)
    found = answers.take(40)
    expected = Answers()
    for sequence in range(40):
        alone.submit(job_of(tiny_package, sequence, cut=cuts[sequence % len(cuts)]), expected)

    assert {sequence: values_of(answer) for sequence, answer in found.items()} == {
        sequence: values_of(answer) for sequence, answer in expected.take(40).items()
    }


def test_the_frame_of_a_worker_that_dies_is_answered_by_another(start_odd, tiny_package, answers):
    engine = start_odd(2)
    engine.submit(job_of(tiny_package, 1, device="die-once"), answers)

    assert answers.next().refused is None
    wait_for(lambda: len(engine.pids) == 2)
    assert (engine.counters.requeued, engine.counters.workers_replaced) == (1, 1)


def test_a_frame_that_kills_three_workers_is_refused_and_the_others_are_answered(start_odd, tiny_package, answers):
    engine = start_odd(2)
    engine.submit(job_of(tiny_package, 0, device="die"), answers)
    for sequence in range(1, 20):
        engine.submit(job_of(tiny_package, sequence), answers)
    found = answers.take(20)

    assert found[0].refused is answerer.Refused.POISON
    assert "3 workers" in found[0].error
    assert "killed by signal 9" in found[0].error
    assert [sequence for sequence, answer in found.items() if answer.refused] == [0]
    assert engine.counters.requeued == 2


def test_a_worker_that_hangs_is_killed_and_its_frame_done_again(start_odd, tiny_package, answers):
    engine = start_odd(1, tail_timeout_s=HUNG_S)
    (hung,) = engine.pids
    engine.submit(job_of(tiny_package, 1, device="hang-once"), answers)

    assert answers.next().refused is None
    assert not is_running(hung)


def test_a_stopped_worker_counts_as_hung_even_where_a_frame_is_larger_than_its_pipe(request, tmp_path, answers):
    made = tiny_models.Builder()
    x = made.tensor("x", (1, 1 << 20))
    package = tiny_models.write_package(
        tmp_path / "large.tflsplit", made.build((x,), (made.add(x, x, "y", (1, 1 << 20)),))
    )
    engine = pool.Workers([package], 1, tail_timeout_s=HUNG_S)
    request.addfinalizer(engine.close)
    (stopped,) = engine.pids
    os.kill(stopped, signal.SIGSTOP)
    engine.submit(job_of(package, 1, cut="input"), answers)

    assert answers.next().refused is None
    assert engine.counters.workers_replaced == 1


def test_an_idle_worker_that_dies_is_replaced(start, tiny_package, answers):
    engine = start(1)
    (killed,) = engine.pids
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: engine.pids not in ((), (killed,)))
    engine.submit(job_of(tiny_package, 1), answers)

    assert answers.next().refused is None
    assert engine.counters.requeued == 0


def test_a_slow_worker_does_less(start_odd, tiny_package, tmp_path, answers):
    """Dealt out in turn it would get a third. Pulled, it gets what fits into the time that the others take; a sixth is
    25 times that, left to a machine that is busy."""
    (tmp_path / "one_is_slow").touch()
    engine = start_odd(3)
    for sequence in range(300):
        engine.submit(job_of(tiny_package, sequence), answers)
    answers.take(300)
    given = (tmp_path / "answers").read_text().split()

    assert sorted(map(int, given[1::2])) == list(range(300))
    assert 1 <= given.count("slow") <= 300 / 6


def test_signals_to_the_group_leave_workers_to_their_dispatcher(start, tiny_package, answers):
    engine = start(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(engine.pids[0], number)
    engine.submit(job_of(tiny_package, 1), answers)

    assert answers.next().refused is None
    assert engine.counters.workers_replaced == 0


def test_closing_ends_every_process_even_one_that_hangs(start_odd, tiny_package):
    engine = start_odd(2)
    pids = engine.pids
    engine.submit(job_of(tiny_package, 1, device="hang"), lambda answer: pytest.fail(str(answer)))
    wait_for(lambda: engine.waiting == 0)
    engine.close()

    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "did not start: it ended with code 3"),
        (("/no/such/program",), "cannot be started: .*No such file"),
    ],
)
def test_workers_that_cannot_start_are_one_clear_error(start, command, said):
    with pytest.raises(errors.DeviceError, match=f"a worker process {said}"):
        start(2, make_worker=functools.partial(process.WorkerProcess, command))


def test_a_package_that_was_exchanged_meanwhile_is_refused(tiny_package, residual_model, tmp_path):
    from tflsplit.package.reading import open_package

    (tmp_path / "tiny.tflsplit").rename(tmp_path / "old")
    other = tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model, labels=("x", "y"))
    with pytest.raises(
        errors.DeviceError, match=f"its digest is {other.digest[:16]}, it was {tiny_package.digest[:16]}"
    ):
        pool.Workers([tiny_package], 2)

    assert open_package(tmp_path / "old").digest == tiny_package.digest


def test_workers_that_can_no_longer_be_started_fail_the_engine(start, tiny_package, tmp_path):
    engine = start(2)
    (tmp_path / "tiny.tflsplit").rename(tmp_path / "gone")
    for pid in engine.pids:
        os.kill(pid, signal.SIGKILL)

    def has_failed():
        try:
            engine.check()
        except errors.DeviceError as problem:
            return "no worker can be started" in str(problem)
        return False

    wait_for(has_failed)


def mapped(pid, name):
    """Inodes of the files of that name in a process's memory."""
    lines = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if line.endswith(name)}


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what a process has mapped")
def test_workers_map_one_file_of_each_segment_whether_or_not_it_is_in_the_package(tmp_path, residual_model, request):
    made = tiny_models.describe(residual_model)
    bare = tiny_models.writing.write(tmp_path / "bare.tflsplit", made, residual_model, made.cuts[1:2])
    written, sliced = (cut.id for cut in bare.cuts[1:3])
    assert bare.file(bare.cut(sliced), "tail") is None
    for warm, expected in (
        ((written,), [f"cuts/{written}/tail.tflite"]),
        ((written, sliced), [f"-{written}-{sliced}.tflite", f"-{sliced}.tflite"]),
    ):
        engine = pool.Workers([bare], 2, warm=[(bare, cut) for cut in warm])
        request.addfinalizer(engine.close)
        inodes = [set.union(*(mapped(pid, name) for name in expected)) for pid in engine.pids]

        assert len(inodes[0]) == len(expected)
        assert inodes == [inodes[0]] * 2


def test_a_setup_survives_its_journey():
    setup = main.Setup((("/p", "ab"), ("/q", "cd")), "/tmp/x", 2, True, ((1, "op003"),))

    assert main.parse(setup.as_json()) == setup


def test_frames_that_are_run_together_give_what_they_give_alone(start, tiny_package, answers):
    several, alone = start(2, batch_window_s=0.005), cloud_engine.Inline.of(tiny_package)
    expected = Answers()
    for sequence in range(200):
        several.submit(job_of(tiny_package, sequence, cut=("op000", "op001")[sequence % 2]), answers)
        alone.submit(job_of(tiny_package, sequence, cut=("op000", "op001")[sequence % 2]), expected)
    found, right = answers.take(200), expected.take(200)

    assert [values_of(found[sequence]) for sequence in range(200)] == [
        values_of(right[sequence]) for sequence in range(200)
    ]


def test_a_tail_is_open_in_every_worker_before_that_is_told(start, tiny_package, answers):
    workers = start(2)
    opened = queue.Queue()
    for cut in ("op000", "op001"):
        workers.open(tiny_package, tiny_package.cut(cut), lambda cut=cut: opened.put(cut))
    assert sorted(opened.get(timeout=WAIT_S) for _ in range(2)) == ["op000", "op001"]
    assert len(workers._openings.everywhere) == 2

    os.kill(workers.pids[0], signal.SIGKILL)
    wait_for(lambda: workers.counters.workers_replaced == 1 and workers.workers == 2)
    assert all(workers._openings.lacks(number) is None for number in range(2))
    workers.submit(job_of(tiny_package, 7), answers)
    assert answers.next().refused is None
