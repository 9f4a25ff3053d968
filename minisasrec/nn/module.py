"""Parameters, and the modules that hold them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import CheckpointError, ConfigError

FUNCTIONS = (FunctionType, staticmethod, classmethod)  # as a class holds them


class Parameter(Tensor):
    """A leaf tensor that training changes. It copies `data`: the caller's array stays as it is."""

    __slots__ = ()

    def __init__(self, data: np.ndarray, name: str = "") -> None:
        super().__init__(np.array(data, order="C"), requires_grad=True, name=name)
        self._given = False


class Module:
    """Something with parameters: they are found in its attributes, in the order of assignment.

    An attribute may be a parameter, a module, or a list, tuple or dict of such, nested as you
    like. Names are joined with dots, as in `blocks.0.attention.query.W`. A parameter that is
    reachable in two ways (a shared embedding) counts once, by the first of its names.
    """

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name.

        Raises `ConfigError` for one that could not be trained or saved: in a set, which has no
        order, on the class, in a function or in an object that is no module, a Tensor with a
        gradient that is no `Parameter`, or the second one of a name.
        """
        seen: set[int] = set()
        others: list[tuple[str, Any]] = []
        names: set[str] = set()
        for name, parameter in _found_in(self, "", seen, others):
            if name in names:
                raise ConfigError(
                    f"two parameters are named {name}, so only one could be saved; give the keys "
                    "of the dict other names"
                )
            names.add(name)
            yield name, parameter
        for name, value in others:
            if _holds_more(value, seen):
                raise ConfigError(
                    f"{name} is a {type(value).__name__} that holds parameters, where they are not "
                    "found; use a list, a tuple or a dict, or derive its class from Module"
                )

    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def name_parameters(self) -> None:
        """Give each parameter its dotted name, which messages and pictures show."""
        for name, parameter in self.named_parameters():
            parameter.name = name

    def num_parameters(self) -> int:
        """Total number of weights."""
        return sum(parameter.size for parameter in self.parameters())

    def state(self) -> dict[str, np.ndarray]:
        """The weights by name (the arrays themselves, not copies)."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Set every weight from `state`: arrays, or what NumPy makes an array of.

        Raises `CheckpointError` if a name is missing or not known, a shape differs, or a weight is
        not a finite number. Then no weight has changed.
        """
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"weights are a dict, name to array, as of state(); got {type(state).__name__}"
            )
        parameters = dict(self.named_parameters())
        missing, unknown = parameters.keys() - state.keys(), state.keys() - parameters.keys()
        if missing or unknown:
            raise CheckpointError(
                f"weights do not fit the model: missing {sorted(missing) or 'none'}, not known "
                f"{sorted(unknown) or 'none'}; was it trained with other settings?"
            )
        loaded = {}
        for name, parameter in parameters.items():
            array = array_of_numbers(name, state[name], parameter.dtype)
            if array.shape != parameter.shape:
                raise CheckpointError(
                    f"weights do not fit the model: {name} has shape {array.shape}, the model "
                    f"needs {parameter.shape}"
                )
            loaded[name] = array
        for name, parameter in parameters.items():
            parameter.data = loaded[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise TypeError(f"{type(self).__name__} has no forward")


def array_of_numbers(name: str, value: Any, dtype: Any = None) -> np.ndarray:
    """A copy of `value` as an array; raises `CheckpointError` unless it holds finite numbers."""
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "fiub":
            raise TypeError(f"it holds {given.dtype}")
        array = given.astype(dtype or given.dtype, order="C")
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name} is no array of numbers: {error}") from None
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} holds NaN or infinity: the training had diverged")
    return array


def _found_in(
    value: Any, name: str, seen: set[int], others: list[tuple[str, Any]]
) -> Iterator[tuple[str, Parameter]]:
    """The parameters in `value`, an attribute, with their names; what was seen is left out.

    `others` collects what is no module and no container that parameters are looked for in.
    """
    if id(value) in seen:
        return
    if isinstance(value, Parameter):
        seen.add(id(value))
        yield name, value
    elif isinstance(value, Tensor):
        if value.requires_grad and value.op is None:
            raise ConfigError(f"{name} is a Tensor that requires a gradient; make it a Parameter")
    elif isinstance(value, Module | list | tuple | dict):
        seen.add(id(value))
        if isinstance(value, dict):
            others.append((f"{name}.keys()", list(value)))
        elif isinstance(value, Module):
            others += _functions_of(type(value))
        for key, entry in _entries(value):
            yield from _found_in(entry, f"{name}.{key}" if name else str(key), seen, others)
    else:
        others.append((name, value))


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a module, list, tuple or dict holds, each with its name."""
    if isinstance(value, Module):
        for kind in type(value).__mro__:
            for key, entry in vars(kind).items():
                contains = isinstance(entry, list | tuple | dict) and _holds_more(entry, set())
                if contains or isinstance(entry, Parameter | Module):
                    raise ConfigError(
                        f"{kind.__name__}.{key} belongs to the class, so that all of its modules "
                        "would share it; set it in __init__"
                    )
            slots = vars(kind).get("__slots__", ())
            for key in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, key) and key != "__dict__":
                    yield key, getattr(value, key)
        yield from vars(value).items()
    elif isinstance(value, dict):
        yield from value.items()
    else:
        yield from enumerate(value)


def _functions_of(kind: type) -> list[tuple[str, Any]]:
    """What a class can compute with: parameters may hide in a default or in a closure."""
    return [
        (f"{owner.__name__}.{key}", entry)
        for owner in kind.__mro__
        for key, entry in vars(owner).items()
        if isinstance(entry, FUNCTIONS)
    ]


def _holds_more(value: Any, seen: set[int]) -> bool:
    """Whether an object, a function or a set leads to a parameter that was not seen."""
    looked_at: set[int] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        leaf = isinstance(value, Tensor) and value.requires_grad and value.op is None
        if leaf or isinstance(value, Module):
            if id(value) not in seen:
                return True
        elif id(value) not in looked_at and not isinstance(value, type | ModuleType | Tensor):
            looked_at.add(id(value))
            waiting += _referred_to(value)
    return False


def _referred_to(value: Any) -> list[Any]:
    """What an object keeps: its attributes or entries, or what a function has from outside."""
    if isinstance(value, FunctionType):  # not its globals, which are everything
        return [value.__closure__, value.__defaults__, value.__kwdefaults__]
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else []
    return gc.get_referents(value) if gc.is_tracked(value) else []
