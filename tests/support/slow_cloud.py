"""A cloud whose every tail takes a while longer: `slow_cloud.py PKG URL DEPLOYMENT SECONDS`, until SIGTERM."""

import json
import logging
import signal
import sys
import threading
from pathlib import Path

from broker import address, mqtt, served, subscriber
from broker.engine import Inline
from tflsplit import package


class Slow(Inline):
    seconds = 0.0

    def submit(self, job, done):
        threading.Event().wait(self.seconds)
        super().submit(job, done)


def main():
    path, url, deployment, seconds = sys.argv[1:]
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    engine = Slow.of(package.open_package(Path(path)))
    engine.seconds = float(seconds)
    with mqtt.MqttTransport(address.parse(url), client_id="slow-cloud") as online:
        online.connect()
        cloud = subscriber.Cloud(engine, online, deployment)
        signal.signal(signal.SIGTERM, lambda *_: cloud.stop())
        cloud.run()
    print(json.dumps(served.as_json({deployment: cloud.summary}, engine.counters)))


if __name__ == "__main__":
    main()
