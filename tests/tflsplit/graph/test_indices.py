"""Inputs that are indices are told with the size of their table."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflsplit.graph import flatgraph, indices
from tflsplit.package import verify


@pytest.fixture
def lookup(builder):
    """ids → ids + 1 → GATHER of a table of 50 rows; x beside it."""
    ids = builder.tensor("ids", (1, 6), scale=None, kind="INT32")
    x = builder.tensor("x", (1, 4))
    one = builder.tensor("one", (1,), scale=None, data=np.array([1], np.int32), kind="INT32")
    moved = builder.tensor("moved", (1, 6), scale=None, kind="INT32")
    builder.operator("ADD", (ids, one), (moved,), schema.AddOptionsT(), options_type="AddOptions")
    table = builder.tensor("table", (50, 4), data=np.zeros((50, 4), np.int8))
    y = builder.tensor("y", (1, 6, 4))
    builder.operator("GATHER", (table, moved), (y,), schema.GatherOptionsT(), options_type="GatherOptions", version=2)
    z = builder.add(x, x, "z", (1, 4))
    return builder.build((ids, x), (y, z))


def test_an_index_has_the_size_of_its_table_and_other_inputs_none(lookup):
    assert indices.table_sizes(flatgraph.read(lookup)) == (50, None)


def test_random_samples_stay_within_the_table_or_where_none_is_known_within_any(lookup):
    graph = flatgraph.read(lookup)
    specs = graph.specs(graph.inputs)
    within = np.array([ids for ids, _ in verify.random_samples(specs, 20, table_sizes=indices.table_sizes(graph))])
    assert within.min() >= 0
    assert 1 < within.max() < 50
    assert np.array([ids for ids, _ in verify.random_samples(specs, 20)]).max() == 1
