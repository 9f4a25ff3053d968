"""Settings by flat names, as the command line has them: `d`, `epochs`, `threads`, ..."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from minisasrec.errors import ConfigError
from minisasrec.learn.config import TrainConfig, from_json, preset
from minisasrec.models import MODELS

# of `train`, but not here
NOT_SETTINGS = {"model", "seed", "dataset", "out", "resume", "json", "dry_run"}


def configure(
    model: str, seed: int, settings: dict[str, Any], dataset: str = "data"
) -> TrainConfig:
    """The defaults of `train` for a data set, with flat `settings` changed."""
    if model not in MODELS:
        raise ConfigError(f"model is {model!r}; choose one of {', '.join(MODELS)}")
    return with_settings(from_json({"seed": seed}, preset(dataset, model)), settings)


def with_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """`config` with flat `settings` put where they belong. Raises `ConfigError` for a wrong one."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        value = value.item() if isinstance(value, np.generic) else value
        section = _section(name, config.model)
        if section:
            values.setdefault(section, {})[name] = value
        else:
            values[name] = value
    return from_json(values, config)


def _section(name: str, model: str) -> str:
    """Where in `TrainConfig` a flat name is, "" for the top. Raises `ConfigError` if nowhere."""
    places = _places(model)
    if name not in places:
        near = difflib.get_close_matches(name, places, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"{name} is no setting of {model}; {meant}there are {', '.join(sorted(places))}"
        )
    return places[name]


def _places(model: str) -> dict[str, str]:
    """The section of each setting of a model by its flat name."""
    config, own = TrainConfig(model=model), MODELS[model][1]  # type: ignore[arg-type]
    places = {
        field.name: ""
        for field in dataclasses.fields(config)
        if not dataclasses.is_dataclass(getattr(config, field.name))
    }
    for section in filter(None, (own, "machine", "columns")):
        for field in dataclasses.fields(getattr(config, section)):
            places.setdefault(field.name, section)
    return {name: section for name, section in places.items() if name not in NOT_SETTINGS}


def differing(config: TrainConfig) -> dict[str, Any]:
    """The flat settings in which a configuration differs from the defaults for its data."""
    default, found = preset(config.dataset, config.model), {}
    for name, section in _places(config.model).items():
        if section == "columns":  # they belong to the data
            continue
        ours, usual = (getattr(c, section) if section else c for c in (config, default))
        if getattr(ours, name) != getattr(usual, name):
            found[name] = getattr(ours, name)
    return found
