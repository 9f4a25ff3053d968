"""The engine: order, accumulation, what is refused, and how a Tensor behaves."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from minisasrec import Tensor, backends, backward_steps, gradcheck, no_grad, op, ops
from minisasrec.autograd.engine import recording, topological_order
from minisasrec.autograd.gradients import sum_to_shape
from minisasrec.autograd.registry import OPS
from minisasrec.backends import backend, use_backend
from minisasrec.errors import ConfigError, GradientError, ShapeError
from minisasrec.random import make_key


@pytest.fixture(autouse=True)
def by_the_book():
    with use_backend("numpy"):
        yield


def leaf(*values):
    return Tensor(np.array(values, dtype=np.float64), requires_grad=True)


@pytest.fixture
def temporary_op():
    """`op`, for ops that leave the registry when the test ends."""
    before = set(OPS)
    yield op
    for name in set(OPS) - before:
        del OPS[name]


# --- order -----------------------------------------------------------------------------------


def test_a_tensor_used_twice_on_paths_of_unequal_length():
    a = leaf(1.0)
    b = a * 2.0
    c = b * 3.0
    d = b + c  # = 8 a; a walk in the wrong order gives 2, 6, 10 or 16
    d.backward()
    assert a.grad.tolist() == [8]


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: x + x, 2),
        (lambda x: x * x, 6),  # at x = 3
        (lambda x: x - x, 0),
        (lambda x: (x * 2.0) * (x + x), 24),
        (lambda x: x + x + x + x * x, 9),
    ],
)
def test_diamonds(function, slope):
    x = leaf(3.0)
    function(x).backward()
    assert x.grad.tolist() == [slope]


def test_a_deep_graph():
    x = y = leaf(1.0)
    for _ in range(5000):
        y = y + x
    assert len(topological_order(y)) == 5001
    y.backward()
    assert x.grad.tolist() == [5001]
    del y
    gc.collect()  # taking it apart must not recurse either


def test_topological_order_has_parents_first_and_each_tensor_once():
    generator = np.random.default_rng(0)
    tensors = [leaf(1.0), leaf(2.0), Tensor(np.ones(1))]
    for _ in range(60):
        i, j = generator.integers(0, len(tensors), 2)
        tensors.append(tensors[i] + tensors[j])
    root = tensors[-1]
    for tensor in tensors[3:]:
        root = root + tensor
    order = topological_order(root)
    place = {tensor: i for i, tensor in enumerate(order)}
    assert len(place) == len(order) and order[-1] is root
    for tensor in order:
        assert tensor.requires_grad
        assert all(place[p] < place[tensor] for p in tensor.parents if p.requires_grad)


def test_backward_steps_visit_each_tensor_once_children_first():
    x, y = leaf(2.0), leaf(5.0)
    a = x * y
    b = a + x
    loss = (a * b).sum()
    steps = list(backward_steps(loss))
    nodes = [step.node for step in steps]
    assert len(set(nodes)) == len(nodes) == 6
    assert nodes[0] is loss and {*nodes[-2:]} == {x, y}
    place = {node: i for i, node in enumerate(nodes)}
    for step in steps:
        assert all(place[parent] > place[step.node] for parent in step.parents)
        assert step.dy.shape == step.node.shape
        assert len(step.input_gradients) == len(step.parents)
    # what arrives at a tensor is the sum of what its children sent
    for node in nodes[1:]:
        (at,) = [step for step in steps if step.node is node]
        sent = [
            dx
            for step in steps
            for parent, dx in zip(step.parents, step.input_gradients, strict=True)
            if parent is node
        ]
        np.testing.assert_array_equal(at.dy, np.sum(sent, axis=0))
    # loss = x y (x y + x) = x^2 y^2 + x^2 y
    assert x.grad.tolist() == [2 * 2 * 25 + 2 * 2 * 5] and y.grad.tolist() == [2 * 4 * 5 + 4]


def test_backward_steps_can_be_stepped_through():
    x = leaf(3.0)
    walk = backward_steps((x * x).sum())
    assert next(walk).node.op is ops.sum and x.grad is None
    assert next(walk).node.op is ops.mul and x.grad is None
    assert next(walk).input_gradients == () and x.grad.tolist() == [6]
    assert list(walk) == []


# --- accumulation and freed graphs -----------------------------------------------------------


def test_gradients_of_two_losses_add_up():
    x = leaf(1.0, 2.0)
    (x * 3.0).sum().backward()
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [3 + 2, 3 + 4])


def test_a_second_walk_of_a_freed_graph():
    x = leaf(2.0)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GradientError, match="saved is gone.*retain_graph=True"):
        loss.backward()
    assert x.grad.tolist() == [4]


def test_a_retained_graph_can_be_walked_again_and_interior_gradients_do_not_pile_up():
    x = leaf(2.0)
    loss = (x * x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    assert x.grad.tolist() == [24]  # 12 twice; 12 + 24 if interior gradients were kept
    loss.backward()
    assert x.grad.tolist() == [36]
    with pytest.raises(GradientError, match="saved is gone"):
        loss.backward()


def test_walking_frees_what_was_saved():
    x = leaf(1.0, 2.0)
    y = ops.exp(x)
    assert y.saved == {"y": pytest.approx(np.exp([1, 2]))}
    y.sum().backward()
    assert y.saved == {} and x.saved == {}


def test_what_is_saved_inside_lists_and_functions_counts_once():
    q, k, v = (leaf(*range(6)).reshape(3, 2) for _ in range(3))
    with use_backend("numpy"):  # its definition keeps a backward of each sequence in a list
        y = ops.packed_causal_attention(q, k, v, offsets=np.array([0, 1, 3]))
    assert {name: a.shape for name, a in y.saved.items() if name.endswith(".p")} == {
        "sequences.0.1.p": (1, 1, 1),
        "sequences.1.1.p": (1, 2, 2),
    }
    assert {name for name in y.saved if "." not in name} == {"q", "k", "v"}
    assert not any(name.endswith((".Q", ".K", ".V")) for name in y.saved)  # views of these


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: a.reshape(2, 1) + b.reshape(2, 1),
        lambda a, b: a[::-1] + b + a,
        lambda a, b: ops.add_dropout(a, b, rate=0.0, key=make_key(0)),
    ],
)
def test_a_gradient_belongs_to_its_leaf(function):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    function(a, b).sum().backward()
    before = b.grad.copy()
    a.grad *= 0  # as one clips or scales a gradient
    np.testing.assert_array_equal(b.grad, before)


def test_parts_of_one_array_are_not_copied():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    ops.concatenate(a, b).backward(np.arange(4.0))
    assert a.grad.base is b.grad.base is not None


def test_gradients_are_added_up_in_arrays_of_their_own():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    first_a, first_b = a.grad, b.grad
    (a * a).sum().backward()
    np.testing.assert_array_equal(a.grad, [3, 5])
    np.testing.assert_array_equal(b.grad, [1, 1])  # not dragged along
    np.testing.assert_array_equal(first_a, [1, 1])
    np.testing.assert_array_equal(first_b, [1, 1])


def test_fan_in_does_not_change_the_array_that_an_op_sent():
    x, y = leaf(1.0), leaf(1.0)
    s = x + y  # sends the same array to both
    dloss = np.array([2.0])
    (s + x * 10.0).backward(dloss)
    assert (x.grad.tolist(), y.grad.tolist(), dloss.tolist()) == ([22], [2], [2])


# --- memory ----------------------------------------------------------------------------------


def test_a_loss_that_is_kept_keeps_no_activations():
    x = Tensor(np.ones((1000, 100)), requires_grad=True)
    h = ops.exp(x)
    kept = [weakref.ref(a) for a in (h.data, *h.saved.values())]
    h = ops.sigmoid(h * h)
    kept += [weakref.ref(a) for a in (h.data, *h.saved.values())]
    loss = h.sum()
    del h
    gc.disable()
    try:
        loss.backward()
        assert [a() for a in kept if a() is not None] == []  # at once, without the collector
    finally:
        gc.enable()
    assert loss.parents == () and loss.is_dropped and not x.is_dropped
    with pytest.raises(GradientError, match="sum saved is gone.*retain_graph=True"):
        loss.backward()


def test_the_walk_frees_the_graph_behind_it():
    x = Tensor(np.ones(100_000), requires_grad=True)
    h = x
    for _ in range(20):
        h = ops.exp(h * 0.1)
    loss = h.sum()
    del h
    walk = backward_steps(loss)
    tracemalloc.start()
    try:
        for _ in range(10):
            next(walk)
        before = tracemalloc.get_traced_memory()[0]
        for _ in walk:
            pass
        assert tracemalloc.get_traced_memory()[1] < before + 3 * x.data.nbytes
    finally:
        tracemalloc.stop()


def test_a_part_that_another_walk_has_dropped():
    x = leaf(2.0)
    h = x * x
    first, second = h * 2.0, h * 3.0
    first.backward()
    with pytest.raises(GradientError, match="what mul saved is gone"):
        second.backward()


def test_steps_keep_what_they_show():
    x = leaf(3.0)
    steps = list(backward_steps((x * x).sum()))
    assert [len(step.parents) for step in steps] == [1, 2, 0]
    assert all(step.node.parents == () for step in steps)


# --- arrays that change between forward and backward ------------------------------------------


def changed_constants():
    ids, mask, rows = np.array([0, 1, 1]), np.array([True, False, True]), [0, 2, 2]
    table, x = np.arange(6.0).reshape(3, 2), np.arange(1.0, 4.0)
    return {
        "ids": (lambda t: ops.embedding(t, ids=ids), table, lambda: ids.fill(2)),
        "mask": (lambda t: ops.masked_fill(t, mask=mask, value=0.0), x, lambda: mask.fill(True)),
        "index": (lambda t: t[ids], x, lambda: ids.fill(2)),
        "list": (lambda t: t[rows], x, lambda: rows.__setitem__(0, 1)),
        "in a tuple": (lambda t: t[ids, :1], table, lambda: ids.fill(0)),
        "targets": (
            lambda t: ops.softmax_cross_entropy(t, table, targets=ids),
            table,
            lambda: ids.fill(2),
        ),
        "negatives": (
            lambda t: ops.sampled_bce(t, table, targets=[1, 2, 0], negatives=ids[:, None]),
            table,
            lambda: ids.fill(2),
        ),
    }


@pytest.mark.parametrize(
    "name", ["ids", "mask", "index", "list", "in a tuple", "targets", "negatives"]
)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_constant_that_changes_does_not_change_the_gradient(name, backend):
    with use_backend(backend):
        grads = []
        for change in (False, True):
            function, array, write = changed_constants()[name]
            x = Tensor(array, requires_grad=True)
            y = function(x)
            if change:
                write()
            y.backward(np.ones(y.shape))
            grads.append(x.grad)
    np.testing.assert_array_equal(*grads)


class ArrayLike:
    """As a column of pandas or a torch tensor: an array is made of it without a copy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_constant_that_is_like_an_array_and_changes(backend):
    ids, table = np.array([0, 1, 1]), Tensor(np.zeros((3, 2)), requires_grad=True)
    with use_backend(backend):
        y = ops.embedding(table, ids=ArrayLike(ids))
        ids[:] = 2
        y.sum().backward()
    np.testing.assert_array_equal(table.grad[:, 0], [1, 2, 0])


def test_dloss_that_changes_after_the_walk_does_not_change_the_gradient():
    dloss, x = np.ones(2), Tensor(np.ones(2), requires_grad=True)
    (x + 1.0).backward(dloss)
    dloss *= 100
    np.testing.assert_array_equal(x.grad, 1)


def write_first(x):
    x.data[0] = 5


def write_all(x):
    x.data += 1


def write_behind(x):
    x.data[...] *= 2


def replace(x):
    x.data = x.data + 1


@pytest.mark.parametrize("write", [write_first, write_all, write_behind, replace])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_tensor_that_changes_is_refused(write, backend):
    with use_backend(backend):
        for changed, says in (
            ("W", r"^matmul: argument b \(W\) was changed after the forward pass, so its gradient "
             r"would be wrong; call backward\(\) before the change, or run the forward pass ag"),
            ("x", "^matmul: argument a was changed"),
            ("h", "^matmul: its result was changed"),
            ("y", "^exp: its result was changed"),
        ):  # fmt: skip
            x, W = Tensor(np.ones((2, 2))), Tensor(np.eye(2), requires_grad=True, name="W")
            h = x @ W
            y = ops.exp(h)
            loss = y.sum()
            write({"x": x, "W": W, "h": h, "y": y}[changed])
            with pytest.raises(GradientError, match=says):
                loss.backward()
            assert W.grad is None
            (x @ W).sum().backward()  # a new forward pass is in order
            assert W.grad is not None


@pytest.mark.parametrize("size", [65, 500, 16_384])
@pytest.mark.parametrize("place", [0, 1, 40])
def test_one_number_that_changes_is_found(size, place):
    for changed in ("x", "c", "y"):
        x, c = Tensor(np.ones(size), requires_grad=True), Tensor(np.ones(size))
        y = ops.exp(x * c)
        loss = y.sum()
        {"x": x, "c": c, "y": y}[changed].data[place] = 7
        with pytest.raises(GradientError, match="was changed after the forward pass"):
            loss.backward()


@pytest.mark.parametrize("shape", [(700, 64), (512, 8, 8), (3406, 50), (3410, 50)])
@pytest.mark.parametrize(
    "part",
    [np.s_[:50], np.s_[-50:], np.s_[50:100], np.s_[::2], np.s_[..., 0], np.s_[..., 1:5]]
    + [np.s_[..., 1::2], np.s_[..., ::2]],
)
def test_a_part_of_a_large_array_that_changes_is_found(shape, part):
    x = Tensor(np.ones(shape), requires_grad=True)
    loss = (x * x).sum()
    x.data[part] = 7
    with pytest.raises(GradientError, match="was changed after the forward pass"):
        loss.backward()


def test_an_optimizer_that_steps_before_a_retained_graph_is_walked_again():
    table = Tensor(np.random.default_rng(0).standard_normal((500, 50)), requires_grad=True)
    loss = (ops.embedding(table, ids=[3, 4]) ** 2).sum()
    loss.backward(retain_graph=True)
    table.data[3:5] -= table.grad[3:5]  # rows that are not among the elements compared
    table.mark_changed()
    with pytest.raises(GradientError, match="^embedding: argument table was changed"):
        loss.backward()


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("value", [np.nan, -0.0, 0.0, np.inf, 1.0])
def test_arrays_that_do_not_change_raise_no_alarm(size, value):
    x = Tensor(np.full(size, value), requires_grad=True)
    c = Tensor(np.full(size, value))
    with np.errstate(all="ignore"):
        loss = (x * c + x).sum()
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        x.grad = None  # gradients are no part of the data
        loss.backward()
    assert x.grad.shape == (size,)


# --- what takes part -------------------------------------------------------------------------


def test_no_grad_records_nothing():
    x = leaf(1.0)
    with no_grad():
        assert not recording()
        y = x * 2.0
        with no_grad():
            pass
        assert not recording()
    assert recording()
    assert y.parents == () and y.op is None and not y.requires_grad and y.saved == {}
    with pytest.raises(GradientError, match="depends on no tensor with requires_grad"):
        y.sum().backward()


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert recording()


def test_blocks_of_generators_may_end_in_any_order_and_in_any_thread():
    def block():
        with no_grad():
            yield

    first, second, third = block(), block(), block()
    for generator in (first, second, third):
        next(generator)
    first.close()
    assert not recording()
    second.close()
    ended_elsewhere = threading.Thread(target=third.close)
    ended_elsewhere.start()
    ended_elsewhere.join()
    assert recording()


def test_constants_receive_no_gradient_and_leaves_not_reached_keep_none():
    x, unused, constant = leaf(1.0), leaf(1.0), Tensor(np.ones(1))
    _ = unused * 2.0
    (x * constant).sum().backward()
    assert x.grad is not None and unused.grad is None and constant.grad is None


def test_detach_cuts_the_path():
    x = leaf(3.0)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [3]


def test_the_loss_may_be_a_leaf():
    x = Tensor(np.float64(3.0), requires_grad=True)
    x.backward()
    assert x.grad == 1


# --- what is refused -------------------------------------------------------------------------


def test_a_tensor_that_is_no_scalar():
    y = leaf(1.0, 2.0) * 2.0
    with pytest.raises(GradientError, match=r"shape \(2,\); call .sum\(\) or .mean\(\) first, or"):
        y.backward()
    (x,) = y.parents
    y.backward(np.array([1.0, -1.0]))
    assert x.grad.tolist() == [2, -2]


def test_dloss_of_another_shape():
    with pytest.raises(GradientError, match=r"dloss has shape \(3,\), the tensor \(2,\)"):
        (leaf(1.0, 2.0) * 2.0).backward(np.ones(3))


def test_dloss_may_be_a_tensor():
    x = leaf(1.0, 2.0)
    (x * 3.0).backward(Tensor(np.array([1.0, 10.0])))
    assert x.grad.tolist() == [3, 30]


@pytest.mark.parametrize(
    ("dloss", "says"),
    [
        ("ab", "^backward: dloss holds <U2, expected numbers"),
        ([None, 1.0], "^backward: dloss holds object"),
        (np.ones(2, complex), "^backward: dloss holds complex128"),
        ([[1.0], [2.0, 3.0]], "^backward: .* is no array: its rows have different lengths"),
    ],
)
def test_dloss_that_is_no_array_of_numbers(dloss, says):
    with pytest.raises((GradientError, ShapeError), match=says):
        (leaf(1.0, 2.0) * 3.0).backward(dloss)


@pytest.mark.parametrize("grad", [np.zeros((2, 2)), np.zeros(1), np.zeros((1, 2))])
def test_a_gradient_of_another_shape_was_set(grad):
    x = leaf(1.0, 2.0)
    x.grad = grad
    with pytest.raises(GradientError, match="^backward: the .grad of a leaf was set to an array"):
        (x * 3.0).sum().backward()
    x.grad = 0.0  # what some write to forget a gradient
    (x * 3.0).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_dloss_takes_the_type_of_the_tensor():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x * 2.0).backward([1, 2])
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("gradients", "says"),
    [
        (
            lambda dy: (dy.sum(0),),
            r"the gradient of x has shape \(2,\), the argument \(1, 2\); if it",
        ),
        (
            lambda dy: (dy, dy),
            r"must return a tuple of 1 gradients, .* one argument \(dx,\); got 2$",
        ),
        (lambda dy: dy, r"must return a tuple of 1 gradients, .*; got a ndarray$"),
        (lambda dy: [dy], r"must return a tuple of 1 gradients, .*; got a list$"),
        (lambda dy: None, r"must return a tuple of 1 gradients, .*; got None$"),
        (lambda dy: (None,), r"the gradient of x is None; backward must return an array of the"),
        (lambda dy: (2.0,), r"the gradient of x is a float; .* the argument's shape \(1, 2\)"),
        (lambda dy: ([2.0, 1.0],), r"the gradient of x is a list; backward must return an array"),
        (lambda dy: (dy.astype(np.float32),), "the gradient of x is float32, the argument float64"),
        (lambda dy: (dy > 0,), "the gradient of x is bool, the argument float64; let backward"),
    ],
)
def test_an_op_with_a_wrong_backward(temporary_op, gradients, says):
    @temporary_op("x (...) -> (...)")
    def bad_op(x):
        return x * 2, gradients

    x = Tensor(np.ones((1, 2)), requires_grad=True)
    with pytest.raises(GradientError, match=f"^bad_op: {says}|^bad_op: backward {says}"):
        bad_op(x).sum().backward()
    assert x.grad is None


def test_the_wrong_gradient_of_many_arguments_is_counted(temporary_op):
    @temporary_op("x (?)+ -> (?)")
    def bad_op(*arrays):
        return arrays[0] * 1, lambda dy: (dy, dy[:1])

    with pytest.raises(GradientError, match=r"^bad_op: the gradient of x\[1\] has shape \(1,\)"):
        bad_op(leaf(1.0, 2.0), leaf(1.0, 2.0)).sum().backward()


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda x: x * 2, "must return its result and the .* return y, backward; got a ndarray"),
        (lambda x: None, "must return its result .* got None"),
        (lambda x: (x * 2, 2), "must return its result .* got a tuple"),
        (lambda x: (x, x, x), "must return its result .* got a tuple"),
        (lambda x: [x, np.sum], "must return its result .* got a list"),
        (lambda x: x[:2], "must return its result .* got a ndarray"),
        (lambda x: (2.0, np.sum), "y must be an array, got a float"),
        (lambda x: (x.tolist(), np.sum), "y must be an array, got a list"),
        (
            lambda x: (x.sum(0), np.sum),
            r"y has shape \(3,\), by the signature x .* it is \(2, 3\)$",
        ),
        (lambda x: (x.astype(np.float32), np.sum), "y is float32, the arguments are float64"),
        (lambda x: (x.argmax(0) + 0 * x.astype(int), np.sum), "y is int64, the arguments are fl"),
    ],
)
def test_an_op_that_returns_too_little_or_something_else(temporary_op, returned, says):
    temporary_op("x (... d) -> (... d)")(named("bad_op", returned))
    for x in (Tensor(np.ones((2, 3)), requires_grad=True), np.ones((2, 3))):
        with pytest.raises(GradientError, match=f"^bad_op: {says}"):
            OPS["bad_op"](x)


def named(name, function, module="a_module_of_mine"):
    function.__name__, function.__module__ = name, module
    return function


def test_the_result_is_held_against_what_is_known_of_its_shape(temporary_op):
    temporary_op("x (T d), y (V d) -> (T V)")(named("scores", lambda x, y: (x @ y.T, None.__eq__)))
    temporary_op("x (T d), y (V d) -> (V T)")(named("turned", lambda x, y: (x @ y.T, None.__eq__)))
    x, y = np.ones((2, 3)), np.ones((4, 3))
    assert OPS["scores"](x, y).shape == (2, 4)
    with pytest.raises(GradientError, match=r"^turned: y has shape \(2, 4\), .* it is \(4, 2\)$"):
        OPS["turned"](x, y)
    with pytest.raises(
        ConfigError, match=r"no argument has the axis m of the result; write \(\?\)"
    ):
        temporary_op("x (T d) -> (T m)")(named("unknown", lambda x: (x, None)))


@pytest.mark.parametrize("given", [lambda x: (x, lambda dy: (dy,)), None, 3])
def test_an_op_without_a_signature(given):
    with pytest.raises(ConfigError, match="^op: takes the signature of the function below it, @op"):
        op(given)


def test_one_op_one_place(temporary_op):
    with pytest.raises(
        ConfigError,
        match=r"there is an op named 'add' already, in minisasrec.ops.elementwise; give this one "
        r"another name, or remove the old one first: del OPS\['add'\]",
    ):

        @temporary_op("a (*), b (*) -> (*)")
        def add(a, b):
            return a, None


CELL = """
from minisasrec import op
@op("x (...) -> (...)")
def cube(x):
    def backward(dy):
        return (dy * 3 * x{power},)
    return x**3, backward
"""


def test_a_cell_of_a_notebook_can_be_run_again(temporary_op):
    notebook = {"__name__": "__main__"}
    exec(CELL.format(power=""), notebook)
    first = notebook["cube"]
    with pytest.raises(GradientError):
        gradcheck(first, np.array([2.0, 3.0]))
    exec(CELL.format(power="**2"), notebook)
    assert OPS["cube"] is notebook["cube"] is not first
    gradcheck(OPS["cube"], np.array([2.0, 3.0]))
    # what was imported is not replaced by a cell, nor a cell's op by what is imported
    with pytest.raises(ConfigError, match="an op named 'add' already"):
        exec(CELL.replace("cube", "add").format(power=""), notebook)
    assert OPS["add"] is ops.add
    with pytest.raises(ConfigError, match="an op named 'cube' already, in __main__; give"):
        exec(CELL.format(power=""), {"__name__": "a_module_of_mine"})
    del OPS["cube"]
    module = {"__name__": "a_module_of_mine"}
    exec(CELL.format(power=""), module)
    with pytest.raises(ConfigError, match="an op named 'cube' already, in a_module_of_mine"):
        exec(CELL.format(power=""), module)


def test_an_op_of_ones_own(temporary_op):
    @temporary_op("x (... d) -> (... d)", paper="none")
    def square(x):
        """y = x^2."""
        return x * x, lambda dy: (2 * x * dy,)

    x = leaf(3.0, -1.0)
    y = square(x)
    y.sum().backward()
    assert x.grad.tolist() == [6, -2]
    assert repr(square) == "<op square: x (... d) -> (... d)>" and square.__doc__ == "y = x^2."
    assert square.adaptor is None and "return x * x" in square.source

    @square.fast
    def _(x):
        return np.full_like(x, 7.0), lambda dy: (dy,)

    assert square(x).data.tolist() == [9, 1]
    with use_backend("numba"):
        assert square(x).data.tolist() == [7, 7] and "full_like" in square.source
        with pytest.raises(TypeError, match=r"square\(\) .* 'power'"):  # and not "_() ..."
            square(x, power=2)

    @square.fast(above=1)
    def _(x):
        return np.full_like(x, 8.0), lambda dy: (dy,)

    with use_backend("numba"):
        assert square(x).data.tolist() == [8, 8] and square(x[:1]).data.tolist() == [9]


def test_use_backend():
    assert backend() == "numpy"
    with use_backend("numba"):
        assert backend() == "numba"
        use_backend("numpy")
        assert backend() == "numpy"
    assert backend() == "numpy"
    with pytest.raises(ConfigError, match="unknown backend 'cuda'; choose one of numpy, numba"):
        use_backend("cuda")
    # a decorator would choose when the function is defined, for everything that follows
    assert not callable(use_backend("numpy"))


def test_the_backend_that_the_environment_names(monkeypatch):
    monkeypatch.setattr(backends._choice, "name", "")
    monkeypatch.setenv("MINISASREC_BACKEND", "jax")
    with pytest.raises(ConfigError, match="unknown backend 'jax'; choose one of"):
        backend()
    monkeypatch.setenv("MINISASREC_BACKEND", "numba")
    assert backend() == "numba"


def test_no_numba(monkeypatch):
    monkeypatch.setattr(backends._choice, "name", "")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.delenv("MINISASREC_BACKEND", raising=False)
    assert backend() == "numpy"
    with pytest.raises(ConfigError, match="needs Numba: pip install numba, or choose numpy"):
        use_backend("numba")


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (4, 1, 1), (4, 2, 3)])
def test_sum_to_shape_undoes_broadcasting(shape):
    dy = np.random.default_rng(0).standard_normal((4, 2, 3))
    got = sum_to_shape(dy, shape)
    # d/dx <dy, broadcast(x)> for x of this shape, one entry at a time
    want = np.zeros(shape)
    for index in np.ndindex(shape):
        one = np.zeros(shape)
        one[index] = 1
        want[index] = (dy * one).sum()
    assert got.shape == shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


# --- how a Tensor behaves --------------------------------------------------------------------


def test_operators_are_those_of_arrays():
    a, b = np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [-7.0, 8.0]])
    x, y = Tensor(a), Tensor(b)
    pairs = [
        (x + y, a + b),
        (x - y, a - b),
        (x * y, a * b),
        (x / y, a / b),
        (x @ y, a @ b),
        (-x, -a),
        (1 - x, 1 - a),
        (2 / x, 2 / a),
        (3 + x, 3 + a),
        (3 * x, 3 * a),
        (x - 1, a - 1),
        (x / 2, a / 2),
        (x * 2, a * 2),
        (a + y, a + b),
        (a - y, a - b),
        (a * y, a * b),
        (a / y, a / b),
        (a @ y, a @ b),
        (x + b, a + b),
        (x @ b, a @ b),
        (np.float64(2) * x, 2 * a),
        (x * np.float64(2), 2 * a),
        (x[0], a[0]),
        (x[:, 1], a[:, 1]),
        (x[[1, 0, 1]], a[[1, 0, 1]]),
        (x[a > 0], a[a > 0]),
        (x[..., None], a[..., None]),
        (x.sum(), a.sum()),
        (x.sum(axis=0, keepdims=True), a.sum(axis=0, keepdims=True)),
        (x.mean(axis=(0, 1)), a.mean()),
        (x.reshape(-1), a.reshape(-1)),
        (x.reshape(1, 4), a.reshape(1, 4)),
        (x.T, a.T),
        (x.transpose(1, 0), a.T),
        (x.transpose((1, 0)), a.T),
        (x.transpose([-1, 0]), a.T),
        (x.reshape((4, 1)), a.reshape(4, 1)),
        (x.reshape([1, -1]), a.reshape(1, 4)),
        (x.sum(axis=[0, 1]), a.sum()),
        (x.sum(-1), a.sum(-1)),
        (x.sum(np.int64(0)), a.sum(0)),
        (x.mean([-1], keepdims=True), a.mean(-1, keepdims=True)),
        (x.max(), a.max()),
        (x.max(axis=None), a.max()),
        (x.max(0), a.max(0)),
        (x.max((0, 1), keepdims=True), a.max(keepdims=True)),
        (x**2, a**2),
        (x**3.0, a**3),
        (x**-1, 1 / a),
        (x**0, a**0),
        (np.float32(2) * x, 2 * a),
        (np.int64(3) - x, 3 - a),
        (x / np.int64(4), a / 4),
        (+(x + 0), a),
        (ops.concatenate([x, y]), np.concatenate([a, b])),
        (ops.concatenate((x, b, x), axis=-1), np.concatenate([a, b, a], axis=-1)),
        (ops.masked_fill(x, mask=[[True, False]] * 2, value=0), np.where([[1, 0]] * 2, 0, a)),
        (ops.embedding(x, ids=[1, 0, 1]), a[[1, 0, 1]]),
        (ops.embedding(x, ids=1), a[1]),
        (x[:, [1, 0]], a[:, [1, 0]]),
        (x[(a > 0).tolist()], a[a > 0]),
    ]
    for got, want in pairs:
        assert isinstance(got, Tensor) and got.dtype == np.float64
        np.testing.assert_allclose(got.data, want, rtol=1e-15)


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: 1 - x, -1),
        (lambda x: 2 / x, -2 / 9),
        (lambda x: x / 4, 0.25),
        (lambda x: -x, -1),
        (lambda x: 5 * x, 5),
        (lambda x: np.ones(1) - x, -1),
    ],
)
def test_reflected_operators_have_their_own_slope(function, slope):
    x = leaf(3.0)
    function(x).sum().backward()
    np.testing.assert_allclose(x.grad, [slope], rtol=1e-15)


def test_plain_numbers_at_the_poles():
    x = leaf(0.0, 2.0)
    (x**0).sum().backward()
    assert x.grad.tolist() == [0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal((x / 0).data, [np.nan, np.inf])


@pytest.mark.parametrize(("tiny", "dtype"), [(1e-310, np.float64), (1e-39, np.float32)])
def test_division_by_a_number_whose_inverse_is_infinite(tiny, dtype):
    x = Tensor(np.array([tiny], dtype), requires_grad=True)
    np.testing.assert_array_equal((x / tiny).data, 1)


def test_arrays_of_another_class():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1.0, 2], [3, 4]])
    x = Tensor(matrix)
    assert type(x.data) is np.ndarray
    np.testing.assert_array_equal((x * x).data, [[1, 4], [9, 16]])
    with pytest.raises(ShapeError, match="has no mask"):
        Tensor(np.ma.masked_array([1.0, 2], mask=[True, False]))


def test_axes_as_an_array():
    x = Tensor(np.arange(6.0).reshape(1, 2, 3))
    assert ops.transpose(x, axes=np.array([2, 0, 1])).shape == (3, 1, 2)
    assert ops.sum(x, axis=np.array([-1, 0])).data.tolist() == [3, 12]


def test_targets_as_a_list_or_as_a_tensor():
    x = leaf(1.0, -2.0)
    losses = [ops.bce_with_logits(x, targets=t).item() for t in ([1, 0], np.array([1, 0]))]
    losses.append(ops.bce_with_logits(x, targets=Tensor([1, 0])).item())
    assert len(set(losses)) == 1


def test_a_constant_that_requires_a_gradient():
    says = "^bce_with_logits: targets is a constant and gets no gradient, .* pass .detach"
    with pytest.raises(GradientError, match=says):
        ops.bce_with_logits(leaf(1.0), targets=leaf(1.0))
    ops.bce_with_logits(leaf(1.0), targets=leaf(1.0).detach())


def test_a_loss_can_be_printed_and_converted():
    loss = Tensor(np.float64(0.12345))
    assert f"{loss:.3f}" == "0.123" and float(loss) == 0.12345 and str(loss) == f"{loss}"
    with pytest.raises(ShapeError, match=r"item: a Tensor of shape \(2,\) is 2 numbers, not one"):
        float(leaf(1.0, 2.0))


def test_a_scalar_has_no_length():
    for function in (len, list, lambda x: [*x]):
        with pytest.raises(ShapeError, match=r"shape \(\) is one number, it has no length"):
            function(Tensor(1.0))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x.flatten(), r"no attribute 'flatten'; write x.reshape\(-1\)"),
        (lambda x: x.exp(), r"no attribute 'exp'; write ops.exp\(x\)"),
        (lambda x: x.softmax(), r"no attribute 'softmax'; write ops.softmax\(x\)"),
        (lambda x: x.numpy(), r"no attribute 'numpy'; write x.data"),
        (lambda x: x.nothing, r"no attribute 'nothing'$"),
    ],
)
def test_what_arrays_have_and_a_tensor_has_not(function, says):
    with pytest.raises(AttributeError, match=f"^a Tensor has {says}"):
        function(leaf(1.0))
    assert not hasattr(leaf(1.0), "flatten")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x**x, r"write ops.exp\(y \* ops.log\(x\)\)"),
        (lambda x: 2**x, r"write ops.exp\(x \* math.log\(base\)\)"),
        (lambda x: abs(x), r"write ops.relu\(x\) \+ ops.relu\(-x\)"),
    ],
)
def test_what_is_no_op(function, says):
    with pytest.raises(GradientError, match=says):
        function(leaf(1.0))


def test_what_a_tensor_says_of_itself():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="M")
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((2, 3), 2, 6, 2, np.float64)
    assert repr(Tensor(np.ones(2), name="M")) == "Tensor([1. 1.], name='M')"
    assert repr(Tensor(np.ones(2), requires_grad=True) * 2.0) == "Tensor([2. 2.], op=scale)"
    assert x.sum().item() == 15.0 and isinstance(x.sum().item(), float)


def test_what_a_tensor_is_made_of():
    assert Tensor(np.arange(3)).dtype == np.float32  # integers and bools become floats
    assert Tensor([True, False]).data.tolist() == [1, 0]
    assert Tensor([1.0, 2.0]).dtype == Tensor(1.5).dtype == np.float32
    assert Tensor(np.ones(2)).dtype == Tensor(np.float64(1)).dtype == np.float64
    array = np.ones(2)
    assert Tensor(array).data is array  # no copy
    for wrong in ("text", [None], np.array([1j]), np.float16(1), np.ones(1, ">f8")):
        with pytest.raises(ShapeError, match="a Tensor holds floats, float32 or float64; got"):
            Tensor(wrong)
        with pytest.raises(ShapeError, match="a Tensor holds floats"):
            leaf(1.0).data = wrong


def test_types_are_not_mixed_by_accident():
    single, double = Tensor(np.ones(2, np.float32)), Tensor(np.ones(2))
    with pytest.raises(ShapeError, match="^add: mixes float32, float64; convert"):
        single + double
    # plain numbers, lists, integer arrays and arrays take the type of the Tensor beside them
    for other in (1, 2.5, [1, 2], np.arange(1, 3), np.ones(2), np.float64(1)):
        assert (single + other).dtype == (single * other).dtype == np.float32
        assert (double / other).dtype == (other - double).dtype == np.float64
    assert ops.add(np.ones(2), 1).dtype == np.float64  # of an array where there is no Tensor
    assert ops.add(1, 2).dtype == np.float32


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_result_is_not_copied_without_what_it_was_computed_from(take):
    y = leaf(1.0) * 2.0
    with pytest.raises(GradientError, match="^the result of scale cannot be copied or pickled"):
        take(y)
    take(y.detach())


@pytest.mark.parametrize(
    "take", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_leaf_is_copied_with_its_gradient(take):
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    other = take(x)
    assert other.requires_grad and other.data.tolist() == [1, 2] and other.grad.tolist() == [2, 4]
    (other * other).sum().backward()
    assert (x.grad.tolist(), other.grad.tolist()) == ([2, 4], [4, 8])


@pytest.mark.parametrize(
    "function",
    [
        Tensor,
        lambda rows: ops.add(leaf(1.0), rows),
        lambda rows: leaf(1.0) * rows,
        lambda rows: ops.embedding(np.ones((3, 2)), ids=rows),
        lambda rows: ops.masked_fill(leaf(1.0), mask=rows, value=0),
    ],
)
def test_rows_of_different_lengths(function):
    with pytest.raises(ShapeError, match=r"\[\[1\], \[2, 0\]\] is no array: its rows have diff"):
        function([[1], [2, 0]])


def test_a_number_that_is_too_large():
    with pytest.raises(ConfigError, match="^scale: factor is too large for float32"):
        Tensor(1.0) * 10**400


def test_identity_is_equality():
    x, y = leaf(1.0), leaf(1.0)
    assert x == x and not x != x and len({x, y, x}) == 2 and {x: 1, y: 2}[y] == 2
    assert x in {x, y} and x in [x, y] and y not in {x}
    assert x != "x" and x is not None and x != None  # noqa: E711
    for other in (y, np.ones(1), 1.0, np.float64(1), [1.0]):
        for compare in (lambda o: x == o, lambda o: o == x, lambda o: x != o):
            with pytest.raises(GradientError, match=r"^== does not compare Tensors; write a is b"):
                compare(other)


@pytest.mark.parametrize(
    "compare", [lambda x, y: x < y, lambda x, y: x <= y, lambda x, y: x > y, lambda x, y: y >= x]
)
def test_an_order_is_that_of_the_arrays(compare):
    for other in (0, np.ones(1), leaf(1.0)):
        with pytest.raises(GradientError, match=r"no gradient; compare the arrays: x.data > 0"):
            compare(leaf(1.0), other)


def test_iteration_and_unpacking():
    x = Tensor(np.arange(4.0).reshape(2, 2), requires_grad=True)
    first, second = x
    (first * 2.0 + second).sum().backward()
    assert x.grad.tolist() == [[2, 2], [1, 1]]
    assert [row.data.tolist() for row in x] == [[0, 1], [2, 3]]


def test_truth():
    assert Tensor(1.0) and not Tensor([0.0])
    with pytest.raises(ShapeError, match=r"shape \(2,\) is neither true nor false; compare .data"):
        bool(leaf(0.0, 1.0))


def test_assignment_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match="cannot be assigned into.*masked_fill or ops.concat"):
        x[0] = 5.0
    with pytest.raises(GradientError, match="cannot be assigned into"):
        x[0] += 5.0


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (np.sum, "np.sum"),
        (np.mean, "np.mean"),
        (np.reshape, "np.reshape"),
        (lambda x, *_: np.concatenate([x, x]), "np.concatenate"),
        (lambda x, *_: np.where(x.data > 0, x, 0), "np.where"),
        (lambda x, *_: np.asarray(x), "NumPy functions do"),
        (lambda x, *_: np.zeros(2).__setitem__(slice(None), x), "NumPy functions do"),
    ],
)
def test_numpy_does_not_see_through_a_tensor(function, name):
    with pytest.raises(GradientError, match=f"^{name}.* not see through a Tensor; use an op of"):
        function(leaf(1.0, 2.0), 1)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (np.exp, "np.exp"),
        (lambda x: np.maximum(x, 0), "np.maximum"),
        (lambda x: np.add(x, np.ones(2)), "np.add"),
        (lambda x: np.ones(2) // x, "np.floor_divide"),
        (lambda x: np.multiply.reduce(x), "np.multiply"),
        (lambda x: np.ones(2).__iadd__(x), "np.add"),
    ],
)
def test_ufuncs_of_numpy_are_refused(function, name):
    with pytest.raises(GradientError, match=f"^{name} does not see through a Tensor; use an op"):
        function(leaf(1.0, 2.0))


def test_rows_of_unequal_length_are_one_line():
    with pytest.raises(ShapeError, match="its rows have different lengths"):
        Tensor([[1.0], [1.0, 2.0]])


def test_concatenate_takes_arrays_of_unequal_length():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    (ops.concatenate(x, y, x) * np.arange(5.0)).sum().backward()
    assert x.grad.tolist() == [0 + 3, 1 + 4] and y.grad.tolist() == [2]


def test_a_table_read_in_several_ways():
    values = np.random.default_rng(0).normal(size=(90, 50))  # enough numbers for a kernel
    values.flags.writeable = False  # as what pandas or a mapped file may hand over
    ids, grads = np.array([[0, 3, 3], [89, 1, 3]]), []
    for name in ("numpy", "numba"):
        with use_backend(name):
            t = Tensor(values, requires_grad=True)
            e = ops.embedding(t, ids=ids, padding_id=0)
            loss = (e * e).sum() + ops.embedding(t, ids=ids[0]).sum()
            for k in range(5):  # more gradients than wait at a time
                loss = loss + (t * float(k) + t).sum()
            loss.backward(retain_graph=True)
            once, t.grad = t.grad, None
            loss.backward()
            np.testing.assert_array_equal(t.grad, once)
            grads.append(once)
    np.testing.assert_allclose(*grads, rtol=1e-12)
