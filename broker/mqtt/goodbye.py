"""The end of a connection as a broker sees it."""

import select
import socket
import time

_LONGEST_S = 0.5  # that a broker may take to hang up after a DISCONNECT


def wait_for_hang_up(held: socket.socket) -> None:
    """Until the broker has read all that it was sent. Once the same client has another connection it reads no more of
    this one, and sends again what the acknowledgements there were for."""
    give_up_s = time.monotonic() + _LONGEST_S
    while (left_s := give_up_s - time.monotonic()) > 0 and select.select([held], (), (), left_s)[0]:
        if not held.recv(65536):
            return
