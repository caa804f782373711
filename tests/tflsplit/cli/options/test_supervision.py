import gc
import time
import weakref

import pytest

from tflsplit.cli.options import supervision


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture
def kept():
    yield
    gc.unfreeze()


def test_a_search_leaves_out_what_an_earlier_one_went_over_but_for_one_in_an_hour(kept, monkeypatch):
    clock_s, before = [time.monotonic()], [*gc.callbacks]
    monkeypatch.setattr(time, "monotonic", lambda: clock_s[0])
    with supervision.cycles_sought_in_what_is_new():
        old = Cycle()
        gone = weakref.ref(old)
        frozen = gc.get_freeze_count()
        gc.collect()
        assert gc.get_freeze_count() > frozen
        del old
        new = weakref.ref(Cycle())
        gc.collect()
        assert gone() is not None
        assert new() is None
        clock_s[0] += 3601.0
        gc.collect()
        assert gone() is None
    assert gc.callbacks == before
    again = weakref.ref(Cycle())
    gc.collect()
    assert again() is None
