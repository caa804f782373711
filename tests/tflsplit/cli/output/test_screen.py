"""Signals that end a loop, at whatever moment they come."""

import subprocess
import sys

import waiting

WAITS = """
import os, signal, threading
from tflsplit.cli.output import screen

for _ in range(200):
    stopped = threading.Event()
    with screen.stopped_by_signals(stopped.set):
        threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGINT)).start()
        while not stopped.wait(0):
            pass
print("each ended")
"""


def test_a_loop_that_waits_for_what_the_signal_sets_ends_each_time():
    done = subprocess.run(
        [sys.executable, "-c", WAITS], capture_output=True, text=True, check=False, timeout=waiting.WAIT_S
    )
    assert done.stdout == "each ended\n", done.stderr
