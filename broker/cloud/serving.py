"""Runs several deployments in one process: one cloud each, which share an engine and end together."""

import threading
from collections.abc import Sequence

from broker.cloud.subscriber import Cloud

# How often the waiting thread can handle a signal.
_LOOK_S = 0.2


def run(clouds: Sequence[Cloud], *, count: int | None = None) -> None:
    """Runs until all are stopped, or have given `count` results together. The error of one ends all and is raised."""

    def is_enough() -> bool:
        return count is not None and sum(cloud.summary.results for cloud in clouds) >= count

    if len(clouds) == 1:
        clouds[0].run(is_enough=is_enough)
        return
    failures: list[BaseException] = []

    def serve(cloud: Cloud) -> None:
        try:
            cloud.run(is_enough=is_enough)
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
