"""The process of a fleet's devices: `python -m crowd.generator FOLDER`, where FOLDER says in `wanted.json` what to do.

It prints a line when all devices are online and another when all frames are sent, and leaves `record.npz`,
`counts.json` and `sent.json` (frames by device and boot) there. Whoever started it measures its processor time.
"""

import asyncio
import asyncio.sslproto
import gc
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from broker.transport import address, credentials
from crowd import material
from crowd.device import Device, Record, Way
from tflsplit.package import reading

WANTED, RECORD, COUNTS, SENT = "wanted.json", "record.npz", "counts.json", "sent.json"
BIRTH, TELEMETRY, TRUTHS = "birth.json", "telemetry.json", "truths.json"
MADE, ONLINE, DONE = "made", "online", "done"  # what it prints
_TEND_S, _SLICES = 0.05, 20
_DOORS = 100
_COUNTS = ("wrong", "refused", "resent", "second_answers", "held_back", "timed_out", "unreadable")
_TIMES = ("due_s", "answered_s", "device", "online_s", "lost_s")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`clients` is the folder with the devices' credentials, "" for plain connections to `url`. From `warm_s` after all
    are online each device sends `rate_per_s` for `for_s`; then up to `patience_s` are left for answers."""

    package: str
    deployment: str
    names: tuple[str, ...]
    rate_per_s: float
    for_s: float
    warm_s: float
    patience_s: float
    clients: str
    url: str = ""


def main() -> None:
    folder = Path(sys.argv[1])
    wanted = Wanted(**json.loads((folder / WANTED).read_text()))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    told = [(folder / name).read_bytes() for name in (BIRTH, TELEMETRY)]
    used = material.of(reading.open_package(Path(wanted.package)), *told)
    (folder / TRUTHS).write_text(json.dumps(used.truths))
    record = Record()
    doors = asyncio.Semaphore(_DOORS)
    devices = [
        Device(number, name, _way(wanted, name, doors), used, record) for number, name in enumerate(wanted.names)
    ]
    asyncio.sslproto.SSLProtocol.max_size = 16 << 10  # a buffer of each connection: 256 KB where nobody says less
    gc.freeze()  # a collection over thousands of devices would be a latency of ours
    print(MADE, flush=True)
    asyncio.run(_live(devices, wanted, record))
    _write(folder, devices, record)


def _way(wanted: Wanted, name: str, doors: asyncio.Semaphore) -> Way:
    if not wanted.clients:
        return Way(wanted.deployment, address.parse(wanted.url), None, doors)
    bundle = credentials.open_bundle(Path(wanted.clients) / name)
    return Way(wanted.deployment, bundle.address, bundle.credentials.ssl_context(), doors)


async def _live(devices: list[Device], wanted: Wanted, record: Record) -> None:
    began_s = time.monotonic()
    lasting = [asyncio.ensure_future(each.stay_connected()) for each in devices]
    while not all(each.is_online for each in devices):
        await asyncio.sleep(_TEND_S)
        if time.monotonic() - began_s > wanted.patience_s:
            raise SystemExit(f"{sum(each.is_online for each in devices)} of {len(devices)} online")
    print(ONLINE, time.monotonic() - began_s, flush=True)
    lasting += [asyncio.ensure_future(each.tell_telemetry()) for each in devices]
    lasting.append(asyncio.ensure_future(_tend(devices)))
    await asyncio.sleep(wanted.warm_s)
    until_s = time.monotonic() + wanted.for_s
    await asyncio.gather(*(each.send_frames(1.0 / wanted.rate_per_s, until_s) for each in devices))
    give_up_s = time.monotonic() + wanted.patience_s
    while any(each.unanswered for each in devices) and time.monotonic() < give_up_s:
        await asyncio.sleep(_TEND_S)
    print(DONE, flush=True)
    for each in devices:
        each.close()
    left = set(lasting)
    while left:  # a task may lose one in `wait_for`
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1.0)


async def _tend(devices: list[Device]) -> None:
    """All of them about once a second, a slice at a time: together they would hold up answers."""
    part = 0
    while True:
        for each in devices[part::_SLICES]:
            each.tend()
        part = (part + 1) % _SLICES
        await asyncio.sleep(_TEND_S)


def _write(folder: Path, devices: list[Device], record: Record) -> None:
    np.savez(folder / RECORD, **{name: np.array(getattr(record, name)) for name in _TIMES})
    counts = {name: getattr(record, name) for name in _COUNTS}
    counts["unanswered"] = sum(each.unanswered for each in devices)
    (folder / COUNTS).write_text(json.dumps(counts))
    (folder / SENT).write_text(json.dumps({each.name: [f"{each.boot:016x}", each.sent] for each in devices}))


if __name__ == "__main__":
    main()
