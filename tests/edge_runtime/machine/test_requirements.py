import pytest

from edge_runtime.machine import requirements
from tflsplit.findings import State


def refuses():
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize(
    ("read", "state", "detail"),
    [
        (lambda: 2_500, State.OK, "synchronised, off by 2 ms at most"),
        (lambda: 16_000_000, State.WRONG, "not synchronised"),
        (refuses, State.INFO, "Function not implemented"),
    ],
)
def test_clock_is_what_the_kernel_says_of_it(read, state, detail):
    found = requirements.clock(read)

    assert found.state is state
    assert detail in found.detail


def test_clock_of_this_machine_is_read():
    try:
        assert requirements.read_clock_error_us() >= 0
    except OSError as problem:
        pytest.skip(f"the kernel here does not tell: {problem}")


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(("alarm", "state"), [("0\n", State.OK), ("1\n", State.WRONG)])
def test_undervoltage_alarm_of_the_sensor_is_seen_behind_another_sensor(tmp_path, alarm, state):
    write(tmp_path / "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path / "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path / "sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm)

    assert requirements.power(tmp_path).state is state


@pytest.mark.parametrize(
    ("throttled", "detail"),
    [("0", "no undervoltage"), ("50000", "undervoltage since it started"), ("50005", "undervoltage now")],
)
def test_undervoltage_is_seen_in_the_firmwares_word(tmp_path, throttled, detail):
    write(tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled", f"{throttled}\n")

    assert detail in requirements.power(tmp_path).detail


def test_machine_that_reports_no_power_is_not_judged(tmp_path):
    assert requirements.power(tmp_path).state is State.INFO


def test_opencv_is_found_with_and_without_metadata(tmp_path):
    assert requirements.opencv([str(tmp_path)]).state is State.INFO

    write(tmp_path / "cv2/__init__.py", "")
    assert requirements.opencv([str(tmp_path)]).detail == "installed, version unknown"

    write(tmp_path / "opencv_python-4.12.0.dist-info/METADATA", "Name: opencv-python\nVersion: 4.12.0\n")
    assert requirements.opencv([str(tmp_path)]).detail == "4.12.0"
