"""Parameters, and the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import CheckpointError


class Parameter(Tensor):
    """A leaf tensor that training changes."""

    __slots__ = ()

    def __init__(self, data: np.ndarray, name: str = "") -> None:
        super().__init__(data, requires_grad=True, name=name)


class Module:
    """Something with parameters: they are found in its attributes, in the order of assignment.

    Attributes that are parameters, modules or lists of modules count; names are joined with
    dots, as in `blocks.0.attention.W_Q`.
    """

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value.named_parameters(f"{prefix}{name}.")
            elif isinstance(value, list):
                for i, entry in enumerate(value):
                    if isinstance(entry, Module):
                        yield from entry.named_parameters(f"{prefix}{name}.{i}.")

    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def num_parameters(self) -> int:
        """Total number of weights."""
        return sum(parameter.size for parameter in self.parameters())

    def state(self) -> dict[str, np.ndarray]:
        """The weights by name (the arrays themselves, not copies)."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set every weight from `state`.

        Raises `CheckpointError` if a name is missing or not known, or a shape differs.
        """
        parameters = dict(self.named_parameters())
        missing, unknown = parameters.keys() - state.keys(), state.keys() - parameters.keys()
        if missing or unknown:
            raise CheckpointError(
                f"weights do not fit the model: missing {sorted(missing) or 'none'}, not known "
                f"{sorted(unknown) or 'none'}; was it trained with other settings?"
            )
        for name, parameter in parameters.items():
            if state[name].shape != parameter.shape:
                raise CheckpointError(
                    f"weights do not fit the model: {name} has shape {state[name].shape}, the "
                    f"model needs {parameter.shape}"
                )
            parameter.data = state[name].astype(parameter.dtype, order="C")  # a copy

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise TypeError(f"{type(self).__name__} has no forward")
