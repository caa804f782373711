"""How long a transport waits before it connects again."""

import random

from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts: doubling, and each shortened at random by up to a half, so that a thousand devices do
    not come back in the same instant.

    An up-time of `stable_s` starts the row anew: a broker that accepts and hangs up at once, as on a client without
    rights, is not besieged. Where nothing answers nobody is, so the waits grow to `most_silent_s` only. They grow to
    `most_alive_s` after a connection of `alive_s`, or one that carried a message: a broker or a link died. (Two clients
    of one name, who end each other's connections, try that often too: Mosquitto 2.0.11 does not say why it hangs up.)
    """

    first_s: float = 0.25
    most_s: float = 30.0
    most_silent_s: float = 1.0
    most_alive_s: float = 0.5
    alive_s: float = 1.0
    stable_s: float = 10.0

    def wait_s(self, attempt: int, randomness: random.Random, *, most_s: float | None = None) -> float:
        most_s = min(self.most_s, most_s or self.most_s)
        # The exponent is bounded: a float overflows after a day of attempts.
        return min(most_s, self.first_s * 2.0 ** min(attempt, 32)) * randomness.uniform(0.5, 1.0)
