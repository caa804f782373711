"""Placements worked out: a machine's own share of one, and a fingerprint of all shares."""

import hashlib
from collections.abc import Mapping, Sequence

from broker.messages.peers.epochs import Epoch
from tflsplit import errors
from tflsplit.placement import cost, letters, placement, planfile
from tflsplit.placement.folder import Shared
from tflsplit.placement.letters import Phase, Program
from tflsplit.placement.placement import Placement, Schedule
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.running import OpenPiece, Share


class Shares:
    """Of the placements of one folder."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.network = Network(shared.package.graph)

    def placement_of(self, epoch: Epoch) -> Placement:
        """FrameError for one that cannot be of this folder's model and machines."""
        plan = self.shared.plan
        try:
            stages = tuple(map(planfile.stage_of, epoch.stages))
            placed = Placement(len(plan.machines), stages, plan.source, epoch.sink)
            if not 0 <= epoch.sink < placed.machines:
                raise errors.SettingsError(f"the sink is machine {epoch.sink}")
            placement.check(self.network, placed)
        except (errors.SettingsError, ValueError, KeyError, TypeError, IndexError) as problem:
            raise errors.FrameError(f"placement {epoch.epoch} of the source: {problem}") from problem
        return placed

    def share(self, placed: Placement, machine: int, open_piece: OpenPiece) -> tuple[Share, str]:
        """A machine's share, and the fingerprint of all."""
        schedule, programs = self._worked_out(placed)
        share = Share(self.network, placed, schedule, programs[machine], open_piece)
        return share, _fingerprint(programs)

    def planned_s(self, share: Share) -> Mapping[tuple[int, Phase], float]:
        """What each task of a share would take as the machine was stated; empty where it was not."""
        stated = self.shared.plan.stated
        if stated is None:
            return {}
        machine = stated.machines[share.program.machine]
        return {
            (task.step, task.phase): cost.run_s(piece, machine) + machine.overhead_s
            for task in share.program.tasks
            if (piece := share.piece(task)) is not None
        }

    def fingerprint(self, placed: Placement) -> str:
        """Equal where machines agree on what is sent to whom, in what order."""
        return _fingerprint(self._worked_out(placed)[1])

    def _worked_out(self, placed: Placement) -> tuple[Schedule, Sequence[Program]]:
        schedule = placement.schedule(self.network, placed)
        return schedule, letters.programs(self.network, placed, schedule)


def _fingerprint(programs: Sequence[Program]) -> str:
    told = [(program.machine, program.first, program.tasks) for program in programs]
    lines = [
        f"{machine} {task.step} {task.phase} {[(each.key, each.target, each.moves) for each in task.sends]}"
        for machine, _, tasks in told
        for task in tasks
    ]
    lines += [f"{machine} {[(each.key, each.target, each.moves) for each in first]}" for machine, first, _ in told]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
