"""Clouds, and the workers that share a model, as their messages tell of them. Pure."""

from broker.messages import presence
from broker.messages.announcements import Announcement
from broker.messages.peers.standing import Standing
from broker.messages.watched.load import Load
from broker.watching.device import FRESH_S, MOST_TEXT


def is_online(status: presence.Status | None) -> bool:
    return status is not None and status.state == "online"


def _of_status(status: presence.Status | None) -> dict[str, object]:
    if status is None:
        return {"state": "unknown", "reason": None, "since_ms": None}
    return {"state": status.state, "reason": status.reason, "since_ms": status.since_ms}


class Cloud:
    """What a cloud tells of itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status: presence.Status | None = None
        self.serves: Announcement | None = None
        self.load: Load | None = None
        self.load_at_s = 0.0

    def as_json(self, now_s: float) -> dict[str, object]:
        told = self.load if now_s - self.load_at_s <= FRESH_S else None
        packages = self.serves.packages if self.serves else ()
        return {
            "cloud": self.name,
            **_of_status(self.status),
            "packages": [{"package": digest[:MOST_TEXT], "model": name[:MOST_TEXT]} for digest, name in packages],
            "health": told and told.state,
            "problem": told and told.why,
            "fps": told and told.fps,
            "held": told and told.held,
            "waiting": told and told.waiting,
            "workers": told and told.workers,
            "refused": dict(told.refused) if told else {},
            "queue_ms": dict(told.queue_ms) if told else {},
            "tail_ms": dict(told.tail_ms) if told else {},
        }


class Worker:
    """What a worker tells of itself; its rate is between its last two messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status: presence.Status | None = None
        self.standing: Standing | None = None
        self.standing_at_s = 0.0
        self._fps: float | None = None

    def take_standing(self, told: Standing, at_s: float) -> None:
        before, passed_s = self.standing, at_s - self.standing_at_s
        if before is not None and before.boot == told.boot and passed_s > 0:
            self._fps = max(0, told.frames - before.frames) / passed_s
        self.standing, self.standing_at_s = told, at_s

    def as_json(self, now_s: float) -> dict[str, object]:
        told = self.standing
        is_fresh = now_s - self.standing_at_s <= FRESH_S
        return {
            "worker": self.name,
            **_of_status(self.status),
            "share": told and told.state.value,
            "problem": told and told.why,
            "bundle": told and told.bundle,
            "epoch": told and told.epoch,
            "frames": told and told.frames,
            "fps": self._fps if is_fresh else None,
            "speed": told and told.speed,
        }
