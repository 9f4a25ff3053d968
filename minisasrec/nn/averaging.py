"""A running mean of the weights, which is steadier than the weights of any one step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minisasrec.errors import CheckpointError, ConfigError


class RunningMean:
    """mean <- a mean + (1 - a) w after each step: about the mean of the last 1 / (1 - a) steps.

    It begins at 0, so it is divided by 1 - a^t after t steps, as Adam's moments are. Training goes
    on from the weights themselves; the mean is for validation and for use. (Polyak & Juditsky
    1992, with the weights of Adam's moments; not in the SASRec paper.) Raises `ConfigError` unless
    0 < a < 1.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], a: float) -> None:
        if not 0 < a < 1:
            raise ConfigError(f"a running mean needs a factor between 0 and 1, got {a}")
        self.a, self.steps = a, 0
        self.sums = {name: np.zeros_like(w) for name, w in weights.items()}

    def add(self, weights: Mapping[str, np.ndarray]) -> None:
        """One more step has been taken, and these are the weights."""
        self.steps += 1
        for name, total in self.sums.items():
            real = total.dtype.type
            total *= real(self.a)
            total += real(1 - self.a) * weights[name]

    def weights(self) -> dict[str, np.ndarray]:
        """The mean, an array for each of the weights. After no step it would be 0 / 0."""
        share = 1 - self.a**self.steps
        return {name: (total / total.dtype.type(share)) for name, total in self.sums.items()}

    def load(self, sums: Mapping[str, np.ndarray], steps: int) -> None:
        """Go on where a run ended; raises `CheckpointError` for sums of another model."""
        for name, total in self.sums.items():
            found = sums.get(name)
            if found is None or found.shape != total.shape or found.dtype != total.dtype:
                raise CheckpointError(
                    f"the running mean of {name} has shape {getattr(found, 'shape', 'none')}, "
                    f"{total.shape} was expected: it is of another model"
                )
            if not np.isfinite(found).all():
                raise CheckpointError(f"the running mean of {name} holds NaN or infinity")
            total[...] = found
        self.steps = steps
