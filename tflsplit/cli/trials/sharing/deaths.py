"""Workers that are killed one after the other while they share a model, and come back."""

from broker.messages.peers.epochs import Epoch
from tflsplit.cli.trials.sharing.processes import Processes


def each_once(workers: Processes, frames: int) -> None:
    """SIGKILL for each worker, and a new start at once; then `frames` results at least, and the end of the inputs.

    The one with the inputs comes first: what it held goes with it, and its new start begins at the first input. Each
    further one dies when all have worked together for a while.
    """
    heard, every = workers.heard, max(1, frames // (len(workers.names) + 1))
    died_in: Epoch | None = None

    def are_together() -> bool:
        """Whether all take part in another placement than then, and have given so many results in it."""
        epoch = heard.epoch
        is_whole = epoch is not None and epoch != died_in and {*workers.names} <= {*epoch.machines}
        return is_whole and heard.count - heard.since >= every

    for name in (workers.first, *(each for each in workers.names if each != workers.first)):
        workers.follow(are_together)
        died_in = heard.epoch
        workers.kill(name)
        workers.start(name)
    workers.follow(lambda: are_together() and heard.count >= frames)
    workers.stop(workers.first)
