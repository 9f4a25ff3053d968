"""Read named arrays from a file or a mapping, and write them. No code in a file is ever run."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.errors import CheckpointError, ConfigError
from minisasrec.learn.runs import Run

Array = np.ndarray
NUMPY_HAS = {f"{kind}{bits}" for kind in "FIU" for bits in (16, 32, 64)} | {"I8", "U8"}
Source = str | Path | Mapping[str, Any]


def read_arrays(source: Source) -> dict[str, Array]:
    """The arrays of a .safetensors, .npz, .pth or .pt file, or of a mapping (torch tensors too).

    Raises `ConfigError` for another kind of file, `CheckpointError` for a file that is missing or
    damaged, or a value that is no array.
    """
    if isinstance(source, Mapping):
        return {str(name): as_array(str(name), value) for name, value in source.items()}
    path = Path(source)
    if path.suffix not in READERS:
        raise ConfigError(f"{path}: cannot read {path.suffix or 'it'}; give {', '.join(READERS)}")
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}")
    return READERS[path.suffix](path)


def read_metadata(source: Source) -> dict[str, Any]:
    """What we have written beside the arrays of a .safetensors file; of anything else nothing."""
    from safetensors import safe_open

    if isinstance(source, Mapping) or Path(source).suffix != ".safetensors":
        return {}
    with safe_open(source, framework="np") as file:
        return json.loads((file.metadata() or {}).get("minisasrec", "{}"))


def write_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write a .safetensors or .npz file, whole or not at all."""
    path = Path(path)
    run = Run(path.parent)
    if path.suffix == ".safetensors":
        run.save_arrays(path.name, dict(arrays), {})
    elif path.suffix == ".npz":

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:  # by its name, NumPy would add .npz to it
                np.savez(file, **dict[str, Any](arrays))

        run.write(path.name, save)
    else:
        raise ConfigError(f"{path}: cannot write {path.suffix or 'it'}; give .safetensors or .npz")


def as_array(name: str, value: Any) -> Array:
    """`value` as an array of numbers. Raises `CheckpointError` with its name if it is none."""
    try:
        if hasattr(value, "detach"):  # a torch tensor: on any device, with a gradient or without
            value = value.detach().cpu()
            if value.is_floating_point():
                value = value.float()  # bfloat16, which NumPy lacks, becomes float32 exactly
            value = value.numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name} is no array of numbers: {_line(error)}") from None
    if array.dtype.kind not in "fiu":
        inside = f"; it holds {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
        raise CheckpointError(
            f"{name} is no array of numbers but {type(value).__name__} of {array.dtype}{inside}"
        )
    return array


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                kind = file.get_slice(name).get_dtype()
                if kind not in NUMPY_HAS:
                    raise CheckpointError(
                        f"{path}: {name} is of type {kind}, which NumPy lacks; save it as float32"
                    )
                arrays[name] = as_array(name, file.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {_line(error)}") from None
    return arrays


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with file:
            return {name: as_array(name, file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} cannot be read: {_line(error)}") from None


def _read_pth(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError:
        raise ConfigError(
            f'{path} needs PyTorch: pip install "minisasrec[torch]", or save the weights as '
            ".safetensors or .npz where they were trained"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of error for a damaged file
        raise CheckpointError(
            f"{path} cannot be read as weights alone ({_line(error)}); save model.state_dict()"
        ) from None
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{path} holds {type(state).__name__}, no weights by name; save model.state_dict()"
        )
    return read_arrays(state)


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150]


READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": _read_pth,
    ".pt": _read_pth,
}
