"""The statuses that come by several brokers, as one: who is at some of them is online as long as one says so."""

from collections.abc import Sequence

from broker.messages.presence import Status
from tflsplit.recent import Recent

# 100,000 names; what Python needs for one.
_MOST_BYTES, _ENTRY_BYTES = 32 << 20, 320


class Statuses:
    """One thread at a time."""

    def __init__(self) -> None:
        # By topic the run that is online, and a bit for each broker that says so.
        self._online: Recent[str, tuple[int, int]] = Recent(_MOST_BYTES)

    def is_news(self, topic: str, said: Status | None, place: int, is_there: Sequence[bool]) -> bool:
        """Whether a status that came by the broker at `place` says what the others did not. `is_there` tells which of
        them are, for what the rest said last may be over. What is no status, None, is news to whoever reads it."""
        if said is None:
            self._online.pop(topic)
            return True
        bit = 1 << place
        boot, places = self._online.get(topic) or (said.boot, 0)
        if said.state == "online":
            # Said once more where it was said before, it is meant for one who listens now.
            is_news = said.boot != boot or places == 0 or bool(places & bit)
            places = places | bit if said.boot == boot else bit
            self._online.put(topic, (said.boot, places), _ENTRY_BYTES)
            return is_news
        if said.boot == boot:
            places &= ~bit
            self._online.put(topic, (boot, places), _ENTRY_BYTES)
        return not any(there for other, there in enumerate(is_there) if places >> other & 1)
