"""Every op, by family. Importing this package fills `minisasrec.autograd.op.OPS`."""

from minisasrec.ops.attention import (
    causal_attention,
    packed_causal_attention,
    packed_last_attention,
    packed_self_attention,
)
from minisasrec.ops.convolution import (
    horizontal_convolution,
    max_over_time,
    vertical_convolution,
)
from minisasrec.ops.dropout import add_dropout, dropout
from minisasrec.ops.elementwise import (
    add,
    div,
    exp,
    gate,
    gelu,
    log,
    log_sigmoid,
    masked_fill,
    mul,
    power,
    relu,
    scale,
    sigmoid,
    sqrt,
    sub,
    tanh,
)
from minisasrec.ops.embed import embed
from minisasrec.ops.embedding import embedding, gather_dot, squared_rows
from minisasrec.ops.feed_forward import feed_forward
from minisasrec.ops.layer_norm import layer_norm
from minisasrec.ops.loss import bce_with_logits, sampled_bce, softmax_cross_entropy
from minisasrec.ops.matmul import linear, matmul
from minisasrec.ops.projections import norm_projections
from minisasrec.ops.ranking import ranking_loss
from minisasrec.ops.recurrent import packed_gru
from minisasrec.ops.shape import concatenate, getitem, max, mean, reshape, sum, transpose
from minisasrec.ops.softmax import softmax

__all__ = [
    "add",
    "add_dropout",
    "bce_with_logits",
    "causal_attention",
    "concatenate",
    "div",
    "dropout",
    "embed",
    "embedding",
    "exp",
    "feed_forward",
    "gate",
    "gather_dot",
    "gelu",
    "getitem",
    "horizontal_convolution",
    "layer_norm",
    "linear",
    "log",
    "log_sigmoid",
    "masked_fill",
    "matmul",
    "max",
    "max_over_time",
    "mean",
    "mul",
    "norm_projections",
    "packed_causal_attention",
    "packed_gru",
    "packed_last_attention",
    "packed_self_attention",
    "power",
    "ranking_loss",
    "relu",
    "reshape",
    "sampled_bce",
    "scale",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "sqrt",
    "squared_rows",
    "sub",
    "sum",
    "tanh",
    "transpose",
    "vertical_convolution",
]
