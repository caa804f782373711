"""What a source has captured, and when."""

import time
from typing import Any

from tflsplit.values.classes import dataclass, field


@dataclass(slots=True)
class Capture:
    """What a source has captured, before conversion, and when: in ns since the epoch, and by the monotonic clock."""

    raw: Any
    captured_ns: int
    captured_at_s: float = field(default_factory=time.monotonic, compare=False)
