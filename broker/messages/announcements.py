"""The retained `serves` of a cloud: which packages it answers frames of. Edges and other clouds listen to it.

    {"boot": "00c0ffee00c0ffee", "packages": [{"digest": "9f…", "name": "digits", "ready": ["input", "op012"]}],
     "kernel_class": {"id": "396b9812", "runtime": "ai-edge-litert 2.3.0", …}, "codecs": [0, 1, 16, 36]}

`ready` are the cuts whose tails were opened for edges that may move there; it is absent where none asked. `codecs` are
the codings of frames that it reads. `"probes": false` asks devices to measure no link by probes; it is absent else.
`"gone": ["name"]` are clouds that died without taking theirs back, which devices, who see no `status` of a cloud, wait
for no more; it is absent where there are none.

Said at the start and after each new connection, so that an edge that waits for a cloud knows when to go on; taken back
(an empty message) at a normal end. Whether a cloud lives is said by its `status`.
"""

import json
from typing import Any

from broker.messages import wire
from tflsplit import errors, strict_json
from tflsplit.coding import feature_codec
from tflsplit.kernels.classes import KernelClass
from tflsplit.values.classes import dataclass

_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Announcement:
    """`boot` is the random id of this run of the cloud, `packages` are digest (hexadecimal) and name of each.
    `kernel_class` is that of the machine that runs the tails, None if it is not known, as of older versions. `ready`
    are the open tails, as (digest, cut). `codecs` are the ids of those that it reads; older versions tell none. `gone`
    are names of clouds that it saw die."""

    boot: int
    packages: tuple[tuple[str, str], ...]
    kernel_class: KernelClass | None = None
    ready: frozenset[tuple[str, str]] = frozenset()
    codecs: tuple[int, ...] = tuple(map(int, feature_codec.CodecId))
    allows_probes: bool = True
    gone: frozenset[str] = frozenset()

    def as_json(self) -> bytes:
        packages: list[dict[str, object]] = []
        for digest, name in self.packages:
            opened = sorted(cut for package, cut in self.ready if package == digest)
            packages.append({"digest": digest, "name": name, **({"ready": opened} if opened else {})})
        fields: dict[str, object] = {
            "boot": f"{self.boot:016x}",
            "packages": packages,
            "codecs": list(self.codecs),
        }
        if not self.allows_probes:
            fields["probes"] = False
        if self.gone:
            fields["gone"] = sorted(self.gone)
        if self.kernel_class is not None:
            fields["kernel_class"] = self.kernel_class.as_json()
        return json.dumps(fields, separators=(",", ":")).encode()

    def serves(self, package: str) -> bool:
        """`package` is as much of the digest as a frame carries, or more."""
        digits = 2 * wire.PACKAGE_BYTES
        return any(digest[:digits] == package[:digits] for digest, _ in self.packages)

    def ready_cuts(self, package: str) -> frozenset[str]:
        digits = 2 * wire.PACKAGE_BYTES
        return frozenset(cut for digest, cut in self.ready if digest[:digits] == package[:digits])


def parse(data: bytes) -> Announcement:
    """FrameError says what is wrong with anything else."""
    try:
        fields: Any = strict_json.parse(data[:_MOST_BYTES])
        packages = tuple((str(entry["digest"]), str(entry["name"])) for entry in fields["packages"])
        ready = frozenset(
            (str(entry["digest"]), str(cut)) for entry in fields["packages"] for cut in entry.get("ready", ())
        )
        told = fields.get("kernel_class")
        kernel_class = None if told is None else KernelClass.from_json(told)
        codecs = tuple(map(int, fields.get("codecs", ())))
        allows_probes = fields.get("probes", True) is not False
        gone = frozenset(map(str, fields.get("gone", ())))
        return Announcement(int(fields["boot"], 16), packages, kernel_class, ready, codecs, allows_probes, gone)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"announcement is {bytes(data[:60])!r}, expected boot and packages") from problem
