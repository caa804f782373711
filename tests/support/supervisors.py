"""A socket of the test's own that takes what a service tells systemd."""

import contextlib
import os
import re
import socket
import time

WAIT_S = 60.0
WATCHDOG_S = 1.0


class Supervisor:
    """Takes messages as systemd does, and knows the environment that it gives to the service."""

    def __init__(self, path, socket):
        self._socket = socket
        self.messages = []
        self.environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}",
        }

    def wait_for(self, is_it):
        """The first message from now on of which something is so."""
        give_up_s = time.monotonic() + WAIT_S
        while True:
            self._socket.settimeout(max(0.01, give_up_s - time.monotonic()))
            try:
                self.messages.append(self._socket.recv(8192).decode())
            except TimeoutError:
                raise AssertionError(f"it was not said: {self.messages[-5:]}") from None
            if is_it(self.messages[-1]):
                return self.messages[-1]

    def wait_for_status(self, words):
        return self.wait_for(lambda message: re.search(rf"STATUS=.*{words}", message))

    def is_silent_for(self, seconds, about):
        """Whether nothing of that kind is said for a while; what comes in between is kept."""
        give_up_s = time.monotonic() + seconds
        while (left_s := give_up_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                self.messages.append(self._socket.recv(8192).decode())
            except TimeoutError:
                return True
            if about in self.messages[-1]:
                return False
        return True


@contextlib.contextmanager
def listening(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        yield Supervisor(path, made)
