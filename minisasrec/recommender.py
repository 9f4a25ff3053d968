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
import glob
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisasrec.border import PATIENCE, at_home
from minisasrec.data.dataset import Dataset, DataWarning, Repeats
from minisasrec.data.files import some
from minisasrec.data.registry import DATASETS, load_dataset, options_taken
from minisasrec.data.sequences import pack_sequences
from minisasrec.data.split import NONE, Part, Split, make_split
from minisasrec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    TrainingError,
)
from minisasrec.exchange import start_from
from minisasrec.experiments.attention_maps import attention_maps
from minisasrec.experiments.final_rows import final_rows
from minisasrec.learn import frames
from minisasrec.learn.config import (
    TrainConfig,
    from_json,
    make_model,
    model_settings,
    weights_of,
)
from minisasrec.learn.evaluation import Protocol
from minisasrec.learn.explanation import Explanation, explain
from minisasrec.learn.fit import History, fit
from minisasrec.learn.known import NOTHING_HELD_OUT, Known, extended
from minisasrec.learn.machine import on_machine
from minisasrec.learn.queries import (
    Queries,
    Unknown,
    allowed_items,
    answer,
    check_choice,
    check_count,
    item_numbers,
    note,
    values_of,
)
from minisasrec.learn.receipt import origin, origin_in, updated
from minisasrec.learn.recommendation import SCORES_AT_ONCE, top_lists
from minisasrec.learn.runs import CONFIG, HALF_WRITTEN, ITEMS, LOCK, OWN, WEIGHTS, Run
from minisasrec.learn.settings import configure, differing
from minisasrec.models import MODELS, Model, RecentPopularity, SASRec, SequenceModel
from minisasrec.models.base import NOBODY, dot_products
from minisasrec.random import make_key
from minisasrec.terminal import say

Array = np.ndarray
On = Literal["train", "everything"]
OLD = "old"  # what was saved before, until the new one is in its place


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
        check_choice("on", on, get_args(On))
        reading = _named(reading, user=user, item=item, time=time, title=title)
        name = _preset_name(data)
        config = configure(self.model, self.seed, self.settings, name)
        split = data
        if not isinstance(data, Split):
            dataset = _read(data, config, reading, progress)
            split = make_split(dataset, config.split)
        elif reading:
            raise _read_already(reading)
        columns = {f.name for f in dataclasses.fields(config.columns)} & reading.keys()
        columns_given = {name: reading[name] for name in columns}
        config = from_json({"columns": columns_given} if columns else {}, config)
        config = dataclasses.replace(config, split=split.rule)  # of a Split that was given
        with on_machine(config.machine):
            begun = origin(config)
            model, history = _trained(config, split, progress)
            if on == "everything":
                split = _everything(split)
                config = _as_chosen(config, model)
                model, _ = _trained(config, split, progress, history.best_epoch)
        known = Known.of(split, on)
        self._fitted = _Fitted(config, model, known, history, begun)
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

        * `users`: ids of users that the model knows: what comes after all they did. By default all
          of them.
        * `histories`: lists of item ids, oldest first; or a table with columns `user` (or `row`),
          `item` and, optionally, `time`. With `users`, one history for each of them; these need
          not be known.
        * `candidates`: ids of the items that may be recommended; `exclude`: of those that may not
        * `repeats`: whether items of the history may come again: "allow", "forbid", or "auto",
          which allows it to a history that itself holds an item twice. By default the rule of the
          data.
        * `unknown`: what to do about an id that is not known: "error", or "skip", which leaves the
          user or the item out and says how many
        * `untrained`: whether items without a train action may be recommended

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

            return polars.concat(found, how="vertical_relaxed")
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
        check_count("k", k)
        check_count("block", block)
        check_choice("repeats", repeats, (None, *get_args(Repeats)))
        check_choice("unknown", unknown, get_args(Unknown))
        library = next(filter(None, map(frames.library, (users, histories))), self._library)
        queries = Queries(fitted.model, fitted.known, users, histories, unknown)
        allowed = allowed_items(fitted.known, candidates, exclude, untrained)
        if k > len(allowed) and candidates is None:
            note(f"k is {k:,}, and {len(allowed):,} items may be recommended: lists are shorter")
        rule = repeats or fitted.known.repeats
        starts = range(0, max(len(queries.numbers), 1), int(block))
        parts = (slice(start, start + int(block)) for start in starts)
        return (
            frames.make_frame(fitted.answer(queries, part, int(k), rule, allowed), library)
            for part in parts
        )

    def scores(self, items: Any, history: Any = None, *, user: Any = None) -> Array:
        """The scores of some items, float32, in the order in which they are given.

        After `history`, a list of item ids; after all that `user` did; or, with both, after all
        that the user did and then the history. NaN for an item that is not known, and for all
        items where there is nothing to go by: no known item, or a user without the vector that
        the model needs.
        """
        fitted, known = self.fitted, self.fitted.known
        asked = known.items.find(values_of(items, "items", "item"))
        found = np.full(len(asked), np.nan, np.float32)
        number = NOBODY
        past = known.items.find(values_of([] if history is None else history, "history", "item"))
        past = past[past > 0].astype(np.int32)
        if user is not None:
            number = int(known.users.find([user])[0])
            if number >= 0 and known.split is not None:
                past = np.concatenate([known.split.dataset.sequence(number), past])
        rows = asked > 0
        if not len(past) or not rows.any() or (fitted.model.needs_user and number < 0):
            return found
        with on_machine(fitted.config.machine):
            found[rows] = fitted.model.candidate_scores(
                np.array([number]), pack_sequences([past], fitted.model.n), asked[rows][None]
            )[0]
        return found

    def similar_items(self, items: Any, k: int = 10) -> Any:
        """The k items most like each of `items`, by the cosine of their vectors.

        A table with columns `item`, `similar`, `title` (of the similar one), `score` and `rank`.
        Raises `DataError` for an unknown item, `ConfigError` for a model without vectors of items.
        """
        fitted, known = self.fitted, self.fitted.known
        check_count("k", k)
        if not isinstance(fitted.model, SequenceModel):
            raise ConfigError(
                f"{fitted.config.model} has no vectors of items; use sasrec or another model that "
                "is trained by gradients"
            )
        given = values_of(items, "items", "item")
        numbers = item_numbers(known, given, "error")
        vectors = fitted.model.item_vectors()
        lengths = np.linalg.norm(vectors, axis=1)
        left_out = known.popularity == 0
        left_out[0] = True  # padding
        lists = np.zeros((len(numbers), min(int(k), len(vectors))), np.int32)
        scores = np.zeros(lists.shape, np.float32)
        size = max(1, SCORES_AT_ONCE // len(vectors))  # all items against all do not fit at once
        for start in range(0, len(numbers), size):
            part = slice(start, start + size)
            some = numbers[part]
            cosines = dot_products(vectors[some], vectors) / np.maximum(
                lengths[some][:, None] * lengths, np.finfo(np.float32).tiny
            )
            cosines[:, left_out] = -np.inf
            cosines[np.arange(len(some)), some] = -np.inf
            lists[part] = top_lists(cosines, k)
            scores[part] = np.take_along_axis(cosines, lists[part], axis=1)
        row, place = np.nonzero(lists)
        found = lists[row, place]
        columns = {
            "item": known.items.values[numbers][row],
            "similar": known.items.values[found],
            "title": known.shown_titles[found],
            "score": scores[row, place],
            "rank": place + 1,
        }
        return frames.make_frame(columns, frames.library(items) or self._library)

    def evaluate(
        self,
        part: Part = "test",
        protocols: Protocol | Sequence[Protocol] | None = None,
        *,
        seed: int | None = None,
        max_users: int | None = None,
    ) -> Any:
        """How well it ranks what was held out: a table, as `python -m minisasrec.evaluate` shows.

        `part` is "test" or "valid"; `protocols` are one or more of "sampled", "full" and "authors",
        by default the first two; see `Evaluator`. `seed` and `max_users` are by default those of
        the settings.
        Raises `ConfigError` after `fit(on="everything")`, which leaves nothing to measure on.
        """
        fitted, known = self.fitted, self.fitted.known
        if known.on == "everything":
            raise ConfigError(NOTHING_HELD_OUT)
        split = known.measured(known.repeats)
        if split is None:
            raise DataError(f"{known.name} was saved without histories: nothing to measure on")
        chosen: tuple[Any, ...] | None = None
        if protocols is not None:
            several = isinstance(protocols, list | tuple | set)
            chosen = tuple(protocols) if several else (protocols,)
            for name in chosen:
                check_choice("protocols", name, get_args(Protocol))
        changes = {"seed": seed, "max_users": max_users}
        given = {name: value for name, value in changes.items() if value is not None}
        config = from_json(given, fitted.config)
        with on_machine(config.machine):
            rows = final_rows(fitted.model, split, config, part, chosen)
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        return frames.make_frame(columns, self._library)

    def explain(
        self, history: Any = None, k: int = 5, *, user: Any = None, repeats: Repeats | None = None
    ) -> Explanation:
        """Why the k best items are recommended: what each item of the history adds to their scores.

        `history` is a list of item ids, oldest first; by default, that of `user`. An item adds the
        score with it minus the score without it. Only the last n items count. See `Explanation`
        for what comes back. Raises what `recommend` does.
        """
        fitted = self.fitted
        check_count("k", k)
        check_choice("repeats", repeats, (None, *get_args(Repeats)))
        users = None if user is None else [user]
        if history is None and user is None:
            raise ConfigError("give a history, a list of item ids, or user=ID")
        queries = Queries(fitted.model, fitted.known, users, None if history is None else [history])
        allowed = allowed_items(fitted.known, None, None, untrained=False)
        found = fitted.answer(queries, slice(0, 1), k, repeats or fitted.known.repeats, allowed)
        items = queries.items[queries.starts[0] : queries.ends[0]][-fitted.model.n :]
        if not len(items):
            raise DataError("the history is empty: popularity needs no explanation")
        best = fitted.known.items.find(found["item"])
        with on_machine(fitted.config.machine):
            attention: list[Array] = []
            if isinstance(fitted.model, SASRec):
                inputs = pack_sequences([items], fitted.model.n)
                [attention] = attention_maps(fitted.model, inputs, by_head=True)
            args = (fitted.model, fitted.known, queries.numbers, items, best, attention)
            return explain(*args, self._library)

    # --- going on --------------------------------------------------------------------------------

    def update(
        self,
        data: Any,
        *,
        epochs: int = 10,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        title: str | None = None,
        on: On | None = None,
        progress: bool = True,
        **reading: Any,
    ) -> Recommender:
        """Go on with new actions: all that was known, and these, trained for `epochs` from here.

        New users and new items are added behind the known ones, so every id keeps its number.
        Their vectors begin as those of a new model do; all others go on from where they are. The
        new actions of a user come after the known ones, unless both have times. `data` is what
        `fit` takes; the options given there hold here as well, those that `data` can take: a table
        needs no separator. Nothing is filtered unless `min_actions` says so. `on` is that of `fit`,
        by default the same as there; "train" holds out the last two actions of each user anew. The
        rule about items met before stays the one that `fit` decided; `repeats="auto"` decides anew.

        Raises `DataError` where the histories were left out, for there is nothing to go on with,
        and where times are dates on one side only.
        """
        fitted, known = self.fitted, self.fitted.known
        check_choice("on", on, (None, *get_args(On)))
        check_count("epochs", epochs)
        if known.split is None:
            raise DataError(
                f"{known.name} was saved without histories, so there is nothing to go on with; "
                "train anew with fit"
            )
        reading = _named(reading, user=user, item=item, time=time, title=title)
        rule: Repeats | None = reading.pop("repeats", None)
        check_choice("repeats", rule, (None, *get_args(Repeats)))
        if not isinstance(data, Dataset):
            reading.setdefault("min_actions", 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # few actions each are to be expected
            new = _read(data, _without_titles(fitted.config, data), reading, progress, again=True)
            dataset, notes = extended(known.split.dataset, new)
            by_itself = dataclasses.replace(dataset, repeats="auto")
            split = make_split(by_itself, fitted.config.split)
        if rule is None:
            rule = known.repeats
            if fitted.config.repeats == "auto" and split.repeats != rule:
                notes.append(
                    f"{known.name}: users have now met {split.repeat_share('valid'):.1%} of their "
                    f"validation targets before, which would mean repeats={split.repeats!r}; "
                    f"repeats={rule!r}, as fit decided, stays: update(..., repeats='auto') decides "
                    "anew"
                )
        whole = known.still_whole(dataset)
        for what in known.whole:
            if what not in whole:
                notes.append(
                    f"{known.name}: the {what} ids were whole numbers, and a new one is text, so "
                    f"all {what} ids go out as text from now on, '7' and not 7"
                )
        for text in notes:
            note(text, stacklevel=2)
        dataset = dataclasses.replace(dataset, repeats=rule)
        split = dataclasses.replace(split, dataset=dataset)
        on = on or known.on
        if on == "everything":
            split = _everything(split)
        config = dataclasses.replace(
            fitted.config,
            epochs=epochs,
            patience=0,
            # other batches and negatives than at the beginning
            seed=make_key(fitted.config.seed, "update", dataset.num_actions).k0,
        )
        config = _as_chosen(config, fitted.model)
        with on_machine(config.machine):
            model, history = grown(fitted.model, make_model(config, split)), History()
            if isinstance(model, SequenceModel):
                validation = on == "train"
                history = fit(model, split, config, progress=progress, validation=validation)
        if progress:
            say(
                f"{new.num_actions:,} new actions, {dataset.num_users - known.num_users:,} new "
                f"users, {dataset.num_items - len(known.item_ids) + 1:,} new items; trained "
                f"{len(history.epochs)} epochs on {split.num_train_actions:,} actions"
            )
        known = Known.of(split, on, whole)
        begun = updated(fitted.origin, epochs)
        self._fitted = _Fitted(fitted.config, model, known, history, begun)
        return self

    # --- a folder to take home -----------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str], *, keep_histories: bool | None = None) -> Path:
        """Write one folder with all that `load` needs; returns its path.

        A recommender that was saved there before is replaced as a whole: after an interrupted call
        the old one is still there. Other files in its folder stay. `keep_histories=False` leaves
        out the users, their ids and histories; by default the setting of that name decides. Raises
        `ConfigError` for a folder that holds something else, `TrainingError` if it cannot be
        written.
        """
        fitted, told = self.fitted, _path(folder, "save").absolute()
        folder = Path(os.path.realpath(told))  # where a link leads, which stays a link
        keep = fitted.config.keep_histories if keep_histories is None else keep_histories
        known = fitted.known if keep else fitted.known.without_histories(fitted.model)
        _check_free(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        except OSError as error:
            raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from None
        try:
            tables = {"tables": self._library} if self._library else {}
            about = known.facts() | fitted.origin | tables
            run = Run.create(part / "new", fitted.config, about, known.files())
            facts = fitted.history.summary() if fitted.history.epochs else {}
            described = model_settings(fitted.config.model, fitted.model)
            run.save_arrays(WEIGHTS, fitted.model.state(), facts | described)
            try:
                _copy_others(folder, part / "new")
                _take_its_place(part / "new", folder, part / OLD)
            except OSError as error:
                raise TrainingError(f"cannot write {folder}: {error.strerror or error}") from None
        finally:
            if folder.exists() or not (part / OLD).exists():  # else that is the only one
                shutil.rmtree(part, ignore_errors=True)
        return told

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Recommender:
        """What `save` wrote, or a run of `train` with its best weights.

        Every file is compared with the SHA-256 that was written with it. Raises `CheckpointError`,
        one line that says what to do, for a folder that is missing something, was damaged or was
        written by a newer version.
        """
        run = Run(_path(folder, "load"))
        for seconds in (*PATIENCE, None):
            before = _stamp(run)
            try:
                found = cls._load(run)
            except CheckpointError:
                if seconds is None or (before == _stamp(run) and not _is_being_saved(run)):
                    raise
            else:
                if before == _stamp(run):
                    return found
            time.sleep(seconds or 0)  # another recommender was saved there meanwhile
        return found

    @classmethod
    def _load(cls, run: Run) -> Recommender:
        if not run.path(CONFIG).is_file():
            raise CheckpointError(
                f"{run.folder} holds no recommender (no {CONFIG}); give the folder that "
                f"Recommender.save or train wrote{_left_by_a_save(run.folder)}"
            )
        try:
            config, facts = run.settings()
        except ConfigError as error:
            raise CheckpointError(f"{run.path(CONFIG)}: {error}") from None
        known = Known.read(run, facts)
        found = cls.of(config, known, load_model(run, config, known), origin_in(facts))
        found._library = frames.installed(facts.get("tables", ""))
        return found

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        known: Known,
        model: Model,
        origin: dict[str, Any] | None = None,
    ) -> Recommender:
        """A recommender of parts that are there already, and the `origin` that `save` notes."""
        made = cls(config.model, seed=config.seed, **differing(config))
        made._fitted = _Fitted(config, model, known, History(), origin or {})
        return made


def _trained(
    config: TrainConfig, split: Split, progress: bool, epochs: int = 0
) -> tuple[Model, History]:
    """A new model: of the epoch that validates best or, if given, after so many epochs."""
    model = make_model(config, split)
    if config.init_from:
        start_from(model, config.init_from, item_ids=split.dataset.item_ids)
    if not isinstance(model, SequenceModel):  # it has counted already
        return model, History()
    if epochs:
        config = dataclasses.replace(config, epochs=epochs)
    return model, fit(model, split, config, progress=progress, validation=not epochs)


def _as_chosen(config: TrainConfig, model: Model) -> TrainConfig:
    """The settings with what `model` has chosen on the validation part."""
    if isinstance(model, RecentPopularity):
        return from_json({"recentpop": {"days": model.days}}, config)
    return config


def grown(old: Model, new: Model) -> Model:
    """`new`, which has more users or items behind those of `old`, with the weights of `old`.

    Rows that `old` lacks stay as they are. A model that counts has counted anew already.
    """
    if not isinstance(old, SequenceModel) or not isinstance(new, SequenceModel):
        return new
    before, state = old.state(), {name: value.copy() for name, value in new.state().items()}
    for name, value in before.items():
        state[name][: len(value)] = value
    new.load_state(state)
    return new


def _everything(split: Split) -> Split:
    """All actions as the train part; the rule about items met before stays."""
    data = dataclasses.replace(split.dataset, repeats=split.repeats)
    nothing = np.full_like(split.test_at, NONE)
    return Split(data, data.offsets[1:], nothing, nothing)


@dataclass(frozen=True)
class _Fitted:
    """What belongs together: after `fit` or `update` there is another one.

    A table of recommendations that is made in blocks stays with the one it began with.
    """

    config: TrainConfig
    model: Model
    known: Known
    history: History
    origin: dict[str, Any]  # how its training began (`receipt.origin`)

    def answer(
        self, queries: Queries, part: slice, k: int, rule: Repeats, allowed: Array
    ) -> dict[str, Any]:
        with on_machine(self.config.machine):
            return answer(self.model, queries, part, k, rule, allowed)


def load_model(run: Run, config: TrainConfig, known: Known) -> Model:
    """The model of a run with its best weights.

    Raises `CheckpointError` for weights of other settings: some change no shape, such as where the
    layer norm stands, and would go unnoticed. A setting that weights do not name was added after
    them, and has its default.
    """
    kind, section = MODELS[config.model]
    settings = getattr(config, section) if section else None
    with weights_of(config.model, settings, len(known.item_ids) - 1, copies=2):
        model = kind.of_size(known.num_users, known.popularity, settings, config.seed)
    weights, facts = run.load_arrays(WEIGHTS)
    described = model_settings(config.model, model)
    if settings is not None and described["settings"] and isinstance(facts.get("settings"), dict):
        facts["settings"] = asdict(type(settings)()) | facts["settings"]
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


def _path(folder: Any, method: str) -> Path:
    """`folder` as a path. Raises `ConfigError` for what is none."""
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ConfigError(
            f'{method} takes the path of a folder, such as {method}("shop"); got {folder!r:.50}'
        )
    try:
        path = at_home(Path(folder))
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):  # told by the caller, or made
        return path
    except (OSError, ValueError) as error:  # too long a name, a zero in it, no permission
        told = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{str(folder)!r:.50} cannot be a folder: {told}") from None
    return path


def _stamp(run: Run) -> tuple[int, ...] | None:
    """What tells one save from the next."""
    try:
        file = run.path(CONFIG).stat()
    except OSError:
        return None
    return file.st_ino, file.st_mtime_ns, file.st_size


def _is_being_saved(run: Run) -> bool:
    """Whether `save` is at work beside it: for a moment there is no folder at all."""
    place = run.folder.absolute()
    try:
        beside = [path.name for path in place.parent.iterdir()]
    except OSError:
        return False
    return any(name.startswith(f".{place.name}.") for name in beside)


def _copy_others(old: Path, new: Path) -> None:
    """Copy what somebody put into a recommender's folder beside it, such as a README."""
    for path in old.iterdir() if old.exists() else ():
        if path.name in OWN or path.name == LOCK or HALF_WRITTEN.match(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def _take_its_place(new: Path, folder: Path, old: Path) -> None:
    """Rename `new` to `folder`, and what was there to `old`; after an error it is back."""
    try:
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    except BaseException:  # Ctrl-C as well
        if not folder.exists() and old.exists():
            os.replace(old, folder)
        raise


def _left_by_a_save(folder: Path) -> str:
    """Where the recommender is that was saved before, if a save was killed between two renames."""
    folder = Path(os.path.realpath(folder))
    pattern = f".{glob.escape(folder.name)}.*/{OLD}/{CONFIG}"
    found = [] if folder.exists() else sorted(folder.parent.glob(pattern))
    if not found:
        return ""
    return f"; a save was interrupted, and the earlier one is {found[-1].parent}: move it back"


def _check_free(folder: Path) -> None:
    """Raise `ConfigError` unless a recommender may be written to `folder`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder to save to")
    names = {path.name for path in folder.iterdir()}
    if names & {"last.safetensors", "history.jsonl", "result.json"}:
        raise ConfigError(f"{folder} holds a run of train; save to another folder")
    if names and not {CONFIG, ITEMS} <= names:  # many a program has a config.json
        raise ConfigError(f"{folder} holds other files ({some(names)}); save to another folder")
    if Path.cwd().resolve().is_relative_to(folder):  # it would stand in a folder that is gone
        raise ConfigError(
            f"{folder} is the working folder or holds it, and save replaces a folder as a whole; "
            "change to another folder first, or save to another one"
        )


# --- data in -------------------------------------------------------------------------------------


def _preset_name(data: Any) -> str:
    """The name or path that decides about the defaults."""
    if isinstance(data, Split):
        return data.dataset.name
    if isinstance(data, Dataset):
        return data.name
    return os.fspath(data) if isinstance(data, str | os.PathLike) else "frame"


def _named(reading: dict[str, Any], **columns: str | None) -> dict[str, Any]:
    """The options of `load_dataset`: `reading` and the columns that were named."""
    given = {f"{what}_column": name for what, name in columns.items() if name is not None}
    return {**reading, **given}


def _read_already(reading: dict[str, Any]) -> ConfigError:
    return ConfigError(
        f"{', '.join(reading)}: this data set is read already; give such options to load_dataset"
    )


def _without_titles(config: TrainConfig, data: Any) -> TrainConfig:
    """`config`, not asking for the titles of a table that has none."""
    title = config.columns.title_column
    if title is None or not frames.is_frame(data) or frames.has_column(data, title):
        return config
    return from_json({"columns": {"title_column": None}}, config)


def _read(
    data: Any, config: TrainConfig, reading: dict[str, Any], progress: bool, again: bool = False
) -> Dataset:
    """The data, read as the settings and `reading` say, unless it is read already.

    `again` says that the settings were made for other data, perhaps in another form and place.
    """
    if isinstance(data, Dataset):
        if reading:
            raise _read_already(reading)
        return data
    columns = config.columns.given()
    if again:
        taken = options_taken(data)
        columns = {name: value for name, value in columns.items() if name in taken}
    options = {**columns, "repeats": config.repeats, **reading}
    in_data_dir = not again or (not frames.is_frame(data) and _preset_name(data) in DATASETS)
    if config.data_dir is not None and in_data_dir:
        options = {"data_dir": config.data_dir, "download": False, **options}
    return load_dataset(data, progress=progress, **options)
