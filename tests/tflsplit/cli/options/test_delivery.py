"""Options about delivery that exclude each other, as `config check` finds them before a service does."""

import pytest


@pytest.fixture
def checked(typed, tiny_package, source, tmp_path):
    """Checks a configuration that is right but for these lines."""

    def check(lines):
        common = f'package = "{tiny_package.path}"\nsource = "{source}"\ndeployment = "d"\ndevice = "n"\n'
        (tmp_path / "edge.toml").write_text(f'[edge]\n{common}broker = "mqtt://127.0.0.1"\n{lines}')
        return typed("config", "check", tmp_path / "edge.toml")

    return check


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("batch = 4\nadapt = true\n", "a cut moves by a plan, which knows the candidates and their costs"),
        ('batch-wait = "1s"\n', "--batch-wait says how long a frame waits for its inputs: give --batch as well"),
        ("batch = 65\n", "65"),
    ],
)
def test_a_batch_that_cannot_be_is_found_in_a_configuration(checked, lines, said):
    done = checked(lines)

    assert done.code == 1
    assert said in done.err + done.out


def test_a_mask_of_a_package_that_has_none_is_found_in_a_configuration(checked):
    done = checked("mask = true\n")

    assert done.code == 1
    assert "does not segment, so results have no mask: leave mask out" in done.err + done.out
    assert checked("mask = false\n").code == 0


def test_a_batch_stands_in_a_configuration_as_on_the_command_line(checked):
    assert checked('batch = 4\nbatch-wait = "200ms"\n').code == 0
