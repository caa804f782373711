"""The one owner of a device that several processes use, over a Unix socket: `tflsplit accelerator serve`.

A user of it sends requests as packets of JSON, one at a time. A model's bytes come as a file descriptor; the memory of
its tensors goes back as one, so that an inference is two short packets and no copy. Whoever may open the socket may use
the device: who that is, its file mode says. `edge_runtime.accelerators.served` is the other side.
"""

import contextlib
import json
import logging
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.accelerators import arena, child, served, worker
from edge_runtime.accelerators.delegate import Started
from edge_runtime.accelerators.turns import Share, Turns
from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass, field

log = logging.getLogger(__name__)

# A model for an accelerator of the edge; one of several hundred megabytes is a mistake.
MOST_MODEL_BYTES = 256 << 20
_LONGEST_NAME = 300
_PEER = struct.Struct("3i")  # pid, uid, gid, as the kernel knows them
_REQUEST_S = 10.0
_PATH_BYTES = 107  # of `sockaddr_un`, without the zero at its end


class Device(Protocol):
    """An accelerator that runs in a process of its own."""

    @property
    def name(self) -> str: ...

    @property
    def needs_compiled(self) -> bool: ...

    @property
    def limits(self) -> child.Limits: ...

    def start(self) -> Started: ...


@dataclass(slots=True, eq=False)
class User:
    """A process that uses the device. `peer` is its pid and user id."""

    peer: tuple[int, int]
    model: str = ""
    share: Share = field(default_factory=Share)
    failures: int = 0

    def as_json(self) -> dict[str, object]:
        used = {"turns": self.share.turns, "used_s": self.share.used_s, "waited_s": self.share.waited_s}
        return {"pid": self.peer[0], "uid": self.peer[1], "model": self.model, **used, "failures": self.failures}


class Owner:
    """Serves `device` at the socket `path` until `stop`. At most `most_users` at once; each has one request in flight.

    DeviceError if the device cannot be opened now, unless the owner `waits` for it: then its users hear so, and each
    that comes has it tried again. SettingsError, before the device is touched, if no socket can be made at `path`.
    """

    def __init__(
        self, device: Device, path: Path, *, mode: int = 0o660, most_users: int = 16, waits: bool = False
    ) -> None:
        self._device = device
        self._path = path
        self._most_users = most_users
        self._turns = Turns()
        self._users: list[User] = []
        self._lock = threading.Lock()
        self._running: Started | None = None
        self._starts = 1
        _check_place(path)
        try:
            self._running = device.start()
        except errors.DeviceError as failure:
            if not waits:
                raise
            log.warning("accelerator missing name=%s reason=%s", device.name, failure)
        try:
            self._listener = _listening(path, mode)
        except BaseException:
            self._end()
            raise
        self._is_stopping = False

    def serve(self) -> None:
        """Returns after `stop`, when all users were let go."""
        log.info("accelerator served name=%s path=%s", self._device.name, self._path)
        try:
            while True:
                try:
                    channel, _ = self._listener.accept()
                except OSError:
                    if self._is_stopping:
                        return
                    raise
                threading.Thread(target=self._attend, args=(channel,), name="accelerator-user", daemon=True).start()
        finally:
            self._listener.close()
            self._path.unlink(missing_ok=True)
            with self._turns.turn(Share()):
                self._end()

    def stop(self) -> None:
        """Takes no lock: signal handlers may call it."""
        self._is_stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def _attend(self, channel: socket.socket) -> None:
        pid, uid, _ = _PEER.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        user = User((pid, uid))
        with channel, contextlib.ExitStack() as stack:
            with self._lock:
                is_welcome = len(self._users) < self._most_users
                if is_welcome:
                    self._users.append(user)
            if not is_welcome:
                log.warning("accelerator user turned away pid=%d uid=%d users=%d", pid, uid, self._most_users)
                _say(channel, _failed(f"{self._device.name}: it has {self._most_users} users, the most that it takes"))
                return
            stack.callback(self._gone, user)
            try:
                self._talk(channel, user, stack)
            except (errors.TflsplitError, OSError, ValueError, KeyError, TypeError) as refused:
                user.failures += 1
                log.warning("accelerator user failed pid=%d uid=%d model=%r reason=%s", pid, uid, user.model, refused)
                _say(channel, _failed(str(refused)))

    def _gone(self, user: User) -> None:
        with self._lock:
            self._users.remove(user)
        used = user.as_json()
        log.info("accelerator user gone %s", " ".join(f"{name}={value!r}" for name, value in used.items()))

    def _talk(self, channel: socket.socket, user: User, stack: contextlib.ExitStack) -> None:
        about = {"accelerator": self._device.name, "needs_compiled": self._device.needs_compiled}
        _say(channel, json.dumps(about).encode())
        channel.settimeout(None)
        message, descriptors, *_ = socket.recv_fds(channel, worker.MESSAGE_BYTES, 1)
        if not message:
            return  # it only asked what is here
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        held = _Held.of(strict_json.parse_object(message), descriptors, user)
        stack.callback(os.close, held.tensors)
        with self._turns.turn(user.share):
            opened = self._opened(held)
            stack.callback(self._close, held)
            properties = {"accelerator": self._device.name, **self._started().properties(opened)}
        wait_s = self._device.limits.open_s + self._most_users * self._device.limits.run_s
        fields = {"properties": properties, "wait_s": wait_s}
        fields |= {side: [spec.as_json() for spec in getattr(opened, side)] for side in ("inputs", "outputs")}
        socket.send_fds(channel, [json.dumps(fields).encode()], [held.tensors])
        log.info("accelerator user came pid=%d uid=%d model=%r weight=%g", *user.peer, user.model, user.share.weight)
        while request := channel.recv(worker.MESSAGE_BYTES):
            if request != worker.RUN.encode():
                raise ValueError("expected run")
            with self._turns.turn(user.share):
                self._run(held)
            channel.send(worker.DONE)

    def _run(self, held: "_Held") -> None:
        opened = self._opened(held)
        running = self._started()
        try:
            with running.explained():
                opened.run()
        except errors.DeviceError:
            self._end()  # the next turn, whose ever it is, begins with a new process
            raise

    def _opened(self, held: "_Held") -> child.Model:
        """In the process that runs now: after a failure of somebody else's model it is another one."""
        running = self._started()
        if held.opened is None or held.start != self._starts:
            try:
                held.opened = running.open(held.model, held.tensors, name=held.name)
            except errors.DeviceError:
                self._end()
                raise
            arena.seal(held.tensors)
            held.start = self._starts
        return held.opened

    def _close(self, held: "_Held") -> None:
        with self._turns.turn(Share()):
            if self._running is not None and held.opened is not None and held.start == self._starts:
                try:
                    with self._running.explained():
                        held.opened.close()
                except errors.DeviceError as failure:
                    log.warning("accelerator lost name=%s reason=%s", self._device.name, failure)
                    self._end()

    def _started(self) -> Started:
        if self._is_stopping:
            raise errors.DeviceError("its owner was told to end")
        if self._running is None:
            self._running = self._device.start()
            self._starts += 1
            log.info("accelerator started again name=%s starts=%d", self._device.name, self._starts)
        return self._running

    def _end(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


@dataclass(slots=True)
class _Held:
    """A user's model: file descriptors of its bytes and its tensors, and where it is open."""

    name: str
    model: int
    tensors: int
    opened: child.Model | None = None
    start: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, Any], descriptors: list[int], user: User) -> "_Held":
        name, weight = fields["name"], fields["weight"]
        if not isinstance(name, str) or not isinstance(weight, int | float) or not 0 < weight <= served.MOST_WEIGHT:
            raise ValueError("expected a name, and a weight of more than 0")
        if len(descriptors) != 1:
            raise ValueError("expected one file descriptor, of a model")
        found = os.fstat(descriptors[0])
        if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= MOST_MODEL_BYTES:
            raise ValueError(f"a model of {found.st_size} bytes, expected at most {MOST_MODEL_BYTES}")
        user.model, user.share.weight = name[:_LONGEST_NAME], float(weight)
        return cls(user.model, descriptors[0], arena.create())


def _check_place(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > _PATH_BYTES:
        raise errors.SettingsError(f"{path}: of {length} bytes, a socket's path has at most {_PATH_BYTES}; shorten it")
    with _place_errors(path):
        if os.path.lexists(path) and not path.is_socket():
            raise errors.SettingsError(f"{path}: is there, and no socket; remove it, or give another path")
        if path.is_socket() and not _is_left_over(path):
            raise errors.SettingsError(f"{path}: another owner serves there; end it, or give another path")


def _listening(path: Path, mode: int) -> socket.socket:
    _check_place(path)  # again: opening the device takes long
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as unless_whole:
        unless_whole.enter_context(_place_errors(path))
        unless_whole.callback(listener.close)
        path.unlink(missing_ok=True)
        before = os.umask(0o777 & ~mode)  # nobody else may connect before the mode is set
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        listener.listen()
        unless_whole.pop_all()
    return listener


@contextlib.contextmanager
def _place_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise errors.SettingsError(f"{path}: no socket can be made there: {cause.strerror or cause}") from cause


def _is_left_over(path: Path) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(_REQUEST_S)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


def _failed(text: str) -> bytes:
    return json.dumps({"failure": text[:4000]}).encode()


def _say(channel: socket.socket, message: bytes) -> None:
    """To a user that may be gone, or that does not listen."""
    channel.settimeout(_REQUEST_S)
    with contextlib.suppress(OSError):
        channel.send(message)
