"""`Recommender`: a log in, recommendations out, and one folder to take home.

from minisasrec import Recommender

recommender = Recommender("sasrec", epochs=20).fit(frame, user="visitor", item="page", time="at")
recommender.recommend(users=["u7"], k=10)              # a table: user, item, title, score, rank
recommender.recommend(histories=[["p3", "p9"]])        # for somebody whom it has never met
recommender.save("shop")
Recommender.load("shop")                               # anywhere: no data file is needed
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisasrec.data.dataset import Dataset, DataWarning, Repeats, build_dataset
from minisasrec.data.registry import DATASETS, load_dataset
from minisasrec.data.sequences import pack
from minisasrec.data.split import NONE, Split, make_split
from minisasrec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
)
from minisasrec.exchange import start_from
from minisasrec.learn import frames
from minisasrec.learn.config import (
    TrainConfig,
    from_json,
    make_model,
    model_settings,
    preset,
)
from minisasrec.learn.fit import History, fit
from minisasrec.learn.known import Known
from minisasrec.learn.machine import on_machine
from minisasrec.learn.recommendation import recommend, top_lists
from minisasrec.learn.runs import CONFIG, WEIGHTS, Run
from minisasrec.models import MODELS, Model, RecentConfig, RecentPopularity, SequenceModel
from minisasrec.models.base import NOBODY

Array = np.ndarray
On = Literal["train", "everything"]
Unknown = Literal["error", "skip"]
NOT_SETTINGS = {"model", "seed", "dataset", "out", "resume", "json"}  # of `train`, but not here


class Recommender:
    """A model with the ids, titles and histories that it needs to answer.

    `model` is a name that `train --model` takes; `settings` are the other options of `train`, by
    the same names with the same defaults: `epochs`, `d`, `n`, `dropout`, `lr`, `threads`, ...
    Raises `ConfigError` for a name or a value that is no setting.

    After `fit` or `load`: `model_` is the trained model, `config` its settings, `item_ids`,
    `user_ids` and `titles` what it knows. `get_params` and `set_params` are scikit-learn's.
    """

    def __init__(self, model: str = "sasrec", *, seed: int = 0, **settings: Any) -> None:
        self.model, self.seed, self.settings = model, seed, settings
        self._fitted: _Fitted | None = None
        self._library = ""  # of the tables that are handed out
        configure(model, seed, settings)  # a wrong setting is told now, not after the data is read

    # --- settings, as scikit-learn has them ----------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments that make the same recommender, not fitted."""
        return {"model": self.model, "seed": self.seed, **self.settings}

    def set_params(self, **params: Any) -> Recommender:
        """Change settings; they hold from the next `fit` on."""
        values = {**self.get_params(), **params}
        model, seed = values.pop("model"), values.pop("seed")
        configure(model, seed, values)
        self.model, self.seed, self.settings = model, seed, values
        return self

    def __repr__(self) -> str:
        """The settings, and what it was trained on."""
        given = [repr(self.model)] + [f"{name}={value!r}" for name, value in self.settings.items()]
        if self.seed:
            given.insert(1, f"seed={self.seed}")
        if self._fitted is None:
            state = "not fitted"
        else:
            known = self._fitted.known
            state = f"{known.name}: {len(known.item_ids) - 1:,} items, {known.num_users:,} users"
        return f"<Recommender({', '.join(given)}) {state}>"

    # --- training ------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        title: str | None = None,
        on: On = "train",
        progress: bool = True,
        **reading: Any,
    ) -> Recommender:
        """Train on a log; returns the recommender itself.

        `data` is a table of pandas or polars, the path of a file, a name in `DATASETS`, or what
        `load_dataset`, `leave_one_out` and `time_split` return. `user`, `item`, `time` and `title`
        name columns; `reading` are further options of `load_dataset`, such as `min_actions=1`.

        `on="train"` holds out the last two actions of each user, or what the setting `split` says,
        chooses the epoch on the validation part and leaves the test part to `evaluate`.
        `on="everything"` chooses the number of epochs in the same way, then trains a new model for
        so many epochs on all actions: for use, not for measuring, since nothing is left to measure
        on.
        """
        if on not in get_args(On):
            raise ConfigError(f"on is {on!r}; choose train or everything")
        reading |= {"user_column": user, "item_column": item, "time_column": time}
        reading |= {"title_column": title}
        reading = {name: value for name, value in reading.items() if value is not None}
        name = _preset_name(data)
        config = configure(self.model, self.seed, self.settings, name)
        split, whole = _read(data, config, reading, progress)
        columns = {f.name for f in dataclasses.fields(config.columns)} & reading.keys()
        columns_given = {name: reading[name] for name in columns}
        config = from_json({"columns": columns_given} if columns else {}, config)
        config = dataclasses.replace(config, split=split.rule)  # of a Split that was given
        with on_machine(config.machine):
            model, history = _trained(config, split, progress)
            if on == "everything":
                split = _everything(split)
                if isinstance(model, RecentPopularity):  # the window was chosen, too
                    config = dataclasses.replace(config, recentpop=RecentConfig(model.days))
                model, _ = _trained(config, split, progress, history.best_epoch)
        known = Known.of(split, on, whole)
        self._fitted = _Fitted(config, model, known, history)
        self._library = frames.library(data)
        return self

    @property
    def fitted(self) -> _Fitted:
        """What `fit` or `load` has made. Raises `ConfigError` before."""
        if self._fitted is None:
            raise ConfigError(
                f"this Recommender({self.model!r}) is not fitted: call fit(data), or "
                "Recommender.load(folder)"
            )
        return self._fitted

    @property
    def model_(self) -> Model:
        """The trained model; it knows items and users by number."""
        return self.fitted.model

    @property
    def config(self) -> TrainConfig:
        """The settings that it was trained with, defaults included."""
        return self.fitted.config

    @property
    def known(self) -> Known:
        """Ids, titles, histories and facts about the data."""
        return self.fitted.known

    @property
    def item_ids(self) -> list[Any]:
        """The ids of the items, as they were given; item number i is entry i - 1."""
        return self.known.items.values[1:].tolist()

    @property
    def user_ids(self) -> list[Any]:
        """The ids of the users, as they were given; none where histories were left out."""
        return self.known.users.values.tolist()

    @property
    def titles(self) -> dict[Any, str] | None:
        """The title of each item by its id; None where the data has no titles."""
        titles = self.known.titles
        return None if titles is None else dict(zip(self.item_ids, titles[1:], strict=True))

    # --- recommendations -----------------------------------------------------------------------

    def recommend(
        self,
        users: Any = None,
        histories: Any = None,
        k: int = 10,
        *,
        candidates: Any = None,
        exclude: Any = None,
        repeats: Repeats | None = None,
        unknown: Unknown = "error",
        untrained: bool = False,
    ) -> Any:
        """The k best next items of each user or history, as a table, best first.

        The columns are `user` (or `row`, the place of a history), `item`, `title`, `score` and
        `rank`, which begins at 1. It is a table of polars if the data or the arguments are.

        users        ids of users that the model knows: what comes after all they did. By default
                     all of them.
        histories    lists of item ids, oldest first; or a table with columns `user` (or `row`),
                     `item` and, optionally, `time`. With `users`, one history for each of them;
                     these need not be known.
        candidates   ids of the items that may be recommended; `exclude`: of those that may not
        repeats      whether items of the history may come again: "allow", "forbid", or "auto",
                     which allows it to a history that itself holds an item twice. By default the
                     rule of the data.
        unknown      what to do about an id that is not known: "error", or "skip", which leaves the
                     user or the item out and says how many
        untrained    whether items without a train action may be recommended

        Of a history longer than the model's n, the last n items count. An empty history gets the
        most popular items, with their number of train actions as the score. Models with a vector
        per user (bpr, fpmc, caser) answer for known users only. Lists are shorter than k where
        there are not so many items.
        Raises `ConfigError` for a wrong argument, `DataError` for ids that are not known.
        """
        blocks = self.recommend_in_blocks(
            users,
            histories,
            k,
            candidates=candidates,
            exclude=exclude,
            repeats=repeats,
            unknown=unknown,
            untrained=untrained,
        )
        found = list(blocks)
        if len(found) == 1:
            return found[0]
        if frames.library(found[0]) == "polars":
            import polars

            return polars.concat(found)
        import pandas

        return pandas.concat(found, ignore_index=True)

    def recommend_in_blocks(
        self,
        users: Any = None,
        histories: Any = None,
        k: int = 10,
        *,
        candidates: Any = None,
        exclude: Any = None,
        repeats: Repeats | None = None,
        unknown: Unknown = "error",
        untrained: bool = False,
        block: int = 1024,
    ) -> Iterator[Any]:
        """The tables of `recommend`, for `block` users at a time: memory does not grow with users.

        Arguments are checked at once. There is at least one table; it may be empty.
        """
        fitted = self.fitted
        for name, value in (("k", k), ("block", block)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number, at least 1")
        if repeats not in (None, *get_args(Repeats)):
            raise ConfigError(
                f"repeats is {repeats!r}; choose one of {', '.join(get_args(Repeats))}"
            )
        if unknown not in get_args(Unknown):
            raise ConfigError(f"unknown is {unknown!r}; choose error or skip")
        library = next(filter(None, map(frames.library, (users, histories))), self._library)
        requests = _Requests(fitted, users, histories, unknown)
        allowed = _allowed(fitted.known, candidates, exclude, untrained)
        if k > len(allowed):
            _note(f"k is {k:,}, and {len(allowed):,} items may be recommended: lists are shorter")
        rule = repeats or fitted.known.repeats
        starts = range(0, max(len(requests.numbers), 1), int(block))
        parts = (slice(start, start + int(block)) for start in starts)
        return (
            frames.make_frame(_table(fitted, requests, part, int(k), rule, allowed), library)
            for part in parts
        )

    def similar_items(self, items: Any, k: int = 10) -> Any:
        """The k items most like each of `items`, by the cosine of their vectors.

        A table with columns `item`, `similar`, `title` (of the similar one), `score` and `rank`.
        Raises `DataError` for an unknown item, `ConfigError` for a model without vectors of items.
        """
        fitted, known = self.fitted, self.fitted.known
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        if not isinstance(fitted.model, SequenceModel):
            raise ConfigError(
                f"{fitted.config.model} has no vectors of items; use sasrec or another model that "
                "is trained by gradients"
            )
        given = _values(items, "items", "item")
        numbers = _known_items(known, given, "error")
        vectors = fitted.model.item_vectors()
        lengths = np.linalg.norm(vectors, axis=1)
        scores = (vectors[numbers] @ vectors.T) / np.maximum(
            lengths[numbers][:, None] * lengths, np.finfo(np.float32).tiny
        )
        scores[:, 0] = -np.inf
        scores[np.arange(len(numbers)), numbers] = -np.inf
        scores[:, known.popularity == 0] = -np.inf
        lists = top_lists(scores, k)
        row, place = np.nonzero(lists)
        found = lists[row, place]
        columns = {
            "item": known.items.values[numbers][row],
            "similar": known.items.values[found],
            "title": known.shown_titles[found],
            "score": scores[row, found],
            "rank": place + 1,
        }
        return frames.make_frame(columns, frames.library(items) or self._library)

    # --- a folder to take home -----------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, keep_histories: bool = True) -> Path:
        """Write one folder with all that `load` needs; returns its path.

        A recommender that was saved there before is replaced as a whole: after an interrupted call
        the old one is still there. `keep_histories=False` leaves out the users, their ids and
        histories. Raises `ConfigError` for a folder that holds something else, `TrainingError` if
        it cannot be written.
        """
        fitted, folder = self.fitted, Path(folder).absolute()
        known = fitted.known if keep_histories else fitted.known.without_histories()
        if not keep_histories and fitted.model.needs_user:
            raise ConfigError(
                f"{fitted.config.model} answers for known users only, so they cannot be left out; "
                "use a model that goes by the history, such as sasrec"
            )
        _check_free(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from None
        try:
            run = Run.create(part / "new", fitted.config, known.facts() | _version(), known.files())
            facts = fitted.history.summary() if fitted.history.epochs else {}
            described = model_settings(fitted.config.model, fitted.model)
            run.save_arrays(WEIGHTS, fitted.model.state(), facts | described)
            try:
                if folder.exists():
                    os.replace(folder, part / "old")
                try:
                    os.replace(part / "new", folder)
                except BaseException:
                    if (part / "old").exists():
                        os.replace(part / "old", folder)
                    raise
            except OSError as error:
                raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Recommender:
        """What `save` wrote, or a run of `train` with its best weights.

        Every file is compared with the SHA-256 that was written with it. Raises `CheckpointError`,
        one line that says what to do, for a folder that is missing something, was damaged or was
        written by a newer version.
        """
        run = Run(Path(folder))
        if not run.path(CONFIG).is_file():
            raise CheckpointError(
                f"{folder} holds no recommender (no {CONFIG}); give the folder that "
                "Recommender.save or train wrote"
            )
        try:
            config, facts = run.settings()
        except ConfigError as error:
            raise CheckpointError(f"{run.path(CONFIG)}: {error}") from None
        known = Known.read(run, facts)
        return cls.of(config, known, load_model(run, config, known))

    @classmethod
    def of(cls, config: TrainConfig, known: Known, model: Model) -> Recommender:
        """A recommender of parts that are there already."""
        made = cls(config.model, seed=config.seed, **_differing(config))
        made._fitted = _Fitted(config, model, known, History())
        return made


def _trained(
    config: TrainConfig, split: Split, progress: bool, epochs: int = 0
) -> tuple[Model, History]:
    """A new model: of the epoch that validates best or, if given, after so many epochs."""
    model = make_model(config, split)
    if config.init_from:
        start_from(model, config.init_from)
    if not isinstance(model, SequenceModel):  # it has counted already
        return model, History()
    if epochs:
        config = dataclasses.replace(config, epochs=epochs)
    return model, fit(model, split, config, progress=progress, validation=not epochs)


def _everything(split: Split) -> Split:
    """All actions as the train part; the rule about items met before stays."""
    data = dataclasses.replace(split.dataset, repeats=split.repeats)
    nothing = np.full_like(split.test_at, NONE)
    return Split(data, data.offsets[1:], nothing, nothing)


@dataclass(frozen=True)
class _Fitted:
    config: TrainConfig
    model: Model
    known: Known
    history: History


def load_model(run: Run, config: TrainConfig, known: Known) -> Model:
    """The model of a run with its best weights.

    Raises `CheckpointError` for weights of other settings: some change no shape, such as where the
    layer norm stands, and would go unnoticed.
    """
    kind, section = MODELS[config.model]
    settings = getattr(config, section) if section else None
    model = kind.of_size(known.num_users, known.popularity, settings, config.seed)
    weights, facts = run.load_arrays(WEIGHTS)
    described = model_settings(config.model, model)
    for name in described.keys() & facts.keys():
        if described[name] != facts[name]:
            raise CheckpointError(
                f"{run.path(WEIGHTS)} has weights of {_difference(facts[name], described[name])}, "
                f"{run.path(CONFIG)} says otherwise; they are not of one model"
            )
    model.load_state(weights)
    return model


def _difference(found: Any, wanted: Any) -> str:
    if isinstance(found, dict):
        return ", ".join(f"{k} = {v!r}" for k, v in found.items() if wanted.get(k) != v)
    return repr(found)


def _version() -> dict[str, str]:
    from minisasrec import __version__

    return {"version": __version__}


def _check_free(folder: Path) -> None:
    """Raise `ConfigError` unless a recommender may be written to `folder`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder to save to")
    names = {path.name for path in folder.iterdir()}
    if names & {"last.safetensors", "history.jsonl", "result.json"}:
        raise ConfigError(f"{folder} holds a run of train; save to another folder")
    if names and CONFIG not in names:
        raise ConfigError(f"{folder} holds other files; save to another folder")


# --- settings ------------------------------------------------------------------------------------


def configure(
    model: str, seed: int, settings: dict[str, Any], dataset: str = "data"
) -> TrainConfig:
    """The defaults of `train` for a data set, with flat `settings` changed."""
    if model not in MODELS:
        raise ConfigError(f"model is {model!r}; choose one of {', '.join(MODELS)}")
    default = preset(dataset, model)
    values: dict[str, Any] = {"seed": seed}
    for name, value in settings.items():
        value = value.item() if isinstance(value, np.generic) else value
        section = _section(name, model)
        if section:
            values.setdefault(section, {})[name] = value
        else:
            values[name] = value
    return from_json(values, default)


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


def _differing(config: TrainConfig) -> dict[str, Any]:
    """The flat settings in which a configuration differs from the defaults for its data."""
    default, found = preset(config.dataset, config.model), {}
    for name, section in _places(config.model).items():
        if section == "columns":  # they belong to the data
            continue
        ours, usual = (getattr(c, section) if section else c for c in (config, default))
        if getattr(ours, name) != getattr(usual, name):
            found[name] = getattr(ours, name)
    return found


def _preset_name(data: Any) -> str:
    """The name or path that decides about the defaults."""
    if isinstance(data, Split):
        return data.dataset.name
    if isinstance(data, Dataset):
        return data.name
    return os.fspath(data) if isinstance(data, str | os.PathLike) else "frame"


# --- data in -------------------------------------------------------------------------------------


def _read(
    data: Any, config: TrainConfig, reading: dict[str, Any], progress: bool
) -> tuple[Split, tuple[str, ...]]:
    """The data, split; and which of "user" and "item" have whole numbers for ids."""
    if isinstance(data, Split | Dataset):
        if reading:
            raise ConfigError(
                f"{', '.join(reading)}: this data set is read already; give such options to "
                "load_dataset"
            )
        return (data if isinstance(data, Split) else make_split(data, config.split)), ()
    options = {**config.columns.given(), "repeats": config.repeats, **reading}
    if not frames.is_frame(data):
        if not isinstance(data, str | os.PathLike):
            raise DataError(
                f"data is {type(data).__name__}; give a table of pandas or polars, a path, or the "
                f"name of a data set ({', '.join(DATASETS)})"
            )
        if config.data_dir is not None:
            options = {"data_dir": config.data_dir, "download": False, **options}
        dataset = load_dataset(data, progress=progress, **options)
        return make_split(dataset, config.split), ()
    names = {what: options.pop(f"{what}_column", None) for what in ("user", "item", "time")}
    title = options.pop("title_column", None)
    for what, usual in (("user", "user"), ("item", "item")):
        names[what] = names[what] or usual
    if names["time"] is None and frames.has_column(data, "time"):
        names["time"] = "time"
    columns = {what: frames.column(data, name, "the table") for what, name in names.items() if name}
    whole = tuple(what for what in ("user", "item") if frames.is_whole_numbers(data, names[what]))
    titles = None
    if title is not None:
        titles = dict(zip(columns["item"], frames.column(data, title, "the table"), strict=True))
    dataset = build_dataset(
        columns["user"],
        columns["item"],
        columns.get("time"),
        titles=titles,
        name="frame",
        **options,
    )
    return make_split(dataset, config.split), whole


def _values(given: Any, what: str, column: str) -> list[Any]:
    """The ids in a list, a column, or the column `column` of a table."""
    if frames.is_frame(given):
        return frames.column(given, column, what)
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise ConfigError(f"{what} is {given!r}; give a list of ids, such as [{given!r}]")
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    return values if isinstance(values, list) else [values]


def _known_items(known: Known, given: Sequence[Any], unknown: Unknown) -> Array:
    """The numbers of item ids; unknown ones are an error or left out."""
    numbers = known.items.find(given)
    if unknown == "error" and (numbers < 0).any():
        value = given[int(np.argmin(numbers))]
        raise DataError(known.items.unknown(value, known.name, known.titles))
    return numbers[numbers > 0]


def _allowed(known: Known, candidates: Any, exclude: Any, untrained: bool) -> Array:
    """The numbers, ascending, of the items that may be recommended."""
    allowed = np.ones(len(known.item_ids), bool)
    if candidates is not None:
        given = _values(candidates, "candidates", "item")
        numbers = known.items.find(given)
        if not (numbers > 0).any():
            some = known.items.unknown(given[0], known.name) if given else "the list is empty"
            raise DataError(f"none of the {len(given):,} candidates is known: {some}")
        if (numbers < 0).any():
            _note(f"{(numbers < 0).sum():,} of {len(given):,} candidates are not known: left out")
        allowed[:] = False
        allowed[numbers[numbers > 0]] = True
    if exclude is not None:
        given = _values(exclude, "exclude", "item")
        numbers = known.items.find(given)
        if (numbers < 0).any():
            _note(f"{(numbers < 0).sum():,} of {len(given):,} items to exclude are not known")
        allowed[numbers[numbers > 0]] = False
    allowed[0] = False
    if not untrained:
        left_out = int((allowed & (known.popularity == 0)).sum())
        allowed &= known.popularity > 0
        if candidates is not None and left_out:
            _note(f"{left_out:,} candidates have no train action: left out (see untrained=)")
    if not allowed.any():
        raise DataError(
            "no item is left to recommend: every candidate is excluded or was never trained"
        )
    return np.flatnonzero(allowed)


class _Requests:
    """Whom to recommend to: B labels, user numbers (`NOBODY` for strangers) and histories.

    Histories are slices `starts` to `ends` of `items`, so that those of known users are not copied.
    """

    def __init__(self, fitted: _Fitted, users: Any, histories: Any, unknown: Unknown) -> None:
        self.known, self.unknown = fitted.known, unknown
        self.column = "user"
        if histories is None:
            self._of_users(users)
        else:
            self._of_histories(users, histories)
            self._say_what_is_cut(fitted.model)
        if fitted.model.needs_user:
            self._leave_out_strangers(fitted.config.model)

    def _of_users(self, users: Any) -> None:
        known = self.known
        if known.split is None:
            raise DataError(
                f"{known.name} was saved without users; give histories=[[item, ...], ...]"
            )
        data = known.split.dataset
        if users is None:
            self.numbers, self.labels = np.arange(known.num_users), known.users.values
        else:
            given = _values(users, "users", "user")
            numbers = known.users.find(given)
            if self.unknown == "error" and (numbers < 0).any():
                value = given[int(np.argmin(numbers))]
                raise DataError(
                    f"{known.users.unknown(value, known.name)}; for somebody new give histories="
                )
            if (numbers < 0).any():
                _note(f"{(numbers < 0).sum():,} of {len(given):,} users are not known: left out")
            self.numbers, self.labels = numbers[numbers >= 0], _array(given)[numbers >= 0]
        self.items = data.items
        self.starts, self.ends = data.offsets[self.numbers], data.offsets[self.numbers + 1]

    def _of_histories(self, users: Any, histories: Any) -> None:
        known = self.known
        labels, lists = _histories(users, histories)
        self.column = "row" if labels is None else "user"
        if frames.is_frame(histories) and not frames.has_column(histories, "user"):
            self.column = "row"
        self.labels = np.arange(len(lists)) if labels is None else _array(labels)
        self.numbers = np.full(len(lists), NOBODY)
        if self.column == "user" and known.split is not None:
            self.numbers = known.users.find(self.labels)
        every = [value for history in lists for value in history]
        numbers = known.items.find(every)
        if self.unknown == "error":
            _known_items(known, every, "error")
        elif (numbers < 0).any():
            _note(f"{(numbers < 0).sum():,} of {len(every):,} items are not known: left out")
        row = np.repeat(np.arange(len(lists)), [len(history) for history in lists])
        lengths = np.bincount(row[numbers > 0], minlength=len(lists))
        self.items = numbers[numbers > 0].astype(np.int32)
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        if empty := int((lengths == 0).sum()):
            _note(
                f"{empty:,} of {len(lists):,} histories are empty: recommended by popularity "
                "(the score is the number of train actions)"
            )

    def _say_what_is_cut(self, model: Model) -> None:
        longer = int((self.ends - self.starts > model.n).sum())
        if longer and isinstance(model, SequenceModel):
            _note(
                f"{longer:,} of {len(self.ends):,} histories are longer than n = {model.n}: their "
                f"last {model.n} items count"
            )

    def _leave_out_strangers(self, name: str) -> None:
        strange = self.numbers < 0
        if not strange.any():
            return
        if self.unknown == "error":
            raise DataError(
                f"{name} keeps a vector per user and has none for {self.column} "
                f"{self.labels[int(np.argmax(strange))]!r}; name users that it knows, or use a "
                "model that goes by the history alone, such as sasrec"
            )
        _note(f"{name} knows nothing of {strange.sum():,} of {len(strange):,} users: left out")
        for part in ("numbers", "labels", "starts", "ends"):
            setattr(self, part, getattr(self, part)[~strange])


def _histories(users: Any, histories: Any) -> tuple[list[Any] | None, list[list[Any]]]:
    """Labels, None for places, and lists of item ids."""
    if not frames.is_frame(histories):
        if isinstance(histories, str | bytes) or not hasattr(histories, "__iter__"):
            raise ConfigError(f"histories is {histories!r}; give lists of item ids: [[...], ...]")
        lists = []
        for history in histories:
            if isinstance(history, str | bytes) or not hasattr(history, "__iter__"):
                raise ConfigError(
                    f"histories holds {history!r}; it is a list of lists of item ids, such as "
                    f"[[{history!r}]]"
                )
            lists.append(history.tolist() if hasattr(history, "tolist") else list(history))
        if users is None:
            return None, lists
        labels = _values(users, "users", "user")
        if len(labels) != len(lists):
            raise ConfigError(
                f"{len(labels):,} users and {len(lists):,} histories; give one history for each"
            )
        return labels, lists
    if users is not None:
        raise ConfigError("users and a table of histories; name the users in the table's column")
    who = "row" if frames.has_column(histories, "row") else "user"
    names = frames.column(histories, who, "the table of histories")
    items = frames.column(histories, "item", "the table of histories")
    order = list(range(len(items)))
    if frames.has_column(histories, "time"):
        times = frames.column(histories, "time", "the table of histories")
        order = sorted(order, key=times.__getitem__)
    found: dict[Any, list[Any]] = {name: [] for name in names}
    for i in order:
        found[names[i]].append(items[i])
    return list(found), list(found.values())


def _array(values: Sequence[Any]) -> Array:
    """Ids as an array: whole numbers as such, all else as objects."""
    array = np.asarray(values)
    return array if array.dtype.kind in "iu" else np.array([*values, None], object)[:-1]


# --- recommendations out -------------------------------------------------------------------------


def _table(
    fitted: _Fitted, requests: _Requests, part: slice, k: int, rule: Repeats, allowed: Array
) -> dict[str, Any]:
    """The columns of the recommendations for a part of the requests."""
    known, k = fitted.known, min(k, len(allowed))
    numbers, starts, ends = requests.numbers[part], requests.starts[part], requests.ends[part]
    lists = np.zeros((len(numbers), k), np.int32)
    scores = np.zeros((len(numbers), k), np.float32)
    everything = None if len(allowed) == len(known.item_ids) - 1 else allowed

    def fill(rows: Array, rule: Literal["allow", "forbid"]) -> None:
        longest = int((ends - starts)[rows].max())
        histories = pack(requests.items, starts[rows], ends[rows], longest)
        found = recommend(fitted.model, numbers[rows], histories, k, rule, everything)
        lists[rows], scores[rows] = found

    some = ends > starts
    with on_machine(fitted.config.machine):
        if rule == "auto":
            twice = np.array(
                [
                    len(np.unique(requests.items[start:end])) < end - start
                    for start, end in zip(starts, ends, strict=True)
                ],
                dtype=bool,
            )
            groups = (("allow", some & twice), ("forbid", some & ~twice))
        else:
            groups = ((rule, some),)  # type: ignore[assignment]
        for chosen, members in groups:
            if members.any():
                fill(np.flatnonzero(members), chosen)  # type: ignore[arg-type]
    if not some.all():
        order = allowed[np.argsort(-known.popularity[allowed], kind="stable")[:k]]
        lists[~some], scores[~some] = order, known.popularity[order]
    row, place = np.nonzero(lists)
    found = lists[row, place]
    return {
        requests.column: requests.labels[part][row],
        "item": known.items.values[found],
        "title": known.shown_titles[found],
        "score": scores[row, place],
        "rank": place + 1,
    }


def _note(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=4)
