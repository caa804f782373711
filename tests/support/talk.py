"""What devices and clouds of a deployment say, in short, and a deployment that hears it."""

import json

from broker.messages import presence, results, telemetry, topics
from broker.messages.watched import picture
from broker.watching import state
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Family, Sample

BOOT = 7
BIRTH = {
    "boot": "07",
    "package": "9f" * 32,
    "name": "digits",
    "cut": "op012",
    "accelerator": {"name": "coral", "runs_on": "coral", "reason": None},
    "software": {"version": "0.1.0", "certificate_ends_s": 2e9},
}


class Heard(state.Deployment):
    """A deployment that is told things by short names."""

    def __init__(self):
        super().__init__("shop", 1000.0)

    def tell(self, name, kind, payload, at_s=1000.0):
        self.take(topics.topic("shop", name, kind), payload, at_s)

    def device(self, name, at_s=1000.0):
        return next(each for each in self.as_json(at_s)["of_devices"] if each["device"] == name)


def status(which="online", connection=1, boot=BOOT, reason=None):
    return presence.Status(which, boot, connection, reason, 5000).as_json()


def birth(**changes):
    return json.dumps(BIRTH | changes).encode()


def result(sequence=1, label="cat", found=None):
    times = results.Times(1000.0, 3.0, 1001.0, 0.5, 0.25, 5.0, 1010.0)
    top = (results.Score(label, 0.75),)
    return results.Result("cam1", BOOT, sequence, "op012", "9f", times, top, is_exact=True, found=found).as_json()


def told(why=None, p50=20.0, **values):
    families = tuple(
        Family(catalogue.EDGE_PREFIX, metric, samples)
        for metric, samples in (
            (catalogue.DROPPED, (Sample(3, ("expired",)), Sample(20, ("answer_to_another_run",)))),
            (catalogue.SPOOL_FRAMES, (Sample(4),)),
            (catalogue.SPOOL_BYTES, (Sample(400),)),
            (catalogue.SPOOL_LIMIT, (Sample(1000),)),
            (catalogue.SPOOL_FULL, (Sample(0),)),
            (catalogue.LINK_BPS, (Sample(5e6),)),
        )
    )
    quantiles = {"p50": p50, "p95": 30.0, "p99": None}
    said = {"boot": BOOT, "sent_ms": 1.0, "state": "ok" if why is None else "not ready", "why": why, "fps": 9.5}
    return telemetry.Telemetry(**said, latency_ms=quantiles, families=families, **values).as_json()


def jpeg(pixels):
    words = picture.comment(BOOT, 1234.0)
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + b"\xff\xda" + pixels
