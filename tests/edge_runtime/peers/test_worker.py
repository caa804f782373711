"""Workers of one placement over the broker in memory: what they make together is what the whole model makes."""

import pytest
import shared_models
import waiting

from broker.messages import topics
from broker.transport import protocol
from broker.transport.memory import MemoryBroker, MemoryTransport

FRAMES = 30


@pytest.fixture(scope="module", params=[2, 3])
def shared(request, tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), request.param)


@pytest.fixture
def machines(shared):
    made = shared_models.Machines(shared, MemoryBroker())
    yield made
    made.close()


def test_results_are_those_of_the_whole_model_and_in_order(machines, shared):
    columns = shared_models.inputs(shared.package, FRAMES)
    first, *others = shared.plan.machines
    for name in others:
        machines.start(name)
    machines.start(first, columns)
    machines.join()
    assert machines.failures == {}
    shared_models.check(machines.take_results(), shared_models.expected(shared.package, columns))
    summary = machines.workers[first].summary
    assert (summary.answered, summary.recomputed, summary.unanswered) == (FRAMES, 0, 0)
    assert summary.bytes_sent > 0
    assert all(result.is_exact and result.cut == "shared" for result in machines.results)


def test_letters_that_come_twice_are_dropped_and_counted(shared):
    broker = MemoryBroker(copies=lambda topic, payload: 2 if topic.endswith("/parts") else 1)
    machines = shared_models.Machines(shared, broker)
    columns = shared_models.inputs(shared.package, FRAMES)
    first, *others = shared.plan.machines
    for name in others:
        machines.start(name)
    machines.start(first, columns)
    machines.join()
    shared_models.check(machines.take_results(), shared_models.expected(shared.package, columns))
    repeats = sum(worker.summary.repeats + worker.summary.stale for worker in machines.workers.values())
    assert repeats == sum(worker.summary.letters_sent for worker in machines.workers.values())
    machines.close()


def test_a_machine_that_is_cut_off_is_worked_around_and_taken_back(machines, shared):
    columns = shared_models.inputs(shared.package, FRAMES)
    first, *others = shared.plan.machines
    for name in others:
        machines.start(name)
    source = machines.start(first, columns, count=10**6)
    waiting.wait_for(lambda: source.summary.answered > 10)
    lost = next(each for each in machines.broker._members if each.startswith(others[-1]))
    machines.broker.cut(lost)
    waiting.wait_for(lambda: len(source.summary.epochs) == 2)
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered + 10)
    machines.broker.restore(lost)
    waiting.wait_for(lambda: len(source.summary.epochs) == 3)
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered + 10)
    source.stop()
    machines.join()
    assert "its connection is lost" in source.summary.epochs[1]
    assert "came back" in source.summary.epochs[2]
    wanted = shared_models.expected(shared.package, columns)
    found = machines.take_results()
    shared_models.check(found, [wanted[each % FRAMES] for each in range(source.summary.inputs)])


def test_the_role_of_a_lost_sink_moves_and_its_results_are_not_lost(tmp_path):
    shared = shared_models.write(tmp_path, 3, sink=2)
    machines = shared_models.Machines(shared, MemoryBroker())
    columns = shared_models.inputs(shared.package, FRAMES)
    for name in ("m2", "m3"):
        machines.start(name)
    source = machines.start("m1", columns, count=10**6)
    waiting.wait_for(lambda: machines.workers["m3"].summary.results > 10)
    machines.broker.cut(next(each for each in machines.broker._members if each.startswith("m3")))
    waiting.wait_for(lambda: machines.workers["m2"].summary.results > 10)
    source.stop()
    machines.join("m1", "m2")
    wanted = shared_models.expected(shared.package, columns)
    shared_models.check(machines.take_results(), [wanted[each % FRAMES] for each in range(source.summary.inputs)])
    machines.close()


class LateToTheListener(MemoryTransport):
    """A sink over a direct link: once `is_late`, its results reach all but one reader, for whom they are `late`. What
    is to follow on their delivery does not."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.is_late, self.late = False, []

    def try_publish(self, topic, payload, *, then=None, **more):
        if not self.is_late or topics.parse(topic).kind is not topics.Kind.RESULTS:
            return super().try_publish(topic, payload, then=then, **more)
        self.late.append((topic, payload))
        with self._broker.lock:
            for reader in self._broker._sessions.keys() - {"listener"}:
                self._broker._queue(reader, protocol.Message(topic, payload, 1))
        return True


def test_what_a_dead_sink_sent_and_comes_late_breaks_no_order(tmp_path):
    """Direct links have no order between two senders: the new sink's results may overtake the last ones of the old."""
    shared = shared_models.write(tmp_path, 3, sink=2)
    machines = shared_models.Machines(shared, MemoryBroker())
    columns = shared_models.inputs(shared.package, FRAMES)
    machines.start("m2")
    machines.start("m3", kind=LateToTheListener)
    source = machines.start("m1", columns, count=10**6)
    sink = machines.transports["m3"]
    waiting.wait_for(lambda: machines.workers["m3"].summary.results > 10)
    sink.is_late = True
    waiting.wait_for(lambda: len(sink.late) > 1)
    machines.broker.cut(sink.client_id)
    waiting.wait_for(lambda: machines.workers["m2"].summary.results > 10)
    for topic, payload in sink.late:
        machines.broker.publish(topic, payload, 1, retain=False)
    source.stop()
    machines.join("m1", "m2")
    wanted = shared_models.expected(shared.package, columns)
    found = machines.take_results()
    shared_models.check(found, [wanted[each % FRAMES] for each in range(source.summary.inputs)])
    assert len(found) >= source.summary.inputs + len(sink.late)
    machines.close()


def test_a_source_that_is_stopped_while_it_waits_for_machines_ends_with_nothing_begun(machines, shared):
    first = shared.plan.machines[0]
    source = machines.start(
        first, shared_models.inputs(shared.package, FRAMES), count=10**6, wait_s=3600.0, drain_s=3600.0
    )
    waiting.wait_for(lambda: source.summary.inputs > 0)
    source.stop()
    machines.join()  # long before it would go without them, or give up waiting for answers
    assert source.summary.epochs == []
    assert source.summary.answered == 0


def test_a_machine_that_is_silent_is_lost_and_frames_that_were_lost_are_computed_again(shared):
    """Nothing but its letters and beats goes missing: no broker says that its connection is gone."""
    is_silent = False
    machines = shared_models.Machines(
        shared,
        MemoryBroker(copies=lambda topic, _: 0 if is_silent and f"/{shared.plan.machines[-1]}/share" in topic else 1),
    )
    columns = shared_models.inputs(shared.package, FRAMES)
    first, *others = shared.plan.machines
    for name in others:
        machines.start(name)
    source = machines.start(first, columns, count=10**6, lost_after_s=2.5)
    waiting.wait_for(lambda: source.summary.answered > 10)
    is_silent = True
    waiting.wait_for(lambda: len(source.summary.epochs) > 1)
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered + 10)
    assert "it is silent for" in source.summary.epochs[1]
    source.stop()
    machines.join()
    wanted = shared_models.expected(shared.package, columns)
    shared_models.check(machines.take_results(), [wanted[each % FRAMES] for each in range(source.summary.inputs)])
    machines.close()


def test_letters_that_are_lost_are_asked_for_again_by_another_epoch(shared):
    lost = []

    def copies(topic, payload):
        if topic.endswith("/parts") and len(lost) < 3:
            lost.append(topic)
            return 0
        return 1

    machines = shared_models.Machines(shared, MemoryBroker(copies=copies))
    columns = shared_models.inputs(shared.package, FRAMES)
    first, *others = shared.plan.machines
    for name in others:
        machines.start(name)
    source = machines.start(first, columns, resend_after_s=1.0)
    machines.join()
    assert len(lost) == 3
    assert "no frame was answered for too long" in source.summary.epochs
    assert source.summary.recomputed > 0
    shared_models.check(machines.take_results(), shared_models.expected(shared.package, columns))
    machines.close()
