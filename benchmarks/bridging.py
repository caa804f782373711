"""The device of `dead_link.py`: an edge whose cut moves, slower than this machine, that notes each first answer.

Told by a JSON object as its argument; it ends with its standard input, and then prints what it noted.
"""

import json
import sys
import threading
import time

import tflsplit
from broker.messages.results import Result
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.segments import Segments

_MOST_FRAMES = 1_000_000


def slow_down(times: float) -> None:
    """Every part of the model rests after its work, by processor time: what else this machine does slows nothing."""
    run = Segments.run

    def slower(self: Segments, arrays: tuple[Array, ...], start: Cut, stop: Cut) -> tuple[Array, ...]:
        began_s = time.thread_time()
        found = run(self, arrays, start, stop)
        time.sleep((time.thread_time() - began_s) * (times - 1))
        return found

    Segments.run = slower  # type: ignore[method-assign]


def main() -> None:
    told = json.loads(sys.argv[1])
    slow_down(told.pop("slower"))
    package, broker, source = (told.pop(name) for name in ("package", "broker", "source"))
    noted: list[tuple[float, float, str]] = []

    def note(result: Result) -> None:
        now_s = time.monotonic()
        noted.append((now_s - (time.time() - result.times.captured_ms / 1e3), now_s, result.cut))

    with tflsplit.Edge(package, broker, adapt=True, **told) as edge:

        def stop() -> None:
            sys.stdin.read()
            edge.stop()

        threading.Thread(target=stop, daemon=True).start()
        lost = None
        try:
            edge.run(source, count=_MOST_FRAMES, rate=10.0, on_result=note)
        except errors.TflsplitError as failure:
            lost = str(failure)
    print(json.dumps({"noted": noted, "lost": lost}))


if __name__ == "__main__":
    main()
