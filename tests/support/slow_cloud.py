"""A cloud whose every tail takes a while longer: `slow_cloud.py PKG URL DEPLOYMENT SECONDS`, until SIGTERM."""

import json
import logging
import signal
import sys
import threading
from pathlib import Path

from broker.cloud import subscriber, summary
from broker.cloud.engine import Inline
from broker.mqtt import transport
from broker.transport import address
from tflsplit.package import reading


class Slow(Inline):
    seconds = 0.0

    def submit(self, job, done):
        threading.Event().wait(self.seconds)
        super().submit(job, done)


def main():
    path, url, deployment, seconds = sys.argv[1:]
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    engine = Slow.of(reading.open_package(Path(path)))
    engine.seconds = float(seconds)
    with transport.MqttTransport(address.parse(url), client_id="slow-cloud") as online:
        online.connect()
        cloud = subscriber.Cloud(engine, online, deployment)
        signal.signal(signal.SIGTERM, lambda *_: cloud.stop())
        cloud.run()
    print(json.dumps(summary.as_json({deployment: cloud.summary}, engine.counters)))


if __name__ == "__main__":
    main()
