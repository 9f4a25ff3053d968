"""Wrong backward passes, as people write them, each with the diagnosis it should get.

`BUGS` holds (name, function, arguments, kind). `KINDS` says by which words a diagnosis of that kind
is known; a bug of the kind "other" has no usual name, and is only to be caught. `UNSEEN` are
bugs that were written after the diagnosis, which was not changed to fit them.
"""

from __future__ import annotations

import numpy as np

KINDS = {
    "sign": "sign is wrong",
    "factor": "a constant factor",
    "transposed": "result is transposed",
    "without .T": "without .T",
    "sum_to_shape": "sum_to_shape",
    "broadcast": "forgets the sum over the axis",
    "order": "in another order",
    "no dy": "does not use dy",
    "dy squared": "dy more than once",
    "mean": "subtracts a row's mean",
    "variance": "path through the variance",
    "norm": "path through the length",
    "softmax sum": "sum over the row of dy * y",
    "diagonal": "own input",
    "without dy": "without dy",
    "leak": "should be 0",
    "repeated": "repeated indices",
    "y for x": "where x is needed",
    "x for y": "where the result y is needed",
    "eps": "eps",
    "product": "product rule",
    "relu of dy": "dy > 0",
    "relu reversed": "wrong way round",
    "overwrites": "overwrites what it saved",
    "changes": "in place",
    "NaN": "NaN or infinity",
    "zero": "backward returns 0",
    "missing x": "a factor",
    "shift": "shifted",
    "axis": "another axis",
    "path": "are 0 and should not be",
    "state": "what the last call of forward saved",
    "layout": "how an array lies in memory",
    "memory": "the same memory each time",
    "not linear": "not linear in dy",
    "division by y": "a division by y",
    "places": "stand in other places",
    "other": "",
}
BUGS = []
UNSEEN = []


def bug(kind, *args):
    """Plant the function below, to be checked at these arguments (a tuple is a shape)."""

    def plant(function):
        draw = np.random.default_rng(len(BUGS))
        arrays = [draw.standard_normal(a) if isinstance(a, tuple) else np.array(a) for a in args]
        BUGS.append((function.__name__, function, arrays, kind))
        return function

    return plant


def unseen(kind, *args):
    """The same, into the other list."""

    def plant(function):
        bug(kind, *args)(function)
        UNSEEN.append(BUGS.pop())
        return function

    return plant


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mean(x):
    return x.mean(-1, keepdims=True)


W = np.random.default_rng(100).standard_normal((4, 4))
POSITIVE = np.random.default_rng(101).uniform(0.5, 2, (3, 4))

# --- element by element ----------------------------------------------------------------------


@bug("sign", (3, 4))
def three_minus(x):
    return 3 - x, lambda dy: (dy,)


@bug("sign", (3, 4))
def cosine_sign(x):
    return np.cos(x), lambda dy: (dy * np.sin(x),)


@bug("sign", (5,), POSITIVE[0, :1])
def sub_second_argument(a, b):
    return a - b, lambda dy: (dy, np.array([dy.sum()]))


@bug("factor", (3, 4))
def square_without_2(x):
    return x**2, lambda dy: (dy * x,)


@bug("missing x", (3, 4))
def cube_with_x(x):
    return x**3, lambda dy: (3 * x * dy,)


@bug("missing x", (3, 4))
def sigmoid_without_1_minus_y(x):
    y = sigmoid(x)
    return y, lambda dy: (dy * y,)


@bug("x for y", (3, 4))
def sigmoid_of_x(x):
    return sigmoid(x), lambda dy: (dy * x * (1 - x),)


@bug("x for y", (3, 4))
def tanh_of_x(x):
    return np.tanh(x), lambda dy: (dy * (1 - x**2),)


@bug("y for x", POSITIVE)
def log_of_y(x):
    y = np.log(x)
    return y, lambda dy: (dy / y,)


@bug("y for x", (3, 4))
def exp_twice(x):
    y = np.exp(x)
    return y, lambda dy: (dy * np.exp(y),)


@bug("y for x", (3, 4))
def square_in_place(x):
    y = x**2
    return y, lambda dy: (2 * y * dy,)


@bug("no dy", (3, 4))
def tanh_without_dy(x):
    y = np.tanh(x)
    return y, lambda dy: (1 - y**2,)


@bug("dy squared", (3, 4))
def exp_dy_twice(x):
    y = np.exp(x)
    return y, lambda dy: (dy * (dy * y),)


@bug("relu of dy", (3, 4))
def relu_by_dy(x):
    return np.maximum(x, 0), lambda dy: (dy * (dy > 0),)


@bug("relu reversed", (3, 4))
def relu_reversed(x):
    return np.maximum(x, 0), lambda dy: (dy * (x < 0),)


@bug("leak", (3, 4))
def relu_of_y_at_least_0(x):
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * (y >= 0),)


@bug("leak", (3, 4))
def clip_lets_through(x):
    return np.clip(x, -0.5, 0.5), lambda dy: (dy,)


@bug("factor", (3, 4))
def inverted_dropout_without_scale(x):
    keep = np.random.default_rng(5).random(x.shape) < 0.6
    return x * keep / 0.6, lambda dy: (dy * keep,)


@bug("leak", (3, 4))
def dropout_without_mask(x):
    keep = np.random.default_rng(5).random(x.shape) < 0.6
    return x * keep / 0.6, lambda dy: (dy / 0.6,)


@bug("product", (3, 4))
def silu_first_term_only(x):
    s = sigmoid(x)
    return x * s, lambda dy: (dy * s,)


@bug("product", (3, 4))
def silu_second_term_only(x):
    s = sigmoid(x)
    return x * s, lambda dy: (dy * x * s * (1 - s),)


@bug("product", (3, 4))
def softsign_without_quotient_rule(x):
    return x / (1 + x**2), lambda dy: (dy / (1 + x**2),)


@bug("product", POSITIVE)
def entropy_term(x):
    return x * np.log(x), lambda dy: (dy * np.log(x),)


@bug("order", (3, 4), (3, 4))
def product_in_order_of_factors(a, b):
    return a * b, lambda dy: (dy * a, dy * b)


@bug("missing x", (3, 4), POSITIVE)
def quotient_without_the_square(a, b):
    return a / b, lambda dy: (dy / b, -dy * a / b)


@bug("sign", (3, 4), POSITIVE)
def quotient_without_minus(a, b):
    return a / b, lambda dy: (dy / b, dy * a / b**2)


@bug("sum_to_shape", (3, 4), (4,))
def bias_without_sum(x, b):
    return x + b, lambda dy: (dy, dy)


@bug("factor", (3, 4), (4,))
def bias_mean(x, b):
    return x + b, lambda dy: (dy, dy.mean(0))


@bug("broadcast", (3, 4), (4,))
def bias_last_row(x, b):
    return x + b, lambda dy: (dy, dy[-1])


@bug("NaN", [[0.0, 1.0, -2.0]])
def abs_by_division(x):
    with np.errstate(invalid="ignore"):
        return np.abs(x), lambda dy: (dy * x / np.abs(x),)


# --- matrices --------------------------------------------------------------------------------


@bug("without .T", (4, 4), (4, 4))
def matmul_da_without_T(a, b):
    return a @ b, lambda dy: (dy @ b, a.T @ dy)


@bug("without .T", (4, 4), (4, 4))
def matmul_db_without_T(a, b):
    return a @ b, lambda dy: (dy @ b.T, a @ dy)


@bug("without .T", (3, 4))
def linear_closed_over_W_without_T(x):
    return x @ W, lambda dy: (dy @ W,)


@bug("transposed", (4, 4), (4, 4))
def linear_dW_transposed(x, w):
    return x @ w, lambda dy: (dy @ w.T, dy.T @ x)


@bug("order", (4, 4), (4, 4))
def matmul_order(a, b):
    return a @ b, lambda dy: (a.T @ dy, dy @ b.T)


@bug("transposed", (4, 4))
def transpose_forgets_itself(x):
    return x.T.copy(), lambda dy: (dy,)


@bug("product", (3, 4))
def gram_one_side(x):
    return x @ x.T, lambda dy: (dy @ x,)


@bug("product", (4,))
def quadratic_form_one_side(x):
    return x @ W @ x, lambda dy: (dy * (W @ x),)


@bug("without .T", (4, 4), (4, 4))
def weighted_values_without_T(p, v):
    return p @ v, lambda dy: (dy @ v.T, p @ dy)


@bug("factor", (3, 4), (3, 4))
def attention_scores_without_scale(q, k):
    return q @ k.T / 2, lambda dy: (dy @ k, dy.T @ q)


# --- sums, means, rows -----------------------------------------------------------------------


@bug("factor", (3, 4))
def mean_without_n(x):
    return x.mean(), lambda dy: (np.full_like(x, 1) * dy,)


@bug("factor", (4000,))
def mean_of_n_plus_1(x):
    return x.mean(), lambda dy: (np.full_like(x, dy / (x.size + 1)),)


@bug("factor", (3, 4))
def small_scale_five_times(x):
    return x * 1e-9, lambda dy: (dy * 5e-9,)


@bug("transposed", (3, 3))
def sum_over_rows_given_to_columns(x):
    return x.sum(0), lambda dy: (np.broadcast_to(dy[:, None], x.shape),)


@bug("without .T", (5,))
def cumsum_not_reversed(x):
    return np.cumsum(x), lambda dy: (np.cumsum(dy),)


@bug("shift", (6,))
def difference_shifted(x):
    def backward(dy):
        dx = np.zeros_like(x)
        dx[:-1] = dy
        return (dx,)

    return 2 * x[1:], lambda dy: (2 * backward(dy)[0],)


@bug("repeated", (4, 3))
def gather_assigns(table):
    ids = np.array([1, 3, 1, 0, 3])

    def backward(dy):
        dtable = np.zeros_like(table)
        dtable[ids] = dy
        return (dtable,)

    return table[ids], backward


@bug("other", (3, 5))
def max_to_every_column(x):
    return x.max(-1), lambda dy: (np.repeat(dy[:, None], 5, 1) / 5,)


@bug("softmax sum", (3, 5))
def softmax_diagonal(x):
    y = softmax(x)
    return y, lambda dy: (dy * y,)


@bug("diagonal", (3, 5))
def softmax_y_1_minus_y(x):
    y = softmax(x)
    return y, lambda dy: (dy * y * (1 - y),)


@bug("softmax sum", (3, 5))
def softmax_sum_over_all(x):
    y = softmax(x)
    return y, lambda dy: (y * (dy - (dy * y).sum()),)


@bug("without dy", (3, 5))
def log_softmax_without_sum_of_dy(x):
    y = softmax(x)
    return np.log(y), lambda dy: (dy - y,)


@bug("mean", (3, 5))
def layer_norm_without_mean(x):
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    xhat = (x - mean(x)) * rstd
    return xhat, lambda dy: (rstd * (dy - xhat * mean(dy * xhat)),)


@bug("variance", (3, 5))
def layer_norm_constant_variance(x):
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    xhat = (x - mean(x)) * rstd
    return xhat, lambda dy: (rstd * (dy - mean(dy)),)


@bug("eps", 0.05 * np.random.default_rng(8).standard_normal((3, 5)))
def layer_norm_backward_without_eps(x):
    var = x.var(-1, keepdims=True)
    xhat = (x - mean(x)) / np.sqrt(var + 1e-5)
    xh = (x - mean(x)) / np.sqrt(var)
    return xhat, lambda dy: ((dy - mean(dy) - xh * mean(dy * xh)) / np.sqrt(var),)


@bug("variance", (6, 3))
def batch_norm_constant_variance(x):
    std = np.sqrt(x.var(0) + 1e-5)
    return (x - x.mean(0)) / std, lambda dy: ((dy - dy.mean(0)) / std,)


@bug("norm", (3, 5))
def normalise_constant_length(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / length, lambda dy: (dy / length,)


@bug("norm", (3, 5))
def rms_norm_constant_rms(x):
    rms = np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x / rms, lambda dy: (dy / rms,)


@bug("eps", 1e-3 * np.random.default_rng(9).standard_normal((3, 5)) ** 2)
def log_backward_without_eps(x):
    return np.log(x + 1e-6), lambda dy: (dy / x,)


# --- the code around the formula -------------------------------------------------------------


@bug("overwrites", (3, 4))
def tanh_overwrites_saved(x):
    y = np.tanh(x)
    slope = 1 - y**2

    def backward(dy):
        dx = slope
        dx *= dy
        return (dx,)

    return y, backward


@bug("changes", (3, 4))
def masks_dy_in_place(x):
    def backward(dy):
        dy[x <= 0] = 0
        return (dy,)

    return np.maximum(x, 0), backward


@bug("zero", (3, 4))
def scale_and_detach(x):
    y = x * 1
    return y * y, lambda dy: (np.zeros_like(x),)


@bug("path", (3, 4))
def residual_first_column_lost(x):
    def backward(dy):
        dx = dy * 2
        dx[:, 0] = 0
        return (dx,)

    return x + x, backward


SAVED = {}
BUFFER = np.empty((3, 4))


@bug("state", (3, 4))
def cube_saves_x_outside(x):
    SAVED["x"] = x.copy()
    return x**3, lambda dy: (3 * SAVED["x"] ** 2 * dy,)


@bug("state", (3, 4))
def relu_saves_its_mask_outside(x):
    SAVED["mask"] = x > 0
    return np.maximum(x, 0), lambda dy: (dy * SAVED["mask"],)


@bug("memory", (3, 4))
def sine_into_a_buffer(x):
    def backward(dy):
        np.multiply(dy, np.cos(x), out=BUFFER)
        return (BUFFER,)

    return np.sin(x), backward


@bug("layout", (3, 4))
def double_in_the_order_of_memory(x):
    return 2 * x, lambda dy: (2 * dy.ravel(order="K").reshape(x.shape),)


@bug("layout", (3, 4))
def double_of_contiguous_x_only(x):
    return 2 * x, lambda dy: ((2 if x.flags.c_contiguous else 3) * dy,)


@bug("not linear", (3, 4))
def sine_clips_dy(x):
    return np.sin(x), lambda dy: (np.clip(dy, -5, 5) * np.cos(x),)


@bug("division by y", (3, 4))
def std_without_the_division(x):
    centred = x - mean(x)
    return x.std(-1), lambda dy: (dy[:, None] * centred / 4,)


@bug("places", (3, 4))
def reshape_in_another_order(x):
    return x.reshape(6, 2), lambda dy: (dy.reshape(3, 4, order="F"),)


# --- entries of very different sizes ---------------------------------------------------------


@bug("path", [0.0, 1.0, 2.0, 20.0])
def exp_lost_below_5(x):
    return np.exp(x), lambda dy: (dy * np.exp(x) * (x > 5),)


@bug("other", [1e-3, 0.1, 0.7, 1.0])
def reciprocal_with_a_wrong_sign(x):
    return 1 / x, lambda dy: (np.where(x > 0.5, 1, -1) * dy / x**2,)


@bug("other", [0.01, 0.1, 100.0, 1000.0])
def cube_ten_times_too_steep_below_1(x):
    return x**3, lambda dy: (dy * 3 * x**2 * np.where(x < 1, 10, 1),)


@bug("path", (3, 4))
def one_row_of_a_table_lost(x):
    return x * [[1e7], [1], [1]], lambda dy: (dy * [[1e7], [1], [0]],)


@bug("other", (2, 4))
def a_small_term_of_a_sum_lost(x):
    a, b = x
    return (a @ a) + 1e-7 * (b @ b), lambda dy: (dy * np.stack([2 * a, 0 * b]),)


@bug("zero", 1e6 * POSITIVE, 1e-9 * POSITIVE)
def the_small_one_of_two_lost(a, b):
    return a + b, lambda dy: (dy, 0 * dy)


@bug("sign", [1e-6, 0.5, 2.0, 3.0])
def log_with_a_wrong_sign(x):
    return np.log(x), lambda dy: (-dy / x,)


# --- written afterwards ------------------------------------------------------------------------


@unseen("factor", (4, 5))
def bce_sum_instead_of_mean(s):
    t = (np.arange(20).reshape(4, 5) % 2).astype(float)
    return (np.logaddexp(0, s) - t * s).mean(), lambda dy: (dy * (sigmoid(s) - t),)


@unseen("other", (4, 5))
def bce_without_target(s):
    t = (np.arange(20).reshape(4, 5) % 2).astype(float)
    return (np.logaddexp(0, s) - t * s).sum(), lambda dy: (dy * sigmoid(s),)


@unseen("other", (4, 5))
def ce_without_onehot(s):
    t = np.array([0, 3, 1, 4])
    p = softmax(s)
    return -np.log(p[np.arange(4), t]), lambda dy: (dy[:, None] * p,)


@unseen("factor", (4, 6))
def gelu_tanh_wrong_constant(x):
    c = np.sqrt(2 / np.pi)
    u = c * (x + 0.044715 * x**3)
    t = np.tanh(u)
    return 0.5 * x * (1 + t), lambda dy: (
        dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 0.044715 * x * x)),
    )


@unseen("product", (4, 6))
def gelu_lost_term(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), lambda dy: (dy * 0.5 * (1 + t),)


@unseen("without .T", (3, 3), (3, 3), (3, 3))
def attention_dk(q, k, v):
    p = softmax(q @ k.T / np.sqrt(3))

    def b(dy):
        dp = dy @ v.T
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(3)
        return ds @ k, ds @ q, p.T @ dy

    return p @ v, b


@unseen("softmax sum", (3, 2), (3, 2), (3, 2))
def attention_softmax(q, k, v):
    p = softmax(q @ k.T)

    def b(dy):
        ds = p * (dy @ v.T)
        return ds @ k, ds.T @ q, p.T @ dy

    return p @ v, b


@unseen("leak", (4, 4))
def causal_mask(s):
    m = np.tril(np.ones((4, 4)))
    return s * m, lambda dy: (dy,)


@unseen("broadcast", (2, 3, 4), (3, 1))
def scale_sum_one_axis(x, g):
    return x * g, lambda dy: (dy * g, (dy * x).sum(-1, keepdims=True)[0])


@unseen("variance", (4, 6))
def layer_norm_d_minus_1(x):
    m = x.mean(-1, keepdims=True)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-8)
    h = (x - m) * r
    return h, lambda dy: (
        r * (dy - dy.mean(-1, keepdims=True) - h * (dy * h).sum(-1, keepdims=True) / 5),
    )


@unseen("missing x", (3, 4))
def sqrt_without_x(x):
    y = np.sqrt(x * x + 1)
    return y, lambda dy: (dy / y,)


@unseen("sign", (5,), (5,))
def distance_second(a, b):
    d = a - b
    return (d * d).sum(), lambda dy: (2 * d * dy, 2 * d * dy)


@unseen("order", (2, 3), (2, 3))
def concat_order(a, b):
    return np.concatenate([a, b], 0), lambda dy: (dy[2:], dy[:2])


@unseen("overwrites", (3, 4))
def dropout_scales_mask_each_time(x):
    m = (np.arange(12).reshape(3, 4) % 3 > 0).astype(float)

    def b(dy):
        nonlocal m
        m = m / 0.7
        return (dy * m,)

    return x * m / 0.7, b


@unseen("y for x", (3, 4))
def softplus_of_y(x):
    y = np.log1p(np.exp(x))
    return y, lambda dy: (dy * sigmoid(y),)


@unseen("shift", (5, 2))
def previous_row(x):
    y = np.zeros_like(x)
    y[1:] = x[:-1]

    def b(dy):
        dx = np.zeros_like(dy)
        dx[1:] = dy[:-1]
        return (dx,)

    return y, b
