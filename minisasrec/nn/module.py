"""Parameters, and the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import CheckpointError, ConfigError


class Parameter(Tensor):
    """A leaf tensor that training changes. It copies `data`: the caller's array stays as it is."""

    __slots__ = ()

    def __init__(self, data: np.ndarray, name: str = "") -> None:
        super().__init__(np.array(data), requires_grad=True, name=name)


class Module:
    """Something with parameters: they are found in its attributes, in the order of assignment.

    An attribute may be a parameter, a module, or a list, tuple or dict of such, nested as you
    like. Names are joined with dots, as in `blocks.0.attention.query.W`. A parameter that is
    reachable in two ways (a shared embedding) counts once, by the first of its names.
    """

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name.

        Raises `ConfigError` for a parameter that could not be trained or saved: one in a set (a
        set has no order), on the class, or in an object that is no module. The same for a Tensor
        that requires a gradient and is no `Parameter`.
        """
        yield from _found_in(self, "", set())

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
        parameters = dict(self.named_parameters())
        missing, unknown = parameters.keys() - state.keys(), state.keys() - parameters.keys()
        if missing or unknown:
            raise CheckpointError(
                f"weights do not fit the model: missing {sorted(missing) or 'none'}, not known "
                f"{sorted(unknown) or 'none'}; was it trained with other settings?"
            )
        loaded = {}
        for name, parameter in parameters.items():
            try:
                array = np.asarray(state[name]).astype(parameter.dtype, order="C")  # a copy
            except (TypeError, ValueError, RuntimeError) as error:
                raise CheckpointError(f"{name} is no array of numbers: {error}") from None
            if array.shape != parameter.shape:
                raise CheckpointError(
                    f"weights do not fit the model: {name} has shape {array.shape}, the model "
                    f"needs {parameter.shape}"
                )
            if not np.isfinite(array).all():
                raise CheckpointError(f"{name} holds NaN or infinity: the training had diverged")
            loaded[name] = array
        for name, parameter in parameters.items():
            parameter.data = loaded[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise TypeError(f"{type(self).__name__} has no forward")


def _found_in(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Parameter]]:
    """The parameters in the attribute `value`, with their names; those in `seen` are left out."""
    if id(value) in seen:
        return
    if isinstance(value, Parameter):
        seen.add(id(value))
        yield name, value
    elif isinstance(value, Tensor):
        if value.requires_grad and not value.parents:
            raise ConfigError(f"{name} is a Tensor that requires a gradient; make it a Parameter")
    elif isinstance(value, Module | list | tuple | dict):
        seen.add(id(value))
        for key, entry in _entries(value):
            yield from _found_in(entry, f"{name}.{key}" if name else str(key), seen)
    elif _holds_parameters(value, set()):
        raise ConfigError(
            f"{name} is a {type(value).__name__} that holds parameters, where they are not found; "
            "use a list, a tuple or a dict, or derive its class from Module"
        )


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a module, list, tuple or dict holds, each with its name."""
    if isinstance(value, Module):
        for kind in type(value).__mro__:
            for key, entry in vars(kind).items():
                if isinstance(entry, Parameter | Module):
                    raise ConfigError(
                        f"{kind.__name__}.{key} belongs to the class, so that all of its modules "
                        "would share it; set it in __init__"
                    )
        yield from vars(value).items()
    elif isinstance(value, dict):
        yield from value.items()
    else:
        yield from enumerate(value)


def _holds_parameters(value: Any, seen: set[int]) -> bool:
    """Whether a set, or the attributes of an object that is no module, hold a parameter."""
    if isinstance(value, Parameter | Module):
        return True
    if id(value) in seen or isinstance(value, type | np.ndarray | Tensor):
        return False
    seen.add(id(value))
    inside: Any = ()
    if isinstance(value, set | frozenset | list | tuple):
        inside = value
    elif isinstance(value, dict):
        inside = value.values()
    elif hasattr(value, "__dict__") and not callable(value):
        inside = vars(value).values()
    return any(_holds_parameters(entry, seen) for entry in inside)
