"""The last hour of a device or of a whole deployment, in steps of ten seconds. Pure."""

from collections.abc import Sequence

STEP_S = 10.0
STEPS = 360
_STEP = tuple[int, float, float, int]  # number of the step, answers, sum and count of latencies in ms


class History:
    """Answers a second and the latency over time, heard since `began_s`. Steps in which nothing came are not kept."""

    __slots__ = ("_began_s", "_steps")

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._steps: list[_STEP] = []

    def add(self, at_s: float, answers: int = 0, latency_ms: float | None = None) -> None:
        """`at_s` is by one clock and never goes back."""
        number = int(at_s // STEP_S)
        before = (number, 0.0, 0.0, 0)
        if self._steps and self._steps[-1][0] >= number:
            before = self._steps.pop()
        number, count, sum_ms, measured = before
        if latency_ms is not None:
            sum_ms, measured = sum_ms + latency_ms, measured + 1
        self._steps.append((number, count + answers, sum_ms, measured))
        while self._steps[0][0] <= number - STEPS:
            del self._steps[0]

    def rate(self, now_s: float) -> float:
        """Answers a second in the last ten to twenty seconds, or since it is heard."""
        number = int(now_s // STEP_S)
        recent = sum(answers for step, answers, *_ in self._steps[-2:] if step >= number - 1)
        return recent / max(1.0, now_s - max(self._began_s, (number - 1) * STEP_S))

    def rates(self, now_s: float) -> Sequence[float | None]:
        """Answers a second in each step, the oldest first; None before the first answer. The present step, which is
        not over, is left out."""
        found = self._column(now_s, [(step, answers / STEP_S) for step, answers, *_ in self._steps])
        first = next((place for place, value in enumerate(found) if value is not None), len(found))
        return [value if place < first else value or 0.0 for place, value in enumerate(found)]

    def latencies_ms(self, now_s: float) -> Sequence[float | None]:
        """The mean in each step, None where none was told."""
        return self._column(now_s, [(step, total / count) for step, _, total, count in self._steps if count])

    def _column(self, now_s: float, known: Sequence[tuple[int, float]]) -> list[float | None]:
        last = int(now_s // STEP_S)
        found: list[float | None] = [None] * STEPS
        for step, value in known:
            if last - STEPS <= step < last:
                found[step - (last - STEPS)] = value
        return found
