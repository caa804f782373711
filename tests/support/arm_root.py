"""A Debian for 64-bit Arm, emulated: commands run in it as on the processor of each kind of Raspberry Pi.

Its root is made once by debootstrap and kept in the user's cache. Whoever uses it works in a layer of their own above
it, in mount namespaces that end with them, and has the network of the machine that it runs on. What is computed is
what such a processor computes; times are not.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess

import booted

NAME = f"{booted.SUITE}-arm64"
EMULATOR = "qemu-aarch64-static"
TOOLS = {EMULATOR: "qemu-user-static", "debootstrap": "debootstrap", "unshare": "util-linux", "nsenter": "util-linux"}
PACKAGES = ("ca-certificates", "procps", "python3", "python3-venv")
PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1))  # all that this suite's C library runs

# What LiteRT reads to choose its kernels. qemu tells programs the features of its `-cpu`, but shows them the processor
# of the machine that it runs on. The parts are those of Zero 2 W and Pi 3, of Pi 4 and of Pi 5.
_SINCE_8_0 = "fp asimd evtstrm crc32 cpuid"
_SINCE_8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    "cortex-a53": (_SINCE_8_0, "0x0", "0xd03", "4"),
    "cortex-a72": (_SINCE_8_0, "0x0", "0xd08", "3"),
    "cortex-a76": (_SINCE_8_2, "0x4", "0xd0b", "1"),
}
_PROCESSOR = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: {variant}
CPU part\t: {part}
CPU revision\t: {revision}

"""

_BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc")
_RULE_NAME = "tflsplit-tests-aarch64"
# An ELF file of 64 bits, little-endian, executable or shared, for machine 183. F has the kernel open the emulator now,
# outside the root.
_RULE = (
    rf":{_RULE_NAME}:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{emulator}:F"
)

# One view of the layer for each processor, which differ in /proc/cpuinfo. The shell holds them until its input ends.
_HOLD = """
folder=$1; kept=$2; shift 2
mount -t overlay -o "lowerdir=$kept,upperdir=$folder/layer,workdir=$folder/work" overlay "$folder/root"
mkdir -p "$folder/root/exchange"
mount --bind "$folder/exchange" "$folder/root/exchange"
mount --rbind /dev "$folder/root/dev"
mount --rbind /sys "$folder/root/sys"
for cpu; do
    mount --rbind "$folder/root" "$folder/$cpu"
    mount -t proc proc "$folder/$cpu/proc"
    mount --bind "$folder/$cpu.cpuinfo" "$folder/$cpu/proc/cpuinfo"
done
echo held
read -r _
"""
_HOME = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "HOME": "/root"}
STEP_S = 1800.0  # a bound for one command inside, which runs tens of times slower than here


def cpuinfo(cpu):
    """What /proc/cpuinfo says there, of as many cores as this machine has."""
    features, variant, part, revision = CPUS[cpu]
    said = {"features": features, "variant": variant, "part": part, "revision": revision}
    return "".join(_PROCESSOR.format(number=number, **said) for number in range(os.cpu_count() or 1))


@contextlib.contextmanager
def emulated():
    """Has the kernel run programs for Arm, by a rule of ours where it has none; the last who needs it removes it."""
    if not (_BINFMT / "register").exists():
        subprocess.run(("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT), check=False, capture_output=True)
    booted.CACHE.mkdir(parents=True, exist_ok=True)
    with (booted.CACHE / f"{NAME}.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        if not _is_emulated():
            try:
                (_BINFMT / "register").write_text(_RULE.format(emulator=shutil.which(EMULATOR)))
            except OSError as refused:
                raise booted.UnavailableError(f"the kernel takes no rule for programs of Arm: {refused}") from refused
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (_BINFMT / _RULE_NAME).exists():
                    (_BINFMT / _RULE_NAME).write_text("-1")


def _is_emulated():
    """Whether a rule applies in a root that holds no emulator itself."""
    for rule in _BINFMT.glob("*aarch64*"):
        text = rule.read_text()
        if text.startswith("enabled") and any("F" in line for line in text.splitlines() if line.startswith("flags:")):
            return True
    return False


class Root:
    """Runs within the context. `exchange` is a folder that both sides see; inside it is /exchange."""

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)
        self.exchange = self._folder / "exchange"
        self._leaving = contextlib.ExitStack()
        self._holder = None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            if os.geteuid() == 0 and shutil.which(EMULATOR):  # who lacks them is told so by the next line
                stack.enter_context(emulated())
            kept = booted.debian(NAME, PACKAGES, TOOLS, "--arch=arm64")
            for name in ("exchange", "layer", "work", "root", *CPUS):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            for cpu in CPUS:
                (self._folder / f"{cpu}.cpuinfo").write_text(cpuinfo(cpu))
            words = ("unshare", "--mount", "sh", "-ec", _HOLD, "sh", self._folder, kept, *CPUS)
            self._holder = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.callback(self._let_go)
            if self._holder.stdout.readline() != "held\n":
                raise booted.UnavailableError(f"no root of a layer can be mounted here: {self._holder.stderr.read()}")
            (self.inside / "usr/local/sbin").mkdir(parents=True, exist_ok=True)
            booted.let_commands_be_typed(self.inside)
            self._leaving = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._leaving.close()

    @property
    def inside(self):
        """The root's files as they are seen from here."""
        return pathlib.Path(f"/proc/{self._holder.pid}/root{self._folder}/root")

    def place(self, path):
        """Where a file below `exchange` lies inside."""
        return f"/exchange/{pathlib.Path(path).relative_to(self.exchange)}"

    def command(self, *words, cpu="cortex-a72", cwd="/exchange", **environment):
        """The command to be started here that runs `words` there."""
        return (
            *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "chroot", self._folder / cpu),
            *("env", "-i", f"--chdir={cwd}", *(f"{name}={value}" for name, value in _HOME.items())),
            *(f"QEMU_CPU={cpu}", *(f"{name}={value}" for name, value in environment.items())),
            *map(str, words),
        )

    def run(self, *words, check=True, **options):
        """Runs a command inside; what it printed. `options` are those of `command`."""
        done = subprocess.run(
            self.command(*words, **options), capture_output=True, text=True, check=False, timeout=STEP_S
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _let_go(self):
        self._holder.communicate("\n")
