"""What was said last, in so many bytes: entries that were not set for longest fall out, and are counted."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """One thread at a time. `forgotten` is the number of entries that made room for others."""

    def __init__(self, most_bytes: int) -> None:
        self.forgotten = 0
        self.held_bytes = 0
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    @property
    def oldest(self) -> Value | None:
        """The one that was set longest ago; None where there is none."""
        return next(iter(self._entries.values()), (None, 0))[0]

    def items(self) -> list[tuple[Key, Value]]:
        """A copy, the one that was set longest ago first."""
        return [(key, value) for key, (value, _) in list(self._entries.items())]

    def put(self, key: Key, value: Value, held_bytes: int) -> None:
        """The entry is the newest now, and takes so many bytes; one larger than all there is room for is not kept."""
        self.pop(key)
        self._entries[key] = (value, held_bytes)
        self.held_bytes += held_bytes
        while self.held_bytes > self._most_bytes:
            self.pop_oldest()
            self.forgotten += 1

    def pop(self, key: Key) -> None:
        """Without a count; nothing if it is not there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry[1]

    def pop_oldest(self) -> Value:
        """Without a count."""
        _, (value, held_bytes) = self._entries.popitem(last=False)
        self.held_bytes -= held_bytes
        return value
