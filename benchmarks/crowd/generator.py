"""The process of a fleet's devices: `python -m crowd.generator FOLDER`, where FOLDER says in `wanted.json` what to do.

It prints a line when all devices are online, and obeys the lines of its standard input, with a line for each: some
devices are switched off, some of these on again, and the end, when no more frames are sent and the last are answered.
It leaves `record.npz`, `counts.json` and `sent.json` there: of each device its boot, how many frames it sent, and the
first of them that is of another version, if one is. Whoever started it measures its processor time.
"""

import asyncio
import asyncio.sslproto
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
from tflsplit.cli.options import supervision
from tflsplit.package import reading, signing
from tflsplit.package.signing import Verifier

WANTED, RECORD, COUNTS, SENT = "wanted.json", "record.npz", "counts.json", "sent.json"
TOLD, TRUTHS = "told.json", "truths.json"  # what real edges said, and what is true, of each version
MADE, ONLINE = "made", "online"  # what it prints
OFF, ON, END = "off", "on", "end"  # what it is told, and prints when it is so
OFF_EACH, ON_EACH = 20, 40  # the last of so many devices is switched off, and on again
_TEND_S, _SLICES = 0.05, 20
_DOORS = 100
_COUNTS = ("wrong", "refused", "resent", "second_answers", "held_back", "timed_out", "unreadable")
_TIMES = ("due_s", "answered_s", "device", "online_s", "online", "lost_s")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`clients` is the folder with the devices' credentials, "" for plain connections to `url`. From `warm_s` after all
    are online each device sends `rate_per_s` until the end; then up to `patience_s` are left for answers. All begin
    with the first of the `packages`, and take offers that are signed with `key`."""

    packages: tuple[str, ...]
    key: str
    deployment: str
    names: tuple[str, ...]
    rate_per_s: float
    warm_s: float
    patience_s: float
    clients: str
    url: str = ""


def main() -> None:
    folder = Path(sys.argv[1])
    wanted = Wanted(**json.loads((folder / WANTED).read_text()))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    told = zip(wanted.packages, json.loads((folder / TOLD).read_text()), strict=True)
    versions = [material.of(reading.open_package(Path(path)), *said) for path, said in told]
    (folder / TRUTHS).write_text(json.dumps([each.truths for each in versions]))
    record, shared = Record(), (asyncio.Semaphore(_DOORS), signing.open_public(Path(wanted.key)))
    devices = [Device(number, _way(wanted, name, shared), versions, record) for number, name in enumerate(wanted.names)]
    asyncio.sslproto.SSLProtocol.max_size = 16 << 10  # a buffer of each connection: 256 KB where nobody says less
    print(MADE, flush=True)
    with supervision.cycles_sought_in_what_is_new():
        asyncio.run(_live(devices, wanted))
    _write(folder, devices, record)


def _way(wanted: Wanted, name: str, shared: tuple[asyncio.Semaphore, Verifier]) -> Way:
    if not wanted.clients:
        return Way(wanted.deployment, name, address.parse(wanted.url), None, *shared)
    bundle = credentials.open_bundle(Path(wanted.clients) / name)
    return Way(wanted.deployment, name, bundle.address, bundle.credentials.ssl_context(), *shared)


async def _live(devices: list[Device], wanted: Wanted) -> None:
    began_s, crowd = time.monotonic(), _Crowd(wanted)
    for each in devices:
        crowd.connect(each)
    while not all(each.is_online for each in devices):
        await asyncio.sleep(_TEND_S)
        if time.monotonic() - began_s > wanted.patience_s:
            raise SystemExit(f"{sum(each.is_online for each in devices)} of {len(devices)} online")
    print(ONLINE, time.monotonic() - began_s, flush=True)
    tending = [asyncio.ensure_future(each.tell_telemetry()) for each in devices]
    tending.append(asyncio.ensure_future(_tend(devices)))
    await asyncio.sleep(wanted.warm_s)
    for each in devices:
        crowd.send(each)
    loop, off = asyncio.get_running_loop(), devices[OFF_EACH - 1 :: OFF_EACH]
    while (word := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) in (OFF, ON):
        if word == OFF:
            await crowd.switch_off(off)
        else:
            for each in off[:: ON_EACH // OFF_EACH]:
                crowd.connect(each)
                crowd.send(each)
        print(word, flush=True)
    await crowd.switch_off(devices)
    print(END, flush=True)
    await _ended(tending)


class _Crowd:
    """The devices' tasks."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._connecting: dict[str, asyncio.Future[None]] = {}
        self._sending: dict[str, asyncio.Future[None]] = {}

    def connect(self, device: Device) -> None:
        self._connecting[device.name] = asyncio.ensure_future(device.stay_connected())

    def send(self, device: Device) -> None:
        self._sending[device.name] = asyncio.ensure_future(device.send_frames(1.0 / self._wanted.rate_per_s))

    async def switch_off(self, devices: list[Device]) -> None:
        """Once all that they sent is answered, or nobody has patience for it."""
        names = {each.name for each in devices}
        await _ended([self._sending.pop(name) for name in names & self._sending.keys()])
        give_up_s = time.monotonic() + self._wanted.patience_s
        while any(each.unanswered for each in devices) and time.monotonic() < give_up_s:
            await asyncio.sleep(_TEND_S)
        for each in devices:
            each.close()
        await _ended([self._connecting.pop(name) for name in names & self._connecting.keys()])


async def _ended(tasks: list[asyncio.Future[None]]) -> None:
    left = set(tasks)
    while left:  # a task may lose a cancellation in `wait_for`
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
    sent = {each.name: [f"{each.boot:016x}", each.sent, each.changed_at] for each in devices}
    (folder / SENT).write_text(json.dumps(sent))


if __name__ == "__main__":
    main()
