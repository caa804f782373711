"""What a check of an edge's settings costs; what it finds is tried beside each kind of setting."""

import click

from tflsplit import configuration
from tflsplit.cli.commands import edge
from tflsplit.package import reading


def test_a_file_of_many_streams_is_parsed_once_and_their_package_opened_once(tiny_package, tmp_path, monkeypatch):
    common = f'[edge]\npackage = "{tiny_package.path}"\ndeployment = "d"\nbroker = ["mqtt://127.0.0.1"]\n'
    streams = [f'[[stream]]\ndevice = "cam{number}"\nsource = "{tmp_path}"\n' for number in range(20)]
    file = tmp_path / "edge.toml"
    file.write_text(common + "".join(streams))
    opened, open_package = [], reading.open_package
    monkeypatch.setattr(reading, "open_package", lambda path: opened.append(path) or open_package(path))
    configuration._loaded.cache_clear()

    with click.Context(edge.command):
        assert edge.command.problems_of_each(edge.command.each_merged(file), file) == ()
    assert opened == [tiny_package.path]
    assert configuration._loaded.cache_info().misses == 1
