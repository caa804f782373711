"""Workers over the broker in memory, watched: what they counted is what is shown."""

import pathlib
from importlib import metadata

import pytest
import shared_models
import waiting

from broker.messages import topics
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import ConnectionState
from edge_runtime.monitoring import worker_metrics
from edge_runtime.monitoring.worker_metrics import WorkerMetrics
from tflsplit import errors
from tflsplit.observing import catalogue, exposition, worker_catalogue
from tflsplit.observing.metrics import Kind

FRAMES = 30
ENDLESS = 10**6
PREFIX = catalogue.WORKER_PREFIX


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), 3)


@pytest.fixture
def machines(shared):
    """Each letter comes twice."""
    made = Watched(shared, MemoryBroker(copies=lambda topic, _: 2 if topic.endswith("/parts") else 1))
    yield made
    made.close()


class Watched(shared_models.Machines):
    """`metrics` are of the machine of that name."""

    def begin(self, **settings):
        """All of them; the first one, which has the inputs, is returned."""
        first, *others = self.shared.plan.machines
        for name in others:
            self.start(name)
        return self.start(first, shared_models.inputs(self.shared.package, FRAMES), count=ENDLESS, **settings)

    def metrics(self, name):
        made = WorkerMetrics()
        made.attach(self.workers[name], self.workers[name]._transport)
        return made

    def values(self, name):
        families = self.metrics(name).families()
        return {(family.metric.name, *each.labels): each.value for family in families for each in family.samples}

    def cut(self, name):
        """Its connection, whose name in the broker is returned."""
        lost = next(each for each in self.broker._members if each.startswith(name))
        self.broker.cut(lost)
        return lost


def test_what_workers_counted_is_what_is_shown(machines, shared):
    source = machines.begin()
    waiting.wait_for(lambda: source.summary.answered > FRAMES)
    source.stop()
    machines.join()
    found = {name: machines.values(name) for name in shared.plan.machines}
    first = found["m1"]

    for name, values in found.items():
        summary = machines.workers[name].summary
        assert values["frames_total",] == summary.frames > FRAMES
        assert values["sent_bytes_total",] == summary.bytes_sent > 0
        assert values["ignored_letters_total", "repeat"] + values["ignored_letters_total", "stale"] > 0
        runs = [value for key, value in values.items() if key[0] == "stage_runs_total"]
        assert values["step_seconds",].count == values["step_wait_seconds",].count == sum(runs)
        spent_s = [value for key, value in values.items() if key[0] == "stage_compute_seconds_total"]
        assert values["step_seconds",].sum_s == pytest.approx(sum(spent_s)) == pytest.approx(summary.compute_s)
    for sent, received in (
        ("sent_bytes_total", "received_bytes_total"),
        ("letters_sent_total", "letters_received_total"),
    ):
        assert sum(each[sent,] for each in found.values()) == sum(each[received,] for each in found.values())
    assert first["results_total",] == first["answered_inputs_total",] == first["inputs_total",]
    assert first["masks_left_out_total",] == 0  # peers/test_answers.py has some
    assert first["latency_seconds",].count == first["answered_inputs_total",]
    assert first["window_limit_frames",] == 6
    assert first["placement_changes_total", "start"] == first["placements_total",] == 1
    assert first["build_info", metadata.version("tflsplit"), "m1", shared.package.digest, shared.digest] == 1


def test_every_metric_of_the_catalogue_is_shown_and_no_other(machines):
    """Those of the source are its alone. Inputs have no reason to be given up before the first; speeds are told once a
    second."""
    source = machines.begin()
    waiting.wait_for(lambda: source.source is not None and all(source.source.speeds().values()))
    shown = {
        each: {family.name: family.metric for family in machines.metrics(each).families()} for each in ("m1", "m2")
    }
    text, _ = exposition.renderer(machines.metrics("m1").families)("")
    every = {f"{PREFIX}{metric.name}": metric for metric in catalogue.WORKER}

    assert shown["m1"] == every
    assert every.keys() - shown["m2"] == {f"{PREFIX}{metric.name}" for metric in worker_catalogue.AT_SOURCE}
    assert b"tflsplit_worker_step_seconds_bucket" in text


def test_a_lost_machine_is_seen_at_the_source_and_where_its_pieces_went(machines):
    source = machines.begin()
    waiting.wait_for(lambda: source.summary.answered > 10)
    before = {name: machines.values(name) for name in ("m1", "m2")}
    lost = machines.cut("m3")
    waiting.wait_for(lambda: machines.values("m1")["placement_changes_total", "lost"] == 1)
    waiting.wait_for(lambda: machines.values("m1")["placement_machines",] == 2)
    during, answered = machines.values("m1"), source.summary.answered
    away = machines.metrics("m1").health()
    alone = machines.metrics("m3").health()
    waiting.wait_for(lambda: source.summary.answered > answered + 10)
    taken_over = [machines.values(name)["taken_over_pieces_total",] for name in ("m1", "m2")]
    machines.broker.restore(lost)
    waiting.wait_for(lambda: machines.values("m1")["placement_changes_total", "back"] == 1)
    waiting.wait_for(lambda: machines.values("m1")["placement_machines",] == 3)
    after = machines.values("m1")

    assert [before[name]["taken_over_pieces_total",] for name in ("m1", "m2")] == [0, 0]
    assert sum(taken_over) > 0
    assert (before["m1"]["machine_up", "m3"], during["machine_up", "m3"], after["machine_up", "m3"]) == (1, 0, 1)
    assert away.facts["away"] == {"m3": "its connection is lost"}
    assert away.is_ready  # frames are answered
    assert (alone.is_live, alone.is_ready, alone.why) == (True, False, "the connection to the broker is waiting")
    assert after["broker_state", "online"] == 1


def test_frames_that_nobody_answers_are_counted_as_computed_again(shared):
    lost = []

    def copies(topic, _):
        if topic.endswith("/parts") and len(lost) < 3:
            lost.append(topic)
            return 0
        return 1

    machines = Watched(shared, MemoryBroker(copies=copies))
    source = machines.begin(resend_after_s=1.0)
    waiting.wait_for(lambda: source.summary.answered > FRAMES)
    found = machines.values("m1")
    machines.close()
    assert found["placement_changes_total", "unanswered"] >= 1
    assert found["recomputed_frames_total",] > 0


def test_what_is_no_letter_is_counted_as_bad(machines):
    source = machines.begin()
    stranger = MemoryTransport(machines.broker, client_id="stranger")
    stranger.connect()
    stranger.publish(topics.topic("d", "m2", topics.Kind.PARTS), b"no letter")
    waiting.wait_for(lambda: machines.values("m2")["ignored_letters_total", "bad"] >= 1)
    waiting.wait_for(lambda: source.summary.answered > 3)
    stranger.close()


def test_inputs_that_newer_ones_replaced_are_counted(machines):
    source = machines.begin(is_latest=True, rate_fps=5000.0)
    waiting.wait_for(lambda: source.summary.answered > 3)
    waiting.wait_for(lambda: machines.values("m1").get(("dropped_total", "replaced"), 0) > 0)


def test_a_worker_says_what_it_waits_for(machines, shared):
    assert WorkerMetrics().health().why == "starting"
    assert list(WorkerMetrics().families()) == []
    machines.start("m2")
    waiting.wait_for(lambda: machines.workers["m2"]._transport.state is ConnectionState.ONLINE)
    waits = machines.metrics("m2").health()
    machines.start("m1", shared_models.inputs(shared.package, FRAMES), count=ENDLESS, wait_s=waiting.WAIT_S)
    waiting.wait_for(lambda: machines.metrics("m1").health().why == "machines are waited for: m3 (it is not there)")
    machines.start("m3")
    waiting.wait_for(lambda: all(machines.metrics(name).health().is_ready for name in shared.plan.machines))

    assert (waits.is_live, waits.why) == (True, "no placement came yet from m1, the machine with the inputs")


def test_a_worker_that_hangs_or_cannot_run_its_part_says_so(machines, monkeypatch):
    source = machines.begin()
    waiting.wait_for(lambda: source.summary.answered > 3)
    watched = machines.metrics("m2")
    with monkeypatch.context() as hung:
        hung.setattr(worker_metrics, "STUCK_S", 0.0)
        assert watched.health().state == "stuck"
        assert "no step was done for" in watched.health().why

    def fails(*_, **__):
        raise errors.PackageError("stage01.tflite: was changed after it was written")

    monkeypatch.setattr(machines.workers["m2"]._open, "load", fails)
    machines.cut("m3")
    waiting.wait_for(lambda: not watched.health().is_ready)
    assert watched.health().why == "the placement cannot be run here: stage01.tflite: was changed after it was written"


def test_every_counter_of_a_worker_is_looked_at_above():
    """But for those of its connection, which are looked at for edges and clouds."""
    words = pathlib.Path(__file__).read_text("utf-8")
    for metric in worker_catalogue.WORKER:
        assert metric.kind is not Kind.COUNTER or f'"{metric.name}"' in words, metric.name
