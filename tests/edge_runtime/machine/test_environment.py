"""What a profile says of its machine, from an invented /sys and /proc."""

from edge_runtime.machine import environment


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_governor_clock_and_the_hottest_zone_are_read(tmp_path):
    write(
        tmp_path,
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="powersave\n",
        sys__devices__system__cpu__cpu1__cpufreq__scaling_governor="performance\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_cur_freq="1500000\n",
        sys__class__thermal__thermal_zone0__temp="41000\n",
        sys__class__thermal__thermal_zone1__temp="52500\n",
    )
    found = environment.describe(tmp_path)

    assert found["governor"] == "performance,powersave"
    assert found["clock_mhz"] == "1500.0"
    assert found["temperature_c"] == "52.5"


def test_boards_are_named_where_processors_are_not(tmp_path):
    write(tmp_path, proc__cpuinfo="processor\t: 0\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")

    assert environment.describe(tmp_path)["cpu"] == "Raspberry Pi 4 Model B Rev 1.4"


def test_what_a_machine_does_not_tell_is_left_out(tmp_path):
    found = environment.describe(tmp_path)

    assert not {"governor", "clock_mhz", "temperature_c", "cpu"} & found.keys()
    assert {"host", "cores", "system", "python", "runtime"} <= found.keys()


def test_memory_that_is_held_is_counted():
    before = environment.allocated_bytes()
    held = bytearray(64 << 20)

    assert environment.allocated_bytes() - before >= len(held)
