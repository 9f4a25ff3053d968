"""A run on disk: a folder with its settings, checkpoints, history and plot.

    config.json          the settings
    history.jsonl        one JSON object per epoch
    history.csv          the same as a table, at the end
    tensorboard/         the same as curves, if --tensorboard is given
    best.safetensors     the weights of the best validation
    last.safetensors     weights and optimiser after the last epoch, to resume from
    result.json          the final metrics
    learning_curve.png

Every file is written under another name first and then renamed, so that an interrupted write
leaves the old file whole. No pickle: safetensors hold arrays and text only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.errors import CheckpointError, TrainingError
from minisasrec.learn.config import TrainConfig, from_json, read_json

Arrays = dict[str, np.ndarray]


class Run:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    @classmethod
    def create(cls, folder: Path, config: TrainConfig, facts: dict[str, Any]) -> Run:
        """A new run; `facts` go into config.json beside the settings (data fingerprint, version).

        Raises `TrainingError` if the folder holds a run already or cannot be written.
        """
        run = cls(folder)
        if run.path("config.json").exists():
            raise TrainingError(
                f"{folder} holds a run already; add --resume to go on with it, or choose another "
                "--out"
            )
        if run.begun:
            raise TrainingError(
                f"{folder} holds files of a run whose config.json is missing; they would be "
                "overwritten, so choose another --out"
            )
        with _writing(run.folder):
            run.folder.mkdir(parents=True, exist_ok=True)
        try:
            run.write_json("config.json", {"settings": config.to_json(), **facts})
        except BaseException:
            run.discard_unless_begun()
            raise
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run. Raises `CheckpointError` if there is none."""
        run = cls(folder)
        if not run.path("config.json").is_file():
            raise CheckpointError(
                f"{folder} holds no run (no config.json); train one with --out {folder}"
            )
        return run

    @property
    def begun(self) -> bool:
        """Whether something is there that may not be lost: weights, a result, or some epochs.

        One epoch in the history is not enough: it is written just before the first checkpoint.
        """
        files = ("last.safetensors", "best.safetensors", "result.json")
        return any(self.path(name).exists() for name in files) or self._epochs_told() > 1

    def _epochs_told(self) -> int:
        path = self.path("history.jsonl")
        return len(path.read_bytes().splitlines()) if path.is_file() else 0

    def discard_unless_begun(self) -> None:
        """Remove the files of a run that ended before its first checkpoint: they are of no use."""
        if not self.begun:
            with suppress(OSError):  # the folder holds other files, too
                for name in ("history.jsonl", "config.json"):
                    self.path(name).unlink(missing_ok=True)
                self.folder.rmdir()

    def settings(self) -> tuple[TrainConfig, dict[str, Any]]:
        """The settings and the facts given to `create`."""
        values = read_json(self.path("config.json"))
        settings = values.pop("settings", {})
        return from_json(settings), values

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file; it appears whole or not at all."""
        text = json.dumps(values, indent=2) + "\n"
        self.write(name, lambda path: path.write_text(text, encoding="utf-8"))

    def write(self, name: str, writer: Callable[[Path], Any]) -> None:
        """Let `writer` fill a temporary file, then give it its name."""
        target = self.path(name)
        temporary = target.with_name(
            f".{name}"
        )  # the next write replaces what a killed process left here
        with _writing(target):
            try:
                writer(temporary)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())  # or a power cut may keep the name and lose the content
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)

    def save_arrays(self, name: str, arrays: Arrays, metadata: dict[str, Any]) -> None:
        """Write a safetensors file with `metadata` as JSON text inside."""
        from safetensors.numpy import save

        content = save(
            {key: np.ascontiguousarray(value) for key, value in arrays.items()},
            metadata={"minisasrec": json.dumps(metadata)},
        )
        self.write(name, lambda path: path.write_bytes(content))

    def load_arrays(self, name: str) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and metadata of a safetensors file. Raises `CheckpointError`."""
        from safetensors import SafetensorError, safe_open

        path = self.path(name)
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: the run ended before it was written, or it was deleted"
            )
        try:
            with safe_open(path, framework="np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                metadata = json.loads((file.metadata() or {}).get("minisasrec", "{}"))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        return arrays, metadata

    def append_history(self, entry: dict[str, Any]) -> None:
        """Add an epoch to history.jsonl."""
        path = self.path("history.jsonl")
        with _writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def history(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The epochs in history.jsonl, or the first `epochs` of them."""
        path = self.path("history.jsonl")
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()[:epochs]
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None

    def keep_history(self, epochs: int) -> list[dict[str, Any]]:
        """Drop epochs after the last checkpoint (they will be run again)."""
        kept = self.history(epochs)
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        self.write("history.jsonl", lambda path: path.write_text(text, encoding="utf-8"))
        return kept


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from None


def new_folder(dataset: str, model: str, base: Path = Path("runs")) -> Path:
    """runs/DATASET-MODEL, or with -2, -3, ... if that is taken."""
    folder, i = base / _name(dataset, model), 1
    while folder.exists():
        i += 1
        folder = base / f"{_name(dataset, model)}-{i}"
    return folder


def newest_folder(dataset: str, model: str, base: Path = Path("runs")) -> Path:
    """The run of this data set and model in `base` that was written last."""
    wanted = re.compile(re.escape(_name(dataset, model)) + r"(-\d+)?")  # not gru4rec+ for gru4rec
    folders = [f.parent for f in base.glob("*/config.json") if wanted.fullmatch(f.parent.name)]
    if not folders:
        raise CheckpointError(
            f"no run of {model} on {dataset} in {base}/ to resume; name one by --out"
        )
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def _name(dataset: str, model: str) -> str:
    return f"{Path(dataset).stem or 'data'}-{model}"


def to_plain(value: Any) -> Any:
    """NumPy numbers inside `value` as plain ones, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return value
