"""A worker process that misbehaves as its arguments ask: `odd_worker.py FOLDER FD`.

By the name of a frame's device: `die` kills it, `hang` never ends, and with `-once` behind it only the first time. With
a file `one_is_slow` in FOLDER, the first worker to start takes 200 ms for each frame and all others 2 ms. Each answer
is a line in FOLDER/answers: who gave it, and the frame's sequence.
"""

import os
import pathlib
import signal
import sys
import time

from broker.cloud.workers import main
from broker.messages import wire


class Odd:
    def __init__(self, answerer, folder):
        self._answerer = answerer
        self._folder = folder
        self._pause_s = 0.0
        if (folder / "one_is_slow").exists():
            self._pause_s = 0.2 if self._is_first("slow") else 0.002
        self._name = "slow" if self._pause_s > 0.1 else "fast"

    def answer_all(self, jobs):
        return [self._answer(job) for job in jobs]

    def batches_from(self, job):
        return self._answerer.batches_from(job)

    def _answer(self, job):
        what, _, once = job.device.partition("-")
        if what in ("die", "hang") and (not once or self._is_first(f"{what}-{wire.peek(job.encoded).sequence}")):
            if what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        time.sleep(self._pause_s)
        with (self._folder / "answers").open("a") as lines:
            lines.write(f"{self._name} {wire.peek(job.encoded).sequence}\n")
        return self._answerer.answer(job)

    def _is_first(self, what):
        try:
            os.close(os.open(self._folder / what, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


if __name__ == "__main__":
    channel = main.connect()
    answerer = main.receive(channel).open()
    main.serve(channel, Odd(answerer, pathlib.Path(sys.argv[1])))
