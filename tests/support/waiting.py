"""Waiting in tests: for something that threads, processes or brokers bring about."""

import threading
import time

WAIT_S = 120.0  # a bound for what takes a second, on a machine that has other things to do


def wait_for(is_so, timeout_s=WAIT_S):
    """Returns once `is_so()` is true; the test fails if it never becomes so."""
    pause, give_up_s = threading.Event(), time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        pause.wait(0.005)
