"""Arrays of strangers: what a file says of its size is looked at before memory is taken for it."""

import io
import zipfile

import numpy as np
import pytest

from tflsplit import errors
from tflsplit.inputs import array_files


def test_arrays_come_back_as_they_were(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array, y=array[:1])
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npz").read_bytes())

    assert np.array_equal(array_files.read(tmp_path / "a.npy"), array)
    assert [*array_files.read(tmp_path / "b.npy")] == ["x", "y"]
    assert np.array_equal(array_files.read_npz(tmp_path / "a.npz")["x"], array)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_array_of_nothing_is_one(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.empty(shape, np.uint8))
    assert array_files.read_npy(tmp_path / "a.npy").shape == shape


def header(shape, dtype="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(tmp_path):
    """The zeros themselves are left out: who reads them fails otherwise."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((8_000, 1_000, 1_000)))
    with pytest.raises(errors.DataError, match=r"bomb\.npz: array 'x' of shape .* keep it as \.npy"):
        array_files.read_npz(tmp_path / "bomb.npz")


def test_many_arrays_are_counted_together(tmp_path):
    each = array_files.MOST_UNPACKED_BYTES // 2
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        for name in "xyz":
            archive.writestr(f"{name}.npy", header((each,)))
    with pytest.raises(errors.DataError, match=r"array 'z' .* and those before it"):
        array_files.read_npz(tmp_path / "bomb.npz")


def test_a_file_that_is_shorter_than_it_says_takes_no_memory(tmp_path):
    (tmp_path / "a.npy").write_bytes(header((2**40,)) + b"\0" * 10)
    with pytest.raises(errors.DataError, match=r"a\.npy: cannot be read as \.npy"):
        array_files.read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", header((-1,)), header((3,), "|O"), header((2,))])
def test_what_is_no_array_is_refused_in_one_line(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(errors.DataError) as refused:
        array_files.read(tmp_path / "a.npy")
    assert "\n" not in str(refused.value)
