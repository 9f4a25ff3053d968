"""Optimisers, against PyTorch and by hand."""

from __future__ import annotations

import collections
import copy
import functools
import pickle

import numpy as np
import pytest

from minisasrec import Tensor
from minisasrec.backends import use_backend
from minisasrec.errors import CheckpointError, ConfigError, GradientError, TrainingError
from minisasrec.nn import Linear, Module, Parameter
from minisasrec.nn.optim import SGD, Adam, Optimizer, warm_up

BACKENDS = ["numpy", "numba"]
SHAPES = [(5, 3), (4,), (), (130, 127)]  # the last one is more than one task of the kernel


def parameters(dtype=np.float64, seed=0):
    generator = np.random.default_rng(seed)
    return [Parameter(np.asarray(generator.standard_normal(s), dtype=dtype)) for s in SHAPES]


def train(optimizer, steps, seed=1):
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        for p in optimizer.parameters:
            p.grad = np.asarray(generator.standard_normal(p.shape), dtype=p.dtype)
        optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("l2", "clip"), [(0.0, 0.0), (0.1, 0.0), (0.0, 5.0), (0.1, 5.0)])
def test_adam_is_that_of_torch(backend, l2, clip):
    torch = pytest.importorskip("torch")
    ours = parameters()
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]
    other = torch.optim.Adam(theirs, lr=0.01, betas=(0.9, 0.98), eps=1e-8, weight_decay=l2)
    with use_backend(backend):
        optimizer = Adam(ours, lr=0.01, l2=l2, clip_norm=clip)
        generator = np.random.default_rng(1)
        for _ in range(10):
            for p, t in zip(ours, theirs, strict=True):
                p.grad = np.asarray(generator.standard_normal(p.shape))
                t.grad = torch.tensor(p.grad)
            optimizer.step()
            if clip:
                torch.nn.utils.clip_grad_norm_(theirs, clip)
            other.step()
    for p, t in zip(ours, theirs, strict=True):
        assert p.shape == tuple(t.shape)
        # torch adds 1e-6 to the norm it clips by
        np.testing.assert_allclose(p.data, t.detach().numpy(), atol=1e-6 if clip else 1e-13)


def test_the_kernel_is_its_definition():
    results = []
    for backend in BACKENDS:
        with use_backend(backend):
            optimizer = Adam(parameters(np.float32), lr=0.01, l2=0.01, clip_norm=1.0)
            train(optimizer, 5)
            results.append([*(p.data for p in optimizer.parameters), *optimizer.m, *optimizer.v])
    for one, two in zip(*results, strict=True):
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_step_of_adam_is_the_learning_rate(backend):
    p = Parameter(np.array([1.0, 1.0, 1.0]))
    p.grad = np.array([1e-3, -50.0, 0.0])
    with use_backend(backend):
        Adam([p], lr=0.1).step()
    np.testing.assert_allclose(p.data, [0.9, 1.1, 1.0], rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_in_any_order_of_memory(backend):
    start = np.random.default_rng(0).standard_normal((4, 3))
    one, two = Parameter(start.copy()), Parameter(np.asfortranarray(start))
    with use_backend(backend):
        for p in (one, two):
            train(Adam([p]), 3)
    np.testing.assert_array_equal(one.data, two.data)
    assert (two.data != start).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_run_is_the_uninterrupted_one(backend):
    with use_backend(backend):
        whole = Adam(parameters(), lr=0.01)
        train(whole, 3)
        state = {name: array.copy() for name, array in whole.state().items()}
        middle = [Parameter(p.data.copy()) for p in whole.parameters]
        train(whole, 4, seed=2)
        resumed = Adam(middle, lr=0.01)
        resumed.load_state(state)
        assert resumed.steps == 3
        train(resumed, 4, seed=2)
    for one, two in zip(whole.parameters, resumed.parameters, strict=True):
        np.testing.assert_array_equal(one.data, two.data)
    assert {name: a.shape for name, a in state.items()} == {
        "steps": (1,),
        **{f"{letter}.{i}": s for i, s in enumerate(SHAPES) for letter in "mv"},
    }


def test_loaded_state_is_a_copy():
    one, two = Adam(parameters()), Adam(parameters())
    train(one, 1)
    two.load_state(one.state())
    before = one.m[0].copy()
    train(two, 1)
    np.testing.assert_array_equal(one.m[0], before)


def test_sgd():
    p = Parameter(np.array([1.0, 2.0]))
    p.grad = np.array([3.0, -4.0])
    SGD([p], lr=0.1).step()
    np.testing.assert_allclose(p.data, [0.7, 2.4])
    SGD([p], lr=0.1).step(lr=1.0)  # this once
    np.testing.assert_allclose(p.data, [-2.3, 6.4])


@pytest.mark.parametrize(("clip", "moved"), [(0.0, 13), (26.0, 13), (6.5, 6.5), (1.0, 1)])
def test_gradients_are_clipped_by_their_common_norm(clip, moved):
    one, two = Parameter(np.zeros(2)), Parameter(np.zeros(1))
    one.grad, two.grad = np.array([3.0, 4.0]), np.array([12.0])  # together 13 long
    SGD([one, two], lr=1.0, clip_norm=clip).step()
    step = np.concatenate([one.data, two.data])
    assert np.linalg.norm(step) == pytest.approx(moved)
    np.testing.assert_allclose(step / moved, np.array([-3, -4, -12]) / 13)
    np.testing.assert_array_equal(one.grad, [3, 4])  # the gradients stay as they are


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite(bad):
    p = Parameter(np.zeros(2))
    p.grad = np.array([1.0, bad])
    with pytest.raises(TrainingError, match="norm is not finite; lower the learning rate"):
        (optimizer := Adam([p], clip_norm=1.0)).step()
    assert optimizer.steps == 0
    assert not p.data.any()


def test_a_parameter_without_gradient_is_named_and_left_alone():
    used, unused = Parameter(np.ones(2)), Parameter(np.ones(2), name="W")
    optimizer = Adam([used, unused], lr=0.1)
    (used * 2.0).sum().backward()
    with pytest.warns(UserWarning, match="^W has no gradient: the loss does not depend on it"):
        optimizer.step()
    np.testing.assert_array_equal(unused.data, 1)
    assert (used.data != 1).all()


def test_zero_grad():
    p = Parameter(np.ones(2))
    optimizer = SGD([p], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (p * 3.0).sum().backward()
        np.testing.assert_array_equal(p.grad, 3)
    optimizer.zero_grad()
    assert p.grad is None


def test_adam_finds_a_minimum():
    p = Parameter(np.array([3.0, -2.0]))
    target = np.array([1.0, 1.0])
    optimizer = Adam([p], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        difference = p - Tensor(target)
        (difference * difference).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(p.data, target, atol=1e-3)


def test_warm_up():
    assert [warm_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warm_up(0, 0) == warm_up(0, 1) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: SGD(p, lr=0.0), "learning rate is 0.0; it must be a number above 0"),
        (lambda p: Adam(p, lr=-1.0), "learning rate is -1.0"),
        (lambda p: Adam(p, lr=float("nan")), "learning rate is nan"),
        (lambda p: SGD(p, lr=1.0, clip_norm=-1.0), "clip_norm is -1.0; it is a length"),
        (lambda p: SGD(p, lr=float("inf")), "learning rate is inf"),
        (lambda p: SGD(p, lr=1.0, clip_norm=float("nan")), "clip_norm is nan"),
        (lambda p: Adam(p, eps=-1e-8), "eps is -1e-08; it must be above 0"),
        (lambda p: Adam(p, eps=0.0), "eps is 0.0; it must be above 0"),  # 0 / 0 in rows unused yet
        (lambda p: Adam([*p, Parameter(np.ones(1, np.float32))], eps=1e-46), "eps is 1e-46"),
        (lambda p: SGD(p, lr="a"), "learning rate is 'a'; it must be a number above 0"),
        (lambda p: Adam(p, lr=None), "learning rate is None"),
        (lambda p: Adam(p, l2=float("nan")), "l2 is nan"),
        (lambda p: Adam(p, beta1=1.0), "beta1 is 1.0; 0 <= beta1 < 1"),
        (lambda p: Adam(p, beta2=-0.1), "beta2 is -0.1"),
    ],
)
def test_settings_outside_their_range(make, says):
    with pytest.raises(ConfigError, match=says):
        make(parameters())


@pytest.mark.parametrize("rate", [float("nan"), 0.0, -1.0])
def test_the_rate_of_one_step_is_checked_like_the_first(rate):
    (p,) = each = parameters()[:1]
    optimizer, before = SGD(each, lr=1.0), p.data.copy()
    p.grad = np.ones_like(p.data)
    with pytest.raises(ConfigError, match="learning rate is"):
        optimizer.step(lr=rate)
    assert optimizer.steps == 0 and np.array_equal(p.data, before)


@pytest.mark.parametrize("make", [SGD, Adam])
def test_weights_change_in_place_and_keep_their_type(make):
    given = np.ones(3, np.float32)
    p = Parameter(given)
    optimizer = make([p], lr=0.1)
    p.grad = np.ones(3)  # float64
    optimizer.step()
    held = p.data
    optimizer.step()
    assert held is p.data and held.dtype == np.float32 and (given == 1).all()


def test_the_base_class_cannot_step():
    optimizer = Optimizer(parameters(), lr=1.0)
    with pytest.raises(TypeError, match="Optimizer has no _update"):
        train(optimizer, 1)


# --- what an optimiser is given ------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("kind", [Parameter, lambda data: Tensor(data, requires_grad=True)])
def test_an_array_that_a_caller_gave_stays_as_it_is(optimizer, kind):
    given = np.ones(3, np.float32)
    x = kind(given)
    step = optimizer([x], lr=0.1)
    (x * np.arange(3, dtype=np.float32)).sum().backward()
    step.step()
    np.testing.assert_array_equal(given, np.ones(3))
    assert x.data[1] < 1


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("size", [3, 20_000])
def test_an_array_that_a_caller_set_stays_as_it_is(optimizer, size):
    given = np.ones(size, np.float32)
    x = Parameter(np.zeros(size, np.float32))
    step = optimizer([x], lr=0.1)
    for _ in range(2):
        x.data = given
        (x * 3.0).sum().backward()
        step.step()
        np.testing.assert_array_equal(given, 1)
        assert (x.data < 1).all()
    kept = x.data
    (x * 3.0).sum().backward()
    step.step()
    assert x.data is kept or optimizer is SGD  # its own array is written in place


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("shape", [(1,), (5,), (4, 3), ()])
def test_a_gradient_of_another_shape(optimizer, shape):
    x = Parameter(np.ones(3, np.float32), "x")
    x.grad = np.ones(shape, np.float32)
    with pytest.raises(GradientError, match="gradient of x has shape"):
        optimizer([x], lr=0.1).step()
    np.testing.assert_array_equal(x.data, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(5000,), (4,), (2,), (3, 1)])
def test_a_parameter_of_another_shape_than_at_first(backend, shape):
    x = Parameter(np.ones(3, np.float32), "table")
    optimizer = Adam([x])
    x.data = np.ones(shape, np.float32)
    x.grad = np.ones(shape, np.float32)
    with use_backend(backend), pytest.raises(ConfigError, match=r"table was float32 of shape \(3,"):
        optimizer.step()
    assert optimizer.steps == 0 and (x.data == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [3, 20_000])
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_gradients_of_other_types(backend, size, optimizer):
    moved = []
    for kind in (np.float32, np.float64, np.float16, np.int64):
        x = Parameter(np.ones(size, np.float32))
        x.grad = np.full(size, 2, kind)
        with use_backend(backend):
            optimizer([x], lr=0.1).step()
        moved.append(x.data)
        assert x.data.dtype == np.float32
    for other in moved[1:]:
        np.testing.assert_array_equal(moved[0], other)
    for wrong in (np.full(size, 1j), np.full(size, "a"), np.full(size, None)):
        x.grad = wrong
        with use_backend(backend), pytest.raises(GradientError, match="no real numbers"):
            optimizer([x], lr=0.1).step()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_a_copy_of_adam_goes_on_as_the_first_one(again):
    first = Adam([Parameter(np.ones(3, np.float32)), Parameter(np.ones(20_000, np.float32))])
    for steps in range(2):
        optimizers = [first, again(first)] if steps else [first]
        for optimizer in optimizers:
            for x in optimizer.parameters:
                x.grad = np.full(x.shape, 1 + steps, np.float32)
            optimizer.step()
    states = [optimizer.state() for optimizer in optimizers]
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value)
    optimizers[1].load_state({name: 0 * value for name, value in states[0].items()})
    assert not optimizers[1].small_m.any()  # what `load_state` sets is what a step reads


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: [x, Parameter(np.ones(1)), x], "parameter 2, x, is there twice"),
        (lambda x: [x * 2.0], "parameter 0 is the result of an op"),
        (lambda x: [Tensor(np.ones(2))], "parameter 0 is Tensor"),
        (lambda x: [x.data], "parameter 0 is array"),
        (lambda x: x, "takes a list of parameters"),
    ],
)
def test_what_cannot_be_trained_is_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        Adam(make(Parameter(np.ones(2, np.float32), "x")))


# --- modules and the parameters in them ----------------------------------------------------------


def linear():
    return Linear(2, 2, 0)


def parameter():
    return Parameter(np.ones(2, np.float32))


class Bag:  # no module
    def __init__(self, content):
        self.content = content


class Layer(Bag):  # no module either
    def __call__(self, x):
        return x * self.content


class Slots:
    __slots__ = ("content",)

    def __init__(self, content):
        self.content = content


def array_of(value):
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


def closure(value):
    return lambda x: value * x


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (parameter(), ["part"]),
        ([parameter(), parameter()], ["part.0", "part.1"]),
        ((linear(),), ["part.0.W", "part.0.b"]),
        ({"a": linear(), "b": parameter()}, ["part.a.W", "part.a.b", "part.b"]),
        ([[linear()], {"x": (parameter(),)}], ["part.0.0.W", "part.0.0.b", "part.1.x.0"]),
        ([np.ones(2), "text", None, Bag(3), {1, 2}, Tensor(np.ones(2))], []),
    ],
    ids=["alone", "list", "tuple", "dict", "nested", "none"],
)
def test_parameters_are_found_however_they_are_held(value, names):
    module = Module()
    module.part = value
    assert [name for name, _ in module.named_parameters()] == names
    assert list(module.state()) == names


def test_a_parameter_held_twice_counts_once():
    module, shared = Module(), linear()
    module.one, module.two, module.weight = shared, [shared], shared.W
    module.me = module
    assert [name for name, _ in module.named_parameters()] == ["one.W", "one.b"]
    assert module.num_parameters() == 6
    Adam(module.parameters())


@pytest.mark.parametrize(
    "value",
    [
        {parameter()},
        [frozenset({linear()})],
        Bag(parameter()),
        [Bag({"x": [linear()]})],
        Tensor(np.ones(2), requires_grad=True),
        Layer(parameter()),
        Slots(parameter()),
        linear().forward,
        functools.partial(linear()),
        closure(parameter()),
        collections.deque([parameter()]),
        {"a": parameter()}.values(),
        array_of(parameter()),
        {parameter(): "x"},
        {("a", linear()): 1},
        Bag(Tensor(np.ones(2), requires_grad=True)),
    ],
    ids=[
        *["set", "frozenset", "object", "deep in an object", "tensor", "object to call", "slots"],
        *["method", "partial", "closure", "deque", "values", "array", "key", "key of two"],
        "tensor in an object",
    ],
)
def test_parameters_that_would_not_be_found_are_refused(value):
    module = Module()
    module.part = value
    with pytest.raises(ConfigError, match=r"^part.* (is a .* that holds parameters|is a Tensor)"):
        module.parameters()


def test_what_leads_to_parameters_that_are_found_is_fine():
    module = Module()
    module.optimizer = None
    module.bag, module.run = Bag(module), module.forward
    module.layer = linear()
    module.step, module.numpy = module.layer.forward, np
    module.optimizer = Adam(module.layer.parameters())
    module.last = (module.layer(np.ones((1, 2), np.float32))).sum()
    for _ in range(2):
        assert [name for name, _ in module.named_parameters()] == ["layer.W", "layer.b"]
        if module.last.parents:
            module.last.backward()  # which leaves it no parents


@pytest.mark.parametrize(
    "value", [{1: parameter(), "1": parameter()}, {"x.y": parameter(), "x": {"y": parameter()}}]
)
def test_two_parameters_of_one_name_are_refused(value):
    module = Module()
    module.part = value
    with pytest.raises(ConfigError, match=r"two parameters are named part\.(1|x\.y),"):
        module.state()


def test_a_parameter_in_a_slot_is_found():
    class Slotted(Module):
        __slots__ = ("weight",)

        def __init__(self):
            self.weight = parameter()

    assert list(Slotted().state()) == ["weight"]


def test_a_parameter_of_the_class_is_refused():
    class Shared(Module):
        weight = parameter()

    with pytest.raises(ConfigError, match="Shared.weight belongs to the class"):
        Shared().parameters()

    class AList(Module):
        layers = [linear()]  # noqa: RUF012

    with pytest.raises(ConfigError, match="AList.layers belongs to the class"):
        AList().parameters()

    layer = linear()

    class Default(Module):
        def forward(self, x, weight=parameter()):  # noqa: B008
            return x * weight

    class Static(Module):
        double = staticmethod(lambda x: layer(layer(x)))

    for kind, name in ((Default, "forward"), (Static, "double")):
        with pytest.raises(ConfigError, match=f"{kind.__name__}.{name} is a .* holds parameters"):
            kind().parameters()

    base, calls = parameter(), {}

    class Own(Module):
        def __init__(self):
            self.weight = base

        def forward(self, x):
            calls[self] = 1
            return x * base

    module = Own()
    module(np.ones((2, 2), np.float32))
    assert list(module.state()) == ["weight"]  # base and the module itself are found already


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"W": np.full((2, 2), np.nan), "b": np.ones(2)}, "W holds NaN or infinity"),
        ({"W": np.ones((2, 2)), "b": np.array([1, np.inf])}, "b holds NaN or infinity"),
        ({"W": np.ones((2, 2)), "b": ["a", "b"]}, "b is no array of numbers"),
        ({"W": np.ones((2, 2)), "b": 1j * np.ones(2)}, "b is no array of numbers: it holds compl"),
        ({"W": np.ones((2, 2)), "b": ["1", "2"]}, "b is no array of numbers: it holds <U1"),
        ([("W", np.ones((2, 2)))], r"a dict, name to array, as of state\(\); got list"),
        ({"W": np.ones((2, 2)), "b": np.ones(3)}, r"b has shape \(3,\), the model needs \(2,\)"),
    ],
)
def test_weights_that_cannot_be_right_change_nothing(state, says):
    module = linear()
    before = {name: array.copy() for name, array in module.state().items()}
    with pytest.raises(CheckpointError, match=says):
        module.load_state(state)
    for name, array in module.state().items():
        np.testing.assert_array_equal(array, before[name])
    module.load_state({"W": [[1, 2], [3, 4]], "b": (0, 1)})
    assert module.b.data.tolist() == [0, 1]


def test_weights_of_torch_are_loaded():
    torch = pytest.importorskip("torch")
    module = linear()
    module.load_state({"W": torch.ones(2, 2), "b": torch.zeros(2)})
    assert module.W.data.sum() == 4
