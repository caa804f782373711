"""What a run of tests/arm found, as docs/measurements/arm.md."""

import datetime
import platform
from dataclasses import dataclass, field

import across

from tflsplit.kernels import classes, probe

_HEAD = """\
# Edges of 64-bit Arm against a cloud of x86-64

Written by `make test-arm`; `tests/arm` says what is asserted. {how}

What is computed is what such a processor computes; times are not, and none is given.
"""
_EMULATED = """The edge is a Debian for 64-bit Arm under qemu-user, with the project installed
as `docs/service.md` says, on each of these processors: {cpus}. Raspberry Pi 3 and
Zero 2 W, 4, and 5 have these."""
_NATIVE = "The edge is a machine of its own, a processor of 64-bit Arm."

_ACROSS = """\
## Heads there, tails here

All cuts of each package. Samples are stored inputs, eight of them uniform over the range of their type, the others
smooth. *Said exact*: the cuts whose heads have only operator kinds with equal fingerprints in both kernel classes. An
element *differs* if any bit of it does; steps are integer steps. A pair differs if the tail here makes of the head's
boundary there something else than the whole model here does.

| package | edge | cuts x samples | said exact | differ where said exact | cuts that differ | differ in all \
| most steps | pairs that differ | same top-1 |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass
class Report:
    """Filled by the tests; what was not run is not in it."""

    cpus: tuple
    root_s: float = 0.0
    install_s: float = 0.0
    classes: dict = field(default_factory=dict)
    proofs: dict = field(default_factory=dict)
    pairs: dict = field(default_factory=dict)
    streams: dict = field(default_factory=dict)

    def text(self):
        how = _EMULATED.format(cpus=", ".join(self.cpus)) if len(self.cpus) > 1 else _NATIVE
        parts = [_HEAD.format(how=how), *self._classes(), *self._pairs(), *self._proofs(), *self._streams()]
        return "\n".join([*parts, f"{datetime.date.today()}: {self._versions()}", ""])

    def _versions(self):
        runtimes = sorted({found.runtime for found in self.classes.values()})
        return f"{', '.join(runtimes)}; cloud: {platform.machine()}, Python {platform.python_version()}"

    def _classes(self):
        if not self.classes:
            return
        cloud = self.classes["cloud"]
        yield "## Kernel classes\n\n| machine | class | differs from the cloud's in |\n|---|---|---|"
        for name, found in self.classes.items():
            differing = classes.compare(cloud, found, probe.kinds()).differing
            yield f"| {name} | `{found.id}` | {', '.join(differing) or ('' if name == 'cloud' else 'nothing')} |"
        yield ""

    def _pairs(self):
        if not self.pairs:
            return
        lines = [_ACROSS]
        cuts = pairs = elements = exact = wrong = differing = 0
        for (name, cpu), (rows, said, samples) in self.pairs.items():
            exact_rows = [row for row in rows if said[row.cut].is_exact]
            total = sum((row.boundary for row in rows), across.Apart())
            of_exact = sum((row.boundary for row in exact_rows), across.Apart())
            moved = sum(row.boundary.differing > 0 for row in rows)
            lines.append(
                f"| {name} | {cpu} | {len(rows)} x {samples} | {len(exact_rows)} "
                f"| {of_exact.differing:,} of {of_exact.elements:,} | {moved} "
                f"| {total.differing:,} of {total.elements:,} | {total.steps} "
                f"| {sum(row.pairs for row in rows)} of {len(rows) * samples} "
                f"| {sum(row.same_top for row in rows)} of {len(rows) * samples} |\n"
            )
            cuts, pairs, elements = (
                cuts + len(exact_rows),
                pairs + len(exact_rows) * samples,
                elements + of_exact.elements,
            )
            exact += of_exact.differing
            wrong, differing = wrong + len(rows) - len(exact_rows), differing + moved
        yield "".join(lines)
        yield (
            f"Said exact: {cuts:,} cuts of packages on processors, {pairs:,} pairs, {elements:,} elements, of which "
            f"**{exact:,} differ**. Not said exact: {wrong:,} cuts, of which {differing:,} differ in these samples.\n"
        )

    def _proofs(self):
        if not self.proofs:
            return
        yield "## Proven on the device\n\n`tflsplit verify` there, every cut with two random inputs:\n"
        for name, proof in self.proofs.items():
            yield f"- {name}: {proof['cuts_checked']} cuts, {'bit-exact' if proof['bit_exact'] else '**differs**'}"
        yield ""

    def _streams(self):
        if not self.streams:
            return
        yield "## A stream to a cloud outside\n\n`tflsplit edge` there, Mosquitto and `tflsplit cloud` here:\n"
        for cpu, summary in self.streams.items():
            yield f"- {cpu}: {summary['results']} frames answered, each as the whole model here answers it"
        yield ""
