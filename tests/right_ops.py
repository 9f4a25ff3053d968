"""Right backward passes where differences have it hard: none may be called wrong."""

from __future__ import annotations

import numpy as np

from minisasrec import ops
from minisasrec.nn.layers import LayerNorm, Linear

draw = np.random.default_rng(11)
X = draw.standard_normal((3, 4))
RIGHT = []


def right(name, function, *args, kink=False):
    """A right function at these arguments; `kink` if a note must tell of one."""
    RIGHT.append((name, function, [np.asarray(a) for a in args], kink))


def op(y, dx):
    """y(x) and dx(x, dy) as a function of arrays."""
    return lambda x: (y(x), lambda dy: (dx(x, dy),))


def layer_norm(eps):
    def function(x):
        mean = x.mean(-1, keepdims=True)
        rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)
        xhat = (x - mean) * rstd

        def backward(dy):
            across = (dy * xhat).mean(-1, keepdims=True)
            return (rstd * (dy - dy.mean(-1, keepdims=True) - xhat * across),)

        return xhat, backward

    return function


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)
    return y, lambda dy: (y * (dy - (dy * y).sum(-1, keepdims=True)),)


def single(function):
    """The same in float32, result and gradient."""

    def inside(*args):
        y, backward = function(*[a.astype(np.float32) for a in args])
        return y, lambda dy: backward(dy.astype(np.float32))

    return inside


def hidden_single(function):
    """Computes in float32, but returns float64."""

    def inside(*args):
        y, backward = function(*[a.astype(np.float32) for a in args])
        back = lambda dy: tuple(g.astype(float) for g in backward(dy.astype(np.float32)))  # noqa: E731
        return y.astype(np.float64), back

    return inside


# --- kinks -----------------------------------------------------------------------------------

relu = op(lambda x: np.maximum(x, 0), lambda x, dy: dy * (x > 0))
right("relu at 0", relu, [-1.0, 0.0, 1.0], kink=True)
right(
    "relu at 0, slope 1",
    op(lambda x: np.maximum(x, 0), lambda x, dy: dy * (x >= 0)),
    [-1.0, 0, 2],
    kink=True,
)
right(
    "relu at 0, slope 0.3",
    op(lambda x: np.maximum(x, 0), lambda x, dy: dy * ((x > 0) + 0.3 * (x == 0))),
    [[-1.0, 0.0, 1.0]],
    kink=True,
)
right("the package's relu at 0", ops.relu, [-1.0, 0.0, 0.0, 1.0], kink=True)
right("relu of zeros only", relu, np.zeros((2, 3)), kink=True)
right("relu beside 0", relu, [1e-7, -1e-7, 1e-12, 3.0])
right("abs at 0", op(np.abs, lambda x, dy: dy * np.sign(x)), [0.0, 1.0, -2.0], kink=True)
right(
    "abs at 0, slope -1",
    op(np.abs, lambda x, dy: dy * np.where(x > 0, 1, -1)),
    [0.0, 1.0],
    kink=True,
)
right(
    "clip at both ends",
    op(lambda x: np.clip(x, -1, 1), lambda x, dy: dy * (np.abs(x) <= 1)),
    [-1.0, 0.5, 1.0, 3.0],
    kink=True,
)
right(
    "leaky relu at 0",
    op(lambda x: np.where(x > 0, x, 0.1 * x), lambda x, dy: dy * np.where(x > 0, 1, 0.1)),
    [0.0, 1.0, -1.0],
    kink=True,
)


def max_first(x):
    at = x.argmax(-1)
    hot = np.eye(x.shape[-1])[at]
    return x.max(-1), lambda dy: (dy[..., None] * hot,)


def max_shared(x):
    ties = x == x.max(-1, keepdims=True)
    share = ties / ties.sum(-1, keepdims=True)
    return x.max(-1), lambda dy: (dy[..., None] * share,)


TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]])
right("tied max, the first", max_first, TIES, kink=True)
right("tied max, shared", max_shared, TIES, kink=True)
right(
    "maximum of two equal arrays",
    lambda a, b: (np.maximum(a, b), lambda dy: (dy * (a >= b), dy * (a < b))),
    [1.0, 2.0, 3.0],
    [1.0, 0.0, 4.0],
    kink=True,
)
right(
    "hinge at its corner",
    op(lambda x: np.maximum(1 - x, 0).sum(), lambda x, dy: -dy * (x < 1)),
    [1.0, 0.0, 2.0],
    kink=True,
)
right("sign, a jump at 0", op(np.sign, lambda x, dy: 0 * dy), [0.0, 1.0, -2.0])
right("round at a half", op(np.round, lambda x, dy: 0 * dy), [0.5, 1.2, 2.5])
W1, W2 = draw.standard_normal((3, 8)), draw.standard_normal((8, 2))


def feed_forward(x):
    z = x @ W1
    return np.maximum(z, 0) @ W2, lambda dy: (((dy @ W2.T) * (z > 0)) @ W1.T,)


right("feed-forward of zeros", feed_forward, np.zeros((2, 3)), kink=True)
right(
    "sorted with ties",
    lambda x: (np.sort(x), lambda dy: (dy[np.argsort(np.argsort(x))],)),
    [2.0, 1.0, 2.0],
    kink=True,
)
right(
    "sqrt of a square",
    op(lambda x: np.sqrt(x * x + 1e-12), lambda x, dy: dy * x / np.sqrt(x * x + 1e-12)),
    [1e-7, -1e-5, 0.3],
)
right("x to 1.5 at 0", op(lambda x: x**1.5, lambda x, dy: 1.5 * dy * x**0.5), [0.0, 1.0, 4.0])

# --- scales and offsets ----------------------------------------------------------------------

right("square plus 1e4", op(lambda x: x**2 + 1e4, lambda x, dy: 2 * x * dy), X)
right("square plus 1e8", op(lambda x: x**2 + 1e8, lambda x, dy: 2 * x * dy), X)
right("in and out of 1e8", op(lambda x: ((x + 1e8) - 1e8) * x, lambda x, dy: 2 * x * dy), X)
right("square at 1e6", op(np.square, lambda x, dy: 2 * x * dy), 1e6 * X)
right("square at 1e-9", op(np.square, lambda x, dy: 2 * x * dy), 1e-9 * X)
right("cube at 1e6", op(lambda x: x**3, lambda x, dy: 3 * x**2 * dy), 1e6 * X)
right("sine at 1e6", op(np.sin, lambda x, dy: np.cos(x) * dy), 1e6 * X)
right("sine of Unix times", op(np.sin, lambda x, dy: np.cos(x) * dy), [1.6e9, 1.7e9])
right(
    "sine of 1e8 x", op(lambda x: np.sin(1e8 * x), lambda x, dy: 1e8 * np.cos(1e8 * x) * dy), [0.3]
)
right("exp far apart", op(np.exp, lambda x, dy: dy * np.exp(x)), [-700.0, 0.0, 10.0, 300.0])
right("cosine at and beside its top", op(np.cos, lambda x, dy: -dy * np.sin(x)), [0.0, 1e-9, 1e-4])
right("cube at and beside 0", op(lambda x: x**3, lambda x, dy: 3 * x**2 * dy), [0.0, 1e-4, 1.0])
right(
    "a small term of a sum",
    op(lambda x: x[0] @ x[0] + 1e-7 * x[1] @ x[1], lambda x, dy: dy * 2 * x * [[1], [1e-7], [0]]),
    X,
)
right(
    "a polynomial beside its zero",
    op(lambda x: (x - 1) ** 6, lambda x, dy: 6 * dy * (x - 1) ** 5),
    [1.0, 1.0001, 2.0],
)
right("times 1e-9", op(lambda x: x * 1e-9, lambda x, dy: dy * 1e-9), X)
right(
    "times 1e6", op(lambda x: np.tanh(x) * 1e6, lambda x, dy: 1e6 * dy * (1 - np.tanh(x) ** 2)), X
)
right("log at 1e-9", op(np.log, lambda x, dy: dy / x), [1e-9, 2e-9, 1.0, 1e6])
right("reciprocal at 1e-6", op(lambda x: 1 / x, lambda x, dy: -dy / x**2), [1e-6, -2e-6])
right("x plus 1 at 1e-9", op(lambda x: x + 1, lambda x, dy: dy), 1e-9 * X)
right("exp of large numbers", op(np.exp, lambda x, dy: dy * np.exp(x)), [30.0, -30.0, 100.0])
right("softmax far apart", softmax, [[0.0, 40.0, -40.0], [1e3, 1e3, 0.0]])
right("softmax at 1e6", softmax, 1e6 + X)
right(
    "log-sum-exp at 1e6",
    op(lambda x: np.logaddexp.reduce(x), lambda x, dy: dy * softmax(x)[0]),
    1e6 + X[0],
)
right(
    "sigmoid at its ends",
    op(lambda x: 1 / (1 + np.exp(-x)), lambda x, dy: dy * np.exp(-x) / (1 + np.exp(-x)) ** 2),
    [40.0, -40.0, 0.0, 20.0],
)
right(
    "mean of 4000",
    op(np.mean, lambda x, dy: np.full(x.shape, dy / x.size)),
    draw.standard_normal(4000),
)
right("layer norm of 1 + 1e-5 noise", layer_norm(1e-8), 1 + 1e-5 * X)
right("layer norm of 1 + 1e-5 noise, no eps", layer_norm(0), 1 + 1e-5 * X)
right("layer norm of 1e6 + noise", layer_norm(1e-8), 1e6 + X)
right("layer norm of constant rows", layer_norm(1e-8), np.ones((2, 4)))
right("layer norm of zeros", layer_norm(1e-5), np.zeros((2, 4)))
right("layer norm of 1e-9", layer_norm(1e-8), 1e-9 * X)
right("layer norm of 1e6 times", layer_norm(1e-8), 1e6 * X)
right("the package's layer norm", ops.layer_norm, 1 + 1e-5 * X, np.ones(4), np.zeros(4))
right(
    "variance by squares, far out",
    op(lambda x: (x * x).mean() - x.mean() ** 2, lambda x, dy: dy * 2 * (x - x.mean()) / x.size),
    1e3 + X,
)
right("masked with -inf", op(lambda x: np.where(X > 0, x, -np.inf), lambda x, dy: dy * (X > 0)), X)
right("0 on purpose", op(lambda x: softmax(x)[0].sum(-1), lambda x, dy: 0 * x), X)
right("sizes far apart", lambda a, b: (a * b, lambda dy: (dy * b, dy * a)), 1e6 * X, 1e-9 * X)
right("no rows", op(lambda x: 2 * x, lambda x, dy: 2 * dy), np.zeros((0, 3)))


def attention_to_one_key(q, k, v):
    y, backward = softmax(q @ k.T)

    def back(dy):
        (ds,) = backward(dy @ v.T)
        ds = ds + (dy @ v.T) * (1 - y / y) + 1e-16 * dy.sum() * v.sum()  # what rounding leaves
        return ds @ k, ds.T @ q, y.T @ dy

    return y @ v, back


right("attention to one key", attention_to_one_key, X[:2], X[2:], 3 * X[:1])
right(
    "0 by cancellation",
    op(
        lambda x: softmax(x)[0].sum(-1),
        lambda x, dy: softmax(x)[1](np.broadcast_to(dy[:, None], x.shape))[0],
    ),
    X,
)
right("a slope of 1e-6 on 1e4", op(lambda x: 1e-6 * x + 1e4, lambda x, dy: 1e-6 * dy), X)

# --- float32 ---------------------------------------------------------------------------------

right("float32 arguments", softmax, X.astype(np.float32))
right("square in float32", single(op(np.square, lambda x, dy: 2 * x * dy)), X)
right("softmax in float32", single(softmax), X)
right("layer norm in float32", single(layer_norm(1e-5)), X.astype(np.float32))
right("matmul in float32", single(lambda a, b: (a @ b, lambda dy: (dy @ b.T, a.T @ dy))), X, X.T)
right("square in float32, 1e6", single(op(np.square, lambda x, dy: 2 * x * dy)), 1e6 * X)
right(
    "tanh in float32, hidden",
    hidden_single(op(np.tanh, lambda x, dy: dy * (1 - np.tanh(x) ** 2))),
    X,
)
right("relu in float32 at 0", single(relu), [0.0, 1.0, -1.0], kink=True)
right("square plus 100 in float32", single(op(lambda x: x * x + 100, lambda x, dy: 2 * x * dy)), X)

# --- functions of Tensors and modules --------------------------------------------------------

right("a sum of squares", lambda x: (x * x).sum(), X)
right("ops on one another", lambda x, w: ops.softmax(ops.relu(x @ w) + x[:, :2]), X, X.T[:, :2])
right("a Tensor used twice", lambda x: x * x + ops.exp(x), X)
right("relu of Tensors at 0", lambda x: ops.relu(x), [0.0, 1.0], kink=True)
right("a layer", Linear(4, 2, seed=0, activation="relu"), X)
right("a layer norm", LayerNorm(4), X)
LAYER = Linear(4, 2, seed=0)
right("a layer in float32", lambda x: LAYER(x), X)
