"""A Dask cluster, for experiments and for recommendations: the connection and its errors."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from minisasrec.errors import ConfigError


def connect(address: str) -> Any:
    """A client of the Dask scheduler at an address. Raises `ConfigError`."""
    distributed = extra("distributed", "--scheduler")
    for name in ("distributed", "distributed.client"):  # the one line below says what they say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from None


def extra(module: str, option: str) -> Any:
    """A library of the extra `reproduce`. Raises `ConfigError` that says how to install it."""
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f'{option} needs {module}, which is not installed: pip install "minisasrec[reproduce]"'
        ) from None
