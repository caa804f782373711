"""An engine that is exchanged for another, as a reload does."""

from broker.cloud.engine import Counters, Exchangeable


class Idle:
    def __init__(self):
        self.counters = Counters()
        self.is_closed = False

    def close(self):
        self.is_closed = True


def test_what_was_counted_goes_on_behind_a_reload():
    first, second = Idle(), Idle()
    engine = Exchangeable(first)
    first.counters.requeued = 3
    engine.exchange(second)
    first.counters.workers_replaced += 1  # what its last frames cost
    second.counters.requeued += 2

    assert first.is_closed
    assert engine.counters == Counters(requeued=5, workers_replaced=1)
