"""A machine that is slower than stated gets less to do, and machines that are left share what a lost one had."""

import pytest
import shared_models
import waiting

from broker.transport.memory import MemoryBroker
from edge_runtime.peers import replanning
from edge_runtime.peers.replanning import Replanner
from edge_runtime.peers.shares import Shares
from tflsplit.placement import placement, recovery
from tflsplit.placement.machines import Machine

SPEED = 2e7  # so slow that pieces are paced by waiting, and other work on this machine does not show


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), 3, speed=SPEED)


def test_a_machine_that_is_slower_than_stated_gets_less_to_do(shared):
    machines = shared_models.Machines(shared, MemoryBroker())
    columns = shared_models.inputs(shared.package, 10)
    paces = {"m1": SPEED, "m2": SPEED, "m3": SPEED / 5}
    for name in ("m2", "m3"):
        machines.start(name, pace=Machine(name, paces[name]))
    source = machines.start("m1", columns, count=10**6, replans=True, pace=Machine("m1", SPEED))
    waiting.wait_for(lambda: any("times as quick" in each for each in source.summary.epochs))
    answered = source.summary.answered
    waiting.wait_for(lambda: source.summary.answered > answered + 5)
    source.stop()
    machines.join()
    assert machines.failures == {}
    wanted = shared_models.expected(shared.package, columns)
    shared_models.check(machines.take_results(), [wanted[each % 10] for each in range(source.summary.inputs)])
    machines.close()


def test_what_is_found_for_those_that_are_left_is_quicker_than_a_neighbour_with_two_shares(shared):
    shares = Shares(shared)
    planner = Replanner(shares, threads=1)
    present = recovery.without(shares.network, shared.plan.placement(), {1})
    assert planner.ask(frozenset({0, 2}), {}, present)
    planner._thread.join(waiting.WAIT_S)
    found = planner.take()
    assert found.gain >= 1.1
    assert recovery.used(found.placed) == {0, 2}
    placement.check(shares.network, found.placed)
    assert planner.take() is None


@pytest.mark.parametrize(
    ("factors", "assumed", "odd"),
    [
        ({0: 1.0, 1: 1.0, 2: 0.3}, {}, [2]),
        ({0: 30.0, 1: 33.0, 2: 28.0}, {}, []),  # all stated too low alike
        ({0: 1.0, 1: 0.3}, {}, [1]),
        ({0: 1.0, 1: 0.3}, {1: 0.3}, []),
        ({0: 1.0, 1: 1.0, 2: 1.0}, {2: 0.3}, [2]),  # quick again
        ({0: 0.1}, {}, []),  # with nobody beside it
    ],
)
def test_machines_are_slow_beside_the_others_and_what_is_assumed(factors, assumed, odd):
    assert list(replanning.slow_or_quick(factors, assumed, 2.0)) == odd
