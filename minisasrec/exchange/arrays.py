"""Read named arrays from a file or a mapping, and write them. No code in a file is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.border import at_home, reading
from minisasrec.data.files import check_unpacked
from minisasrec.errors import CheckpointError, ConfigError
from minisasrec.learn.runs import Run, from_safetensors

Array = np.ndarray
Source = str | Path | Mapping[str, Any]


def read_arrays(source: Source) -> dict[str, Array]:
    """The arrays of a .safetensors, .npz, .pth or .pt file, or of a mapping (torch tensors too).

    Raises `ConfigError` for another kind of file, `CheckpointError` for a file that is missing or
    damaged, or a value that is no array.
    """
    if isinstance(source, Mapping):
        return {str(name): as_array(str(name), value) for name, value in source.items()}
    if not isinstance(source, str | Path):
        raise ConfigError(
            f"the weights are {source!r:.60}; give a file ({', '.join(READERS)}), or arrays by name"
        )
    path = at_home(Path(source))
    if not path.exists():
        raise CheckpointError(f"no such file: {path}")
    if path.suffix not in READERS:
        raise ConfigError(f"{path}: cannot read {path.suffix or 'it'}; give {', '.join(READERS)}")
    if not path.is_file():
        raise CheckpointError(f"{path} is no file")
    with reading(path, CheckpointError, wrong=f"{path} cannot be read"):
        return READERS[path.suffix](path)


def read_metadata(source: Source) -> dict[str, Any]:
    """What we have written beside the arrays of a .safetensors file; of anything else nothing."""
    if isinstance(source, Mapping) or Path(source).suffix != ".safetensors":
        return {}
    return from_safetensors(at_home(Path(source)))[1]


def write_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """Write a .safetensors or .npz file, whole or not at all. `ConfigError` for another ending."""
    path = at_home(Path(path))
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
    return {name: as_array(name, value) for name, value in from_safetensors(path)[0].items()}


def _read_npz(path: Path) -> dict[str, Array]:
    with path.open("rb") as stream:
        if not stream.read(6).startswith((b"PK", b"\x93NUMPY")):  # NumPy would advise pickle
            raise CheckpointError(
                f"{path} cannot be read: it is no .npz file, or it is damaged; save it again"
            )
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it holds one array without a name")
    with file:
        for info in file.zip.infolist() if file.zip else ():
            check_unpacked(f"{path}: {info.filename}", info.compress_size, info.file_size)
        try:
            return {name: as_array(name, file[name]) for name in file.files}
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise CheckpointError(
                f"{path} holds Python objects, which may run code and are never read: save arrays "
                "of numbers"
            ) from None


def _read_pth(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError:
        raise ConfigError(
            f'{path} needs PyTorch: pip install "minisasrec[torch]", or save the weights as '
            ".safetensors or .npz where they were trained"
        ) from None
    wrong = f"{path} cannot be read as weights alone"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch's own words advise to read it with pickle
        name = type(error).__name__
        raise CheckpointError(f"{wrong} ({name}): save model.state_dict()") from error
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
