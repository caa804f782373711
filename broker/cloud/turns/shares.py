"""What each device may hold of a cloud: at most as much as is free, so that there is always room for others; and how
many frames a second it may send, where that is bound.

One device alone gets half of the cloud, each of two a third, and so on. (Dynamic thresholds: Choudhury and Hahne,
IEEE/ACM Transactions on Networking 6(2), 1998.) Whoever holds no more than the window of an ordinary edge keeps that.
A rate is a bucket of tokens, as deep as a window, or as the frames until an edge sends again what was refused.
"""

from tflsplit.recent import Recent
from tflsplit.values.classes import dataclass

# `edge_runtime.delivery.settings`: the window that edges have unless they are told otherwise.
_ALWAYS = 8
# There too: how long an edge waits until it sends a refused frame again. Of a rate that is kept for a second, a device
# that has more to send would get a fifth.
_AGAIN_S = 5.0
# The buckets of 50,000 devices, and what Python needs for one. One that was forgotten is full again.
_MOST_BYTES, _BUCKET_BYTES = 16 << 20, 320
_FULL = "busy: this device has as many frames waiting here as its share allows; the frame is to be sent again later"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most frames, and bytes, that are taken and not yet published and acknowledged: windows of 128 devices. And
    the frames a second of each device; None: no bound."""

    frames: int = 1024
    bytes: int = 256 << 20
    device_per_s: float | None = None


class Shares:
    """Frames that are not answered yet, by device. One thread at a time. `over_rate` counts frames that came too soon
    after others."""

    def __init__(self, limits: Limits) -> None:
        self.over_rate = 0
        self._limits = limits
        self._held: dict[str, tuple[int, int]] = {}  # frames and bytes
        self._all_frames = self._all_bytes = 0
        self._buckets: Recent[str, tuple[float, float]] = Recent(_MOST_BYTES)  # tokens, and when
        # Made once: the log tells the same words once.
        self._too_many = (
            f"busy: each device may send {limits.device_per_s or 0:g} frames a second here; the frame is to be sent "
            "again later"
        )

    def refusal(self, device: str, now_s: float) -> str | None:
        """Why another frame of this device may not be taken now; None where it may, which counts for its rate."""
        if not self.has_room(device):
            return _FULL
        if self._limits.device_per_s is not None and not self._is_in_time(device, self._limits.device_per_s, now_s):
            self.over_rate += 1
            return self._too_many
        return None

    def has_room(self, device: str) -> bool:
        """Whether another frame of this device is within its share."""
        frames, held_bytes = self._held.get(device, (0, 0))
        return frames < _ALWAYS or (
            frames < self._limits.frames - self._all_frames and held_bytes < self._limits.bytes - self._all_bytes
        )

    def count(self, device: str, frames: int, held_bytes: int) -> None:
        """So many more are held, or fewer where these are negative."""
        held_frames, all_bytes = self._held.get(device, (0, 0))
        if held_frames + frames:
            self._held[device] = held_frames + frames, all_bytes + held_bytes
        else:
            del self._held[device]
        self._all_frames += frames
        self._all_bytes += held_bytes

    def _is_in_time(self, device: str, per_s: float, now_s: float) -> bool:
        depth = max(float(_ALWAYS), per_s * _AGAIN_S)
        tokens, since_s = self._buckets.get(device) or (depth, now_s)
        tokens = min(depth, tokens + max(0.0, now_s - since_s) * per_s)
        is_in_time = tokens >= 1.0
        self._buckets.put(device, (tokens - is_in_time, max(now_s, since_s)), _BUCKET_BYTES)
        return is_in_time
