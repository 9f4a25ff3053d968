"""The gradient check itself: right gradients pass, and bugs planted in every op are found."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from planted_bugs import BUGS, KINDS, UNSEEN
from right_ops import RIGHT

from minisasrec import ops
from minisasrec.autograd.diagnosis import diagnose
from minisasrec.autograd.differences import one_sided
from minisasrec.autograd.gradcheck import find_mismatches, gradcheck, numeric_jacobian
from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw
from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import ConfigError, GradientError, ShapeError
from minisasrec.nn.layers import Embedding, LayerNorm, Linear

rng = np.random.default_rng(0)


# --- planted bugs ----------------------------------------------------------------------------


def replace(i, change):
    """A mutant: gradient i changed, the others as they are."""

    def mutate(gradients):
        return (*gradients[:i], change(gradients[i]), *gradients[i + 1 :])

    return mutate


def without_the_last(g):
    g = g.copy()
    g[-1:] = 0
    return g


SINGLE = {
    "zero": np.zeros_like,
    "sign": np.negative,
    "factor": lambda g: g * 1.01,
    "drop the last": without_the_last,
    "row constant": lambda g: g + 0.1 * g.sum(-1, keepdims=True),
    "NaN": lambda g: g * np.nan,
    "one entry": lambda g: g + 0.01 * np.eye(1, g.size, g.size // 2).reshape(g.shape),
}


def mutants(shapes):
    """(name, function from right gradients to wrong ones) for arguments of these shapes."""
    for i, shape in enumerate(shapes):
        for name, change in SINGLE.items():
            if shape or name not in ("drop the last", "row constant"):
                yield f"{name} {i}", replace(i, change)
        if len(shape) >= 2 and shape[-1] == shape[-2]:
            yield f"transpose {i}", replace(i, lambda g: g.swapaxes(-1, -2))
        for j in range(i):
            if shapes[j] == shape:
                swap = list(range(len(shapes)))
                swap[i], swap[j] = j, i
                yield f"swap {j} {i}", lambda g, swap=swap: tuple(g[k] for k in swap)


def planted(op, mutate):
    """The op with its backward replaced, and a list that becomes non-empty if that mattered."""
    mattered = []

    def function(*args, **constants):
        y, backward = op.definition(*args, **constants)

        def wrong(dy):
            right = backward(dy)
            mutated = mutate(right)
            if not all(np.allclose(a, b, 1e-3, 1e-5) for a, b in zip(mutated, right, strict=True)):
                mattered.append(True)
            return mutated

        return y, wrong

    return function, mattered


def bugs_found(op, args, constants, monkeypatch):
    """The kinds of bugs that were planted in this op and mattered; all must be found."""
    gradcheck(op.definition, *args, **constants)
    # the forward pass is the same in all mutants: differentiate it once; names are not asked for
    forward = [
        one_sided(lambda *a: op.definition(*a, **constants)[0], args, i, 1e-5)
        for i in range(len(args))
    ]
    found = set()
    with monkeypatch.context() as patch:
        module = sys.modules["minisasrec.autograd.gradcheck"]
        patch.setattr(module, "one_sided", lambda f, a, i, step: forward[i])
        patch.setattr(module, "diagnose_evidence", lambda evidence: "")
        for name, mutate in mutants([a.shape for a in args]):
            function, mattered = planted(op, mutate)
            mismatches = find_mismatches(function, *args, **constants)
            if mattered:
                assert mismatches, f"{op.name}: the check lets this bug through: {name}"
                found.add(name.split()[0])
    return found


@pytest.mark.parametrize("op", [pytest.param(op, id=op.name) for op in OPS.values()])
def test_every_planted_bug_is_found(op, monkeypatch):
    square = {"lead0": 3, "lead1": 3, "n": 3, "d": 3, "k": 3, "m": 3, "T": 3, "V": 3, "d_head": 1}
    found = bugs_found(op, *op.sample(Draw(7)), monkeypatch)
    found |= bugs_found(op, *op.sample(Draw(6, **square)), monkeypatch)
    assert {"zero", "sign", "factor", "NaN", "one"} <= found


def test_bugs_of_every_kind_were_planted():
    names = {name.rsplit(" ", 1)[0] for name, _ in mutants([(3, 3), (3, 3), ()])}
    assert names == {*SINGLE, "transpose", "swap 0"}


# --- why the cotangent is random -------------------------------------------------------------


def softmax_returning_zero(x):
    y, _ = ops.softmax.definition(x)
    return y, lambda dy: (np.zeros_like(x),)


def softmax_minus_the_plain_mean(x):
    y, _ = ops.softmax.definition(x)
    return y, lambda dy: (y * (dy - dy.mean(-1, keepdims=True)),)


def layer_norm_returning_zero(x):
    y, _ = ops.layer_norm.definition(x, np.ones(x.shape[-1]), np.zeros(x.shape[-1]))
    return y, lambda dy: (np.zeros_like(x),)


def layer_norm_without_the_third_term(x):
    mean, rstd = x.mean(-1, keepdims=True), 1 / x.std(-1, keepdims=True)
    return (x - mean) * rstd, lambda dy: (rstd * (dy - dy.mean(-1, keepdims=True)),)


CLASSICS = [
    softmax_returning_zero,
    softmax_minus_the_plain_mean,
    layer_norm_returning_zero,
    layer_norm_without_the_third_term,
]


@pytest.mark.parametrize("wrong", CLASSICS)
def test_ones_hide_what_a_random_cotangent_shows(wrong):
    x = np.random.default_rng(1).standard_normal((3, 5))
    y, backward = wrong(x)
    (jacobian,) = [numeric_jacobian(lambda x: wrong(x)[0], [x], 0)]  # of loss = y.sum():
    np.testing.assert_allclose(backward(np.ones_like(y))[0], jacobian.sum(0), atol=1e-8)
    with pytest.raises(GradientError, match=wrong.__name__):
        gradcheck(wrong, x)


def test_an_error_of_one_in_ten_thousand_in_one_entry_of_many():
    # one random direction would see the sum of 1,600 entries, this one lost among them
    for seed in range(10):
        draw = np.random.default_rng(seed)
        W, x = draw.standard_normal((40, 40)), draw.standard_normal(40)
        at = tuple(draw.integers(0, 40, 2))
        wrong = W.copy()
        wrong[at] *= 1 + 1e-4
        gradcheck(lambda x, W=W: (W @ x, lambda dy: (W.T @ dy,)), x)
        (mismatch,) = find_mismatches(lambda x, W=W, V=wrong: (W @ x, lambda dy: (V.T @ dy,)), x)
        assert np.abs(mismatch.analytic - mismatch.numeric).argmax() == at[1]


def test_an_error_that_cancels_in_the_sum_over_outputs():
    # d y_0/dx and d y_1/dx are both wrong; under this op's own scale they cancel for ones
    def function(x):
        return np.stack([x, 2 * x]), lambda dy: (dy[0] * 1.5 + dy[1] * 1.5,)

    with pytest.raises(GradientError):
        gradcheck(function, np.array([1.0, 2.0]))


def test_right_gradients_pass_whatever_the_seed():
    for seed in range(5):
        args, constants = ops.linear.sample(Draw(seed))
        gradcheck(ops.linear.definition, *args, seed=seed, **constants)
        gradcheck(lambda x: (np.float64(3.0), lambda dy: (np.zeros_like(x),)), rng.normal(size=2))


# --- what it says ----------------------------------------------------------------------------


def cube(change):
    """y = x^3 with a changed gradient."""

    def cube_op(x):
        return x**3, lambda dy: (change(dy * 3 * x * x),)

    return cube_op


X = np.random.default_rng(3).standard_normal((3, 3)) + 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: -g, "Likely: the sign is wrong"),
        (lambda g: g * 2, "every entry is 2 times what it should be: a constant factor is wrong"),
        (lambda g: g / 3, "every entry is 0.3333 times"),
        (lambda g: g * 0, "backward returns 0: a path from this argument to the result is missing"),
        (lambda g: g * np.nan, "NaN or infinity"),
        (lambda g: np.where(g > g.mean(), np.nan, g), "NaN or infinity"),
        (lambda g: g.T, "the result is transposed"),
        (lambda g: -g.T, "the result is transposed and its sign is wrong"),
        (lambda g: g + g.sum(-1, keepdims=True), "right up to a constant per row"),
        (without_the_last, "3 of 9 entries are 0 and should not be: a path is missing"),
        (lambda g: g * (1 + np.eye(3)), "3 of 9 entries are wrong, the others right"),
        (lambda g: g * np.arange(1, 10).reshape(3, 3), "no usual mistake fits"),
        (lambda g: g + np.eye(3), "a term of dx is there without dy"),
        (lambda g: g + g**3, "not linear in dy"),
    ],
)
def test_the_diagnosis(change, says):
    with pytest.raises(GradientError) as caught:
        gradcheck(cube(change), X)
    assert says in str(caught.value)
    assert str(caught.value).startswith("cube_op: gradient of argument 0 (3, 3) is wrong at (")
    assert "\n" not in str(caught.value)


def test_the_diagnosis_of_ids_assigned_instead_of_added():
    def gather(table):
        ids = np.array([0, 2, 0, 1])

        def backward(dy):
            dtable = np.zeros_like(table)
            dtable[ids] += dy  # the second gradient of row 0 overwrites the first
            return (dtable,)

        return table[ids], backward

    with pytest.raises(GradientError, match="repeated indices were assigned instead of added"):
        gradcheck(gather, rng.normal(size=(3, 2)))


def test_the_diagnosis_of_layer_norm_without_its_mean():
    def no_mean(x):
        rstd = 1 / x.std(-1, keepdims=True)
        xhat = (x - x.mean(-1, keepdims=True)) * rstd
        return xhat, lambda dy: (rstd * (dy - xhat * (dy * xhat).mean(-1, keepdims=True)),)

    with pytest.raises(GradientError, match="subtracts a row's mean .softmax, layer norm. is miss"):
        gradcheck(no_mean, rng.normal(size=(2, 4)))


@pytest.mark.parametrize(
    "slope", [lambda x: np.cos(x) * (1 + 5e-6 * x), lambda x: np.cos(x) * (1 + 3e-6 * x**2)]
)
def test_a_guess_must_explain_the_error(slope):
    said = message(lambda x: (np.sin(x), lambda dy: (dy * slope(x),)), [X])
    assert "no usual mistake fits" in said  # the Jacobian is nearly its own transpose


def test_a_guess_in_float32_must_explain_the_error():
    def tanh(x):
        y = np.tanh(x.astype(np.float32)).astype(float)
        return y, lambda dy: (1.001 * dy * (1 - np.tanh(x) ** 2),)

    assert "is wrong at" in (said := message(tanh, [X - 3]))
    assert "without .T" not in said


def test_numbers_near_the_end_of_the_domain_do_not_hide_the_mistake():
    at = [np.array([1e-6, 0.5, 2.0, 3.0])]
    said = message(lambda x: (np.sqrt(x), lambda dy: (dy / np.sqrt(x),)), at)
    assert "every entry is 2 times" in said
    assert "nan" not in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda mask: mask.fill(1), "backward changes mask in place; work on a copy"),
        (lambda mask: mask.sort(), "backward changes mask in place; work on a copy"),
    ],
)
def test_a_backward_that_changes_a_constant(change, says):
    def masked(x, *, mask):
        def backward(dy):
            dx = dy * mask
            change(mask)
            return (dx,)

        return x * mask, backward

    with pytest.raises(GradientError, match=says):
        gradcheck(masked, np.ones(3), mask=np.array([1, 0, 1]))


def test_the_worst_entry_and_both_numbers_are_named():
    wrong = cube(lambda g: g + np.array([0.0, 0.0, 5.0]))
    (mismatch,) = find_mismatches(wrong, np.array([1.0, 2.0, 3.0]))
    assert "argument 0 (3,) is wrong at (2,)" in str(mismatch)
    assert f"backward says {mismatch.analytic[2]:.6g}" in str(mismatch)
    assert f"finite differences say {mismatch.numeric[2]:.6g}" in str(mismatch)


def test_every_wrong_argument_is_named():
    def product(a, b):
        return a * b, lambda dy: (dy * a, dy * b)

    with pytest.raises(GradientError, match="argument 0 .*; product: gradient of argument 1 "):
        gradcheck(product, rng.normal(size=3), rng.normal(size=3))


def test_arguments_of_an_op_go_by_their_names():
    args, constants = ops.layer_norm.sample(Draw(0))
    wrong, _ = planted(ops.layer_norm, replace(1, np.negative))
    broken = Op(wrong, ops.layer_norm.signature.text, "", None)  # in no registry
    with pytest.raises(GradientError, match="^function: gradient of gamma .*sign is wrong"):
        gradcheck(broken, *args, **constants)


def test_diagnose_on_its_own():
    want = np.arange(1.0, 7.0).reshape(2, 3)
    assert diagnose(want * 0.5, want).startswith("every entry is 0.5 times what it should be")
    assert diagnose(np.array(-2.0), np.array(2.0)) == "the sign is wrong"


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda dy: dy, "must return a tuple of 1 gradients, one per positional argument; got nda"),
        (lambda dy: (dy, dy), "tuple of 1 gradients, one per positional argument; got 2"),
        (lambda dy: (), "got 0"),
        (lambda dy: (dy.sum(0),), r"has shape \(3,\), the argument \(2, 3\)"),
        (lambda dy: (1.0,), r"has shape \(\), the argument \(2, 3\)"),
    ],
)
def test_a_wrong_number_or_shape_of_gradients(returned, says):
    with pytest.raises(GradientError, match=says):
        gradcheck(lambda x: (x * 2, returned), rng.normal(size=(2, 3)))


def test_the_numeric_jacobian():
    (a, b) = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    J = numeric_jacobian(lambda a, b: a @ b, [a, b], 1)
    assert J.shape == (4, 3, 2)
    want = np.einsum("ik,jl->ijkl", a, np.eye(2)).reshape(4, 3, 2)
    np.testing.assert_allclose(J, want, atol=1e-9)
    assert numeric_jacobian(lambda x: x, [np.zeros((0, 2))], 0).shape == (0, 0, 2)


# --- bugs that people write ------------------------------------------------------------------


def sigmoid_without_dy(x):
    y = 1 / (1 + np.exp(-x))
    return y, lambda dy: (y * (1 - y),)


def softmax_without_its_sum(x):
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return y, lambda dy: (y * dy,)


def relu_that_lets_too_much_through(x):
    return np.maximum(x, 0), lambda dy: (dy * (x > -9),)


def logarithm_of_a_negative_number(x):
    with np.errstate(invalid="ignore"):
        return np.log(-np.abs(x)), lambda dy: (dy / x,)


def changes_x(x):
    x *= 2
    return x, lambda dy: (2 * dy,)


def changes_dy(x):
    def backward(dy):
        dy *= 2
        return (dy,)

    return 2 * x, backward


def another_mask_each_time(x):
    keep = rng.random(x.shape) < 0.5
    return x * keep, lambda dy: (dy * keep,)


def half_precision(x):
    x = x.astype(np.float16)
    return x * x, lambda dy: (2 * x * dy,)


def another_mask_each_time_backward(x):
    return 2 * x, lambda dy: (2 * dy * (rng.random(x.shape) < 0.5),)


def changes_y(x):
    y = 2 * x

    def backward(dy):
        np.multiply(dy, 2, out=y)
        return (2 * dy,)

    return y, backward


def changes_x_on_the_way_back(x):
    def backward(dy):
        x[:] = 2 * dy
        return (2 * dy,)

    return 2 * x, backward


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (sigmoid_without_dy, "Likely: backward does not use dy"),
        (softmax_without_its_sum, "y times the sum over the row of dy"),
        (relu_that_lets_too_much_through, "Likely: . of 6 entries should be 0: .*ReLU"),
        (logarithm_of_a_negative_number, "the function itself is NaN here; check"),
        (changes_x, "changes_x: changes argument 0 in place"),
        (changes_dy, "changes_dy: backward changes dy in place"),
        (another_mask_each_time, "gives another result each time"),
        (another_mask_each_time_backward, "backward gives another gradient each time"),
        (changes_y, "changes_y: backward changes the result y in place"),
        (changes_x_on_the_way_back, "backward changes argument 0 in place"),
        (half_precision, "half_precision: returns float16, too coarse for finite differences"),
        (np.exp, "np.exp does not see through a Tensor; use an op of minisasrec.ops"),
        (lambda x: np.ones(2), "must return its result and a function, .*ndarray"),
        (lambda x: (2 * x, lambda dy: (None,)), "the gradient of argument 0 is None"),
    ],
)
def test_bugs_that_people_write(function, says):
    with pytest.raises(GradientError, match=says):
        gradcheck(function, rng.normal(size=(2, 3)))


def test_gradients_in_another_order():
    def product(a, b):
        return a @ b, lambda dy: (a.T @ dy, dy @ b.T)

    with pytest.raises(GradientError, match="this is the gradient of argument 1: .*another order"):
        gradcheck(product, rng.normal(size=(3, 3)), rng.normal(size=(3, 3)))


# --- sixty bugs, each with its name ----------------------------------------------------------


def message(function, args):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            gradcheck(function, *args)
        except GradientError as error:
            return str(error)
    return ""


NAMED = [bug for bug in BUGS if bug[3] != "other"]


@pytest.mark.parametrize(
    ("function", "args", "kind"), [pytest.param(*rest, id=name) for name, *rest in NAMED]
)
def test_the_name_of_a_mistake(function, args, kind):
    said = message(function, args)
    assert KINDS[kind] in said
    assert "\n" not in said


def counts(bugs):
    """(how many, how many are caught, how many get the right name)"""
    said = [message(function, args) for _, function, args, _ in bugs]
    named = [
        KINDS[kind] in text and kind != "other" for text, (*_, kind) in zip(said, bugs, strict=True)
    ]
    return len(bugs), sum(map(bool, said)), sum(named)


def test_how_many_bugs_are_caught_and_named():
    assert counts(BUGS) == (78, 78, 74)
    assert counts(UNSEEN) == (16, 16, 10)


# --- no false alarm --------------------------------------------------------------------------

CASES = [pytest.param(*rest, id=name) for name, *rest in RIGHT]


@pytest.mark.parametrize(("function", "args", "kink"), CASES)
def test_a_right_gradient_passes(function, args, kink):
    with warnings.catch_warnings(record=True) as notes, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        gradcheck(function, *args)
    assert any("a kink in" in str(note.message) for note in notes) == kink


def test_there_are_enough_of_them():
    assert len(RIGHT) >= 40


@pytest.mark.parametrize(
    "coarse", [lambda x: (x + 1e12) - 1e12, lambda x: x.astype(np.float16).astype(float)]
)
def test_a_right_gradient_passes_however_coarse_the_function(coarse):
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(3, 4))
        with pytest.warns(UserWarning, match="differences say little about"):
            gradcheck(lambda x: (coarse(x), lambda dy: (dy,)), x)
        assert "is wrong at" in message(lambda x: (coarse(x), lambda dy: (-dy,)), [x])


def test_a_function_may_refuse_arrays_with_gaps():
    def double(x):
        if not x.flags.c_contiguous:
            raise TypeError("takes float64[:, ::1] only")
        return 2 * x, lambda dy: (2 * dy,)

    gradcheck(double, X)


def made_wrong(function, by):
    def wrong(*args):
        y, backward = function(*args)
        return y, lambda dy: tuple(by * g for g in backward(dy))

    return wrong


@pytest.mark.parametrize("by", [-1, 1.01])
@pytest.mark.parametrize(("function", "args", "kink"), CASES)
def test_the_same_made_wrong_fails(function, args, kink, by):
    if isinstance(function, Op):
        function = function.definition
    with np.errstate(all="ignore"):
        returned = function(*[np.array(a, dtype=float) for a in args]) if args else None
        if not isinstance(returned, tuple):
            pytest.skip("a function of Tensors")
        y, backward = returned
        gradients = backward(rng.normal(size=np.shape(y)))
        if not any(np.any(np.abs(g) > 1e-14) for g in gradients):
            pytest.skip("its gradient is 0, or the rounding of 0")
    assert "is wrong at" in message(made_wrong(function, by), args)


def test_a_kink_is_told_with_the_slopes_on_both_sides():
    with pytest.warns(UserWarning, match=r"a kink in x at \(1,\): .* two sides are 0 and 1, and"):
        gradcheck(ops.relu, np.array([-1.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    "slope",
    [
        lambda x: np.where(x == 0, -0.1, x > 0),  # beyond the left slope
        lambda x: np.where(x == 0, 1.1, x > 0),  # beyond the right one
        lambda x: np.where(x == 2, 0.9, x > 0),  # wrong beside the kink
        lambda x: 0 * x,
    ],
)
def test_a_wrong_gradient_at_or_beside_a_kink_is_caught(slope):
    x = np.array([-1.0, 0.0, 2.0])
    assert "is wrong at" in message(lambda x: (np.maximum(x, 0), lambda dy: (dy * slope(x),)), [x])


@pytest.mark.parametrize("share", [0, 1])
def test_tied_maxima_must_share_the_gradient(share):
    def max_to_all(x):
        return x.max(), lambda dy: (dy * share * (x == x.max()),)

    assert "is wrong at" in message(max_to_all, [np.array([1.0, 3.0, 3.0])])
    assert "is wrong at" in message(
        lambda a, b: (np.maximum(a, b), lambda dy: (share * dy * (a >= b), share * dy * (b >= a))),
        [np.ones(2), np.ones(2)],
    )


def test_slopes_beside_a_kink_are_told_apart_from_those_at_it():
    def relu_left_of_0(x):
        return np.maximum(x, 0), lambda dy: (dy * (x > -1e-3),)

    assert "should be 0" in message(relu_left_of_0, [np.array([-1e-4, 1.0, -2.0])])


# --- functions of Tensors, modules -----------------------------------------------------------


def test_functions_of_tensors():
    a = rng.normal(size=(3, 4))
    gradcheck(lambda x: (x * x).sum(), a)
    gradcheck(lambda x, w: ops.softmax(x @ w), a, a.T.copy())
    gradcheck(lambda x, scale: x * scale, a, scale=3.0)

    def detached(x):
        return x * ops.exp(x).detach()

    with pytest.raises(GradientError, match="detached: .*product rule"):
        gradcheck(detached, a)


def test_a_module_is_checked_with_its_parameters():
    layer = LayerNorm(4)
    before = {name: value.copy() for name, value in layer.state().items()}
    gradcheck(layer, rng.normal(size=(3, 4)))
    assert all(p.dtype == np.float32 and p.grad is None for p in layer.parameters())
    for name, array in layer.state().items():
        np.testing.assert_array_equal(array, before[name])

    class Halved(LayerNorm):
        def forward(self, x):
            return super().forward(x) + ops.scale(self.gamma.detach(), factor=0.5)

    with pytest.raises(GradientError, match="Halved: gradient of gamma"):
        gradcheck(Halved(4), rng.normal(size=(3, 4)))


def test_weights_that_a_function_holds_keep_their_gradients():
    layer = Linear(4, 2, seed=0)
    layer.b.grad = np.ones(2, np.float32)
    gradcheck(lambda x: layer(x).sum(), rng.normal(size=(3, 4)))
    assert layer.W.grad is None
    np.testing.assert_array_equal(layer.b.grad, np.ones(2))


def test_ids_may_stand_among_the_arguments_of_a_module():
    gradcheck(Embedding(5, 3, seed=0), np.array([[1, 4], [1, 1]]))


# --- mistakes in use -------------------------------------------------------------------------


def double(x):
    return x * 2


lacks_backward = Op(double, "x (...) -> (...)")


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        (ops.softmax, [], "softmax: "),
        (lacks_backward, [np.ones(2)], "double: must return its result and the function"),
        (np.exp, [], "nothing to differentiate; give the arrays after the function"),
        (np.ones(3), [ops.softmax], "takes a function first, then its arrays; got ndarray"),
        (ops.softmax, [np.arange(3)], "x holds int64 and has no derivative; give numbers as fl"),
        (ops.softmax, [[True, False]], "x holds bool and has no derivative"),
        (ops.softmax, ["text"], "x is no array of floats; got str"),
        (ops.softmax, [np.array([1.0, np.nan])], r"x holds nan at \(1,\); check at finite numbers"),
        (ops.softmax, [np.array([1.0, -np.inf])], r"x holds -inf at \(1,\)"),
        (lambda x: Tensor(x.data) * 2, [np.ones(2)], "its result depends on no argument; was it"),
        (lambda x: None, [np.ones(2)], "a Tensor that depends on them; got NoneType"),
        (lambda x: x.foo, [np.ones(2)], "foo"),
        (lambda x: np.linalg.inv(x), [np.ones(2)], "."),
    ],
)
def test_mistakes_in_use(function, args, says):
    with pytest.raises((GradientError, ShapeError, AttributeError, ValueError), match=says) as e:
        gradcheck(function, *args)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "setting", [{"step": 0.0}, {"step": -1e-5}, {"step": np.nan}, {"rtol": -1}, {"atol": np.nan}]
)
def test_settings_with_which_everything_would_pass(setting):
    with pytest.raises(ConfigError, match="^gradcheck: step is .*; the step must be above 0"):
        gradcheck(lambda x: (2 * x, lambda dy: (3 * dy,)), np.ones(2), **setting)


def test_a_factor_near_one_is_told():
    with pytest.raises(GradientError, match="every entry is 1.0003 times what it should be"):
        gradcheck(lambda x: (2 * x, lambda dy: (2.0006 * dy,)), np.ones(2))


def test_a_result_that_does_not_depend_on_its_arguments():
    def constant(x):
        return np.float64(3.0), lambda dy: (np.zeros_like(x),)

    with pytest.warns(UserWarning, match="constant: its result does not depend on its arguments"):
        gradcheck(constant, np.ones(2))
    with pytest.raises(GradientError, match="the result does not depend on this argument"):
        gradcheck(lambda x: (np.float64(3.0), lambda dy: (dy * x,)), np.ones(2))


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (ops.log, [1e-300, 1e300]),
        (ops.sqrt, [1e-300, 1e-10, 4]),
        (ops.relu, [0.0, 2, 1e-9, -1e-300]),
    ],
)
def test_numbers_as_small_as_floats_can_be(function, at):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a kink
        gradcheck(function, np.array(at))


def test_a_function_in_float32_is_held_to_a_thousandth():
    def square(x):
        return x.astype(np.float32) ** 2, lambda dy: ((2.002 * x * dy).astype(np.float32),)

    with pytest.raises(GradientError):
        gradcheck(square, np.array([0.12, -0.13, 0.64]))
