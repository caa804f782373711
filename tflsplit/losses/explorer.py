"""Losses as node data of Google's Model Explorer, which paints each operator of `model.tflite` by its figure.

The format is that of `model_explorer.node_data_builder` (ai-edge-model-explorer 0.1): graphs by their name, results by
node, where the nodes of a `.tflite` are called by the number of their operator. The lowest value is painted red.
"""

import json
from collections.abc import Sequence

from tflsplit.graph.flatgraph import Graph
from tflsplit.losses.measurement import OperatorLoss

_GRADIENT = ((0.0, "#d73027"), (0.5, "#fee08b"), (1.0, "#1a9850"))


def node_data(graph: Graph, operators: Sequence[OperatorLoss]) -> str:
    """The file's text, of the operators of `graph`. The value is what each adds by itself, in dB."""
    results = {str(each.index): {"value": each.alone_db} for each in operators if each.alone_db is not None}
    gradient = [{"stop": stop, "bgColor": colour} for stop, colour in _GRADIENT]
    return json.dumps(
        {_name(graph): {"results": results, "name": "int8 SQNR by itself, dB", "gradient": gradient}}, indent=1
    )


def _name(graph: Graph) -> str:
    """What Model Explorer calls the first subgraph: its own name, else that of the signature that calls it."""
    called = [each.signatureKey for each in graph.source.signatureDefs or [] if each.subgraphIndex == 0]
    name = graph.source.subgraphs[0].name or (called[0] if called else None) or b"main"
    return str(name.decode("utf-8", "replace"))
