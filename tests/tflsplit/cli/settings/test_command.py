"""A command whose options may stand in a file and in the environment, too."""

import pathlib

import click
import pytest

from tflsplit import errors
from tflsplit.cli.settings import command as settings_command


def no_spaces(value):
    if " " in value:
        raise errors.SettingsError(f"name {value!r}: no spaces")


class Seconds(click.ParamType):
    """As quantities of this project are: a number, or text with a unit."""

    name = "seconds"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        try:
            return float(value.removesuffix("s"))
        except ValueError:
            self.fail(f"{value!r} is no time", param, ctx)


def make():
    """The command `edge` of these tests; it returns what it was given."""

    @click.command("edge", cls=settings_command.Command, checks={"device": no_spaces}, paths=frozenset({"source"}))
    @click.argument("pkg", required=False, type=click.Path(path_type=pathlib.Path))
    @click.option("--device", required=True)
    @click.option("--source")
    @click.option("--rate", "rate_fps", type=float)
    @click.option("--window", type=click.IntRange(1, 9), default=8)
    @click.option("--resend-after", type=Seconds())
    @click.option("--delivery", type=click.Choice(["all", "latest"]))
    @click.option("--spool", type=click.Path(path_type=pathlib.Path))
    @click.option("--label", "labels", multiple=True)
    @click.option("--fast", is_flag=True)
    @click.option("--password-file", type=click.Path(path_type=pathlib.Path, exists=True))
    def command(**given):
        return given

    return command


@pytest.fixture
def edge():
    return make()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "edge.toml"


def run(command, *words):
    return command.main([str(word) for word in words], standalone_mode=False)


def problems(command, file, text):
    file.write_text(text)
    with pytest.raises(errors.ConfigurationError) as refused:
        run(command, "--config", file)
    return refused.value.problems


def test_flags_count_before_the_environment_that_before_drop_ins_and_these_before_the_file(edge, file, monkeypatch):
    """One setting more is taken over at each step."""
    file.write_text('[edge]\ndevice = "file"\nrate = 1\nwindow = 1\ndelivery = "all"\n')
    file.with_suffix(".d").mkdir()
    (file.with_suffix(".d") / "a.toml").write_text("[edge]\nrate = 2\nwindow = 2\ndelivery = 'latest'\n")
    monkeypatch.setenv("TFLSPLIT_EDGE_RATE", "3")
    monkeypatch.setenv("TFLSPLIT_EDGE_WINDOW", "3")
    given = run(edge, "--config", file, "--rate", "4")

    assert (given["device"], given["delivery"], given["window"], given["rate_fps"]) == ("file", "latest", 3, 4.0)
    assert given["fast"] is False


def test_every_kind_of_value_may_stand_in_the_file(edge, file):
    file.write_text(
        '[edge]\npackage = "/p"\ndevice = "d"\nrate = 2.5\nwindow = 3\nresend-after = 4\nlabel = ["a", "b"]\n'
        'fast = true\ndelivery = "latest"\n'
    )
    given = run(edge, "--config", file)

    assert given["pkg"] == pathlib.Path("/p")
    assert (given["rate_fps"], given["window"], float(given["resend_after"])) == (2.5, 3, 4.0)
    assert (given["labels"], given["fast"], given["delivery"]) == (("a", "b"), True, "latest")


def test_without_a_file_the_environment_counts_too(edge, monkeypatch):
    monkeypatch.setenv("TFLSPLIT_EDGE_DEVICE", "cam9")

    assert run(edge)["device"] == "cam9"


def test_relative_paths_are_those_beside_the_file(edge, file, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    file.write_text('[edge]\ndevice = "d"\nsource = "pictures"\nspool = "/var/spool"\npackage = "m.tflsplit"\n')
    given = run(edge, "--config", file)

    assert given["source"] == str(file.parent / "pictures")
    assert given["pkg"] == file.parent / "m.tflsplit"
    assert given["spool"] == pathlib.Path("/var/spool")


def test_a_file_that_may_not_be_read_is_no_matter_where_a_flag_names_another(edge, file):
    """As in a service, which is shown its credentials elsewhere."""
    file.write_text('[edge]\ndevice = "d"\npassword-file = "/nowhere"\n')

    assert run(edge, "--config", file, "--password-file", file)["password_file"] == file


def test_a_camera_is_no_path(edge, file):
    file.write_text('[edge]\ndevice = "d"\nsource = "camera:0"\n')

    assert run(edge, "--config", file)["source"] == "camera:0"


def test_everything_that_is_wrong_is_named_at_once_with_its_place(edge, file, monkeypatch):
    monkeypatch.setenv("TFLSPLIT_EDGE_WINDOW", "many")
    monkeypatch.setenv("TFLSPLIT_EDGE_RAET", "1")
    found = problems(
        edge,
        file,
        '[edge]\nresend_after = 5\ndevice = "my cam"\nrate = "fast"\nwindow = 99\ndelivery = "lates"\nfast = 1\n'
        'label = "a"\nrte = 5\nspool = 3\nresend-after = "soon"\nzzzzzz = 1\n',
    )

    assert found == (
        f"{file}:2: there is no key 'resend_after'; did you mean 'resend-after'?",
        f"{file}:3: device: name 'my cam': no spaces",
        f"{file}:4: rate: 'fast', expected a number",
        f"{file}:5: window: 99 is not in the range 1<=x<=9",
        f"{file}:6: delivery: 'lates' is not one of 'all', 'latest'",
        f"{file}:7: fast: 1, expected true or false",
        f"{file}:8: label: 'a' is one value, expected a list: ['a']",
        f"{file}:9: there is no key 'rte'; did you mean 'rate'?",
        f"{file}:10: spool: 3, expected text in quotes",
        f"{file}:11: resend-after: 'soon' is no time",
        f"{file}:12: there is no key 'zzzzzz'",
        "environment TFLSPLIT_EDGE_RAET: there is no key 'raet'; did you mean 'rate'?",
        "environment TFLSPLIT_EDGE_WINDOW: 'many', expected a whole number",
    )


@pytest.mark.parametrize("text", ["window = true", "window = 2.5", "rate = true", 'rate = "1"', "device = 1979-05-27"])
def test_values_of_another_type_are_not_bent_into_shape(edge, file, text):
    assert len(problems(edge, file, f"[edge]\n{text}\n")) == 1


def test_secrets_are_refused_wherever_they_stand_and_never_repeated(edge, file, monkeypatch):
    monkeypatch.setenv("TFLSPLIT_EDGE_PASSWORD", "hunter2")
    found = problems(edge, file, '[edge]\nmqtt_password = "hunter2"\n')

    assert len(found) == 2
    assert all("a secret does not belong here" in problem for problem in found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("key", ["config", "debug", "help"])
def test_what_says_how_to_run_is_no_setting(edge, file, key):
    assert "there is no key" in problems(edge, file, f'[edge]\n{key} = "x"\n')[0]


def test_merged_says_where_each_value_comes_from(edge, file, monkeypatch):
    file.write_text('[edge]\ndevice = "file"\nrate = 1\n')
    file.with_suffix(".d").mkdir()
    drop_in = file.with_suffix(".d") / "a.toml"
    drop_in.write_text("[edge]\n\nrate = 2\n")
    monkeypatch.setenv("TFLSPLIT_EDGE_DELIVERY", "latest")
    merged = edge.merged(file)

    assert {key: (found.value, found.place) for key, found in merged.settings.items() if found.value is not None} == {
        "device": ("file", f"{file}:2"),
        "rate": (2, f"{drop_in}:3"),
        "delivery": ("latest", "environment TFLSPLIT_EDGE_DELIVERY"),
        "window": (8, "default"),
        "fast": (False, "default"),
    }
    assert merged.problems == ()


def test_a_second_reading_finds_what_changed_and_keeps_the_flags(edge, file):
    file.write_text('[edge]\ndevice = "d"\nrate = 1\nwindow = 2\n')
    before = edge.make_context("edge", ["--config", str(file), "--window", "5"])
    file.write_text('[edge]\ndevice = "other"\nrate = 2\nwindow = 7\n')
    after = settings_command.again(before)

    assert settings_command.changes(before, after) == {"device", "rate_fps"}
    assert after.params["window"] == 5


@pytest.mark.parametrize("text", ['[edge]\ndevice = "d"\nrate = "x"\n', "[edge]\nrate = 1\n", "["])
def test_a_second_reading_of_something_wrong_is_refused(edge, file, text):
    file.write_text('[edge]\ndevice = "d"\nrate = 1\n')
    before = edge.make_context("edge", ["--config", str(file)])
    file.write_text(text)

    with pytest.raises(errors.SettingsError):
        settings_command.again(before)


def test_a_path_in_a_file_is_relative_to_its_folder_or_to_the_home_folder(edge, file, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file.write_text('[edge]\npackage = "~/a b.tflsplit"\ndevice = "d"\nspool = "ünï"\nsource = "~/pictures"\n')
    found = run(edge, "--config", file)

    assert found["pkg"] == tmp_path / "home" / "a b.tflsplit"
    assert found["spool"] == tmp_path / "ünï"
    assert found["source"] == str(tmp_path / "home" / "pictures")
