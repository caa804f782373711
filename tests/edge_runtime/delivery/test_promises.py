"""What an edge does for its frames: all of them through memory or a spool, or the fresh ones only."""

import contextlib
import dataclasses
import itertools
import shutil
import subprocess
import sys
import threading
import time

import memory_cloud
import numpy as np
import pytest
import running_edge
import tiny_models
import watching
from memory_cloud import birth_of
from waiting import WAIT_S, wait_for

from broker.messages import acks, results, topics
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.delivery import outcome, refusals
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.settings import Delivery, Settings, Until
from edge_runtime.sources import frames
from tflsplit import errors

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)


class Run:
    """An edge that runs on a thread of its own."""

    def __init__(self, edge, source, watcher):
        self.edge = edge
        self.summary = edge.summary
        self.watcher = watcher
        self.failure = None
        self._source = source
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self.edge.run(self._source)
        except errors.TflsplitError as failure:
            self.failure = failure

    def done(self):
        """Waits for its end."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure
        return self.summary

    def stop(self):
        self.edge.stop()
        return self.done()


@contextlib.contextmanager
def edge(package, network, *, spooled=None, source=None, cut="op000", is_online=True, **changes):
    """An edge at work until the block ends."""
    limits = changes.pop("limits", {})
    settings = running_edge.settings(**changes)
    watcher = watching.Watching()
    with contextlib.ExitStack() as stack:
        kept = spooled and stack.enter_context(
            spool.open_spool(spooled, spool.limits(**limits), deployment="d", device="n")
        )
        ready = stack.enter_context(head.Head(package, package.cut(cut)))
        transport = stack.enter_context(memory.MemoryTransport(network, client_id="edge"))
        if is_online:
            transport.connect()
        else:
            network.cut("edge")
            network.join(transport)
        made = loop.Edge(package, ready, transport, settings, spool=kept, observers=[watcher])
        run = Run(made, source or inputs_of(package), watcher)
        try:
            yield run
        finally:
            made.stop()
            run._thread.join(WAIT_S)


@contextlib.contextmanager
def ghosted(package, network, **options):
    """An edge, and who answers its frames only when a test says so."""
    with memory_cloud.ghost_on(network) as ghost, edge(package, network, **options) as run:
        yield ghost, run


@contextlib.contextmanager
def served(package, network, **options):
    """An edge whose frames a cloud answers."""
    with memory_cloud.cloud_for(package, network), edge(package, network, **options) as run:
        yield run


def inputs_of(package, arrays=INPUTS):
    return frames.from_arrays((arrays,), package.manifest, name="test")


def test_each_run_draws_a_boot_of_its_own():
    assert len({Settings(deployment="d", device="n").boot for _ in range(8)}) == 8


def test_a_boot_whose_frames_are_still_in_the_spool_is_refused(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    with edge(tiny_package, network, spooled=tmp_path / "s", count=1) as run:
        wait_for(lambda: run.summary.frames)
    with (
        pytest.raises(errors.SettingsError, match="0000000000000007 already: leave the boot out"),
        edge(tiny_package, network, spooled=tmp_path / "s", count=1),
    ):
        pass


class Tap:
    """A live source that gives what a test puts in, when it does."""

    def __init__(self):
        self._given = []
        self._changed = threading.Condition()
        self._is_over = False
        self.taken = 0
        self.source = frames.Source(self._rows, tuple, is_live=True)

    def give(self, count=1):
        with self._changed:
            self._given += [(INPUTS[number % len(INPUTS)][None],) for number in range(count)]
            self._changed.notify_all()

    def end(self):
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _rows(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._given or self._is_over)
                if not self._given:
                    return
                row = self._given.pop(0)
                self.taken += 1
            yield row


@pytest.fixture
def network():
    return memory.MemoryBroker()


@pytest.fixture
def tap():
    made = Tap()
    yield made
    made.end()


def keys(watcher):
    return [(settled.boot, settled.sequence) for settled in watcher.settlements]


def test_frames_go_through_the_spool_and_leave_it_with_their_results(tiny_package, network, tmp_path):
    with served(tiny_package, network, spooled=tmp_path / "s", count=100) as run:
        summary = run.done()
        birth = birth_of(network)

    assert (summary.frames, summary.results, summary.unanswered, summary.resent) == (100, 100, 0, 0)
    assert (summary.spooled, summary.replayed) == (0, 0)
    assert sorted(keys(run.watcher)) == [(7, sequence) for sequence in range(100)]
    assert {settled.sendings for settled in run.watcher.settlements} == {1}
    assert (birth["delivery"], birth["until"], birth["spool"]["state"]) == ("all", "result", "accepting")
    assert summary.as_json()["latency_ms"]["p50"] > 0


def test_frames_are_accepted_while_the_broker_cannot_be_reached_and_sent_in_order_after(
    tiny_package, network, tmp_path
):
    with ghosted(tiny_package, network, spooled=tmp_path / "s", window=4, is_online=False) as (ghost, run):
        wait_for(lambda: run.summary.frames == 40)
        assert (run.edge.spool.frames, run.edge.outstanding) == (40, 0)
        network.restore("edge")
        seen = ghost.answer_frames(40)
        summary = run.done()

    assert [frame.sequence for frame in seen] == list(range(40))
    assert (summary.results, summary.spooled) == (40, 0)


def test_at_most_a_window_of_spooled_frames_is_out(tiny_package, network, tmp_path):
    with ghosted(tiny_package, network, spooled=tmp_path / "s", window=3) as (ghost, run):
        first = ghost.frames(3)
        wait_for(lambda: run.summary.frames == 40)
        assert ghost.frame(0.3) is None
        assert (run.edge.outstanding, run.summary.frames) == (3, 40)
        ghost.answer(first[1])
        assert ghost.frame().sequence == 3


def test_a_stop_leaves_frames_for_the_next_run_which_sends_them_first(tiny_package, network, tmp_path):
    with edge(tiny_package, network, spooled=tmp_path / "s", drain_s=0.0) as run:
        wait_for(lambda: run.summary.frames == 40)
        first = run.stop()
        outcome.check(first, run.edge.settings, is_stopped=True)
    with ghosted(tiny_package, network, spooled=tmp_path / "s", boot=8, count=5) as (ghost, run):
        seen = ghost.answer_frames(45)
        second = run.done()

    assert (first.frames, first.results, first.spooled, first.unanswered) == (40, 0, 40, 40)
    assert [(frame.boot, frame.sequence) for frame in seen] == [
        *((7, sequence) for sequence in range(40)),
        *((8, sequence) for sequence in range(5)),
    ]
    assert (second.frames, second.replayed, second.results, second.spooled) == (5, 40, 45, 0)
    assert second.dropped == {}
    assert {settled.package for settled in run.watcher.settlements} == {tiny_package.digest[:32]}
    assert {settled.cut for settled in run.watcher.settlements} == {"op000"}


def leave_frames(package, network, folder, count, **changes):
    """What an edge leaves behind that was stopped before anybody answered."""
    with edge(package, network, spooled=folder, count=count, drain_s=0.0, **changes) as run:
        wait_for(lambda: run.summary.frames == count)
        run.stop()


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_latencies_are_true_when_the_clock_is_set_while_frames_wait(
    tiny_package, network, tmp_path, monkeypatch, step_s
):
    began_s = time.monotonic()
    with edge(tiny_package, network, spooled=tmp_path / "s", is_online=False) as run:
        wait_for(lambda: run.summary.frames == 40)
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + step_s * 10**9)
        with memory_cloud.cloud_for(tiny_package, network):
            network.restore("edge")
            summary = run.done()
    took_s = time.monotonic() - began_s

    assert len(summary.latency_s) == 40
    assert all(0.0 < latency_s <= took_s for latency_s in summary.latency_s)
    assert all(0.0 < settled.away_s <= settled.latency_s for settled in run.watcher.settlements)


def test_results_of_frames_that_an_earlier_run_captured_have_no_latency_and_are_counted(
    tiny_package, network, tmp_path
):
    leave_frames(tiny_package, network, tmp_path / "s", 4)
    with served(tiny_package, network, spooled=tmp_path / "s", boot=8, count=2) as run:
        summary = run.done()

    assert (summary.results, summary.untimed, len(summary.latency_s)) == (6, 4, 2)


def test_the_birth_is_said_again_to_a_broker_that_forgot_it(tiny_package, network):
    with ghosted(tiny_package, network, drain_s=0.0) as (ghost, _):
        before = birth_of(network)
        network.stop()
        network.start()
        assert birth_of(network) == before
        ghost.close()


def test_what_a_damaged_spool_lost_is_counted_and_the_rest_is_delivered(tiny_package, network, tmp_path):
    leave_frames(tiny_package, network, tmp_path / "s", 40)
    with (tmp_path / "s" / "frames.sqlite").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(bytes(4096))
    with (
        memory_cloud.cloud_for(tiny_package, network),
        edge(tiny_package, network, spooled=tmp_path / "s", boot=8, count=1) as run,
    ):
        summary = run.done()

    lost = summary.dropped["damaged"]
    assert 0 < lost < 40
    assert (summary.replayed, summary.results, summary.unanswered, summary.spooled) == (40, 41 - lost, 0, 0)
    with pytest.raises(errors.DeviceError, match=f"{lost} of 41 frames were lost"):
        outcome.check(summary, run.edge.settings, is_stopped=False)


def test_a_spool_that_is_removed_under_the_edge_ends_it_with_one_line(tiny_package, network, tmp_path):
    with edge(tiny_package, network, spooled=tmp_path / "s") as run:
        wait_for(lambda: run.summary.frames == 40)
        shutil.rmtree(tmp_path / "s")
        with pytest.raises(errors.DeviceError, match="removed or replaced while in use"):
            run.done()


def test_an_answer_to_an_earlier_runs_sending_settles_the_frame(tiny_package, network, tmp_path):
    leave_frames(tiny_package, network, tmp_path / "s", 4)
    with ghosted(tiny_package, network, spooled=tmp_path / "s", boot=8, count=1, window=1) as (ghost, run):
        head_of_line = ghost.frame()
        late = dataclasses.replace(head_of_line, sequence=2)
        ghost.answer(late)
        wait_for(lambda: keys(run.watcher) == [(7, 2)])
        ghost.answer(late)
        wait_for(lambda: run.summary.duplicates == 1)
        ghost.answer(head_of_line)
        rest = ghost.answer_frames(3)
        summary = run.done()

    assert run.watcher.settlements[0].sendings == 0
    assert [(frame.boot, frame.sequence) for frame in rest] == [(7, 1), (7, 3), (8, 0)]
    assert (summary.results, summary.replayed, summary.unanswered) == (5, 4, 0)


def test_a_bounded_run_whose_frames_stay_unanswered_says_that_they_are_kept(tiny_package, network, tmp_path):
    with edge(tiny_package, network, spooled=tmp_path / "s", drain_s=0.2) as run:
        summary = run.done()

    assert summary.spooled == 40
    with pytest.raises(errors.PeerError, match=r"40 of 40 frames .* they stay in the spool for the next run"):
        outcome.check(summary, run.edge.settings, is_stopped=False)


def test_until_ack_no_result_comes_back_and_consumers_still_get_them(tiny_package, network, tmp_path):
    with memory.MemoryTransport(network, client_id="consumer") as consumer:
        consumer.connect()
        consumer.subscribe(topics.topic("d", "n", topics.Kind.RESULTS))
        with (
            memory_cloud.cloud_for(tiny_package, network),
            edge(tiny_package, network, spooled=tmp_path / "s", until=Until.ACK) as run,
        ):
            summary = run.done()
        consumed = [results.parse(consumer.receive(WAIT_S).payload).sequence for _ in range(40)]

    assert sorted(consumed) == list(range(40))
    assert (summary.results, summary.spooled, summary.duplicates) == (40, 0, 0)
    assert {type(answer) for answer in run.watcher.answers} == {acks.Acknowledgement}
    assert summary.as_json()["parts_ms"]["tail"]["p50"] is None


def test_a_refusal_by_acknowledgement_settles_its_frame(tiny_package, network):
    with ghosted(tiny_package, network, count=1, until=Until.ACK) as (ghost, run):
        ghost.acknowledge(ghost.frame(), error="no such cut")
        summary = run.done()

    assert (summary.refused, summary.refusal, summary.unanswered) == (1, "no such cut", 0)


@pytest.mark.parametrize("then", list(Until))
def test_frames_of_an_earlier_run_are_answered_as_this_one_wants_it(tiny_package, network, tmp_path, then):
    before = next(until for until in Until if until is not then)
    leave_frames(tiny_package, network, tmp_path / "s", 10, until=before)
    with served(tiny_package, network, spooled=tmp_path / "s", boot=8, count=10, until=then) as run:
        summary = run.done()

    assert (summary.results, summary.replayed, summary.spooled, summary.duplicates) == (20, 10, 0, 0)


def test_frames_of_a_package_that_no_cloud_serves_stay_in_the_spool_and_hold_up_no_others(
    tiny_package, residual_model, network, tmp_path
):
    leave_frames(tiny_package, network, tmp_path / "s", 30)
    new = tiny_models.write_package(tmp_path / "new.tflsplit", residual_model, labels=("x", "y"))
    with served(new, network, spooled=tmp_path / "s", boot=8, count=4) as run:
        summary = run.done()

    assert (summary.replayed, summary.refused, summary.results, summary.spooled) == (30, 0, 4, 30)
    with pytest.raises(errors.PeerError, match=f"stay in the spool .* frame of package {tiny_package.digest[:32]}"):
        outcome.check(summary, run.edge.settings, is_stopped=False)
    with served(tiny_package, network, spooled=tmp_path / "s", boot=9, count=1) as run:
        assert run.done().results == 31


@pytest.fixture
def _patient(monkeypatch):
    """The answer of another cloud comes in time, however busy the machine is."""
    monkeypatch.setattr(refusals, "_PATIENCE_S", 60.0)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("is_spooled", [False, True])
def test_a_refusal_for_another_package_settles_nothing_where_another_cloud_answers(
    tiny_package, residual_model, network, tmp_path, is_spooled
):
    other = tiny_models.write_package(tmp_path / "other.tflsplit", residual_model, labels=("x", "y"))
    spooled = tmp_path / "s" if is_spooled else None
    with ghosted(tiny_package, network, spooled=spooled) as (ghost, run), memory_cloud.cloud_for(other, network):
        answered = set()
        while len(answered) < 40:  # some come twice: frames are sent again when a cloud announces itself
            frame = ghost.frame()
            if frame.sequence not in answered:
                wait_for(lambda sequence=frame.sequence: sequence in refusals_noted(run.edge))
                ghost.answer(frame)
                answered.add(frame.sequence)
        summary = run.done()

    assert (summary.frames, summary.results, summary.refused) == (40, 40, 0)
    assert summary.duplicates <= summary.resent  # what was sent twice is refused twice


@pytest.mark.parametrize("is_spooled", [False, True])
def test_a_frame_that_finds_a_cloud_busy_is_kept_and_sent_again(tiny_package, network, tmp_path, is_spooled):
    spooled = tmp_path / "s" if is_spooled else None
    with ghosted(tiny_package, network, spooled=spooled, count=1, resend_after_s=0.05) as (ghost, run):
        first = ghost.frame()
        ghost.refuse(first, "busy")
        wait_for(lambda: run.summary.busy == 1)
        again = ghost.frame()
        ghost.answer(again)
        summary = run.done()

    assert again.sequence == first.sequence
    assert (summary.results, summary.refused, summary.busy, summary.unanswered) == (1, 0, 1, 0)


def test_latest_gives_a_frame_up_that_finds_a_cloud_busy(tiny_package, network):
    with ghosted(tiny_package, network, **latest(window=1, count=2)) as (ghost, run):
        ghost.refuse(ghost.frame(), "busy")
        ghost.answer(ghost.frame())
        summary = run.done()

    assert (summary.results, summary.refused, summary.dropped, summary.unanswered) == (1, 0, {"busy": 1}, 0)


def test_latest_counts_refusals_of_frames_that_live_shortly_and_is_not_held_up_by_them(tiny_package, network, tmp_path):
    other = tiny_models.write_package(tmp_path / "other.tflsplit", tiny_models.residual_model(), labels=("x", "y"))
    shortly = latest(max_age_s=0.5, count=1_000_000)
    with edge(tiny_package, network, **shortly) as run, memory_cloud.cloud_for(other, network):
        wait_for(lambda: run.summary.refused > 20)
        run.stop()

    assert "this cloud serves" in run.summary.refusal


def refusals_noted(edge):
    return {sent.packed.sequence for sent in edge._run.window.refused()}


def test_frames_that_waited_for_their_package_go_when_its_cloud_comes(tiny_package, residual_model, network, tmp_path):
    other = tiny_models.write_package(tmp_path / "other.tflsplit", residual_model, labels=("x", "y"))
    tap = Tap()
    with edge(tiny_package, network, spooled=tmp_path / "s", source=tap.source) as run:
        with memory_cloud.cloud_for(other, network):
            tap.give(20)
            wait_for(lambda: run.summary.refusal is not None)
            wait_for(lambda: not run.edge.outstanding)
        with memory_cloud.cloud_for(tiny_package, network, name="cloud2"):
            wait_for(lambda: run.summary.results == 20)
        tap.end()
        assert run.done().unanswered == 0


@pytest.mark.parametrize("delivery", ["spool", "memory"])
def test_an_edge_that_waits_for_a_cloud_goes_on_when_one_comes(tiny_package, network, tmp_path, delivery):
    spooled = tmp_path / "s" if delivery == "spool" else None
    with ghosted(tiny_package, network, spooled=spooled, resend_after_s=WAIT_S * 9, count=8) as (ghost, run):
        ghost.frames(8)  # and no answer: it would be sent again in nine minutes
        began_s = time.monotonic()
        with memory_cloud.cloud_for(tiny_package, network):
            assert run.done().results == 8

    assert time.monotonic() - began_s < WAIT_S


CHARGE = 200  # more than a tiny frame takes in the spool, less than two take


def test_a_full_spool_blocks_and_says_so_until_there_is_room(tiny_package, network, tmp_path):
    with ghosted(tiny_package, network, spooled=tmp_path / "s", window=2, limits={"bytes": 10 * CHARGE}) as (
        ghost,
        run,
    ):
        wait_for(lambda: run.edge.spool.is_full)
        accepted, looks = run.summary.frames, run.watcher.looks
        wait_for(lambda: run.watcher.looks > looks + 2)  # it waits, and is alive
        assert run.summary.frames == accepted < 40
        wait_for(lambda: birth_of(network)["spool"]["state"] == "full")
        ghost.answer_frames(40)
        summary = run.done()
        wait_for(lambda: not run.edge.spool.is_full)

    assert (summary.frames, summary.results) == (40, 40)
    assert summary.dropped == {}


def test_a_full_spool_drops_the_newest_if_told_to(tiny_package, network, tmp_path):
    limits = {"bytes": 10 * CHARGE, "full": "drop-newest"}
    with edge(tiny_package, network, spooled=tmp_path / "s", limits=limits, drain_s=0.0) as run:
        summary = run.done()
        held = [run.edge.spool.after(None).sequence, run.edge.spool.frames]

    assert held == [0, summary.frames]
    assert summary.frames + summary.dropped["spool_full"] == 40
    assert (summary.given_up, summary.unanswered) == (0, summary.spooled)


def test_a_full_spool_drops_the_oldest_if_told_to(tiny_package, network, tmp_path):
    limits = {"bytes": 10 * CHARGE, "full": "drop-oldest"}
    with edge(tiny_package, network, spooled=tmp_path / "s", limits=limits, drain_s=0.0) as run:
        summary = run.done()
        oldest = run.edge.spool.after(None).sequence

    assert (summary.frames, oldest) == (40, 40 - summary.spooled)
    assert summary.dropped == {"spool_full": 40 - summary.spooled}
    assert summary.unanswered == summary.spooled


def test_spooled_frames_expire_and_are_counted(tiny_package, network, tmp_path, tap):
    with edge(tiny_package, network, spooled=tmp_path / "s", source=tap.source, limits={"age_s": 0.3}) as run:
        tap.give(10)
        wait_for(lambda: run.summary.frames == 10)
        wait_for(lambda: run.summary.dropped["expired"] == 10)
        assert (run.edge.spool.frames, run.edge.outstanding, run.summary.unanswered) == (0, 0, 0)
        tap.end()


def source_that_fills(folder):
    """Somebody else takes the disk once the spool is open: what is left is all in reserve."""

    def rows():
        (folder / "filler").write_bytes(bytes(20 << 20))
        return iter([(row[None],) for row in INPUTS])

    return frames.Source(rows, tuple, is_live=True)


def test_a_full_disk_is_told_from_a_full_spool(tiny_package, network, mounted):
    folder = mounted("size=32m")
    options = {"source": source_that_fills(folder), "limits": {"full": "drop-newest"}}
    with edge(tiny_package, network, spooled=folder / "s", drain_s=0.0, **options) as run:
        summary = run.done()
        birth = birth_of(network)

    assert summary.dropped == {"disk_full": 40}
    assert (summary.frames, summary.spooled) == (0, 0)
    assert birth["spool"]["state"] == "disk_full"


def latest(**changes):
    return {"delivery": Delivery.LATEST, "max_age_s": WAIT_S} | changes


def test_latest_answers_a_source_that_waits_for_it_in_full(tiny_package, network):
    with served(tiny_package, network, **latest(count=100)) as run:
        summary = run.done()

    assert (summary.frames, summary.results, summary.resent, summary.dropped) == (100, 100, 0, {})


def test_latest_takes_the_newest_input_and_counts_those_it_replaced(tiny_package, network, tap):
    with ghosted(tiny_package, network, source=tap.source, **latest(window=1)) as (ghost, run):
        tap.give(1)
        first = ghost.frame()
        tap.give(9)
        wait_for(lambda: tap.taken == 10 and run.summary.dropped["replaced"] == 8)
        assert ghost.frame(0.3) is None
        ghost.answer(first)
        second = ghost.frame()
        ghost.answer(second)
        tap.end()
        summary = run.done()

    assert (summary.frames, summary.results, summary.dropped) == (2, 2, {"replaced": 8})
    assert second.captured_ns > first.captured_ns


def test_latest_gives_up_what_nobody_answered_and_never_sends_it_again(tiny_package, network):
    with ghosted(tiny_package, network, **latest(window=4, max_age_s=0.3, count=8, resend_after_s=0.05)) as (
        ghost,
        run,
    ):
        seen = ghost.frames(8)
        summary = run.done()
        assert ghost.frame(0.3) is None

    assert [frame.sequence for frame in seen] == list(range(8))
    assert (summary.dropped, summary.unanswered, summary.resent) == ({"expired": 8}, 0, 0)
    with pytest.raises(errors.PeerError, match=r"none of 8 frames was answered within 0.3 s"):
        outcome.check(summary, run.edge.settings, is_stopped=False)


def test_latest_has_one_frame_out_while_nobody_answers_and_a_window_once_somebody_does(tiny_package, network):
    with ghosted(tiny_package, network, **latest(window=4, max_age_s=0.3, count=40)) as (ghost, run):
        ghost.frames(4)
        asking = ghost.frames(3)
        assert run.edge.outstanding <= 1
        ghost.answer(asking[-1])
        wait_for(lambda: run.edge.outstanding == 4)
        run.edge.stop()
        run.done()

    assert [frame.sequence for frame in asking] == [4, 5, 6]


def test_latest_delivers_no_answer_that_is_too_old(tiny_package, network):
    with ghosted(tiny_package, network, **latest(window=1, max_age_s=0.2, count=2)) as (ghost, run):
        late = ghost.frame()
        fresh = ghost.frame()
        ghost.answer(late)
        wait_for(lambda: run.summary.duplicates == 1)
        ghost.answer(fresh)
        summary = run.done()

    assert (late.sequence, fresh.sequence) == (0, 1)
    assert keys(run.watcher) in ([(7, 1)], [])  # on a busy machine the second may be late as well
    assert summary.results + summary.dropped["expired"] == 2


def test_latest_keeps_nothing_while_the_broker_is_away(tiny_package, network, tap):
    # What was on its way when the connection broke has no answer, and is given up after the longest age.
    with ghosted(tiny_package, network, source=tap.source, **latest(max_age_s=5.0)) as (ghost, run):
        tap.give(1)
        ghost.answer(ghost.frame())
        network.cut("edge")
        tap.give(20)
        wait_for(lambda: run.summary.dropped["offline"] >= 18)
        assert run.summary.frames <= 2  # one may have been on its way when the connection broke
        assert run.edge.outstanding <= 1
        network.restore("edge")
        newest = ghost.frame()
        ghost.answer(newest)
        tap.end()
        summary = run.done()

    assert summary.frames + sum(summary.dropped.values()) - summary.given_up == 21


def test_latest_stops_while_the_broker_is_away(tiny_package, network):
    with edge(tiny_package, network, is_online=False, **latest(rate_fps=1000.0, count=10)) as run:
        wait_for(lambda: run.summary.dropped["offline"] >= 3)
        summary = run.stop()
        network.restore("edge")

    assert summary.frames == 0


def test_an_edge_may_be_there_before_its_broker(tiny_package, network):
    with served(tiny_package, network, is_online=False) as run:
        wait_for(lambda: run.watcher.looks > 1)
        assert run.summary.frames == 0
        network.restore("edge")
        summary = run.done()

    assert summary.results == 40


def test_promises_that_contradict_each_other_are_refused(tiny_package, network, tmp_path):
    with pytest.raises(errors.SettingsError, match="QoS 1 with delivery latest"):
        Settings("d", "n", 7, delivery=Delivery.LATEST, qos=1)
    with (
        pytest.raises(errors.SettingsError, match="with delivery latest: it keeps nothing"),
        edge(tiny_package, network, spooled=tmp_path / "s", delivery=Delivery.LATEST),
    ):
        pass


@pytest.mark.parametrize("wrong", [{"max_age_s": 0.0}, {"drain_s": -1.0}, {"resend_after_s": 0.0}])
def test_times_that_cannot_be_kept_are_refused(wrong):
    with pytest.raises(errors.SettingsError):
        Settings("d", "n", 7, **wrong)


def test_a_reload_changes_what_may_change_and_refuses_the_rest(tiny_package, network):
    with ghosted(tiny_package, network, window=2, drain_s=0.0) as (ghost, run):
        ghost.frames(2)
        run.edge.reload(dataclasses.replace(run.edge.settings, window=5, rate_fps=500.0))
        assert len(ghost.frames(3)) == 3
        with pytest.raises(errors.SettingsError, match=r"^device, qos cannot change while the edge runs"):
            run.edge.reload(dataclasses.replace(run.edge.settings, device="m", qos=0))

        assert run.edge.settings.window == 5


def other_package(folder):
    """A package that takes inputs of another scale, and gives other results."""
    builder = tiny_models.Builder()
    x = builder.tensor("x", (1, 4), scale=0.25)
    y = builder.add(x, x, "y", (1, 4), scale=0.7)
    z = builder.add(y, y, "c", (1, 4), scale=0.9)
    return tiny_models.write_package(folder / "other.tflsplit", builder.build((x,), (z,)), preprocessing=None)


def test_package_and_head_are_exchanged_between_two_frames(tiny_package, network, tmp_path):
    other = other_package(tmp_path)
    reals = np.random.default_rng(1).uniform(-8, 8, (40, 4)).astype(np.float32)
    source = frames.from_arrays((reals,), tiny_package.manifest, name="test")
    with (
        memory_cloud.ghost_on(network) as ghost,
        edge(tiny_package, network, source=source, count=1000) as run,
        head.Head(other, other.cut("op000")) as new,
    ):
        ghost.answer_frames(5)
        answering = threading.Thread(target=lambda: [ghost.answer(frame) for frame in iter(ghost.frame, None)])
        answering.start()
        before = run.edge.exchange(other, new)
        assert (run.edge.package, run.edge.cut.id) == (other, "op000")
        count = len(run.watcher.settlements)
        wait_for(lambda: len(run.watcher.settlements) > count + 20)
        wait_for(lambda: birth_of(network)["package"] == other.digest)
        again = run.edge.exchange(*before)
        run.stop()
        ghost.close()
        answering.join(WAIT_S)

    assert before[0] is tiny_package
    assert again == (other, new)
    packages = [settled.package for settled in sorted(run.watcher.settlements, key=lambda one: one.sequence)]
    assert {tiny_package.digest[:32], other.digest[:32]} == set(packages)
    changes = sum(one != two for one, two in itertools.pairwise(packages))
    assert changes in (1, 2)


def test_an_exchange_fits_the_source_to_the_new_package(tiny_package, network, tmp_path):
    other = other_package(tmp_path)
    reals = np.random.default_rng(1).uniform(-8, 8, (3, 4)).astype(np.float32)
    source = frames.from_arrays((reals,), tiny_package.manifest, name="test")
    with (
        memory_cloud.cloud_for(other, network),
        head.Head(other, other.cut("op000")) as new,
        head.Head(tiny_package, tiny_package.cut("op000")) as old,
        memory.MemoryTransport(network, client_id="edge") as transport,
    ):
        transport.connect()
        watcher = watching.Watching()
        made = loop.Edge(tiny_package, old, transport, Settings("d", "n", 7), observers=[watcher])
        watcher.alive = lambda: None if made.package is other else made.exchange(other, new)
        made.run(source)

    expected = frames.from_arrays((reals,), other.manifest, name="test")
    settlements = sorted(watcher.settlements, key=lambda settled: settled.sequence)  # a refusal is waited for a moment
    assert [settled.package == other.digest[:32] for settled in settlements] == [False, True, True]
    for settled, wanted in zip(settlements[1:], list(expected.inputs())[1:], strict=True):
        (y,) = new_outputs(other, wanted)
        assert dict(settled.answer.values)["c"] == pytest.approx(y, rel=1e-6)


def new_outputs(package, wanted):
    from tflsplit.graph.interpreter import Interpreter
    from tflsplit.graph.tensors import dequantise

    with Interpreter(package.model_bytes()) as whole:
        return [
            dequantise(out, spec).ravel()
            for out, spec in zip(whole.run(*wanted.arrays), package.manifest.outputs, strict=True)
        ]


def test_an_exchange_need_not_wait_for_a_disk_that_is_full(tiny_package, network, mounted):
    folder = mounted("size=32m")
    with (
        edge(tiny_package, network, spooled=folder / "s", source=source_that_fills(folder)) as run,
        head.Head(tiny_package, tiny_package.cut("op001")) as new,
    ):
        wait_for(lambda: run.edge.spool.is_full)
        run.edge.exchange(tiny_package, new)
        assert run.edge.cut.id == "op001"
        summary = run.stop()

    assert (summary.frames, summary.dropped) == (0, {"disk_full": 1})  # the one in hand


def test_an_exchange_that_the_source_does_not_fit_changes_nothing(tiny_package, network, tmp_path):
    other = other_package(tmp_path)
    source = frames.Source(lambda: iter([(row[None],) for row in INPUTS]), tuple, is_live=True)
    with (
        memory_cloud.ghost_on(network) as ghost,
        edge(tiny_package, network, source=source, window=1, drain_s=0.0) as run,
        head.Head(other, other.cut("op000")) as new,
    ):
        ghost.frame()
        with pytest.raises(errors.SettingsError, match="the source gives inputs as"):
            run.edge.exchange(other, new)

        assert run.edge.package is tiny_package


def test_an_edge_without_a_spool_starts_without_sqlite():
    """What every edge imports, each start pays for."""
    program = "import sys; from edge_runtime import loop; sys.exit('sqlite3' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
