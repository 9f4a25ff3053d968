"""Every op of the registry, by its definition and by its kernel: an op that exists is tested."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import WideDraw, examples, implementations, normal_like, run

from minisasrec import Tensor, ops
from minisasrec.autograd import gradients
from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw
from minisasrec.backends import use_backend
from minisasrec.errors import MinisasrecError, ShapeError

ALL = [pytest.param(*rest, id=name) for name, *rest in implementations()]
OPS_BY_NAME = [pytest.param(op, id=op.name) for op in OPS.values()]
WITH_KERNEL = [pytest.param(op, id=op.name) for op in OPS.values() if op.adaptor]


def few(examples):
    return settings(max_examples=examples)


def close(got, want, step):
    """Equal up to `step` times the size of what is compared."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    atol = step * max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=atol)


def as_float32(args):
    return [a.astype(np.float32) for a in args]


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
@few(10)
@given(st.data())
def test_every_entry_of_the_jacobian(op, backend, function, data):
    args, constants = data.draw(examples(op))
    with use_backend(backend):
        gradcheck(op, *args, **constants)


@pytest.mark.parametrize("op", WITH_KERNEL)
@few(10)
@given(st.data())
def test_kernel_is_its_definition(op, data):
    args, constants = data.draw(examples(op))
    for got, want in zip(
        run(op.adaptor, args, constants), run(op.definition, args, constants), strict=True
    ):
        assert got.dtype == want.dtype == np.float64
        close(got, want, 1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("op", WITH_KERNEL)
def test_kernel_is_its_definition_at_the_ends_of_its_tiles(op, seed):
    args, constants = op.sample(WideDraw(seed))
    want = run(op.definition, args, constants)
    for got, expected in zip(run(op.adaptor, args, constants), want, strict=True):
        close(got, expected, 1e-12)
    single = as_float32(args)
    want = run(op.definition, [a.astype(np.float64) for a in single], constants)
    for got, expected in zip(run(op.adaptor, single, constants), want, strict=True):
        assert got.dtype == np.float32
        close(got, expected, 3e-6)  # sums of up to 350 numbers


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
@few(10)
@given(st.data())
def test_float32_stays_float32_and_loses_a_few_roundings(op, backend, function, data):
    args, constants = data.draw(examples(op))
    single = as_float32(args)
    got = run(function, single, constants)
    want = run(op.definition, [a.astype(np.float64) for a in single], constants)
    for one, two in zip(got, want, strict=True):
        assert one.dtype == np.float32
        close(one, two, 2e-6)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
def test_a_second_run_gives_the_same_bits(op, backend, function):
    args, constants = op.sample(WideDraw(5))
    args = as_float32(args)
    for one, two in zip(
        run(function, args, constants), run(function, args, constants), strict=True
    ):
        np.testing.assert_array_equal(one, two)


# --- which of the two runs -------------------------------------------------------------------


def refuse(*_, **__):
    raise AssertionError("this implementation must not run here")


@pytest.mark.parametrize("op", WITH_KERNEL)
def test_each_backend_runs_its_own_implementation(op, monkeypatch):
    called = []
    kernel, definition = op.adaptor, op.definition
    monkeypatch.setattr(op, "above", 0)
    monkeypatch.setattr(op, "adaptor", lambda *a, **k: called.append("numba") or kernel(*a, **k))
    monkeypatch.setattr(
        op, "definition", lambda *a, **k: called.append("numpy") or definition(*a, **k)
    )
    args, constants = op.sample(Draw(3, T=3, n=3))
    for backend in ("numba", "numpy"):
        called.clear()
        with use_backend(backend):
            op(*args, **constants)
        assert called[0] == backend
    assert called == ["numpy"]


@pytest.mark.parametrize("op", WITH_KERNEL)
def test_a_kernel_is_no_definition_in_disguise(op, monkeypatch):
    """Where shapes broadcast, an adaptor may leave the work to NumPy, but not always."""
    monkeypatch.setattr(op, "definition", refuse)
    ran = 0
    for seed in range(20):
        args, constants = op.sample(WideDraw(seed))
        try:
            ran += bool(op.adaptor(*args, **constants))
        except AssertionError:
            pass
    assert ran >= 3


@pytest.mark.parametrize("op", [op for op in WITH_KERNEL if op.values[0].above])
def test_a_kernel_runs_from_its_size_on(op, monkeypatch):
    constants = op.sample(Draw(0))[1]
    for size, other in ((op.above, "adaptor"), (op.above + 1, "definition")):
        args = [np.ones(size) for _ in op.signature.args]
        with use_backend("numba"), monkeypatch.context() as m:
            m.setattr(op, other, refuse)
            op(*args, **constants)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 9000])
def test_sums_of_gradients(count, size, monkeypatch):
    arrays = list(np.random.default_rng(0).standard_normal((count, size)))
    want = np.sum(arrays, axis=0)
    for implementation in (gradients.total.adaptor, gradients.total.definition):
        close(implementation(arrays), want, 1e-15)
    other = "definition" if size > gradients.total.above else "adaptor"
    with use_backend("numba"), monkeypatch.context() as m:
        m.setattr(gradients.total, other, refuse)
        close(gradients.add_up(arrays), want, 1e-15)
    with use_backend("numpy"), monkeypatch.context() as m:
        m.setattr(gradients.total, "adaptor", refuse)
        close(gradients.add_up(arrays), want, 1e-15)


# --- empty arrays ----------------------------------------------------------------------------


def axes_of(op):
    """The names of the axes that an op's examples have."""
    names = set()
    for seed in range(10):
        draw = Draw(seed)
        op.sample(draw)
        names |= draw.dims.keys()
    return sorted(names)


WITH_AXES = [
    pytest.param(op, axis, id=f"{op.name}-{axis}") for op in OPS.values() for axis in axes_of(op)
]
UNDEFINED = {  # of nothing there is no mean, no largest element, no filter, no candidate
    ("bce_with_logits", "lead0"),
    ("bce_with_logits", "lead1"),
    ("causal_attention", "d_head"),
    ("horizontal_convolution", "L"),
    ("feed_forward", "d"),
    ("layer_norm", "d"),
    ("norm_projections", "d"),
    ("packed_self_attention", "d_head"),
    *(("max", axis) for axis in "abc"),
    ("max_over_time", "p"),
    *(("mean", axis) for axis in "abc"),
    ("packed_causal_attention", "d_head"),
    ("packed_last_attention", "d_head"),
    ("softmax", "n"),
    ("softmax_cross_entropy", "V"),
}


def outcome(op, args, constants):
    """The result and the gradients, or the words of the error."""
    tensors = [Tensor(a, requires_grad=True) for a in args]
    try:
        y = op(*tensors, **constants)
        y.backward(np.ones(y.shape))
    except MinisasrecError as error:
        return str(error)
    return [y.data, *(t.grad for t in tensors)]


@pytest.mark.parametrize(("op", "axis"), WITH_AXES)
def test_an_axis_of_no_elements(op, axis):
    said = set()
    for seed in range(12):
        dims = {name: 3 for name in axes_of(op) if name not in ("d", "d_head", "n", "L")}
        args, constants = op.sample(Draw(seed, **dims | {axis: 0}))
        outcomes = []
        for backend in ("numpy", "numba"):
            with use_backend(backend), warnings.catch_warnings():
                warnings.simplefilter("error")
                outcomes.append(outcome(op, args, constants))
        one, other = outcomes
        assert type(one) is type(other)
        if isinstance(one, str):
            assert one == other and one.startswith(f"{op.name}: ")
            said.add(one)
            continue
        for a, b, shape in zip(one, other, [one[0].shape, *(x.shape for x in args)], strict=True):
            assert a.shape == b.shape == shape and a.dtype == b.dtype == np.float64
            assert np.isfinite(a).all()
            close(b, a, 1e-12)
    assert bool(said) == ((op.name, axis) in UNDEFINED), said


# --- memory ----------------------------------------------------------------------------------


def fortran(x):
    return np.asarray(x, order="F")


def every_second(x):
    """A view of x's values with gaps between them, along every axis."""
    spread = np.full([2 * length for length in x.shape], np.nan, x.dtype)
    every = (..., *[slice(None, None, 2)] * x.ndim)
    spread[every] = x
    return spread[every]


def backwards(x):
    """A view of x's values with negative strides."""
    flip = (..., *[slice(None, None, -1)] * x.ndim)
    return x[flip].copy()[flip]


@pytest.mark.parametrize("layout", [fortran, every_second, backwards])
@pytest.mark.parametrize(("op", "backend", "function"), ALL)
def test_the_layout_in_memory_does_not_matter(op, backend, function, layout):
    for seed in range(4):
        wide = {"d": 17} if seed == 3 else {}  # more than a vector: some kernels begin there
        dims = {"T": 3, "n": 3, "lead0": 2, "lead1": 3, "a": 3, "b": 2, "c": 3, "k": 3, "m": 2}
        args, constants = op.sample(Draw(seed, **dims, **wide))
        y, backward = function(*args, **constants)
        dy = normal_like(y)
        other_y, other_backward = function(*[layout(a) for a in args], **constants)
        close(other_y, y, 1e-12)
        for got, want in zip(other_backward(layout(dy)), backward(dy), strict=True):
            close(got, want, 1e-12)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
def test_ids_may_have_their_bytes_in_any_order(op, backend, function):
    args, constants = op.sample(Draw(2, T=3))
    turned = {
        name: value.astype(value.dtype.newbyteorder())
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu"
        else value
        for name, value in constants.items()
    }
    for got, want in zip(run(function, args, turned), run(function, args, constants), strict=True):
        close(got, want, 1e-12)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
def test_a_gradient_that_is_one_number_repeated(op, backend, function):
    # what the engine passes on from a broadcast: a view without memory of its own
    args, constants = op.sample(Draw(2, T=3, n=3, d=3, d_head=2, lead0=2, lead1=2))
    y, backward = function(*args, **constants)
    got = backward(np.broadcast_to(0.7, y.shape))
    for one, two in zip(got, backward(np.full(y.shape, 0.7)), strict=True):
        close(one, two, 1e-12)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
def test_nothing_that_is_passed_in_changes(op, backend, function):
    for seed in range(3):
        args, constants = op.sample(Draw(seed))
        before = copy.deepcopy((args, constants))
        y, backward = function(*args, **constants)
        y_before, dy = np.array(y), normal_like(y)
        first = [np.array(dx) for dx in backward(dy)]
        np.testing.assert_equal((args, constants), before)
        np.testing.assert_array_equal(dy, normal_like(y))
        np.testing.assert_array_equal(y, y_before)
        # and what is saved does not change, so that a retained graph can be walked again
        np.testing.assert_equal([np.array(dx) for dx in backward(dy)], first)


# --- shapes and words ------------------------------------------------------------------------


def lengths_of(op, args):
    """The axes of a signature with their lengths, "..." and "*" included, for these arrays."""
    lengths, fronts = {}, []
    for (_, axes), array in zip(op.signature.axes(len(args)), args, strict=True):
        named = [a for a in axes if a not in ("...", "*", "?")]
        lengths.update(zip(named, array.shape[array.ndim - len(named) :], strict=True))
        if axes and axes[0] in ("...", "*"):
            fronts.append(array.shape[: array.ndim - len(named)])
    return lengths, np.broadcast_shapes(*fronts)


@pytest.mark.parametrize(("op", "backend", "function"), ALL)
@few(10)
@given(st.data())
def test_shapes_are_those_of_the_signature(op, backend, function, data):
    args, constants = data.draw(examples(op))
    with use_backend(backend):
        y = op(*args, **constants)
    lengths, front = lengths_of(op, args)
    if op.signature.result != ("?",):
        want: tuple[int, ...] = ()
        for axis in op.signature.result:
            want += front if axis in ("...", "*") else (lengths[axis],)
        assert y.shape == want
    for array, gradient in zip(args, run(function, args, constants)[1:], strict=True):
        assert gradient.shape == array.shape


def wrong_shapes(op, args):
    """(arguments, what the error must name): every way to break one axis of the signature."""
    axes = [a for _, a in op.signature.axes(len(args))]
    for i, array in enumerate(args):
        others = {axis for j, other in enumerate(axes) if j != i for axis in other}
        for position, axis in enumerate(axes[i]):
            if axis in ("*", "?") or axis not in others:
                continue
            at = 0 if axis == "..." else array.ndim - len(axes[i]) + position
            if axis == "..." and array.ndim < len(axes[i]):
                continue  # no leading axis to make longer
            broken = np.concatenate([array, np.take(array, [0], at)], at)
            named = "leading axes" if axis == "..." else f"axis {axis} is"
            yield [*args[:i], broken, *args[i + 1 :]], named
        if axes[i] and axes[i][0] not in ("...", "*", "?"):
            yield [*args[:i], array[None], *args[i + 1 :]], f"needs {len(axes[i])} axes"
        elif axes[i][1:]:
            yield [*args[:i], np.ones(()), *args[i + 1 :]], "axes or more"
    if all(a == ("*",) for a in axes):
        yield [np.ones((2, 3)), np.ones((2, 4))], "do not broadcast"


@pytest.mark.parametrize("op", OPS_BY_NAME)
def test_a_wrong_shape_is_named(op):
    args, constants = op.sample(
        Draw(3, lead0=2, lead1=3, T=3, B=2, n=3, d=3, d_head=2, V=4, k=2, m=4)
    )
    op(*args, **constants)  # these are right
    for broken, named in wrong_shapes(op, args):
        with pytest.raises(ShapeError, match=f"^{op.name}: ") as caught:
            op(*broken, **constants)
        assert named in str(caught.value) and op.signature.text in str(caught.value)
    if not op.signature.variadic:
        with pytest.raises(ShapeError, match=f"^{op.name}: takes {len(args)} arrays? .* got"):
            op(*args, args[0], **constants)


def test_wrong_shapes_are_tried():
    tried = {
        op.name: len(list(wrong_shapes(op, op.sample(Draw(3, lead0=2, lead1=3))[0])))
        for op in OPS.values()
    }
    assert tried["linear"] >= 6 and tried["causal_attention"] >= 9 and tried["softmax"] >= 1
    assert tried["add"] == 1


@pytest.mark.parametrize("op", OPS_BY_NAME)
def test_every_op_states_its_formula(op):
    assert op.__doc__ and " = " in op.__doc__
    assert op.signature.args and op.signature.result is not None
    assert "def " in op.source
    assert getattr(ops, op.name, None) is op and op.name in ops.__all__, (
        f"name {op.name} in ops/__init__.py, in its import and in __all__"
    )


def test_sigmoid_and_its_logarithm_at_the_ends_of_the_range():
    x = np.array([-1000, -100, 0, 100, 1000], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(ops.sigmoid(x).data, [0, 0, 0.5, 1, 1], atol=1e-40)
        np.testing.assert_allclose(
            ops.log_sigmoid(x).data, [-1000, -100, -np.log(2), 0, 0], rtol=1e-6, atol=1e-40
        )
        y, backward = ops.log_sigmoid.definition(x)
        (dx,) = backward(np.ones_like(x))
        np.testing.assert_allclose(dx, [1, 1, 0.5, 0, 0], atol=1e-40)


@pytest.mark.parametrize("function", [ops.softmax.definition, ops.softmax.adaptor])
def test_softmax_of_large_numbers(function):
    y, _ = function(np.array([[1e4, 1e4, -1e4], [-1e30, 0.0, -1e30]], dtype=np.float32))
    np.testing.assert_array_equal(y, [[0.5, 0.5, 0], [0, 1, 0]])


def test_softmax_cross_entropy_in_blocks_is_the_same():
    args, constants = ops.softmax_cross_entropy.sample(Draw(1, T=20, V=7, d=4))
    whole = run(ops.softmax_cross_entropy.definition, args, constants)
    for got, want in zip(
        run(ops.softmax_cross_entropy.definition, args, {**constants, "block": 3}),
        whole,
        strict=True,
    ):
        close(got, want, 1e-14)
