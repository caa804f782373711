"""The device of a trial that takes another cut for each frame; `moving.py` runs it."""

import sys
from pathlib import Path

from tflsplit.cli.trials.moving import device
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Controller, Switch, Tuning
from tflsplit.switching.goal import Goal


class Restless(Controller):
    _turn = 0

    def pick(self, now_s: float) -> Choice:
        self._turn += 1
        before, found = (self._choices[turn % len(self._choices)] for turn in (self._turn - 1, self._turn))
        self.switches.append(Switch(now_s, before.id, found.id, "test"))
        return found


if __name__ == "__main__":
    device.serve(Path(sys.argv[1]), lambda task: Restless(task.choices, task.usual, Goal(), Tuning(probing=None)))
