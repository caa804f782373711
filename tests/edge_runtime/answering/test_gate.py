"""The gate at the cut: what stays is what NumPy says of the whole model's scores, and nothing is lost or doubled."""

import itertools
import random

import memory_cloud
import numpy as np
import pytest
import running_edge
import scored_models
import tiny_models
import watching
from moving_edge import Restless, choices
from scored_models import INPUTS, SCORE, scores
from waiting import WAIT_S, wait_for

from broker.messages import results
from broker.transport import memory
from broker.transport.protocol import ConnectionState
from edge_runtime import batched, head, loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.answering.gate import Gate, Terms, Verdict
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.delivery.observer import Why
from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.settings import Delivery
from tflsplit import errors
from tflsplit.graph.meanings import Meaning
from tflsplit.quantities import Rate
from tflsplit.switching import choices as switching_choices
from tflsplit.switching.choices import Present
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal


@pytest.fixture
def scored(tmp_path):
    return scored_models.package(tmp_path)


@pytest.fixture
def float_scored(tmp_path):
    return scored_models.float_package(tmp_path)


class Gated(running_edge.RunningEdge):
    """Device n of deployment d at op000, with a gate."""

    def __init__(self, stack, package, network, terms, *, draw=None, mover=None, **changes):
        online = stack.enter_context(memory.MemoryTransport(network, client_id="edge"))
        online.connect()
        self.watcher = watching.Watching()
        settings = running_edge.settings(**{"count": len(INPUTS)} | changes)
        more = {"observers": [self.watcher]}
        if mover is None:
            cut = package.cut("op000")
            batch = changes.get("batch", 1)
            chain = stack.enter_context(batched.chained(package, (cut, package.cuts[-1]), threads=1, batch=batch))
            opened = stack.enter_context(head.Head(package, cut, batch=batch))
            more["on_device"] = OnDevice(package, chain, gate=Gate(package, terms, draw))
        else:
            opened, more["adaptation"] = mover.first, mover
        super().__init__(loop.Edge(package, opened, online, settings, **more), online, INPUTS)
        self.gate = self.edge.gate
        stack.enter_context(self)

    def by_cut(self):
        found = [answer for answer in self.watcher.answers if isinstance(answer, results.Result)]
        assert sorted(result.sequence for result in found) == list(range(len(INPUTS)))
        return {cut: {each.sequence for each in found if each.cut == cut} for cut in {each.cut for each in found}}


def test_sure_answers_stay_and_the_others_boundaries_go_on(stack, scored):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    edge = Gated(stack, scored, network, Terms(SCORE, audit=0.0))
    edge.thread.join(WAIT_S)
    best, label = scores(scored)
    sure = set(np.flatnonzero(best > SCORE).tolist())
    assert 40 < len(sure) < 160

    assert edge.by_cut() == {"output": sure, "op000": set(range(len(INPUTS))) - sure}
    assert {own.result.sequence for own in edge.watcher.own} == sure
    assert all(int(own.result.label) == label[own.result.sequence] for own in edge.watcher.own)
    assert {(own.why, own.is_sent) for own in edge.watcher.own} == {(Why.SURE, True)}
    assert edge.values()["gated_frames_total", "sure"] == len(sure) == edge.edge.summary.answered_here
    assert edge.values()["gated_frames_total", "doubtful"] == len(INPUTS) - len(sure)
    assert len(edge.edge.summary.latency_s) == len(INPUTS)
    told = edge.edge.summary.as_json()["gate"]
    assert told == {
        "sure": len(sure),
        "audited": 0,
        "doubtful": len(INPUTS) - len(sure),
        "limited": 0,
        "agreed": 0,
        "disagreed": 0,
    }
    assert f"gate: {len(sure)} sure, {len(INPUTS) - len(sure)} doubtful" in edge.edge.summary.in_words()


@pytest.mark.parametrize("batch", [1, 3])
def test_audits_are_sent_and_agree_where_the_cloud_computes_the_same(stack, scored, batch):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    edge = Gated(stack, scored, network, Terms(SCORE, audit=0.25), draw=random.Random(5), batch=batch, window=2)
    edge.thread.join(WAIT_S)
    best, _ = scores(scored)
    sure, draw = np.flatnonzero(best > SCORE).tolist(), random.Random(5)
    audited = {sequence for sequence in sure if draw.random() < 0.25}

    by_cut = edge.by_cut()
    assert len(audited) > 5
    assert by_cut["output"] == set(sure) - audited
    assert {own.result.sequence for own in edge.watcher.own} == set(sure)  # an audit's answer is ours all the same
    assert edge.values()["gated_frames_total", "audited"] == len(audited)
    assert edge.by_cut()["op000"] == set(range(len(INPUTS))) - set(sure) | audited
    assert len(edge.edge.summary.latency_s) == edge.edge.summary.inputs == len(INPUTS)
    assert edge.values()["audits_total", "yes"] == len(audited)
    assert edge.values()["audits_total", "no"] == 0
    assert f"({len(audited)} of {len(audited)} agree)" in edge.edge.summary.in_words()


def test_audits_that_the_cloud_contradicts_are_counted(stack, scored):
    network = memory.MemoryBroker()
    ghost = stack.enter_context(memory_cloud.ghost_on(network))
    edge = Gated(stack, scored, network, Terms(SCORE, audit=1.0), count=20)
    ghost.answer_frames(20)  # with results that have no label
    edge.thread.join(WAIT_S)

    assert edge.gate.disagreed == edge.gate.counts[Verdict.AUDITED] > 0
    assert edge.values()["audits_total", "no"] == edge.gate.disagreed


def test_float_tails_answer_the_doubtful_ones(stack, float_scored):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(float_scored, network))
    edge = Gated(stack, float_scored, network, Terms(SCORE, audit=1.0))
    edge.thread.join(WAIT_S)
    best, _ = scores(float_scored)

    doubtful = {result.sequence: result for result in edge.watcher.answers if best[result.sequence] <= SCORE}
    assert doubtful
    assert all(result.cut == "op000" for result in doubtful.values())
    spec = float_scored.cut("op000").boundary[0]
    with head.Head(float_scored, "op000") as opened:
        for sequence, result in doubtful.items():
            boundary = opened.run((INPUTS[sequence][None],))[0]
            real = boundary.astype(np.float64).ravel() * np.float32(spec.scale) * 3  # b = a + a, c = a + b
            assert np.allclose(dict(result.values)["c"], real, rtol=1e-5)
    assert all(own.result.is_exact is False for own in edge.watcher.own)


def test_no_more_is_sent_than_may_be_and_what_that_keeps_here_is_counted(scored):
    gate = Gate(scored, Terms(SCORE, at_most=Rate(3, 60.0), audit=1.0))
    sure, doubtful = (np.array([[top, 0, 0, 0]], np.int8) for top in (100, 0))
    given = [gate.judge((doubtful,), now_s) for now_s in (0.0, 1.0, 2.0, 3.0, 60.0, 60.5, 61.0)]

    assert given == [
        *[Verdict.DOUBTFUL] * 3,
        Verdict.LIMITED,
        Verdict.DOUBTFUL,
        Verdict.LIMITED,
        Verdict.DOUBTFUL,
    ]
    assert gate.judge((sure,), 61.5) is Verdict.SURE  # no audit beyond the limit either
    assert gate.judge((sure,), 63.0) is Verdict.AUDITED
    assert gate.judge((doubtful,), 200.0, may_send=False) is Verdict.LIMITED
    assert gate.as_json() == {"sure": 1, "audited": 1, "doubtful": 5, "limited": 3, "agreed": 0, "disagreed": 0}


def test_frames_beyond_the_limit_are_answered_here(stack, scored):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    edge = Gated(stack, scored, network, Terms(SCORE, at_most=Rate(5, 3600.0), audit=0.0))
    edge.thread.join(WAIT_S)
    best, _ = scores(scored)
    doubtful = np.flatnonzero(best <= SCORE).tolist()

    by_cut = edge.by_cut()
    assert by_cut["op000"] == set(doubtful[:5])
    limited = {own.result.sequence for own in edge.watcher.own if own.why is Why.LIMITED}
    assert limited == set(doubtful[5:])
    assert edge.values()["gated_frames_total", "limited"] == len(limited)


def test_a_cut_that_moves_keeps_the_gate(stack, scored):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    listed = choices()
    gated = switching_choices.gated(listed)
    controller = Restless(gated, Present(1 / 50e6, 0.002), Goal(), Tuning(probing=None), start="op000")
    opened = stack.enter_context(candidates.opened(scored, [*gated, listed[-1]]))
    here = OnDevice(scored, opened[0].chain, gate=Gate(scored, Terms(SCORE, audit=0.0)))
    mover = adaptation.Adaptation(opened, controller, "op000", on_device=here)
    edge = Gated(stack, scored, network, None, mover=mover)
    edge.thread.join(WAIT_S)
    best, label = scores(scored)

    by_cut = edge.by_cut()
    assert by_cut["output"] == set(np.flatnonzero(best > SCORE).tolist())
    assert set(by_cut) == {"output", "input", "op000", "op001"}
    assert all(int(answer.label) == label[answer.sequence] for answer in edge.watcher.answers)


def test_without_a_broker_and_with_latest_the_device_answers_alone(stack, scored):
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    edge = Gated(
        *(stack, scored, network, Terms(SCORE, audit=0.0)), delivery=Delivery.LATEST, count=1_000_000, rate_fps=100.0
    )
    wait_for(lambda: edge.edge.summary.results > 5)
    network.cut("edge")
    wait_for(lambda: edge.online.state is not ConnectionState.ONLINE)
    wait_for(lambda: {own.why for own in list(edge.watcher.own) if not own.is_sent} == {Why.SURE, Why.AWAY})
    network.restore("edge")
    seen = edge.edge.summary.results
    wait_for(lambda: edge.edge.summary.results > seen + 5)
    edge.edge.stop()
    edge.thread.join(WAIT_S)

    alone = [own for own in edge.watcher.own if not own.is_sent]
    assert 0 < len(alone) <= edge.edge.summary.dropped["offline"]  # of a source that is paced some are never taken
    for own in alone:
        shares = np.exp(np.array(dict(own.result.values)["c"]))
        assert (own.why is Why.SURE) == (shares.max() / shares.sum() > SCORE)


def test_a_frame_that_finds_no_room_is_not_told_as_sent(stack, scored, monkeypatch):
    """Audited, so that each would wait for the cloud's answer; every second finds the transport's queue full."""
    network = memory.MemoryBroker()
    stack.enter_context(memory_cloud.cloud_for(scored, network))
    try_send, turns = Publisher.try_send, itertools.count()
    monkeypatch.setattr(Publisher, "try_send", lambda *args, **more: next(turns) % 2 == 0 and try_send(*args, **more))
    edge = Gated(*(stack, scored, network, Terms(0.2, audit=1.0)), delivery=Delivery.LATEST, max_age_s=WAIT_S, count=40)
    edge.thread.join(WAIT_S)

    told = {own.result.sequence: own.is_sent for own in edge.watcher.own}
    assert told == {sequence: sequence % 2 == 0 for sequence in range(40)}
    assert {answer.sequence for answer in edge.watcher.answers} == {sequence for sequence in told if told[sequence]}
    summary = edge.edge.summary
    assert (summary.frames, summary.results, summary.unanswered) == (40, 20, 0)
    assert (summary.dropped, summary.given_up, summary.answered_here) == ({"no_room": 20}, 20, 40)
    assert edge.gate.agreed + edge.gate.disagreed == 20
    assert len(summary.latency_s) == 40
    assert not edge.gate._audits


def test_without_a_cloud_and_with_latest_it_does_so_too(stack, scored):
    network = memory.MemoryBroker()
    ghost = stack.enter_context(memory_cloud.ghost_on(network))
    edge = Gated(
        *(stack, scored, network, Terms(SCORE, audit=0.0)),
        **{"delivery": Delivery.LATEST, "count": 1_000_000, "rate_fps": 100.0, "max_age_s": 0.2, "window": 2},
    )
    wait_for(lambda: edge.edge.summary.dropped["offline"] > 20)
    assert edge.online.state is ConnectionState.ONLINE
    here = edge.edge.summary.answered_here
    assert here > 20

    def answered():
        frame = ghost.frame(0.1)
        if frame is not None:
            ghost.answer(frame)
        return edge.edge.summary.results > 3

    wait_for(answered)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "does not say what its output means"),
        ({"meanings": (Meaning.VALUES,)}, "no scores of classes"),
        ({"meanings": (Meaning.MULTI_LABEL,)}, "independent of each other"),
    ],
)
def test_a_model_without_scores_is_refused(tmp_path, changes, says):
    package = tiny_models.write_package(tmp_path / "p.tflsplit", tiny_models.residual_model(), **changes)
    with pytest.raises(errors.SettingsError, match=says):
        Gate(package, Terms(0.9))


@pytest.mark.parametrize(
    ("score", "audit", "says"),
    [(0.0, 0.1, "between 0 and 1"), (1.0, 0.1, "between 0 and 1"), (float("nan"), 0.1, "nan"), (0.5, 1.5, "audit")],
)
def test_terms_that_say_nothing_are_refused(score, audit, says):
    with pytest.raises(errors.SettingsError, match=says):
        Terms(score, audit=audit)


def test_an_edge_with_a_gate_keeps_its_package(stack, scored):
    edge = Gated(stack, scored, memory.MemoryBroker(), Terms(0.9), count=1, drain_s=0.0)
    with head.Head(scored, "op001") as other, pytest.raises(errors.SettingsError, match="answers frames itself"):
        edge.edge.exchange(scored, other)
