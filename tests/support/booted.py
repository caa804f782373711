"""A small Debian of its own, booted: systemd as its first process, with nothing but what Debian and we bring.

Its root is made once by debootstrap and kept in the user's cache; each machine is a copy of it. It has the network of
the machine that it runs on, so that a cloud of the checkout serves the edge inside.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

from waiting import wait_for

SUITE = "bookworm"
PYTHON = "3.11"  # of that suite
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "ca-certificates"),
    *("python3", "python3-venv", "mosquitto"),
)
TOOLS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
BOOT_S = 300.0
STEP_S = 300.0  # a bound for one command inside

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "tflsplit-tests"
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

_MEMORY = pathlib.Path("/sys/fs/cgroup/memory")  # where the kernel still has the first version of control groups
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
_HOME = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "HOME": "/root"}


class UnavailableError(Exception):
    """Why no machine boots here."""


def root():
    """The pristine root, made where it is missing."""
    if os.geteuid() != 0:
        raise UnavailableError("a machine of the tests' own boots for root only")
    if missing := [package for tool, package in TOOLS.items() if shutil.which(tool) is None]:
        raise UnavailableError(f"a machine of the tests' own needs: apt install {' '.join(missing)}")
    kept = CACHE / SUITE
    if not kept.is_dir():
        half = CACHE / f"{SUITE}.{os.getpid()}"
        half.parent.mkdir(parents=True, exist_ok=True)
        words = ("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, half)
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            raise UnavailableError(f"debootstrap failed: {(made.stdout + made.stderr).strip().splitlines()[-1]}")
        half.rename(kept)
    return kept


def wheels(folder, version):
    """Our wheel, as of that version, with the wheels of what an edge and a broker's folder need: no index is there."""
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "tests", "__pycache__")
    shutil.copytree(CHECKOUT, source, ignore=ignored)
    project = source / "pyproject.toml"
    project.write_text(project.read_text("utf-8").replace('version = "0.1.0"', f'version = "{version}"'))
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    subprocess.run(build, check=True, capture_output=True)
    shutil.rmtree(source)
    (wheel,) = folder.glob("tflsplit-*.whl")
    return wheel


def dependencies(wheel, folder):
    """Downloads them once; the lock says which."""
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", folder),
        *("--python-version", PYTHON, "--only-binary", ":all:"),
        *("--constraint", CHECKOUT / "requirements-dev.lock", f"{wheel}[edge,broker]"),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"no wheels for Python {PYTHON}: {done.stderr.strip().splitlines()[-1]}")


class Machine:
    """Runs within the context. `root` is its file system as it is seen from here."""

    def __init__(self, folder):
        self.root = pathlib.Path(folder) / "root"
        self._console = pathlib.Path(folder) / "console.log"
        self._group = _MEMORY / f"tflsplit-test-{os.getpid()}"
        self._process = None

    def __enter__(self):
        subprocess.run(("cp", "--archive", "--reflink=auto", root(), self.root), check=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        self.boot()
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()  # has its systemd power off
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(BOOT_S)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.root)
        for below in sorted(self._group.rglob("*/"), reverse=True) if self._group.is_dir() else ():
            if below.is_dir():
                below.rmdir()
        if self._group.is_dir():
            self._group.rmdir()

    def boot(self):
        words = (
            "systemd-nspawn",
            "--quiet",
            "--directory",
            self.root,
            "--register=no",
            "--boot",
            "--console=read-only",
        )
        if not pathlib.Path("/run/systemd/system").is_dir():
            words += ("--keep-unit",)  # there is nobody who could make a unit for it
        with self._console.open("ab") as log:
            self._process = subprocess.Popen((*self._bounded(), *words), stdout=log, stderr=log)
        try:
            wait_for(self._is_up, BOOT_S)
        except AssertionError:
            self._process.kill()
            said = self._console.read_text("utf-8", "replace").strip().splitlines()
            raise UnavailableError(f"no machine boots here: {said[-1] if said else 'it says nothing'}") from None
        if self._group.is_dir():
            # systemd looks at its start for what it may limit, and until then all but its own groups is read-only.
            self.run("mount", "-o", "remount,rw,bind", _MEMORY)
            self.run("systemctl", "daemon-reexec")

    def reboot(self):
        """All of it; what runs is stopped as at any shutdown."""
        self.run("systemctl", "poweroff")
        self._process.wait(BOOT_S)
        self.boot()

    def run(self, *words, check=True, cwd="/", **environment):
        """Runs a command inside; what it said."""
        command = (*self._inside(), "env", f"--chdir={cwd}", *words)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=STEP_S, env=_HOME | environment
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def succeeds(self, *words):
        return subprocess.run((*self._inside(), *words), capture_output=True, check=False, env=_HOME).returncode == 0

    def shown(self, unit, setting):
        return self.run("systemctl", "show", unit, f"--property={setting}", "--value").strip()

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    def write(self, place, text):
        path = self.root / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _is_up(self):
        assert self._process.poll() is None
        with contextlib.suppress(IndexError):
            state = self.run("systemctl", "is-system-running", check=False).strip()
            assert state != "degraded", self.run("systemctl", "--failed", "--no-pager")
            return state == "running"
        return False

    def _bounded(self):
        """Puts it into a group whose memory may be limited; with the second version of control groups each is so."""
        if not _MEMORY.is_dir():
            return ()
        self._group.mkdir(exist_ok=True)
        return ("sh", "-c", f'echo $$ > {self._group}/cgroup.procs && exec "$@"', "sh")

    def _inside(self):
        task = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return ("nsenter", "--target", task.read_text().split()[0], *_NAMESPACES)
