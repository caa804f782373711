"""A small Debian of its own, booted: systemd as its first process, with nothing but what Debian and we bring.

Its root is made once by debootstrap and kept in the user's cache; each machine is a copy of it. It has the network of
the machine that it runs on, so that a cloud of the checkout serves the edge inside.
"""

import contextlib
import os
import pathlib
import re
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
    """The pristine root of a machine that boots."""
    return debian(SUITE, PACKAGES, TOOLS)


def debian(name, packages, tools, *options):
    """The root of a Debian with `packages`, kept in the cache as `name` and made where it is missing. `tools` are the
    programs that it takes here, with their packages; `options` are debootstrap's."""
    if os.geteuid() != 0:
        raise UnavailableError("a Debian of the tests' own is for root only")
    if missing := [package for tool, package in tools.items() if shutil.which(tool) is None]:
        raise UnavailableError(f"a Debian of the tests' own needs: apt install {' '.join(dict.fromkeys(missing))}")
    kept = CACHE / name
    if not kept.is_dir():
        half = CACHE / f"{name}.{os.getpid()}"
        half.parent.mkdir(parents=True, exist_ok=True)
        words = ("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", *options, SUITE, half)
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            raise UnavailableError(f"debootstrap failed: {(made.stdout + made.stderr).strip().splitlines()[-1]}")
        half.rename(kept)
    return kept


def documented(document, heading):
    """The commands that a section of a document gives, in its order."""
    text = (CHECKOUT / "docs" / document).read_text("utf-8").split(f"\n## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^ {4,}(sudo .*|systemctl .*)$", text, re.MULTILINE)


def let_commands_be_typed(root):
    """Makes commands of the documents run in a root whose only user is root, and which has its packages."""
    for name, script in {"sudo": 'exec "$@"', "apt": "# What is to be installed is there."}.items():
        program = root / "usr/local/sbin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


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


def dependencies(wheel, folder, extras="edge,broker", platforms=()):
    """Downloads them once; the lock says which."""
    download(("--constraint", CHECKOUT / "requirements-dev.lock", f"{wheel}[{extras}]"), folder, platforms)


def download(wanted, folder, platforms=()):
    """Wheels for the root's Python, of another kind of machine by its tags."""
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", folder),
        *("--python-version", PYTHON, "--only-binary", ":all:", *(f"--platform={tag}" for tag in platforms), *wanted),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"no wheels for Python {PYTHON}: {done.stderr.strip().splitlines()[-1]}")


def has_wheels(wheel, extras, python, platforms):
    """Whether all that it asks for is to be had built for a Python and a machine; empty, or what pip says."""
    target = ("--python-version", python, "--only-binary", ":all:", *(f"--platform={tag}" for tag in platforms))
    command = (sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--target", wheel.parent, *target)
    done = subprocess.run((*command, f"{wheel}[{extras}]"), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


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
