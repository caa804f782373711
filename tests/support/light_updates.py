"""A device's side of updates without a model and without any I/O: it takes offers and pieces, checks every signature
and SHA-256, and is told of answers.

Whoever has it publishes what it reports. A device that asked for pieces in vain hears the offer again, and then asks
again.
"""

import hashlib
import json

from broker.messages import updates
from broker.messages.updates import Need, Report, State

FRAMES = 20  # answered before a model is kept, as with an edge
NEED_BYTES = 256 << 10


class Updates:
    """`report` is called with a report, and whether it is a state that the birth does not tell yet."""

    def __init__(self, deployment, device, verifier, package, report):
        self.package = self.original = package  # digests
        self.state, self.serial, self.good, self.installs = State.IDLE, 0, 0, 0
        self._who, self._verifier, self._publish = (deployment, device), verifier, report
        self._offer = self._signed = None
        self._lacking, self._parts = {}, {}  # bytes by SHA-256

    @property
    def told(self):
        """For the birth."""
        return {"state": self.state.value, "serial": self.serial, "digest": None, "reason": None}

    def take(self, payload):
        """A control message."""
        said = updates.parse_control(payload)
        if isinstance(said, updates.Signed):
            self._take_offer(said)
        elif isinstance(said, updates.Piece) and said.sha256 in self._lacking:
            self._take_piece(said)

    def answered(self):
        """One answer more by the model that is on probation."""
        self.good += 1
        if self.good >= FRAMES:
            self.installs += 1
            self._report(State.INSTALLED)

    def go_back(self, reason):
        self.package = self.original
        self._report(State.ROLLED_BACK, reason=reason)

    def _take_offer(self, signed):
        if self._signed is not None and signed.id == self._signed.id:
            self._say(self.state, need=self._need() if self.state is State.RECEIVING else None)
            return
        assert self._verifier.has_signed(signed.text, signed.signature)
        offer = signed.offer()
        assert (offer.deployment, offer.device) == self._who
        if self.state is State.PROBATION or offer.serial <= self.serial:
            reason = updates.ON_PROBATION if self.state is State.PROBATION else "its serial is no later"
            self._publish(Report(signed.id, State.REFUSED, reason=reason), is_news=False)
            return
        self._signed, self._offer, self.serial, self.good = signed, offer, offer.serial, 0
        self._parts, self._lacking = {}, {offer.manifest_sha256: offer.manifest_bytes}
        self._report(State.RECEIVING, need=self._need())

    def _need(self):
        """What is lacking next of the first file that is not whole."""
        sha256, size = next(iter(self._lacking.items()))
        start = len(self._parts.get(sha256, b""))
        return Need(sha256, start, min(size, start + NEED_BYTES))

    def _take_piece(self, piece):
        part = self._parts.setdefault(piece.sha256, bytearray())
        if piece.offset != len(part):
            if piece.offset > len(part):  # what is before is lost
                self._say(State.RECEIVING, need=self._need())
            return
        part += piece.data
        if len(part) < self._lacking[piece.sha256]:
            if len(part) % NEED_BYTES == 0:
                self._say(State.RECEIVING, need=self._need())
            return
        assert hashlib.sha256(part).hexdigest() == piece.sha256
        del self._lacking[piece.sha256]
        if piece.sha256 == self._offer.manifest_sha256:
            files = json.loads(bytes(part))["files"]
            self._lacking = {told["sha256"]: told["bytes"] for told in files.values() if told["bytes"]}
        self._parts.clear()
        if self._lacking:
            self._say(State.RECEIVING, need=self._need())
        else:
            self.package = self._offer.package
            self._report(State.PROBATION)

    def _report(self, state, *, need=None, reason=None):
        is_news, self.state = state is not self.state, state
        self._say(state, need=need, reason=reason, is_news=is_news)

    def _say(self, state, *, need=None, reason=None, is_news=False):
        if self._signed is not None:
            self._publish(Report(self._signed.id, state, None, reason, need), is_news=is_news)
