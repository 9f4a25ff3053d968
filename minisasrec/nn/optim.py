"""Optimisers: Adam, and plain gradient descent to compare it with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import backend
from minisasrec.errors import CheckpointError, ConfigError, GradientError, TrainingError

SMALL = 16_384  # numbers in a parameter that Adam updates together with others


class Optimizer:
    """Base: holds the parameters, clears their gradients, clips them by their common norm.

    Weights change in place, but an array that a caller gave stays as it is: its parameter gets a
    copy before the first change. Raises `ConfigError` for a rate or a norm outside its range, and
    for what is no parameter.
    """

    def __init__(self, parameters: Sequence[Tensor], lr: float, clip_norm: float = 0.0) -> None:
        _check_rate(lr)
        if not clip_norm >= 0:
            raise ConfigError(f"clip_norm is {clip_norm}; it is a length, 0 = no clipping")
        self.parameters = _checked(parameters)
        self.kinds = [(p.shape, p.dtype) for p in self.parameters]
        self.lr, self.clip_norm = lr, clip_norm
        self.steps = 0

    def zero_grad(self) -> None:
        """Forget the gradients of the last step; otherwise the next ones are added to them."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, lr: float | None = None) -> None:
        """Change every parameter along its gradient; `lr` is that of this step only.

        Raises `ConfigError` for a rate that is not above 0 and a parameter that has another shape
        or type than at first, `GradientError` for a gradient of another shape than its parameter or
        of no real numbers, `TrainingError` for a norm that cannot be clipped; then nothing has
        changed.
        """
        lr = self.lr if lr is None else lr
        _check_rate(lr)
        for i, (parameter, kind) in enumerate(zip(self.parameters, self.kinds, strict=True)):
            w, dw = parameter.data, parameter.grad
            if type(dw) is not np.ndarray or not kind == (w.shape, w.dtype) == (dw.shape, dw.dtype):
                self._check(i)
        clip = self._clip_factor()
        self.steps += 1
        settings = self._settings(clip, lr)
        trained = []
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                warnings.warn(
                    f"{parameter.name or f'parameter {i}'} has no gradient: the loss does not "
                    "depend on it, so it is not trained",
                    stacklevel=2,
                )
            else:
                trained.append(i)
        self._update(trained, settings)

    def _check(self, i: int) -> None:
        """Raise if parameter i is not as it was, or its gradient, if it has one, does not fit."""
        parameter, (shape, dtype) = self.parameters[i], self.kinds[i]
        name = parameter.name or f"parameter {i}"
        if (parameter.shape, parameter.dtype) != (shape, dtype):
            raise ConfigError(
                f"{name} was {dtype} of shape {shape} when the optimiser was made and is "
                f"{parameter.dtype} of shape {parameter.shape} now; make a new optimiser"
            )
        if parameter.grad is None:
            return
        gradient = np.asarray(parameter.grad)
        if gradient.shape != shape:
            raise GradientError(
                f"the gradient of {name} has shape {gradient.shape}, the parameter {shape}"
            )
        if gradient.dtype.kind not in "fiub":
            raise GradientError(f"the gradient of {name} is {gradient.dtype}, no real numbers")

    def _clip_factor(self) -> float:
        """What to multiply every gradient with so that their common norm is at most clip_norm."""
        if not self.clip_norm:
            return 1.0
        total = 0.0
        for parameter in self.parameters:
            if parameter.grad is not None:
                total += float(np.square(parameter.grad, dtype=np.float64).sum())
        if not np.isfinite(total):
            raise TrainingError("gradient norm is not finite; lower the learning rate")
        return min(1.0, self.clip_norm / (total**0.5 + 1e-12))

    def _settings(self, factor: float, lr: float) -> tuple[float, ...]:
        """The numbers that this step's updates share; `factor` multiplies every gradient."""
        return lr, factor

    def _update(self, trained: list[int], settings: tuple[float, ...]) -> None:
        """Change the parameters with these indices; each of them has a gradient."""
        raise TypeError(f"{type(self).__name__} has no _update")


def _check_rate(lr: float) -> None:
    if not (isinstance(lr, Real) and 0 < lr < math.inf):
        raise ConfigError(f"learning rate is {lr!r}; it must be a number above 0")


def _checked(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters as a list, each of them once and a leaf."""
    if isinstance(parameters, Tensor):
        raise ConfigError(
            "an optimiser takes a list of parameters; write [x], or model.parameters()"
        )
    found = list(parameters)
    for i, each in enumerate(found):
        if not isinstance(each, Tensor) or each.op is not None or not each.requires_grad:
            seen = (
                "the result of an op" if isinstance(each, Tensor) and each.op else repr(each)[:60]
            )
            raise ConfigError(
                f"parameter {i} is {seen}; an optimiser changes Parameters, or Tensors made with "
                "requires_grad=True"
            )
        if any(each is other for other in found[:i]):
            raise ConfigError(
                f"parameter {i}, {each.name or 'unnamed'}, is there twice; give it once"
            )
    return found


class SGD(Optimizer):
    """w <- w - lr * gradient."""

    def _update(self, trained: list[int], settings: tuple[float, ...]) -> None:
        lr, factor = settings
        for i in trained:
            w, dw = self.parameters[i].own_data(), self.parameters[i].grad
            assert dw is not None
            w -= w.dtype.type(lr * factor) * np.asarray(dw, w.dtype)
            self.parameters[i].mark_changed()


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015), as the paper trains with (Sec. III-E).

    m <- beta1 m + (1 - beta1) g          running mean of the gradient
    v <- beta2 v + (1 - beta2) g^2        running mean of its square
    w <- w - lr * mhat / (sqrt(vhat) + eps),   mhat = m / (1 - beta1^t),  vhat = v / (1 - beta2^t)

    t counts the steps of the optimiser, also those in which a parameter had no gradient.
    beta2 = .98 is the authors' setting. `l2` adds l2 * w to the gradient (of l2/2 |w|^2). Raises
    `ConfigError` for a setting outside its range.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.98,
        eps: float = 1e-8,
        l2: float = 0.0,
        clip_norm: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, clip_norm)
        for name, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise ConfigError(f"Adam: {name} is {value}; 0 <= {name} < 1")
        least = eps * (1 - beta2) ** 0.5  # at the first step, see `_settings`
        if not all(p.dtype.type(least) > 0 for p in self.parameters):
            raise ConfigError(
                f"Adam: eps is {eps}; it must be above 0 in the parameters' type, as it is divided "
                "by"
            )
        if not l2 >= 0:
            raise ConfigError(f"Adam: l2 is {l2}; it must be 0 or more")
        self.beta1, self.beta2, self.eps, self.l2 = beta1, beta2, eps, l2
        self.m = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        self.v = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        self._join_small()

    def _join_small(self) -> None:
        """Keep m and v of all small parameters in one array, so that one call updates them all.

        A model has some thirty small parameters, and calling a kernel takes longer than updating
        one of them.
        """
        first = self.parameters[0].dtype if self.parameters else None
        small = [p.size <= SMALL and p.dtype == first for p in self.parameters]
        self.small = [i for i, is_small in enumerate(small) if is_small]
        self.large = [i for i, is_small in enumerate(small) if not is_small]
        shapes = [self.parameters[i].shape for i in self.small]
        self.small_m = np.zeros(sum(self.parameters[i].size for i in self.small), first)
        self.small_v = np.zeros_like(self.small_m)
        for flat, arrays in ((self.small_m, self.m), (self.small_v, self.v)):
            for i, part in zip(self.small, _parts(flat, shapes), strict=True):
                part[...] = arrays[i]
                arrays[i] = part

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Join again what a copy or a pickle holds apart."""
        vars(self).update(state)
        self._join_small()

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs, as arrays by name; the next step changes them, so copy them."""
        state = {"steps": np.array([self.steps], np.int64)}
        for i in range(len(self.parameters)):
            state[f"m.{i}"], state[f"v.{i}"] = self.m[i], self.v[i]
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` returned.

        Raises `CheckpointError` for a state of other parameters, or one that no training leaves.
        Then nothing has changed.
        """
        wanted = self.state()
        if wanted.keys() != state.keys():
            odd = ", ".join(sorted(wanted.keys() ^ state.keys()))
            raise CheckpointError(f"the optimiser's state has other parts than the model: {odd}")
        for name, array in wanted.items():
            found = np.asarray(state[name])
            if (found.shape, found.dtype) != (array.shape, array.dtype):
                raise CheckpointError(
                    f"the optimiser's {name} is {found.dtype} of shape {found.shape}, but "
                    f"{array.dtype} of shape {array.shape} was expected: it is of another model"
                )
            if not np.isfinite(found).all():
                raise CheckpointError(f"the optimiser's {name} holds NaN or infinity")
            if name[0] in "vs" and (found < 0).any():
                raise CheckpointError(f"the optimiser's {name} holds a number below 0")
        self.steps = int(state["steps"][0])
        for i in range(len(self.parameters)):
            self.m[i][...], self.v[i][...] = state[f"m.{i}"], state[f"v.{i}"]

    def _settings(self, factor: float, lr: float) -> tuple[float, ...]:
        # the two corrections, folded into the step size and eps: m and v are read once
        correction1, correction2 = 1 - self.beta1**self.steps, 1 - self.beta2**self.steps
        step_size = lr * correction2**0.5 / correction1
        eps = self.eps * correction2**0.5
        return self.beta1, self.beta2, step_size, eps, self.l2, factor

    def _update(self, trained: list[int], settings: tuple[float, ...]) -> None:
        update = kernels.adam.adam_step if backend() == "numba" else adam_step
        if self.small and len(trained) == len(self.parameters):
            weights = [self.parameters[i].own_data() for i in self.small]
            gradients: list[Any] = [self.parameters[i].grad for i in self.small]
            w, g = np.concatenate(weights, axis=None), np.concatenate(gradients, axis=None)
            g = g if g.dtype == w.dtype else g.astype(w.dtype)
            update(w, g, self.small_m, self.small_v, *settings)
            for weight, new in zip(weights, _parts(w, [w.shape for w in weights]), strict=True):
                weight[...] = new
            for i in self.small:
                self.parameters[i].mark_changed()
            trained = self.large
        for i in trained:
            w = self.parameters[i].own_data()
            dw = np.asarray(self.parameters[i].grad, w.dtype)
            update(w, dw, self.m[i], self.v[i], *settings)
            self.parameters[i].mark_changed()


def _parts(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
    """Arrays of these shapes that lie one after another in `flat`."""
    at = 0
    for shape in shapes:
        size = math.prod(shape)
        yield flat[at : at + size].reshape(shape)
        at += size


def adam_step(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    beta1: float,
    beta2: float,
    step_size: float,
    eps: float,
    l2: float,
    factor: float,
) -> None:
    """One Adam step in place, by the book: the definition of `kernels.adam.adam_step`."""
    real = w.dtype.type
    g = real(factor) * g + real(l2) * w
    m *= real(beta1)
    m += real(1 - beta1) * g
    v *= real(beta2)
    v += real(1 - beta2) * g * g
    w -= real(step_size) * m / (np.sqrt(v) + real(eps))


def warm_up(step: int, steps: int) -> float:
    """Factor on the learning rate: rises from 1/steps to 1 over the first `steps` steps."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
