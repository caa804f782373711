"""The file that Model Explorer reads."""

import json

from tflsplit.losses import explorer
from tflsplit.losses.measurement import OperatorLoss


def test_the_file_is_what_its_node_data_builder_writes():
    """`ModelNodeData({"main": GraphNodeData(…)})` of ai-edge-model-explorer 0.1.34, read back."""
    losses = [
        OperatorLoss(0, "ADD", "a", 12.5, 12.5),
        OperatorLoss(1, "SHAPE", "s", reason="its result is no real number"),
    ]
    assert json.loads(explorer.node_data(losses)) == {
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
