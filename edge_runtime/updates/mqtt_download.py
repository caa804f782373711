"""Asking the operator for what a reception lacks, range after range, and again for what did not come.

Pure: what is to be said goes through `say`, and the clock comes in as an argument.
"""

from collections.abc import Callable

from broker.messages.updates import Need, Piece
from edge_runtime.updates.download import Download, Lack

# Two ranges are asked for ahead of what has come: enough to keep 10 Mbit/s busy at 200 ms round trip, and little enough
# for the queues of any broker.
RANGE_BYTES = 256 << 10
_AHEAD_BYTES = 2 * RANGE_BYTES

# A link of 30 kbit/s brings a piece of 32 KiB in 9 s.
STALLED_S = 15.0
_GIVE_UP_S = 600.0


class MqttDownload:
    """`ignored` counts pieces that came twice, out of order or unasked; `is_over` once none came for ten minutes."""

    def __init__(
        self, reception: Download, say: Callable[[Need], None], now_s: float, *, stalled_s: float = STALLED_S
    ) -> None:
        self.ignored = 0
        self.is_over = False
        self._reception = reception
        self._say = say
        self._stalled_s = stalled_s
        self._came_at_s = now_s
        self._asked_at_s = now_s
        self._asked: tuple[str, int] = ("", 0)
        self._is_gap_asked = False
        self._ask()

    def take(self, piece: Piece, now_s: float) -> None:
        lack = self._reception.lack
        if lack is None or piece.sha256 != lack.sha256 or piece.offset != lack.have:
            self.ignored += 1
            if lack is not None and piece.sha256 == lack.sha256 and piece.offset > lack.have:
                self._ask_for_gap(now_s)
            return
        self._came_at_s = self._asked_at_s = now_s
        self._is_gap_asked = False
        self._reception.append(piece.data)
        lack = self._reception.lack
        if lack is not None and lack.sha256 == piece.sha256 and lack.have <= piece.offset:
            self._asked = ("", 0)  # it came whole and was damaged: from its beginning once more
        self._ask()

    def look(self, now_s: float, *, is_online: bool) -> None:
        """To be called now and then: asks again where nothing came."""
        if not is_online:
            self._asked_at_s = now_s
        elif now_s - self._asked_at_s >= self._stalled_s:
            self.again(now_s)
        self.is_over = now_s - self._came_at_s >= _GIVE_UP_S

    def again(self, now_s: float) -> None:
        """From what is here, whatever was asked for before."""
        self._asked_at_s = now_s
        self._asked = ("", 0)
        self._ask()

    def _ask_for_gap(self, now_s: float) -> None:
        """Once: what was under way when the gap was seen is no further gap."""
        if not self._is_gap_asked:
            self._is_gap_asked = True
            self.again(now_s)

    def _ask(self) -> None:
        lack = self._reception.lack
        if lack is None:
            return
        asked_to = self._asked_to(lack)
        while asked_to < lack.bytes and asked_to - lack.have <= _AHEAD_BYTES - RANGE_BYTES:
            stop = min(asked_to + RANGE_BYTES, lack.bytes)
            self._say(Need(lack.sha256, asked_to, stop))
            asked_to = stop
        self._asked = (lack.sha256, asked_to)

    def _asked_to(self, lack: Lack) -> int:
        sha256, asked_to = self._asked
        return asked_to if sha256 == lack.sha256 else lack.have
