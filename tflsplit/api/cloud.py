"""A cloud: the tails of packages, for every device of a deployment."""

import contextlib
import secrets
import threading
from collections.abc import Sequence

from broker.cloud import engine as cloud_engine
from broker.cloud import exactness, peers, subscriber
from broker.cloud.engine import Engine
from broker.cloud.summary import Summary
from broker.cloud.turns import streams
from broker.transport.credentials import Role
from broker.transport.memory import MemoryBroker
from tflsplit import arguments, errors
from tflsplit.api import connections, packages
from tflsplit.arguments import PathLike
from tflsplit.kernels import keeping
from tflsplit.package import trial
from tflsplit.package.reading import Package


class Cloud:
    """Answers frames from the moment it is made, on a thread of its own, until it is closed; a context manager.

    `pkg` is a package, or several that are served at a time. `broker`, `credentials` and the names are as for an
    `Edge`, but of several brokers it is at all; without credentials its `name` is "cloud".
    `workers` are processes that run tails; without them frames are run in this one, one after the other.
    """

    def __init__(
        self,
        pkg: PathLike | Package | Sequence[PathLike | Package],
        broker: str | Sequence[str] | MemoryBroker | None = None,
        *,
        deployment: str | None = None,
        name: str | None = None,
        credentials: PathLike | None = None,
        workers: int | None = None,
        threads: int = 1,
    ) -> None:
        if name is None and credentials is None:
            name = "cloud"
        speaker = connections.speaker(deployment, name, "name", credentials)
        self._broker = connections.reached(broker, credentials, speaker, Role.CLOUD)
        self.packages = tuple(map(packages.open, pkg if isinstance(pkg, list | tuple) else (pkg,)))
        for package in self.packages:
            trial.once(package)
        self._failure: Exception | None = None
        with contextlib.ExitStack() as stack:
            engine = _engine(self.packages, workers, threads)
            stack.callback(engine.close)
            boot = secrets.randbits(64)
            online = stack.enter_context(
                connections.connected(self._broker, speaker, boot, is_quick=True, is_cloud=True)
            )
            ours = keeping.told()
            self._cloud = subscriber.Cloud(
                engine,
                online,
                speaker[0],
                peers=peers.of(online, speaker, boot, self.packages, ours),
                exactness=exactness.Exactness(online, speaker[0], self.packages, ours),
            )
            self._cloud.subscribe()  # here, so that no frame of an edge that is opened next is lost
            self._resources = stack.pop_all()
        self._thread = threading.Thread(target=self._serve, name=f"cloud-{speaker[0]}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        names = ", ".join(package.manifest.name for package in self.packages)
        state = "serving" if self._thread.is_alive() else "ended"
        return (
            f"<cloud of {self._cloud.deployment}: {names}, {state} over {connections.shown(self._broker)}; "
            f"{self.summary}>"
        )

    @property
    def summary(self) -> Summary:
        """What it has done so far."""
        return self._cloud.summary

    def wait(self, timeout: float | None = None) -> Summary:
        """Until it is closed, or for so many seconds; what ended it otherwise is raised here."""
        self._thread.join(None if timeout is None else arguments.instance(timeout, float, "timeout"))
        self._raise()
        return self.summary

    def close(self) -> None:
        """Answers what has arrived, then ends; what ended it before is raised here."""
        self._cloud.stop()
        self._thread.join()
        self._resources.close()
        self._raise()

    def __enter__(self) -> "Cloud":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        try:
            self._cloud.run()
        except Exception as failure:  # noqa: BLE001 - raised again in the thread of whoever waits or closes
            self._failure = failure

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _engine(opened: Sequence[Package], workers: int | None, threads: int) -> Engine:
    if not opened:
        raise errors.SettingsError("a cloud without a package answers nothing; give one")
    if arguments.instance(threads, int, "threads") < 1:
        raise errors.SettingsError(f"{threads} CPU threads: give at least 1")
    if workers is None:
        return streams.around(cloud_engine.Inline.of(*opened, threads=threads), opened)
    if arguments.instance(workers, int, "workers") < 1:
        raise errors.SettingsError(f"{workers} workers: give at least 1")
    from broker.cloud.workers import pool

    return streams.around(pool.Workers(opened, workers, threads=threads), opened)
