"""A worker process, or a cloud that shares a subscription, that takes a given time for each frame.

slow_peer.py worker FOLDER FD          FOLDER holds a file for each worker to take, named by its milliseconds
slow_peer.py cloud PACKAGE PORT MS NAME
"""

import dataclasses
import sys
import time
from pathlib import Path

from broker.cloud import answerer as cloud_answerer
from broker.cloud import engine, subscriber, tail
from broker.cloud.workers import main
from broker.mqtt import transport
from broker.transport import address
from tflsplit.package import reading

DEPLOYMENT, GROUP = "bench", "g"


class Slow:
    """An answerer that takes `whole_s` for each frame, or what the tail takes if that is longer."""

    def __init__(self, answerer: cloud_answerer.Answerer, whole_s: float) -> None:
        self._answerer = answerer
        self._whole_s = whole_s

    def answer(self, job: cloud_answerer.Job) -> cloud_answerer.Answer:
        began_s = time.monotonic()
        answer = self._answerer.answer(job)
        time.sleep(max(0.0, began_s + self._whole_s - time.monotonic()))
        return dataclasses.replace(answer, tail_s=time.monotonic() - began_s)

    def answer_all(self, jobs):
        return [self.answer(job) for job in jobs]

    def batches_from(self, job) -> int:
        return 0


def _worker(folder: Path) -> None:
    channel = main.connect()
    answerer = main.receive(channel).open()
    main.serve(channel, Slow(answerer, _taken(folder) / 1000))


def _taken(folder: Path) -> float:
    """The time that nobody else took."""
    for file in sorted(folder.iterdir()):
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        return float(file.name.split("-")[0])
    raise SystemExit("more workers than times")


def _cloud(path: str, port: str, pause_ms: str, name: str) -> None:
    answerer = Slow(cloud_answerer.Answerer([tail.Tails(reading.open_package(Path(path)))]), float(pause_ms) / 1000)
    with transport.MqttTransport(address.Address("127.0.0.1", int(port)), client_id=name) as online:
        online.connect()
        print("ready", flush=True)
        subscriber.Cloud(engine.Inline(answerer), online, DEPLOYMENT, share=GROUP).run()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        _worker(Path(sys.argv[2]))
    else:
        _cloud(*sys.argv[2:])
