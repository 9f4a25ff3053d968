"""Errors teach: what was wrong, the value seen, what to do next, in one line, by exact text."""

from __future__ import annotations

import numpy as np
import pytest

from minisasrec import Tensor, errors, ops
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw, Signature
from minisasrec.backends import use_backend
from minisasrec.errors import ConfigError, MinisasrecError, ShapeError
from minisasrec.random import Key

KEY = Key(1, 2)
x23 = np.ones((2, 3))
qkv = [np.ones((4, 2))] * 3


@pytest.fixture(scope="module", params=["numpy", "numba"], autouse=True)
def each_backend(request):
    with use_backend(request.param):
        yield


def sampled(targets=(1, 2), negatives=((1,), (2,)), beta=1.0):
    return ops.sampled_bce(
        x23, np.ones((4, 3)), targets=np.array(targets), negatives=np.array(negatives), beta=beta
    )


CASES = {
    # shapes that do not fit a signature
    "axis": (
        lambda: ops.layer_norm(np.ones((128, 200, 50)), np.ones(64), np.ones(64)),
        "layer_norm: axis d is 50 in x (128, 200, 50) but 64 in gamma (64,). "
        "Signature: x (... d), gamma (d), beta (d) -> (... d)",
    ),
    "broadcast": (
        lambda: Tensor(x23) + np.ones((2, 4)),
        "add: shapes do not broadcast: a (2, 3), b (2, 4). Signature: a (*), b (*) -> (*)",
    ),
    "leading": (
        lambda: ops.add_dropout(np.ones((2, 3)), np.ones((4, 3)), rate=0.5, key=KEY),
        "add_dropout: leading axes are (2,) in x but (4,) in g. "
        "Signature: x (... d), g (... d) -> (... d)",
    ),
    "too few axes": (
        lambda: ops.softmax(np.float64(1)),
        "softmax: x has shape (); needs 1 axes or more. Signature: x (... n) -> (... n)",
    ),
    "vector times matrix": (
        lambda: Tensor(np.ones(3)) @ np.ones((3, 2)),
        "matmul: a has shape (3,); needs 2 axes or more. "
        "Signature: a (* n k), b (* k m) -> (* n m)",
    ),
    "number of axes": (
        lambda: ops.causal_attention(x23, x23, x23, real=x23 > 0),
        "causal_attention: q has shape (2, 3); needs 3 axes (B n d). "
        "Signature: q (B n d), k (B n d), v (B n d) -> (B n d)",
    ),
    "number of arrays": (lambda: ops.relu(x23, x23), "relu: takes 1 array (x), got 2"),
    "no arrays": (lambda: ops.concatenate(), "concatenate: takes 1 array or more (x), got 0"),
    # constants that do not fit
    "ids too large": (
        lambda: ops.embedding(x23, ids=np.array([[0, 1], [1, 2]])),
        "embedding: ids run from 0 to 2, the table has rows 0 to 1",
    ),
    "negative ids": (
        lambda: ops.embedding(x23, ids=np.array([-1])),
        "embedding: ids run from -1 to -1, the table has rows 0 to 1",
    ),
    "float ids": (
        lambda: ops.embedding(x23, ids=np.array([0.0])),
        "embedding: ids must be integers, got float64",
    ),
    "targets": (
        lambda: sampled(targets=(1, 4)),
        "sampled_bce: targets run from 1 to 4, the table has rows 0 to 3",
    ),
    "number of targets": (
        lambda: sampled(targets=(1, 2, 3)),
        "sampled_bce: targets have shape (3,), h has 2 rows",
    ),
    "negatives": (
        lambda: sampled(negatives=((1,), (9,))),
        "sampled_bce: negatives run from 1 to 9, the table has rows 0 to 3",
    ),
    "number of negatives": (
        lambda: sampled(negatives=(1, 2)),
        "sampled_bce: negatives have shape (2,), expected (2, k)",
    ),
    "softmax targets": (
        lambda: ops.softmax_cross_entropy(x23, np.ones((4, 3)), targets=np.array([1, 7])),
        "softmax_cross_entropy: targets run from 1 to 7, the table has rows 0 to 3",
    ),
    "bce targets that are text": (
        lambda: ops.bce_with_logits(np.ones(2), targets=["a", "b"]),
        "bce_with_logits: targets must be numbers, got <U1",
    ),
    "bce targets": (
        lambda: ops.bce_with_logits(x23, targets=np.ones(3)),
        "bce_with_logits: targets have shape (3,), logits (2, 3)",
    ),
    "real": (
        lambda: ops.causal_attention(*[np.ones((1, 4, 2))] * 3, real=np.ones((1, 3), bool)),
        "causal_attention: real has shape (1, 3), q has (B, n) = (1, 4)",
    ),
    "last offset": (
        lambda: ops.packed_causal_attention(*qkv, offsets=np.array([0, 3])),
        "packed_causal_attention: offsets run from 0 to the 4 rows; these are 0 to 3",
    ),
    "no offsets": (
        lambda: ops.packed_causal_attention(*qkv, offsets=np.array([])),
        "packed_causal_attention: offsets run from 0 to the 4 rows; these are empty",
    ),
    "falling offsets": (
        lambda: ops.packed_causal_attention(*qkv, offsets=np.array([0, 3, 2, 4])),
        "packed_causal_attention: offsets must not fall",
    ),
    "row names": (
        lambda: ops.dropout(x23, rate=0.5, key=KEY, slot_ids=np.arange(3)),
        "dropout: slot_ids has shape (3,), x (2, 3) has 2 rows",
    ),
    "row names of a residual": (
        lambda: ops.add_dropout(x23, x23, rate=0.5, key=KEY, slot_ids=np.arange(1)),
        "add_dropout: slot_ids has shape (1,), x (2, 3) has 2 rows",
    ),
    "row names that are not consecutive": (
        lambda: ops.packed_causal_attention(
            *qkv, offsets=[0, 2, 4], rate=0.5, key=KEY, slot_ids=[7, 8, 3, 5]
        ),
        "packed_causal_attention: slot_ids must rise by 1 within a sequence; row 3 has 5 after 3",
    ),
    "last queries": (
        lambda: ops.packed_last_attention(x23, x23, x23, offsets=np.array([0, 0, 2])),
        "packed_last_attention: 2 queries need as many sequences, none of them empty; "
        "the lengths are [0 2]",
    ),
    "row names of attention": (
        lambda: ops.packed_causal_attention(*qkv, offsets=np.array([0, 4]), slot_ids=np.arange(3)),
        "packed_causal_attention: slot_ids has shape (3,), x (4, 2) has 4 rows",
    ),
    "mask": (
        lambda: ops.masked_fill(x23, mask=np.ones((3, 2), bool), value=0.0),
        "masked_fill: mask has shape (3, 2), which does not broadcast to that of x, (2, 3)",
    ),
    "reshape": (
        lambda: Tensor(x23).reshape(4, 2),
        "reshape: 6 elements of (2, 3) do not fill (4, 2)",
    ),
    "reshape to -2": (
        lambda: Tensor(x23).reshape(3, -2),
        "reshape: 6 elements of (2, 3) do not fill (3, -2)",
    ),
    "transpose of a vector": (
        lambda: Tensor(np.ones(3)).T,
        "transpose: swaps the last two axes, x has shape (3,)",
    ),
    "transpose": (
        lambda: Tensor(x23).transpose(0, 2, 1),
        "transpose: x has shape (2, 3): axis 2 is out of bounds for array of dimension 2",
    ),
    "axes of transpose": (
        lambda: Tensor(np.ones((2, 3, 4))).transpose(0, 1),
        "transpose: x has shape (2, 3, 4): axes don't match array",
    ),
    "an axis twice": (
        lambda: Tensor(x23).sum(axis=(0, -2)),
        "sum: x has shape (2, 3): axis (0, -2) names an axis twice",
    ),
    "an axis of a scalar": (
        lambda: Tensor(1.0).sum(0),
        "sum: x has shape (): axis 0 is out of bounds for array of dimension 0",
    ),
    "an axis that is none": (
        lambda: Tensor(x23).max("rows"),
        "max: x has shape (2, 3): 'str' object cannot be interpreted as an integer",
    ),
    "constants by position": (
        lambda: ops.reshape(x23, (3, 2)),
        "reshape: takes 1 array (x), got 2; constants are given by name: reshape(x, shape=...)",
    ),
    "ids by position": (
        lambda: ops.embedding(x23, [0, 1]),
        "embedding: takes 1 array (table), got 2; constants are given by name: "
        "embedding(table, ids=...)",
    ),
    "no number": (
        lambda: ops.add(x23, None),
        "add: takes arrays of numbers, got object: None",
    ),
    "text": (lambda: ops.add(x23, "3"), "add: takes arrays of numbers, got <U1: 3"),
    "padding before the table": (
        lambda: ops.embedding(x23, ids=[0], padding_id=-1),
        "embedding: padding_id is -1; it must be one of the 2 rows of the table, counted from 0, "
        "or None",
    ),
    "padding after the table": (
        lambda: ops.embedding(x23, ids=[0], padding_id=6),
        "embedding: padding_id is 6; it must be one of the 2 rows of the table, counted from 0, "
        "or None",
    ),
    "padding that is no id": (
        lambda: ops.embedding(x23, ids=[0], padding_id=0.5),
        "embedding: padding_id is 0.5; it must be one of the 2 rows of the table, counted from 0, "
        "or None",
    ),
    "ids of no rows": (
        lambda: ops.embedding(np.ones((0, 3)), ids=[0]),
        "embedding: ids run from 0 to 0, the table has no rows",
    ),
    "float offsets": (
        lambda: ops.packed_causal_attention(*qkv, offsets=[0, 1.5, 4]),
        "packed_causal_attention: offsets must be integers, got float64",
    ),
    "float row names": (
        lambda: ops.dropout(x23, rate=0.5, key=KEY, slot_ids=[0.5, 1]),
        "dropout: slot_ids must be integers, got float64",
    ),
    "allowed": (
        lambda: ops.ranking_loss(np.ones(2), x23, allowed=[[True, False]]),
        "ranking_loss: allowed has shape (1, 2), negative (2, 3)",
    ),
    "softmax of nothing": (
        lambda: ops.softmax(np.ones((2, 0))),
        "softmax: axis n is 0 in x (2, 0); there is no softmax of nothing",
    ),
    "layer norm of nothing": (
        lambda: ops.layer_norm(np.ones((2, 0)), np.ones(0), np.ones(0)),
        "layer_norm: axis d is 0 in x (2, 0); there is no mean of nothing",
    ),
    "max over no time": (
        lambda: ops.max_over_time(np.ones((2, 0, 3))),
        "max_over_time: axis p is 0 in x (2, 0, 3); there is no max of nothing",
    ),
    "max of nothing": (
        lambda: ops.max(np.ones((2, 0)), axis=1),
        "max: x has shape (2, 0), there is no max of nothing",
    ),
    "mean of nothing": (
        lambda: Tensor(np.ones((0, 2))).mean(),
        "mean: x has shape (0, 2), there is no mean of nothing",
    ),
    "loss of nothing": (
        lambda: ops.bce_with_logits(np.ones((0, 2)), targets=np.ones((0, 2))),
        "bce_with_logits: logits (0, 2); there is no mean of nothing",
    ),
    "a catalogue of padding": (
        lambda: ops.softmax_cross_entropy(x23, np.ones((1, 3)), targets=[0, 0]),
        "softmax_cross_entropy: items has 1 rows; row 0 is the padding item, so there is no "
        "candidate",
    ),
    "index": (
        lambda: Tensor(x23)[5],
        "getitem: x has shape (2, 3): index 5 is out of bounds for axis 0 with size 2",
    ),
    **{
        name: (
            lambda name=name: getattr(ops, name)(x23, axis=2),
            f"{name}: x has shape (2, 3): axis 2 is out of bounds for array of dimension 2",
        )
        for name in ("sum", "mean", "max")
    },
}


@pytest.mark.parametrize("case", CASES)
def test_shape_errors(case):
    call, text = CASES[case]
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == text


def test_concatenate_names_the_shapes():
    with pytest.raises(ShapeError, match=r"^concatenate: shapes \(2, 3\), \(4, 2\) along axis 0"):
        ops.concatenate(x23, np.ones((4, 2)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ops.dropout(x23, rate=1.0, key=KEY),
            "dropout: rate is 1.0; it is the share dropped, 0 <= rate < 1",
        ),
        (
            lambda: ops.packed_causal_attention(*qkv, offsets=np.array([0, 4]), rate=-0.5),
            "packed_causal_attention: rate is -0.5; it is the share dropped, 0 <= rate < 1",
        ),
        (
            lambda: ops.packed_causal_attention(*qkv, offsets=np.array([0, 4]), heads=3),
            "packed_causal_attention: 3 heads do not divide d = 2",
        ),
        (
            lambda: ops.causal_attention(*[np.ones((1, 4, 2))] * 3, real=np.ones((1, 4)), heads=0),
            "causal_attention: 0 heads do not divide d = 2",
        ),
        (
            lambda: ops.linear(x23, np.ones((3, 2)), np.ones(2), activation="gelu"),
            "linear: activation 'gelu'; choose None or 'relu'",
        ),
        (
            lambda: ops.packed_last_attention(*qkv, offsets=np.arange(5), heads=0.5),
            "packed_last_attention: 0.5 heads do not divide d = 2",
        ),
        (
            lambda: ops.causal_attention(*[np.ones((1, 2, 0))] * 3, real=np.ones((1, 2))),
            "causal_attention: 1 heads do not divide d = 0",
        ),
        (
            lambda: ops.dropout(x23, rate=np.nan, key=KEY),
            "dropout: rate is nan; it is the share dropped, 0 <= rate < 1",
        ),
        (
            lambda: ops.dropout(x23, rate="0.5", key=KEY),
            "dropout: rate is '0.5'; it is the share dropped, 0 <= rate < 1",
        ),
        (
            lambda: ops.add_dropout(x23, x23, rate=0.5, key=3),
            "add_dropout: key is 3; it must be a Key: minisasrec.random.make_key(seed)",
        ),
        (
            lambda: ops.layer_norm(x23, np.ones(3), np.ones(3), eps=-1),
            "layer_norm: eps is -1; it is added to the variance, eps >= 0",
        ),
        (
            lambda: ops.scale(x23, factor=np.ones(3)),
            "scale: factor is array([1., 1., 1.]); it must be a plain number",
        ),
        (
            lambda: ops.masked_fill(x23, mask=True, value=None),
            "masked_fill: value is None; it must be a plain number",
        ),
        (
            lambda: Tensor(x23) ** np.ones(3),
            "power: exponent is array([1., 1., 1.]); it must be a plain number",
        ),
        (
            lambda: ops.softmax_cross_entropy(x23, np.ones((4, 3)), targets=[1, 2], block=-1),
            "softmax_cross_entropy: block is -1; it must be 1 or more",
        ),
        (
            lambda: ops.ranking_loss(np.ones(2), x23, allowed=x23, loss="hinge"),
            "ranking_loss: unknown loss 'hinge'; choose one of cross-entropy, bpr, top1, top1-max, "
            "bpr-max",
        ),
        (
            lambda: ops.scale(x23, factor=np.complex64(2)),
            f"scale: factor is {np.complex64(2)!r}; it must be a plain number",
        ),
        (
            lambda: ops.ranking_loss(np.ones(2), x23, allowed=x23, weight=None),
            "ranking_loss: weight is None; it must be a plain number",
        ),
        (
            lambda: ops.sampled_bce(x23, x23, targets=[1, 1], negatives=[[1], [1]], beta=None),
            "sampled_bce: beta is None; it must be a plain number",
        ),
        (
            lambda: ops.layer_norm(x23, np.ones(3), np.ones(3), eps=None),
            "layer_norm: eps is None; it must be a plain number",
        ),
        (
            lambda: ops.embed(x23, x23, ids=[1], slots=[1], factor=[3, 2], rate=0, key=KEY),
            "embed: factor is [3, 2]; it must be a plain number",
        ),
        (
            lambda: ops.feed_forward(
                *[np.ones((2, 3))] * 2,
                *[np.ones(3)] * 2,
                *[np.eye(3), np.ones(3)] * 2,
                rate=0,
                keys=None,
            ),
            "feed_forward: keys are None; give two, one for each dropout",
        ),
    ],
)
def test_settings_of_ops(call, text):
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value) == text


def test_every_error_is_one_of_ours_and_one_of_pythons():
    ours = [e for e in vars(errors).values() if isinstance(e, type)]
    assert len(ours) >= 7
    for error in ours:
        assert issubclass(error, MinisasrecError) and error.__doc__
        assert error is MinisasrecError or issubclass(error, ValueError | RuntimeError)


# --- signatures ------------------------------------------------------------------------------


def test_a_signature_is_read():
    signature = Signature("x (... k), W (k m), b (m) -> (... m)")
    assert signature.args == [("x", ("...", "k")), ("W", ("k", "m")), ("b", ("m",))]
    assert signature.result == ("...", "m") and str(signature) == signature.text
    assert not signature.variadic and signature.axes(3) == signature.args
    assert Signature("h (T d) -> ()").result == ()
    many = Signature("x (?)+ -> (?)")
    assert many.variadic and many.axes(3) == [("x", ("?",))] * 3 and many.axes(0) == many.args


@pytest.mark.parametrize(
    ("text", "shapes", "fits"),
    [
        ("x (... d), g (d) -> (... d)", [(3,), (3,)], True),
        ("x (... d), g (d) -> (... d)", [(2, 4, 3), (3,)], True),
        ("x (... d), g (d) -> (... d)", [(3, 2), (3,)], False),
        ("x (... d), g (d) -> (... d)", [(), (3,)], False),
        ("x (... d), g (d) -> (... d)", [(3,), (3, 1)], False),
        ("x (... d), y (... d) -> (... d)", [(2, 3), (3,)], False),
        ("x (...), y (...) -> ()", [(2, 3), (2, 3)], True),
        ("x (...), y (...) -> ()", [(), (1,)], False),
        ("a (*), b (*) -> (*)", [(2, 3), (3,)], True),
        ("a (*), b (*) -> (*)", [(), (3,)], True),
        ("a (*), b (*) -> (*)", [(2,), (3,)], False),
        ("a (* n k), b (* k m) -> (* n m)", [(5, 2, 3), (3, 4)], True),
        ("a (* n k), b (* k m) -> (* n m)", [(5, 2, 3), (6, 3, 4)], False),
        ("a (* n k), b (* k m) -> (* n m)", [(2, 3), (4, 3)], False),
        ("a (n n) -> (n)", [(3, 3)], True),
        ("a (n n) -> (n)", [(3, 2)], False),
        ("x (?)+ -> (?)", [(3,), (2, 2), ()], True),
        ("x (?) -> (?)", [(3,), (3,)], False),
    ],
)
def test_what_fits_a_signature(text, shapes, fits):
    signature = Signature(text)
    if fits:
        signature.check("op", shapes)
    else:
        with pytest.raises(ShapeError, match="^op: "):
            signature.check("op", shapes)


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in OPS.values()])
def test_examples_fit_the_signature_and_follow_the_seed(op):
    for seed in range(20):
        args, constants = op.sample(Draw(seed))
        op.signature.check(op.name, [a.shape for a in args])
        np.testing.assert_equal(op.sample(Draw(seed)), (args, constants))
    shapes = {tuple(a.shape for a in op.sample(Draw(seed))[0]) for seed in range(20)}
    assert len(shapes) > 3
