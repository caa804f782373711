"""Runs several deployments in one process: one cloud each, which share an engine and end together."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from broker.cloud.subscriber import Cloud
from broker.transport.protocol import ConnectionState, Transport
from tflsplit import text

# How often the waiting thread can handle a signal.
_LOOK_S = 0.2


def run(clouds: Sequence[Cloud], *, count: int | None = None, alive: Callable[[], None] = lambda: None) -> None:
    """Runs until all are stopped, or have given `count` results together. The error of one ends all and is raised.
    `alive` is called once all have looked for a frame since it was called last."""
    looked: set[str] = set()

    def is_enough(cloud: Cloud) -> bool:
        looked.add(cloud.deployment)
        if len(looked) == len(clouds):
            looked.clear()
            alive()
        return count is not None and sum(cloud.summary.results for cloud in clouds) >= count

    if len(clouds) == 1:
        clouds[0].run(is_enough=partial(is_enough, clouds[0]))
        return
    failures: list[BaseException] = []

    def serve(cloud: Cloud) -> None:
        try:
            cloud.run(is_enough=partial(is_enough, cloud))
        except BaseException as failure:  # noqa: BLE001 - raised again below, in the caller's thread
            failures.append(failure)
            stop(clouds)

    threads = [
        threading.Thread(target=serve, args=(cloud,), name=f"cloud-{cloud.deployment}", daemon=True) for cloud in clouds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK_S)
    if failures:
        raise failures[0]


def stop(clouds: Sequence[Cloud]) -> None:
    for cloud in clouds:
        cloud.stop()


class CloudState:
    """What a service tells of its clouds, each with its connection."""

    def __init__(self, clouds: Sequence[tuple[Cloud, Transport]]) -> None:
        self._clouds = tuple(clouds)

    def stop(self) -> None:
        stop([cloud for cloud, _ in self._clouds])

    def is_refused(self) -> bool:
        return any(online.state is ConnectionState.CLOSED for _, online in self._clouds)

    def parting(self) -> str:
        return text.counted(sum(cloud.summary.results for cloud, _ in self._clouds), "result")

    def state(self) -> str:
        """One line for people."""
        away = [cloud.deployment for cloud, online in self._clouds if online.state is not ConnectionState.ONLINE]
        refused = sum(sum(cloud.summary.refused.values()) for cloud, _ in self._clouds)
        words = [
            f"waiting for the broker of {', '.join(away)}" if away else "connected",
            *dict.fromkeys(online.absent for _, online in self._clouds if not away and online.absent),
            self.parting(),
            f"{sum(cloud.held for cloud, _ in self._clouds)} held",
            *([f"{refused} refused"] if refused else []),
        ]
        return ", ".join(words)
