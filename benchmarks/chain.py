"""A chain edge -> gateway -> cloud of real workers: frames a second beside what its slowest stage computes alone, and a
frame's latency beside its prediction.

ResNet50 with random weights, 224 x 224, as three `tflsplit worker`s at Mosquitto, of which each in turn has three
fifths of the work. That one has a processor for itself; the other two, the broker and who reads results share the
other one. Just before and just after, each stage's file is run in a process that does nothing else, on the slowest
one's processor. A frame that is alone on its way (the one before is over, and all that follows from its result) is
predicted as its stages alone, one after the other, and for each exchange the time that so many bytes take between two
processes over a broker. CPU time is the kernel's count for each thread.
"""

import contextlib
import itertools
import json
import multiprocessing
import statistics
import sys
from pathlib import Path

import direct_links
import harness
from harness import Outcome, Samples, Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import resnet
import tiny_models
import ways_to_share

from broker.local import server
from tflsplit.cli.trials.sharing import meeting, whole
from tflsplit.cli.trials.sharing.processes import Processes, Way
from tflsplit.graph import cuts
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import reading, verify
from tflsplit.placement import folder as folders
from tflsplit.placement import placement
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting.network import Network

TARGET, LATENCY_TARGET = 0.9, 1.1
_NAMES = ("edge", "gateway", "cloud")
_LARGEST = 0.6  # of the work
_SLOWEST_CORE, _OTHERS_CORE = harness.EDGE_CORE, harness.CLOUD_CORE
_UNPACED = ("--pace", "1e18", "--no-replan")
# A frame is alone when it begins so many times as late as its stages take: what is still done with the one before, its
# acknowledgements and here the reading of its result, would share a processor with its first stage.
_APART = 2.5


def run(folder, *, is_quick):
    if server.mosquitto_path() is None:
        raise harness.SkippedError("mosquitto is not installed: apt install mosquitto")
    frames, rounds = (40, 1) if is_quick else (160, 3)
    found = [_slowest(folder, slowest, frames, rounds) for slowest in range(len(_NAMES))]
    outcomes = [outcome for outcomes, _ in found for outcome in outcomes]
    rows, frames_alone = zip(*(rows for _, rows in found), strict=True)
    return [*outcomes, Table(*_FRAME, frames_alone, _FRAME_NOTE), Table(*_TABLE, rows, _NOTE)]


_FRAME = (
    "One frame alone on its way, ms",
    (
        "slowest",
        *(f"{name}, {where}" for where in ("alone", "in its worker") for name in _NAMES),
        *("exchanges", "predicted"),
    ),
)
_FRAME_NOTE = (
    "Medians of the rounds. Exchanges are what is left of a frame's latency when its workers have computed; predicted "
    "is what so many bytes take between two processes."
)
_TABLE = (
    "CPU time of the slowest worker, ms a frame",
    ("slowest", "the interpreter", "its thread besides", "all other threads"),
)
_NOTE = (
    "Medians of the rounds. What the thread that computes does besides holds frames up; the other threads have their "
    "turns while the interpreter computes."
)


def _slowest(root, slowest, frames, rounds):
    shared, moved = _chain(root, slowest)
    files = {name: str(next((shared.path / name).glob("*.tflite"))) for name in shared.plan.machines}
    inputs = whole.write(shared, root / "inputs.npz")
    name, taken = shared.plan.machines[slowest], []
    for _ in range(rounds):
        harness.wait_for_calm()
        before = _alone(files)
        piped = _piped(shared, slowest, inputs, frames)
        rate = 1 / (_APART * sum(before.values()))
        single = _piped(shared, slowest, inputs, frames // 4, "--window", "1", "--rate", f"{rate:.3f}")
        after = _alone(files)
        stages = {each: (before[each] + after[each]) / 2 for each in files}
        hops_s = sum(_hop_s(size) for size in moved)
        taken.append((piped, single, stages, hops_s))
    rate, bound, latency, predicted = (
        Samples(what, unit, tuple(values))
        for what, unit, values in (
            ("the chain", "1/s", [piped.per_s for piped, *_ in taken]),
            ("the stage alone", "1/s", [1 / stages[name] for *_, stages, _ in taken]),
            ("one frame alone", "s", [single.latency_s for _, single, *_ in taken]),
            ("predicted", "s", [sum(stages.values()) + hops for *_, stages, hops in taken]),
        )
    )
    cpu_s = zip(*((piped.inside_s, piped.besides_s, piped.others_s) for piped, *_ in taken), strict=True)
    row = (_NAMES[slowest], *(f"{statistics.median(each) * 1e3:.2f}" for each in cpu_s))
    alone_s = [[stages[each] for *_, stages, _ in taken] for each in files]
    inside_s = [[single.stage_s[each] for _, single, *_ in taken] for each in files]
    letters_s = [single.latency_s - sum(single.stage_s.values()) for _, single, *_ in taken]
    parts = (*alone_s, *inside_s, letters_s, [hops for *_, hops in taken])
    frame = (_NAMES[slowest], *(f"{statistics.median(each) * 1e3:.1f}" for each in parts))
    return (
        Outcome(f"frames a second, the {_NAMES[slowest]} slowest", rate, bound, TARGET, is_floor=True),
        Outcome(f"latency, the {_NAMES[slowest]} slowest", latency, predicted, LATENCY_TARGET),
    ), (row, frame)


def _chain(root, slowest):
    """The folder of a chain whose machine of that number has most of the work, and the bytes that each exchange has."""
    path = root / "chain.tflsplit"
    if not path.exists():
        tiny_models.write_package(path, resnet.int8(), labels=())
    package = reading.open_package(path)
    network, count = Network(package.graph), len(_NAMES)
    work = [cuts.macs(package.graph, operator) for operator in package.graph.operators]
    shares = [_LARGEST if each == slowest else (1 - _LARGEST) / (count - 1) for each in range(count)]
    edges = [0]
    for share in itertools.accumulate(shares[:-1]):
        places = [each for each in range(edges[-1] + 1, network.count) if len(network.crossing[each]) == 1]
        edges.append(min(places, key=lambda place, share=share: abs(sum(work[:place]) - share * sum(work))))
    stages = tuple(
        placement.whole_stage(network, *pair, each, count)
        for each, pair in enumerate(itertools.pairwise((*edges, network.count)))
    )
    placed = Placement(count, stages, 0, count - 1)
    written = ways_to_share.write(package, ways_to_share.cluster(count), placed, root / f"chain{slowest}")
    steps = placement.schedule(network, placed).steps
    return folders.open_folder(written), [size for step in steps if (size := sum(each.bytes for each in step.moves))]


def _alone(files):
    """By machine: seconds of its stage, the median in a process that does nothing else."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run_alone, args=(files, theirs))
    process.start()
    theirs.close()  # else we would wait for ever for one that failed
    found = ours.recv()
    process.join()
    return found


def _run_alone(files, pipe):
    with harness.pinned(_SLOWEST_CORE):
        found = {}
        for name, file in files.items():
            with Interpreter(Path(file)) as opened:
                sample, times = verify.random_samples(opened.inputs, 1)[0], []
                for _ in range(24):
                    times.append(harness.seconds(lambda opened=opened, sample=sample: opened.run(*sample)))
                found[name] = statistics.median(times[4:])
        pipe.send(found)


def _hop_s(size):
    """Seconds that so many bytes take from one process to another one over a broker."""
    with harness.pinned(_OTHERS_CORE), server.run(port=0, kind="mosquitto") as broker:
        return direct_links.measure("mqtt", broker.address, broker.address, size, 20)[0]


class _Piped:
    """What came of a run, looked at from its first quarter on. CPU seconds are the slowest worker's, for a frame;
    `stage_s` by machine what its worker computed on one, the median."""

    def __init__(self, results, cpu, marks, summaries):
        sent_s = [each.times.sent_ms / 1e3 for each in results]
        skipped = len(sent_s) // 4
        self.per_s = (len(sent_s) - 1 - skipped) / (sent_s[-1] - sent_s[skipped])
        self.latency_s = statistics.median(
            (each.times.sent_ms - each.times.captured_ms) / 1e3 for each in results[skipped:]
        )
        self.inside_s, self.besides_s = cpu["inside_s"], cpu["besides_s"]
        self.stage_s = {
            name: sum(step["compute_ms"]["p50"] for step in told["steps"]) / 1e3 for name, told in summaries.items()
        }
        (first, before_s), (last, after_s) = marks
        self.others_s = (after_s - before_s) / (last - first)


def _piped(shared, slowest, inputs, frames, *more):
    given = ("--source", str(inputs.source), "--count", str(frames), "--raw-outputs", *more)
    name, looks, marks = shared.plan.machines[slowest], [frames // 4, frames - 2 * len(_NAMES)], []
    told = inputs.source.with_name("cpu.json")
    with _at_broker(slowest, told) as way, Processes(shared, way, _UNPACED, given) as workers:
        heard = workers.heard

        def is_over():
            if looks and len(heard.results) >= looks[0]:
                looks.pop(0)
                marks.append((len(heard.results), _others_s(workers.pid(name))))
            return len(heard.results) >= frames

        workers.follow(is_over)
        summaries = workers.summaries()
    if wrong := inputs.wrong(heard.results):
        raise SystemExit(f"{wrong} results are not the whole model's")
    return _Piped(heard.results, json.loads(told.read_text()), marks, summaries)


@contextlib.contextmanager
def _at_broker(slowest, told):
    timed = [str(Path(__file__).with_name("timed_worker.py")), str(told)]
    with harness.pinned(_OTHERS_CORE), meeting.of(meeting.MQTT) as way:

        def inside(machine, command):
            if machine != slowest:
                return ["taskset", "--cpu-list", str(_OTHERS_CORE), *command]
            place = command.index("-m")  # what follows it is the program
            return ["taskset", "--cpu-list", str(_SLOWEST_CORE), *command[:place], *timed, *command[place + 2 :]]

        yield Way(way.deployment, way.url, way.listener, inside)


def _others_s(pid):
    """CPU seconds of all threads of a process but the first, which computes in a worker."""
    tasks = (each for each in Path(f"/proc/{pid}/task").iterdir() if each.name != str(pid))
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9
