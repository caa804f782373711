import pytest

from tflsplit import processor

PI_4 = """\
processor	: {number}
BogoMIPS	: {speed}
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: {part}
CPU revision	: 3
"""


@pytest.mark.parametrize(
    ("reported", "is_64_bit", "found"),
    [
        ("aarch64", True, "aarch64"),
        ("aarch64", False, "armv7l"),
        ("armv7l", False, "armv7l"),
        ("x86_64", True, "x86_64"),
        ("x86_64", False, "i686"),
        ("riscv64", True, "riscv64"),
    ],
)
def test_a_machine_is_what_the_interpreter_can_run_not_what_the_kernel_is(reported, is_64_bit, found):
    assert processor.machine(reported, is_64_bit=is_64_bit) == found


def test_a_processor_is_known_by_its_features_not_by_its_speed(tmp_path):
    def seen(*cores: tuple[str, str]) -> str:
        (tmp_path / "proc").mkdir(exist_ok=True)
        text = "\n".join(
            PI_4.format(number=number, part=part, speed=speed) for number, (part, speed) in enumerate(cores)
        )
        (tmp_path / "proc/cpuinfo").write_text(text)
        return processor.identity(tmp_path)

    pi_4 = seen(("0xd08", "108.00"), ("0xd08", "108.00"))

    assert seen(("0xd08", "54.00")) == pi_4
    assert seen(("0xd03", "108.00")) != pi_4
    assert seen(("0xd03", "108.00"), ("0xd08", "108.00")) not in (pi_4, seen(("0xd03", "108.00")))


def test_a_machine_without_cpuinfo_has_a_processor_too(tmp_path):
    assert processor.identity(tmp_path)
