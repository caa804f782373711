"""Whether the head of each device gives what it would give here, by the kernel class that its birth tells.

A frame is judged by the birth of its own run, package and cut: of anything else it is not known.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from broker.messages import births, topics, wire
from broker.messages.topics import Kind
from broker.transport.protocol import Message, Transport
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.kernels.classes import KernelClass
from tflsplit.kernels.heads import Comparison, HeadKernels, Standing
from tflsplit.package.reading import Package
from tflsplit.recent import Recent
from tflsplit.values.classes import dataclass, field

log = logging.getLogger(__name__)

# The births of 40,000 devices, and 80,000 heads that frames may still come of.
_MOST_BYTES = 32 << 20
_HEAD_BYTES, _DEVICE_BYTES, _SAID_BYTES = 400, 600, 200  # what Python needs for a head, a device and a cut of it
_BIRTH = f"/{Kind.BIRTH.value}"

_Head = tuple[str, int, bytes, int]  # device, boot, package and position of the cut


@dataclass(slots=True)
class _Device:
    """By its latest birth. `said` is what the log was told, by cuts, among which a device may move."""

    standing: Standing = Standing.UNKNOWN
    moving_boot: int | None = None
    said: dict[str, tuple[object, ...]] = field(default_factory=dict)


class Exactness:
    """For the thread that receives; any may read `devices`. `ours` is the class of the machine that runs the tails."""

    def __init__(
        self, transport: Transport, deployment: str, packages: Sequence[Package], ours: KernelClass | None
    ) -> None:
        self._transport = transport
        self._every = topics.every_device(deployment, Kind.BIRTH)
        self._ours = ours
        self.exchange(packages)
        # Called for each cut of ours that a birth names.
        self.on_cut: Callable[[Package, Cut], None] = lambda package, cut: None
        # Called when a device comes, or comes again, that may move its cut.
        self.on_moving: Callable[[], None] = lambda: None
        self._heads: Recent[_Head, Standing] = Recent(_MOST_BYTES)
        self._devices: Recent[str, _Device] = Recent(_MOST_BYTES)

    def exchange(self, packages: Sequence[Package]) -> None:
        """These are ours from now on: births that name them are judged. Any thread may say it."""
        self._cuts = {
            (bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES], cut.id): (package, cut)
            for package in packages
            for cut in package.cuts
        }

    def start(self) -> None:
        """Listens to births, before the first frame is taken; where the broker does not let us, nothing is known."""
        try:
            self._transport.subscribe(self._every)
        except errors.BrokerError as problem:
            log.warning("births of devices are not heard filter=%s reason=%s", self._every, problem)

    def take(self, message: Message) -> bool:
        """Whether it was the birth of a device."""
        if not message.topic.endswith(_BIRTH):
            return False
        try:
            device = topics.parse(message.topic).device
            if message.payload:
                self._judge(device, births.parse(message.payload))
            else:
                self._devices.pop(device)
        except errors.FrameError as problem:
            log.debug("birth ignored topic=%s reason=%s", message.topic, problem)
        return True

    def of(self, device: str, label: wire.Label) -> Standing:
        """Of the head that made a frame."""
        if label.cut == 0:
            return Standing.EXACT  # nothing was computed yet
        return self._heads.get((device, label.boot, label.package, label.cut)) or Standing.UNKNOWN

    @property
    def forgotten(self) -> int:
        """Births that made room for others': of frames of these it is unknown whether they are exact."""
        return self._devices.forgotten + self._heads.forgotten

    @property
    def devices(self) -> Mapping[Standing, int]:
        """How many devices there are of each, by their latest birth."""
        found = Counter(device.standing for _, device in self._devices.items())
        return {standing: found[standing] for standing in Standing}

    def _judge(self, device: str, birth: births.Birth) -> None:
        ours = self._cuts.get((birth.package, birth.cut))
        if ours is None:  # of a package that another cloud serves
            return
        place = ours[1].position
        for named in ((birth.package, cut) for cut in (birth.cut, *birth.candidates)):
            if named in self._cuts:
                self.on_cut(*self._cuts[named])
        known = self._devices.get(device) or _Device()
        if birth.candidates and known.moving_boot != birth.boot:
            known.moving_boot = birth.boot
            self.on_moving()
        # An older version tells no operators: only at the cut `input` is it known that there are none.
        told = birth.kernels or HeadKernels(None, () if place == 0 else ("any",))
        found = told.against(self._ours)
        known.standing = Standing.INEXACT if birth.is_lossy else found.standing
        self._heads.put((device, birth.boot, birth.package, place), found.standing, _HEAD_BYTES)
        self._say(device, birth, found, known.said)
        self._devices.put(device, known, _DEVICE_BYTES + _SAID_BYTES * len(known.said))

    def _say(self, device: str, birth: births.Birth, found: Comparison, said: dict[str, tuple[object, ...]]) -> None:
        """Once for each device and cut, and again when its class changes."""
        ours = found.head.kernel_class
        now = (birth.package, ours.id if ours else None, found.standing, birth.is_lossy)
        if said.get(birth.cut) == now:
            return
        said[birth.cut] = now
        if birth.is_lossy and found.is_exact:
            log.info("results are near, not exact device=%s cut=%s reason=its frames lose detail", device, birth.cut)
        elif found.is_exact:
            log.info("results are exact device=%s cut=%s kernels=%s", device, birth.cut, found.head)
        else:
            phrase = "results may differ" if found.standing is Standing.INEXACT else "results not known to be exact"
            log.warning(
                f"{phrase} device=%s cut=%s kernels=%s here=%s reason=%s",
                *(device, birth.cut, found.head, self._ours, found),
            )


def standing(known: Exactness | None, device: str, label: wire.Label) -> Standing:
    """Whether a frame's tail gets what a head here would give it; `known` is None where births are not heard."""
    if label.is_lossy:
        return Standing.INEXACT
    return Standing.UNKNOWN if known is None else known.of(device, label)
