"""Which first row of a `.csv` is a header, and which is a sample."""

import numpy as np
import pytest

from tflsplit import errors
from tflsplit.inputs import tables

TOLD = {
    "pandas": ("0,1,2\n0.5,1.0,2.0\n0.1,0.2,0.3\n", 2),
    "wavelengths": ("400,410,420\n0.5,1.0,2.0\n", 1),
    "words": ("a,b,c\n1,2,3\n", 1),
    "ids": ("7,3,9\n1,2,3\n", 2),
    "one column is whole": ("400,410,420\n0.5,1,2.0\n", 2),
    "floats that count": ("0.0,1.0,2.0\n0.5,1.0,2.0\n", 2),
    "alone": ("0,1,2\n", 1),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_header_of_numbers_is_told_from_a_sample(tmp_path, case):
    written, rows = TOLD[case]
    (tmp_path / "x.csv").write_text(written)
    assert tables.read(tmp_path / "x.csv", (3,)).shape == (rows, 3)


def test_two_columns_are_never_taken_for_a_header(tmp_path):
    (tmp_path / "x.csv").write_text("0,1\n0.5,0.7\n")
    np.testing.assert_array_equal(tables.read(tmp_path / "x.csv", (2,)), [[0, 1], [0.5, 0.7]])


def test_a_first_row_that_may_be_either_is_refused_with_both_ways_out(tmp_path):
    (tmp_path / "x.csv").write_text("0,1,2\n5,6,7\n")
    with pytest.raises(
        errors.DataError, match="counts the columns: remove it if it is a header, or write its numbers as"
    ):
        tables.read(tmp_path / "x.csv", (3,))
