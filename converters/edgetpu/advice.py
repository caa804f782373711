"""What to do about operators that the Edge TPU does not have, said in terms of layers."""

from collections.abc import Mapping

_CUT = "cut before it (--split-at edgetpu) and leave it to the tail"
_RELU = "use ReLU, ReLU6 or PReLU with shared_axes=[1, 2]"

ADVICE: Mapping[str, str] = {
    operator: f": {words}"
    for operators, words in (
        (("HARD_SWISH",), "use ReLU6, or swish, whose LOGISTIC and MUL map"),
        (("LEAKY_RELU", "ELU"), _RELU),
        (("GELU",), f"{_RELU}, or swish"),
        (("UNPACK",), f"a recurrent layer steps through time with it; {_CUT}"),
        (("BATCH_MATMUL",), f"attention multiplies two computed tensors with it; {_CUT}"),
        (("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), "dilation was written with them; give Conv2D dilation_rate"),
        (("DEPTH_TO_SPACE",), "use Conv2DTranspose or UpSampling2D"),
        (("MIRROR_PAD", "PADV2"), "pad with zeros"),
        (("DIV",), "multiply by the reciprocal"),
        (("SQRT",), "RSQRT maps"),
        (("SPLIT_V",), "split into equal parts"),
        (("BROADCAST_TO", "TILE"), "ADD and MUL broadcast by themselves"),
        (("SHAPE",), "a shape is computed while the model runs; fix the input shape and convert again"),
        (("ARG_MAX", "ARG_MIN", "TOPK_V2", "GATHER", "CAST", "DEQUANTIZE"), _CUT),
    )
    for operator in operators
}
