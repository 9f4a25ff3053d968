"""A run on disk: a folder with its settings, checkpoints, history and plot.

What recommends, wherever the folder is (`Recommender.load`):

    config.json           the settings, facts about the data, and what the files should be
    items.json            ids and titles of the items, and how often each was trained
    users.json            ids of the users
    histories.safetensors the users' histories
    best.safetensors      the weights of the best validation

What else is needed to resume, or to look at:

    history.jsonl         one JSON object per epoch
    history.csv           the same as a table, at the end
    tensorboard/          the same as curves, if --tensorboard is given
    last.safetensors      weights and optimiser after the last epoch
    learning_curve.png
    result.json           the final metrics: the run is finished
    .lock                 held by the process that writes (`Run.owned`)

Every file is written under another name first and then renamed, so that an interrupted write
leaves the old file whole. One process at a time writes into a folder; any number may read.
config.json holds the SHA-256 of the files that recommend and of result.json, and one of its own
content; they are compared when a file is read. No pickle: safetensors hold arrays and text only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minisasrec.border import at_home, json_value, reading, rename, unfinished
from minisasrec.errors import CheckpointError, ConfigError, TrainingError
from minisasrec.learn.config import TrainConfig, from_json, read_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

Arrays = dict[str, np.ndarray]
FORMAT = 1  # of the folder; a change that older versions would misread makes it 2
CONFIG, WEIGHTS, RESULT = "config.json", "best.safetensors", "result.json"
RANKS = "ranks.safetensors"  # of an experiment
ITEMS, USERS, HISTORIES = "items.json", "users.json", "histories.safetensors"
OWN = {CONFIG, WEIGHTS, ITEMS, USERS, HISTORIES}  # what a recommender is made of
LISTED = {WEIGHTS, RESULT, RANKS}  # written after config.json, which has their SHA-256
ALL = OWN | LISTED | {"last.safetensors", "history.jsonl", "history.csv"}
LOCK = ".lock"
HALF_WRITTEN = re.compile(r"\.[0-9a-f]{16}\.")  # the beginning of a temporary name


class Run:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = at_home(Path(folder))

    @contextmanager
    def owned(self, wait: bool = False) -> Iterator[None]:
        """Inside this block no other process writes into the folder, which is made if need be.

        The lock ends with its process, however that ends. Raises `TrainingError` if another
        process has it; with `wait`, waits until it is free.
        """
        lock = None
        try:
            lock = self._lock(wait)
            if lock is not None:
                self._clean()
            yield
        finally:
            if lock is not None:
                self._remove_if_empty()  # nothing came of it
                lock.release()

    def _lock(self, wait: bool) -> BaseFileLock | None:
        """The lock of the folder, which is made if need be; None where there are no locks."""
        import filelock

        path = self.folder / LOCK
        try:
            with _writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder.resolve() / LOCK
            # one lock in a process, which can hold it more than once: a command, and `fit` in it
            lock = filelock.FileLock(path, thread_local=False, is_singleton=True)
            lock.acquire(timeout=-1 if wait else 0)
            return lock
        except KeyboardInterrupt:
            if not wait:  # else another process may have it
                self._remove_if_empty()
            raise
        except filelock.Timeout:
            raise TrainingError(
                f"{self.folder} is in use by another process: wait until that one ends, or choose "
                "another --out"
            ) from None
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror or error}") from None
        except NotImplementedError:  # file systems of some clusters know no locks
            return None

    def _clean(self) -> None:
        """Remove what killed processes left half written. Only the owner may."""
        for path in self.folder.iterdir():
            if HALF_WRITTEN.match(path.name):
                path.unlink(missing_ok=True)

    def _remove_if_empty(self) -> None:
        with suppress(OSError):  # it may be gone by now
            if all(path.name == LOCK for path in self.folder.iterdir()):
                self._remove()

    def _remove(self) -> None:
        with suppress(OSError):  # the folder holds other files, too
            self.path(LOCK).unlink(missing_ok=True)
            self.folder.rmdir()

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    @classmethod
    def create(
        cls,
        folder: Path,
        config: TrainConfig,
        facts: dict[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> Run:
        """A new run; `facts` go into config.json: about the data, and how it begins (`origin`).

        `files` are written first, config.json last. Raises `TrainingError` if the folder holds a
        run already or cannot be written.
        """
        run = cls(folder)
        if run.path(CONFIG).exists():
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
            for name, content in (files or {}).items():
                run.write_bytes(name, content)
            listed = {name: [_sha256(content)] for name, content in (files or {}).items()}
            run.write_config({"settings": config.to_json(), **facts, "files": listed})
            return run
        except BaseException:
            run.discard_unless_begun()
            raise

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run. Raises `CheckpointError` if there is none."""
        run = cls(folder)
        if not run.path(CONFIG).is_file():
            if folder.is_file():
                raise CheckpointError(f"{folder} is a file; give the folder of a run")
            raise CheckpointError(
                f"{folder} holds no run (no config.json); train one with --out {folder}"
            )
        return run

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.json: `values` with the number of the format and a checksum of it all."""
        values = {"format": FORMAT, **values}
        self.write_json(CONFIG, {**values, "checksum": _checksum(values)})

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote. Raises `CheckpointError` if it was changed since."""
        path = self.path(CONFIG)
        try:
            values = read_json(path)
        except ConfigError as error:
            raise CheckpointError(f"{error}; copy {self.folder} again, or train anew") from None
        form = values.get("format", 0)  # 0: from before there were formats
        if not isinstance(form, int) or form > FORMAT:
            raise CheckpointError(
                f"{self.folder} has format {form}, and this version of minisasrec reads {FORMAT}: "
                "upgrade minisasrec (pip install --upgrade minisasrec)"
            )
        if form and values.pop("checksum", None) != _checksum(values):
            raise CheckpointError(
                f"{path} was damaged or changed: its checksum is another; copy {self.folder} again "
                "from where it was saved (settings are changed by options, not in this file)"
            )
        return values

    @property
    def begun(self) -> bool:
        """Whether something is there that may not be lost: weights, a result, or some epochs.

        One epoch in the history is not enough: it is written just before the first checkpoint.
        """
        files = ("last.safetensors", WEIGHTS, RESULT)
        return any(self.path(name).exists() for name in files) or self._epochs_told() > 1

    def _epochs_told(self) -> int:
        path = self.path("history.jsonl")
        return len(path.read_bytes().splitlines()) if path.is_file() else 0

    def discard_unless_begun(self) -> None:
        """Remove the files of a run that ended before its first checkpoint: they are of no use."""
        if not self.begun:
            with suppress(OSError):
                for name in ("history.jsonl", HISTORIES, USERS, ITEMS, CONFIG):
                    self.path(name).unlink(missing_ok=True)
            self._remove()

    def settings(self) -> tuple[TrainConfig, dict[str, Any]]:
        """The settings and the facts given to `create`."""
        values = self.read_config()
        check_form(values, CONFIG_FORM, self.path(CONFIG))
        settings = values.pop("settings", {})
        return from_json(settings), values

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file; it appears whole or not at all."""
        self.write_bytes(name, (json.dumps(values, indent=2) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file; it appears whole or not at all."""
        if name in LISTED and self.path(CONFIG).exists():
            self._list(name, content)
        self.write(name, lambda path: path.write_bytes(content))

    def _list(self, name: str, content: bytes) -> None:
        """Note the SHA-256 of what a file will hold; until then the old one is right as well."""
        config = self.read_config()
        before = config.setdefault("files", {}).get(name, [])
        there = sha256_of_file(self.path(name)) if before and self.path(name).exists() else ""
        listed = [_sha256(content), *(digest for digest in before if digest == there)]
        config["files"][name] = list(dict.fromkeys(listed))
        self.write_config(config)

    def write(self, name: str, writer: Callable[[Path], Any]) -> None:
        """Let `writer` fill a temporary file, then give it its name.

        Nobody can guess the temporary name, so nobody can have put a link there.
        """
        target = self.path(name)
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "a pipe or a device"
            raise TrainingError(f"cannot write {target}: it is {kind}; give the name of a file")
        with _writing(target), unfinished(target) as temporary:
            writer(temporary)
            rename(temporary, target)

    def save_arrays(self, name: str, arrays: Arrays, metadata: dict[str, Any]) -> None:
        """Write a safetensors file with `metadata` as JSON text inside."""
        self.write_bytes(name, to_safetensors(arrays, metadata))

    def load_arrays(self, name: str) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and metadata of a safetensors file. Raises `CheckpointError`."""
        path = self.path(name)
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: the run ended before it was written, or it was deleted"
            )
        self.verify(name)
        return from_safetensors(path)

    def load_json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the run. Raises `CheckpointError`."""
        self.verify(name)
        try:
            return read_json(self.path(name))
        except ConfigError as error:
            raise CheckpointError(f"{error}; copy {self.folder} again") from None

    def result(self, name: str = RESULT) -> dict[str, Any]:
        """What a finished run measured. Raises `CheckpointError` for a file of another form."""
        path = self.path(name)
        values = self.load_json(name)
        form = dict(RESULT_FORM)
        if name != RESULT:
            del form["test"]
        check_form(values, form, path)
        for number, row in enumerate(values.get("test", []), 1):
            where = f"{path}, row {number} of test"
            check_form(row, ROW_FORM, where)
            check_form(row, {key: NUMBER for key in row if key not in ROW_FORM}, where)
        return values

    def verify(self, name: str) -> None:
        """Compare a file with its SHA-256 in config.json, if there is one.

        Raises `CheckpointError` if the file is missing or another one.
        """
        path = self.path(name)
        config = self.read_config() if self.path(CONFIG).is_file() else {}
        listed = config.get("files", {}).get(name)
        if listed is None:
            return
        if not path.exists():
            raise CheckpointError(
                f"{path} is missing, and config.json lists it; copy the whole folder again"
            )
        with reading(path, CheckpointError):
            digest = sha256_of_file(path)
        if digest not in listed:
            raise CheckpointError(
                f"{path} was damaged or changed: its SHA-256 is not the one in config.json; copy "
                "the folder again from where it was saved"
            )

    def append_history(self, entry: dict[str, Any]) -> None:
        """Add an epoch to history.jsonl."""
        append_json(self.path("history.jsonl"), entry)

    def history(self, epochs: int | None = None) -> list[dict[str, Any]]:
        """The epochs in history.jsonl, or the first `epochs` of them.

        Raises `CheckpointError` unless they are those from 1 on, in this order.
        """
        path = self.path("history.jsonl")
        if not path.exists():
            return []
        with reading(path, CheckpointError, wrong=f"{path} is damaged"):
            lines = path.read_text(encoding="utf-8").splitlines()[:epochs]
            entries = [json_value(line) for line in lines]
        for number, entry in enumerate(entries, 1):
            check_form(entry, HISTORY_FORM, f"{path} line {number}")
            if entry["epoch"] != number:
                raise CheckpointError(
                    f"{path} line {number} is of epoch {entry['epoch']}; two programs wrote it, or "
                    "it was changed by hand"
                )
        return entries

    def keep_history(self, epochs: int) -> list[dict[str, Any]]:
        """Drop epochs after the last checkpoint (they will be run again)."""
        kept = self.history(epochs)
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        self.write("history.jsonl", lambda path: path.write_text(text, encoding="utf-8"))
        return kept


NUMPY_HAS = {f"{kind}{bits}" for kind in "FIU" for bits in (16, 32, 64)} | {"I8", "U8", "BOOL"}


def from_safetensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a safetensors file and the metadata that we wrote. Raises `CheckpointError`."""
    from safetensors import safe_open

    arrays = {}
    with (
        reading(path, CheckpointError, wrong=f"{path} cannot be read"),
        safe_open(path, framework="np") as file,
    ):
        for name in file.keys():  # noqa: SIM118
            kind = file.get_slice(name).get_dtype()
            if kind not in NUMPY_HAS:
                raise CheckpointError(
                    f"{path}: {name} is of type {kind}, which NumPy lacks; save it as float32"
                )
            arrays[name] = file.get_tensor(name)
        metadata = json_value((file.metadata() or {}).get("minisasrec", "{}"))
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} describes itself by {metadata!r:.50}, no JSON object")
    return arrays, metadata


def to_safetensors(arrays: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> bytes:
    """The content of a safetensors file with `metadata` as JSON text inside."""
    from safetensors.numpy import save

    return save(
        {key: np.asarray(value, order="C") for key, value in arrays.items()},
        metadata={"minisasrec": json.dumps(metadata)},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 (hex) of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _checksum(values: dict[str, Any]) -> str:
    """A SHA-256 that depends on the content of a JSON object, not on how it is laid out."""
    return _sha256(json.dumps(values, sort_keys=True).encode())


NUMBER = (int, float)
NOTHING = type(None)
CONFIG_FORM = {"settings": dict, "files?": dict, "known?": dict, "data?": str, "made_by?": list}
HISTORY_FORM = {"epoch": int, "loss": NUMBER, "seconds": NUMBER}
CHECKPOINT_FORM = {"epochs": int, "best_epoch": int, "best": (*NUMBER, NOTHING)}
RESULT_FORM = {
    "model": str,
    "seed": int,
    "epochs": int,
    "total_seconds": NUMBER,
    "dataset?": str,
    "best_epoch?": int,
    "best_validation_NDCG@10?": (*NUMBER, NOTHING),
    "selected_by?": (str, NOTHING),
    "training_seconds?": NUMBER,
    "date?": str,
    "test": list,  # not in the validation.json of an experiment
}
ROW_FORM = {"protocol": str, "model": str}  # and metrics, which are numbers


def check_form(values: Any, form: Mapping[str, Any], where: object) -> None:
    """Raise `CheckpointError` unless `values` is an object with these names and types.

    A name that ends in "?" may be missing. `where` is the file, for the message.
    """
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} holds {values!r:.50}, a JSON object was expected")
    for name, kinds in form.items():
        key = name.removesuffix("?")
        if key not in values and key == name:
            raise CheckpointError(f"{where} has no {key!r}; it is damaged or was changed by hand")
        value = values.get(key)
        right = isinstance(value, kinds) and not isinstance(value, bool)
        if key in values and not right:
            raise CheckpointError(
                f"{where}: {key!r} is {value!r:.50}; it is damaged or was changed by hand"
            )


def append_json(path: Path, entry: dict[str, Any]) -> None:
    """Add a line of JSON to a file; it is on disk when this returns. A link is not followed."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with _writing(path), open(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from None


def new_folder(dataset: str, model: str, base: Path = Path("runs")) -> Path:
    """A folder that is made now: runs/DATASET-MODEL, or with -2, -3, ... if that is taken.

    Two programs that start together get two folders.
    """
    with _writing(base):
        base.mkdir(parents=True, exist_ok=True)
    folder, i = base / _name(dataset, model), 1
    with _writing(folder):
        while True:
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                i += 1
                folder = base / f"{_name(dataset, model)}-{i}"


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
