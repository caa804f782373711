"""The metrics and the health of a running worker, for operators. Reads the counters of others when somebody asks."""

import time
from collections.abc import Iterator
from importlib import metadata

from broker.messages.peers.standing import State
from broker.transport import metrics
from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.monitoring.health import STUCK_S
from edge_runtime.peers.coordinator import Change
from edge_runtime.peers.source_machine import SourceMachine
from edge_runtime.peers.worker import Present, Worker
from tflsplit.observing import catalogue
from tflsplit.observing import worker_catalogue as of_workers
from tflsplit.observing.health import STARTING, Health
from tflsplit.observing.metrics import Family, Metric, Sample

# A change of the placement takes seconds: no frame is answered meanwhile, and nothing is broken.
_PATIENCE_S = 10.0
_EXACTNESS = {True: "exact", False: "inexact", None: "unknown"}


class WorkerMetrics:
    """Empty until `attach`. Any thread may read it."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._transport: Transport | None = None
        self._version = metadata.version("tflsplit")

    def attach(self, worker: Worker, transport: Transport) -> None:
        """Before the worker runs."""
        self._transport, self._worker = transport, worker

    def health(self) -> Health:
        worker, transport = self._worker, self._transport
        if worker is None or transport is None:
            return STARTING
        present, silent_s = worker.present, time.monotonic() - worker.looked_at_s
        is_live = silent_s < STUCK_S
        why = f"no step was done for {silent_s:.0f} s" if not is_live else _broken(worker, transport, present)
        problems = {} if worker.source is None else worker.source.problems()
        epoch = present.epoch
        facts: dict[str, object] = {
            "broker": transport.state.value,
            "since_look_s": round(silent_s, 3),
            "placement": None if epoch is None else epoch.epoch,
            "machines": [] if epoch is None else list(epoch.machines),
            "away": {name: reason for name, reason in problems.items() if reason is not None},
            "begun_frames": present.begun,
        }
        return Health(is_live, why is None, why, facts)

    def families(self) -> Iterator[Family]:
        """Nothing before `attach`."""
        worker, transport = self._worker, self._transport
        if worker is None or transport is None:
            return
        yield from self._work(worker, worker.present)
        yield from _letters(worker, worker.present)
        if worker.source is not None:
            yield from _at_source(worker, worker.source)
        for metric, samples in metrics.of_connection(transport):
            yield _family(metric, *samples)

    def _work(self, worker: Worker, present: Present) -> Iterator[Family]:
        summary, shared, epoch = worker.summary, worker.shared, present.epoch
        built = (self._version, worker.settings.name, shared.package.digest, shared.digest)
        exactness = _EXACTNESS[None if epoch is None else epoch.exact]
        for metric, value in (
            (of_workers.READY, self.health().is_ready),
            (of_workers.LAST_LOOK, time.time() - (time.monotonic() - worker.looked_at_s)),
            (of_workers.FRAMES, summary.frames),
            (of_workers.RESULTS, summary.results),
            (of_workers.MASKS_LEFT, summary.masks_left_out),
            (of_workers.STEP, metrics.distribution(summary.step_s)),
            (of_workers.WAIT, metrics.distribution(summary.wait_s)),
            (of_workers.PLACEMENTS, len(summary.epochs)),
            (of_workers.MACHINES, 0 if epoch is None else len(epoch.machines)),
            (of_workers.PIECES, present.open_pieces),
            (of_workers.TAKEN_OVER, summary.taken_over),
        ):
            yield _family(metric, Sample(value))
        yield _family(of_workers.BUILD, Sample(1, built))
        yield _family(of_workers.KERNELS, Sample(1, (str(worker.kernel_class), exactness)))
        for metric, found in ((of_workers.STAGE_RUNS, summary.stage_runs), (of_workers.STAGE_COMPUTE, summary.stage_s)):
            yield _family(metric, *(Sample(value, (str(stage),)) for stage, value in sorted(dict(found).items())))


def _letters(worker: Worker, present: Present) -> Iterator[Family]:
    summary = worker.summary
    for metric, value in (
        (of_workers.SENT, summary.letters_sent),
        (of_workers.RECEIVED, summary.letters_received),
        (of_workers.SENT_BYTES, summary.bytes_sent),
        (of_workers.RECEIVED_BYTES, summary.bytes_received),
        (of_workers.BEGUN, present.begun),
        (of_workers.WAITING, present.waiting),
    ):
        yield _family(metric, Sample(value))
    ignored = {"repeat": summary.repeats, "stale": summary.stale, "bad": summary.bad}
    yield _family(of_workers.IGNORED, *(Sample(count, (reason,)) for reason, count in ignored.items()))


def _at_source(worker: Worker, source: SourceMachine) -> Iterator[Family]:
    summary, changes = worker.summary, source.changes
    for metric, value in (
        (of_workers.INPUTS, summary.inputs),
        (of_workers.ANSWERED, summary.answered),
        (of_workers.RECOMPUTED, summary.recomputed),
        (of_workers.WINDOW, source.feed.outstanding),
        (of_workers.WINDOW_SIZE, source.window),
        (of_workers.LATENCY, metrics.distribution(summary.latency_s)),
    ):
        yield _family(metric, Sample(value))
    yield _family(of_workers.DROPPED, *(Sample(count, (why,)) for why, count in dict(summary.dropped).items()))
    yield _family(of_workers.CHANGES, *(Sample(changes.get(each, 0), (each.value,)) for each in Change))
    up = (Sample(reason is None, (name,)) for name, reason in source.problems().items())
    yield _family(of_workers.MACHINE_UP, *up)
    found = (Sample(speed, (name,)) for name, speed in source.speeds().items() if speed is not None)
    yield _family(of_workers.MACHINE_SPEED, *found)


def _broken(worker: Worker, transport: Transport, present: Present) -> str | None:
    """What keeps the worker from its part, in words; None where nothing does."""
    source = worker.source
    if transport.state is not ConnectionState.ONLINE:
        reason = f": {transport.last_failure}" if transport.last_failure else ""
        return f"the connection to the broker is {transport.state.value}{reason}"
    if present.state is State.FAILED:
        return f"the placement cannot be run here: {present.why}"
    if present.epoch is None:
        if source is None:
            return f"no placement came yet from {worker.source_name}, the machine with the inputs"
        away = ", ".join(f"{name} ({reason})" for name, reason in source.problems().items() if reason is not None)
        return f"machines are waited for: {away}" if away else "the first placement is prepared"
    if source is not None and source.feed.outstanding:
        silent_s = time.monotonic() - source.feed.moved_at_s
        if silent_s > max(_PATIENCE_S, 2 * worker.settings.resend_after_s):
            return f"no frame was answered for {silent_s:.0f} s although inputs wait"
    return None


def _family(metric: Metric, *samples: Sample) -> Family:
    return Family(catalogue.WORKER_PREFIX, metric, samples)
