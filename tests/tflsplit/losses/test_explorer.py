"""The file that Model Explorer reads."""

import json

import pytest

from tflsplit.graph import flatgraph
from tflsplit.graph.metadata import Description, Input, Output
from tflsplit.losses import explorer
from tflsplit.losses.measurement import OperatorLoss


def test_the_file_is_what_its_node_data_builder_writes(residual_model):
    """`ModelNodeData({"main": GraphNodeData(…)})` of ai-edge-model-explorer 0.1.34, read back."""
    losses = [
        OperatorLoss(0, "ADD", "a", 12.5, 12.5),
        OperatorLoss(1, "SHAPE", "s", reason="its result is no real number"),
    ]
    assert json.loads(explorer.node_data(flatgraph.read(residual_model), losses)) == {
        "main": {
            "results": {"0": {"value": 12.5}},
            "name": "int8 SQNR by itself, dB",
            "gradient": [
                {"stop": 0.0, "bgColor": "#d73027"},
                {"stop": 0.5, "bgColor": "#fee08b"},
                {"stop": 1.0, "bgColor": "#1a9850"},
            ],
        }
    }


@pytest.mark.parametrize(
    ("name", "is_signed", "expected"), [(b"body", True, "body"), (None, True, "serving_default"), (None, False, "main")]
)
def test_the_graph_has_the_name_that_model_explorer_gives_it(residual_model, name, is_signed, expected):
    source = flatgraph.read(residual_model).source
    source.subgraphs[0].name = name
    described = Description("m", (Input("x"),), (Output("y"),)) if is_signed else None
    graph = flatgraph.read(flatgraph.pack(source, described))
    assert list(json.loads(explorer.node_data(graph, [OperatorLoss(0, "ADD", "a", 12.5, 12.5)]))) == [expected]
