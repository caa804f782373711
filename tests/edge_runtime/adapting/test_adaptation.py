"""An edge that moves its cut, over the in-memory transport: each result is the whole model's, whatever moves."""

import logging
import time

import in_bits
import kernel_classes
import pytest
from memory_cloud import birth_of, cloud_for, ghost_on
from moving_edge import USUAL, Restless, Run, choices, moving
from waiting import WAIT_S, wait_for

from broker.messages import announcements, results, topics
from broker.transport import memory
from broker.transport.protocol import ConnectionState
from edge_runtime import loop
from edge_runtime.adapting import in_flight
from edge_runtime.delivery.durable import spool as delivery_spool
from edge_runtime.delivery.settings import Delivery, Settings, Until
from tflsplit import bundle, errors
from tflsplit.kernels.heads import Exact
from tflsplit.observing import catalogue
from tflsplit.switching.choices import Choice
from tflsplit.switching.policy import Answer, Probing


def test_each_frame_by_another_cut_and_each_result_is_the_whole_models(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network) as cloud,
        moving(tiny_package, kind=Restless) as mover,
        Run(tiny_package, network, mover, count=2500) as run,
    ):
        run.thread.join(WAIT_S)
        summary = run.edge.summary

    by_cut = run.check_results(tiny_package)
    assert (summary.frames, summary.results, summary.unanswered, summary.refused) == (2500, 2500, 0, 0)
    assert set(by_cut) == {"input", "op000", "op001", "output"}
    assert run.values()["cut_switches_total", "test"] == mover.switches["test"] > 2000
    assert run.values()["answered_here_frames_total",] == summary.answered_here == by_cut.count("output")
    assert cloud.summary.refused.total() == 0


def test_each_batch_by_another_cut_and_each_input_has_the_whole_models_result(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package, kind=Restless, batch=3) as mover,
        Run(tiny_package, network, mover, count=400, batch=3) as run,
    ):
        run.thread.join(WAIT_S)
        summary = run.edge.summary

    by_cut = run.check_results(tiny_package)
    assert (summary.frames, summary.inputs, summary.results, summary.refused) == (134, 400, 134, 0)  # the last has one
    assert len(by_cut) == len(summary.latency_s) == 400
    assert set(by_cut) == {"input", "op000", "op001", "output"}
    assert len(run.watcher.own) == by_cut.count("output")
    shown = {own.result.sequence: own.result.values for own in run.watcher.own}
    came = {answer.sequence: answer.values for answer in run.watcher.answers if answer.is_of_device}
    assert shown == came


def test_a_batch_of_any_size_tells_how_slow_the_cloud_is(tiny_package):
    with moving(tiny_package) as mover:
        choice, estimates = choices()[0], mover._controller.estimates
        for inputs in (4, 1, 2, 3) * 5:
            times = results.Times(0.0, 0.0, 0.0, 0.0, 0.0, 7.5 * inputs, 0.0)  # twice what is planned for four
            sent = in_flight.Sent(choice, 10.0, choice.wire_bytes * 8, 0.001, 11.0, inputs / 4)
            estimates.learn(10.2, mover._in_flight.answer(sent, 0.2, times, 10.2))

    assert estimates.known(10.2).cloud_slower == pytest.approx(2.0, rel=0.01)


def test_a_cut_is_used_only_when_a_cloud_says_that_its_tail_is_open(tiny_package):
    network = memory.MemoryBroker()
    with (
        moving(tiny_package, kind=Restless) as mover,
        ghost_on(network) as ghost,
        Run(tiny_package, network, mover, count=20, window=1),
    ):
        cuts = {frame.cut for frame in ghost.answer_frames(20)}

    # Nobody has announced a tail: there is the plan's cut, and what needs none.
    assert cuts == {tiny_package.cut(name).position for name in ("op000", "output")}


def test_a_birth_names_the_candidates_and_the_cloud_says_which_are_open(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package) as mover,
        Run(tiny_package, network, mover, rate_fps=20.0, count=10_000) as run,
    ):
        wait_for(lambda: run.edge._run.clouds.ready(tiny_package.digest) == {each.id for each in choices()})
        told = birth_of(network)["adapts"]

    assert told["candidates"] == [each.id for each in choices()]


def test_the_device_answers_itself_while_the_broker_is_away_and_tells_nobody_with_latest(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package) as mover,
        Run(tiny_package, network, mover, rate_fps=50.0, count=10_000, delivery=Delivery.LATEST) as run,
    ):
        wait_for(lambda: run.edge.summary.results > 3)
        network.cut("edge")
        wait_for(lambda: run.online.state is not ConnectionState.ONLINE)
        before = run.edge.summary.answered_here
        wait_for(lambda: run.edge.summary.answered_here > before + 3)
        assert mover.last_switch.reason in {"offline", "link"}  # a busy machine may be overdue before
        network.restore("edge")
        seen = run.edge.summary.results
        wait_for(lambda: run.edge.summary.results > seen + 3)

    assert run.edge.summary.dropped["offline"] > 3


def test_a_refused_cut_is_left_out_and_counted(tiny_package):
    network = memory.MemoryBroker()
    # So dear that no slow moment of this machine moves the cut there.
    dear = [choices()[1], Choice("output", 600.0, 0.0, 0.0, 0.0)]
    with (
        moving(tiny_package, among=dear) as mover,
        ghost_on(network) as ghost,
        Run(tiny_package, network, mover, count=8, window=1, drain_s=0.2) as run,
    ):
        ghost.refuse(first := ghost.frame(), "wrong_cut")
        wait_for(lambda: mover.not_ready == 1)
        # The next frame may have been begun in the moment before.
        cuts = {frame.cut for frame in ghost.answer_frames(7)[1:]}

    assert first.cut == tiny_package.cut("op000").position
    assert cuts == {tiny_package.cut("output").position}
    assert mover.last_switch.reason == "tail not ready"
    assert run.edge.summary.refused == run.values()["cuts_not_ready_total",] == 1


def test_a_cut_whose_frame_waits_in_a_spool_for_another_cloud_is_left_out(tiny_package, tmp_path):
    network, limits = memory.MemoryBroker(), delivery_spool.Limits()
    dear = [choices()[1], Choice("output", 600.0, 0.0, 0.0, 0.0)]
    with (
        delivery_spool.open_spool(tmp_path / "spool", limits, deployment="d", device="n") as spool,
        moving(tiny_package, among=dear) as mover,
        ghost_on(network) as ghost,
        Run(tiny_package, network, mover, spool=spool, count=10_000, rate_fps=20.0, window=1),
    ):
        before = mover.present.s_per_bit
        ghost.refuse(first := ghost.frame(), "wrong_cut")
        wait_for(lambda: mover.not_ready == 1)
        ghost.answer_frames(10)  # each waits for the one before

        assert first.cut == tiny_package.cut("op000").position
        assert mover.last_switch.reason == "tail not ready"
        wait_for(lambda: mover.present.s_per_bit < 2 * before)  # none of them is waited for


def test_frames_that_a_spool_gave_up_are_no_longer_waited_for(tiny_package, tmp_path):
    """Else the oldest of them would say for ever that the link is dead, and no probe would be sent any more."""
    limits = delivery_spool.Limits(age_s=0.2)
    with (
        delivery_spool.open_spool(tmp_path / "spool", limits, deployment="d", device="n") as spool,
        moving(tiny_package, among=[choices()[1]]) as mover,
        Run(tiny_package, memory.MemoryBroker(), mover, spool=spool, count=10) as run,
    ):
        run.thread.join(WAIT_S)
        known = mover._controller.estimates.known(time.monotonic())

        assert run.edge.summary.dropped == {"expired": 10}
        assert mover._in_flight.oldest(time.monotonic(), is_online=True) is None
        assert known.s_per_bit > USUAL.s_per_bit  # they waited longer than the plan expects


def test_what_is_made_now_leaves_before_what_a_spool_kept_and_all_of_that_leaves_too(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    limits = delivery_spool.Limits()
    with (
        delivery_spool.open_spool(tmp_path / "spool", limits, deployment="d", device="n") as spool,
        moving(tiny_package) as mover,
        ghost_on(network) as ghost,
    ):
        network.cut("edge")
        with Run(tiny_package, network, mover, spool=spool, rate_fps=50.0, count=60, window=4, is_online=False) as run:
            wait_for(lambda: spool.frames >= 20)
            network.restore("edge")
            kept = spool.frames
            out = ghost.frames(4)
            for frame in out:
                ghost.answer(frame)
            seen = [frame.sequence for frame in (*out, *ghost.answer_frames(56))]
            run.thread.join(WAIT_S)

    old = [sequence for sequence in seen if sequence < kept]
    assert max(seen[:4]) >= kept  # half of the window is for what is new
    assert old == sorted(old)
    assert sorted(seen) == list(range(60))
    assert run.edge.summary.results == 60


def test_probes_are_answered_by_the_cloud_while_nothing_else_travels(tiny_package):
    network = memory.MemoryBroker()
    local, often = [choices()[-1]], Probing(large_every_s=0.05, small_every_s=0.02)
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package, probing=often, start="output", among=local) as mover,
        Run(tiny_package, network, mover, rate_fps=20.0, count=10_000) as run,
    ):
        wait_for(lambda: mover.probes.sent > 4 and mover.present.s_per_bit != USUAL.s_per_bit)

    assert run.values()["probes_total",] == mover.probes.sent
    assert run.values()["probe_bytes_total",] == mover.probes.bytes >= 4000
    shown = {family.metric for family in run.watch.families()}
    assert shown >= set(catalogue.ADAPTING)
    assert mover.probes.lost == 0


def test_one_cloud_that_wants_no_probes_ends_them_in_the_whole_deployment(tiny_package):
    network = memory.MemoryBroker()
    local, often = [choices()[-1]], Probing(large_every_s=0.05, small_every_s=0.02)
    said = announcements.Announcement(7, ((tiny_package.digest, "tiny"),), allows_probes=False)
    with (
        cloud_for(tiny_package, network),
        memory.MemoryTransport(network, client_id="other") as other,
        moving(tiny_package, probing=often, start="output", among=local) as mover,
        Run(tiny_package, network, mover, rate_fps=20.0, count=10_000) as run,
    ):
        other.connect()
        wait_for(lambda: mover.probes.sent > 2)
        other.publish(topics.topic("d", "other", topics.Kind.SERVES), said.as_json(), retain=True)
        wait_for(lambda: not run.edge._run.clouds.allow_probes)
        seen, frames = mover.probes.sent, run.edge.summary.frames
        wait_for(lambda: run.edge.summary.frames > frames + 10)
        assert mover.probes.sent <= seen + 1
        other.publish(topics.topic("d", "other", topics.Kind.SERVES), b"", retain=True)
        wait_for(lambda: mover.probes.sent > seen + 2)


def test_frames_behind_others_do_not_make_the_round_trip_shorter(tiny_package):
    """Frames that all wait in the cloud, whose loop is a little slow to say when they came."""
    with moving(tiny_package) as mover:
        choice, estimates = choices()[0], mover._controller.estimates
        estimates.learn(9.0, Answer(None, 9.0, 800.0, 0.0, 0.002))
        for place in range(8):
            times = results.Times(0.0, 0.0, 0.0, 15.0 * place + 1.9 * (place > 0), 0.0, 15.0, 0.0)
            sent = in_flight.Sent(choice, 10.0, choice.wire_bytes * 8, 0.001, 11.0)
            away_s = 0.0035 + 0.015 * (place + 1)
            estimates.learn(10.0 + away_s, mover._in_flight.answer(sent, away_s, times, 10.0 + away_s))

        assert estimates.known(10.2).rtt_s == pytest.approx(0.002, abs=0.0001)


@pytest.mark.parametrize("queue_ms", [-1e12, 1e12])
@pytest.mark.parametrize("tail_ms", [-1e12, 1e12])
def test_what_a_cloud_says_that_it_took_is_no_more_than_what_passed_here(tiny_package, queue_ms, tail_ms):
    """Its clock was set while the frame was there, or it lies; the wall clocks of both ends are never read."""
    with moving(tiny_package) as mover:
        choice, estimates = choices()[0], mover._controller.estimates
        times = results.Times(-1e15, 0.0, 1e15, queue_ms, 0.0, tail_ms, -1e15)
        sent = in_flight.Sent(choice, 10.0, choice.wire_bytes * 8, 0.001, 11.0)
        learnt = mover._in_flight.answer(sent, 0.2, times, 10.2)
        estimates.learn(10.2, learnt)
        now = estimates.known(10.2)

    assert 0.0 <= learnt.cloud_wait_s + learnt.cloud_s <= 0.2 + 1e-9
    assert 0.0 <= now.cloud_wait_s <= 0.2
    assert 0.0 < now.cloud_slower < 0.2 / choice.cloud_s + 1
    assert 0.0 <= now.rtt_s <= 0.2


def test_without_probes_none_are_sent(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        moving(tiny_package) as mover,
        Run(tiny_package, network, mover, count=5) as run,
    ):
        run.thread.join(WAIT_S)

    assert mover.probes is None


def test_an_acknowledgement_is_refused_since_it_says_nothing_of_the_cloud(tiny_package):
    with moving(tiny_package) as mover, pytest.raises(errors.SettingsError, match="adapt until the result"):
        Run(tiny_package, memory.MemoryBroker(), mover, until=Until.ACK)


def with_kernels(mover, kernel_class):
    for each in mover._by_id.values():
        each.head._cpu_class = kernel_class


def test_where_exactness_is_required_the_cut_moves_among_those_that_are(tiny_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network, kernel_class=kernel_classes.HERE) as cloud,
        moving(tiny_package, kind=Restless) as mover,
    ):
        with_kernels(mover, kernel_classes.unlike("ADD/int8"))
        with Run(tiny_package, network, mover, count=50, exact=Exact.REQUIRE) as run:
            run.thread.join(WAIT_S)

    assert set(run.check_results(tiny_package)) == {"input"}
    assert {answer.is_exact for answer in run.watcher.answers} == {True}
    assert (run.edge.summary.results, cloud.summary.refused.total()) == (50, 0)


def test_what_is_not_exact_is_said_once_for_each_cut(tiny_package, caplog):
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network, kernel_class=kernel_classes.HERE),
        moving(tiny_package, kind=Restless) as mover,
    ):
        with_kernels(mover, kernel_classes.unlike("ADD/int8"))
        with Run(tiny_package, network, mover, count=400) as run:
            run.thread.join(WAIT_S)

    said = [record for record in caplog.records if record.msg.startswith("results may differ")]
    for name in ("edge_runtime", "broker"):
        cuts = [record.args[1] for record in said if record.name.startswith(name)]
        assert len(cuts) == len(set(cuts)) >= 1


def test_what_moves_its_cut_keeps_its_package(tiny_package):
    network = memory.MemoryBroker()
    with moving(tiny_package) as mover:
        edge = loop.Edge(
            *(tiny_package, mover.first, memory.MemoryTransport(network, client_id="e"), Settings("d", "n")),
            adaptation=mover,
        )
        with pytest.raises(errors.SettingsError, match="keeps its package and its heads"):
            edge.exchange(tiny_package, mover.first)


@pytest.fixture
def lossy_package(tmp_path):
    return in_bits.write_package(tmp_path / "lossy.tflsplit")


IN_BITS = [
    *choices(),
    Choice("op000:3bit", 0.02, 5_000, 0.01, 0.04, is_exact=False, bits=3),
    Choice("op001:2bit", 0.04, 4_000, 0.005, 0.02, is_exact=False, bits=2),
]


def test_a_cut_moves_among_bits_too_and_each_result_says_which(lossy_package):
    network = memory.MemoryBroker()
    with (
        cloud_for(lossy_package, network),
        moving(lossy_package, kind=Restless, among=IN_BITS) as mover,
        Run(lossy_package, network, mover, count=1500) as run,
    ):
        run.thread.join(WAIT_S)
        summary = run.edge.summary
        told = birth_of(network)["adapts"]

    assert (summary.frames, summary.results, summary.refused) == (1500, 1500, 0)
    assert told["candidates"] == [each.id for each in choices()]
    assert told["bits"] == {"op000:3bit": 3, "op001:2bit": 2}
    found = [answer for answer in run.watcher.answers if isinstance(answer, results.Result)]
    said = {(each.cut, each.bits): each.is_exact for each in found}
    assert set(said) == {(each.cut, each.bits) for each in IN_BITS}
    assert all(said[each.cut, each.bits] is False for each in IN_BITS if each.bits)


def test_fewer_bits_wait_for_clouds_that_read_them(lossy_package):
    network = memory.MemoryBroker()
    digest, cuts = lossy_package.digest, ("input", "op000", "op001", "output")
    older = announcements.Announcement(1, ((digest, "t"),), ready=frozenset((digest, cut) for cut in cuts), codecs=())
    with (
        moving(lossy_package, kind=Restless, among=IN_BITS) as mover,
        ghost_on(network) as ghost,
        memory.MemoryTransport(network, client_id="older") as transport,
    ):
        transport.connect()
        transport.publish(topics.topic("d", "older", topics.Kind.SERVES), older.as_json(), retain=True)
        with Run(lossy_package, network, mover, count=60, window=1):
            answered = ghost.answer_frames(60)

    assert {frame.bits for frame in answered} == {None}
    assert {frame.cut for frame in answered} == {lossy_package.cut(cut).position for cut in cuts}


def test_a_bundle_without_the_whole_model_has_its_heads_side_by_side(tiny_package, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    listed = choices()[:3]
    part = bundle.write(tmp_path / "edge.tflsplit", tiny_package, "edge", [each.cut for each in listed], moves=True)
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        moving(part, kind=Restless, among=listed) as mover,
        Run(part, network, mover, count=200) as run,
    ):
        run.thread.join(WAIT_S)

    assert set(run.check_results(tiny_package)) == {"input", "op000", "op001"}
    assert "the bundle has no whole model" in caplog.text
