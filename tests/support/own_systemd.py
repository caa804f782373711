"""A real systemd as the first process of namespaces of its own: it sees this machine's files, and no unit but ours.

Nothing of it outlives the context, and the machine's own systemd, where there is one, is not touched.
"""

import os
import pathlib
import shutil
import subprocess

from waiting import wait_for

SYSTEMD = pathlib.Path("/lib/systemd/systemd")
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "multi-user")

# Mounts must spread within the namespaces, as systemd takes for granted, and not out of them.
BEGIN = """\
mount --make-rprivate / && mount --make-rshared / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run &&
mount -t tmpfs tmpfs /var/lib && umount --lazy /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
exec env container=unshare SYSTEMD_UNIT_PATH="$1" SYSTEMD_LOG_TARGET=console \\
    /lib/systemd/systemd --system --unit=basic.target --show-status=no
"""


class UnavailableError(Exception):
    """Why it does not run here."""


class Systemd:
    def __init__(self, folder):
        self.units = pathlib.Path(folder) / "units"
        self._log = pathlib.Path(folder) / "systemd.log"

    def __enter__(self):
        if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None:
            raise UnavailableError("a systemd of the tests' own takes root, systemd and unshare")
        self.units.mkdir()
        for name in TARGETS:
            (self.units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        namespaces = ("--pid", "--mount", "--uts", "--ipc", "--cgroup")
        with self._log.open("wb") as log:
            command = ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", BEGIN, "sh", str(self.units)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self.wait_until(self._is_running)
        except AssertionError:
            self.__exit__()
            raise UnavailableError(
                f"systemd does not start in namespaces here: {self._log.read_text()[-200:]!r}"
            ) from None
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def systemctl(self, *words, check=True):
        done = subprocess.run([*self._inside(), "systemctl", *words], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr + self._log.read_text()[-2000:]
        return done.stdout.strip()

    def shown(self, name, setting):
        return self.systemctl("show", name, f"--property={setting}", "--value")

    def install(self, name, text, more=""):
        """A unit, and settings that override its own."""
        (self.units / f"{name}.service").write_text(text)
        (self.units / f"{name}.service.d").mkdir()
        (self.units / f"{name}.service.d/more.conf").write_text(more)
        self.systemctl("daemon-reload")

    def wait_until(self, is_so):
        def is_so_here():
            assert self._process.poll() is None
            return is_so()

        wait_for(is_so_here)

    def _is_running(self):
        return self._first() is not None and self.systemctl("is-system-running", check=False) == "running"

    def _first(self):
        children = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return children[0] if children else None

    def _inside(self):
        return ("nsenter", "--target", self._first(), "--pid", "--mount", "--uts", "--ipc", "--cgroup")
