"""Downloads a bundle over MQTT: asks the operator for the missing ranges of files, and again for what did not arrive.

Pure: requests go out through `send`, and the clock comes in as an argument.
"""

from collections.abc import Callable

from broker.messages.updates import Need, Piece
from edge_runtime.updates.download import Download, Lack

# Two ranges are requested ahead: enough to keep 10 Mbit/s busy at a round trip of 200 ms, and little enough for the
# queues of any broker.
RANGE_BYTES = 256 << 10
_AHEAD_BYTES = 2 * RANGE_BYTES

# A link of 30 kbit/s brings a piece of 32 KiB in 9 s.
STALLED_S = 15.0
_GIVE_UP_S = 600.0


class MqttDownload:
    """`ignored` counts pieces that came twice, out of order or unrequested; `is_over`: none came for ten minutes."""

    def __init__(
        self, download: Download, send: Callable[[Need], None], now_s: float, *, stalled_s: float = STALLED_S
    ) -> None:
        self.ignored = 0
        self.is_over = False
        self._download = download
        self._send = send
        self._stalled_s = stalled_s
        self._came_at_s = now_s
        self._asked_at_s = now_s
        self._asked: tuple[str, int] = ("", 0)
        self._is_gap_asked = False
        self._ask()

    def take(self, piece: Piece, now_s: float) -> None:
        lack = self._download.lack
        if lack is None or piece.sha256 != lack.sha256 or piece.offset != lack.have:
            self.ignored += 1
            if lack is not None and piece.sha256 == lack.sha256 and piece.offset > lack.have:
                self._ask_for_gap(now_s)
            return
        self._came_at_s = self._asked_at_s = now_s
        self._is_gap_asked = False
        self._download.append(piece.data)
        lack = self._download.lack
        if lack is not None and lack.sha256 == piece.sha256 and lack.have <= piece.offset:
            self._asked = ("", 0)  # the file arrived whole but damaged: start it again
        self._ask()

    def look(self, now_s: float, *, is_online: bool) -> None:
        """To be called regularly: asks again if nothing arrived for `stalled_s`."""
        if not is_online:
            self._asked_at_s = now_s
        elif now_s - self._asked_at_s >= self._stalled_s:
            self.again(now_s)
        self.is_over = now_s - self._came_at_s >= _GIVE_UP_S

    def again(self, now_s: float) -> None:
        """Asks from the first missing byte on, even for what was asked for before."""
        self._asked_at_s = now_s
        self._asked = ("", 0)
        self._ask()

    def _ask_for_gap(self, now_s: float) -> None:
        """Only once: later pieces that were already under way are no new gap."""
        if not self._is_gap_asked:
            self._is_gap_asked = True
            self.again(now_s)

    def _ask(self) -> None:
        lack = self._download.lack
        if lack is None:
            return
        asked_to = self._asked_to(lack)
        while asked_to < lack.bytes and asked_to - lack.have <= _AHEAD_BYTES - RANGE_BYTES:
            stop = min(asked_to + RANGE_BYTES, lack.bytes)
            self._send(Need(lack.sha256, asked_to, stop))
            asked_to = stop
        self._asked = (lack.sha256, asked_to)

    def _asked_to(self, lack: Lack) -> int:
        sha256, asked_to = self._asked
        return asked_to if sha256 == lack.sha256 else lack.have
