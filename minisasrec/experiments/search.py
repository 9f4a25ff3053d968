"""Search of settings on the validation part: the space, one trial, and the record of all trials.

A trial is one training with settings drawn from a space. Optuna draws them (TPE: Bergstra et al.,
Algorithms for hyper-parameter optimization, NeurIPS 2011) and gives up a trial that is worse than
the median of the others at the same epoch. What is finished stands in trials.jsonl, a line a
trial, and nowhere else: a search that goes on reads it and tells it to a new study. The draws of
a trial follow from the seed, its number and the trials before it. So a seed gives the same trials,
also where the search was interrupted.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from minisasrec.border import json_value, reading
from minisasrec.data.dataset import DataWarning
from minisasrec.data.split import NONE, Split
from minisasrec.errors import CheckpointError, ConfigError, TrainingError
from minisasrec.learn.config import DEPENDENT, TrainConfig, idle_beside, make_model
from minisasrec.learn.fit import SELECT, fit
from minisasrec.learn.runs import NOTHING, NUMBER, Run, append_json, check_form, to_plain
from minisasrec.learn.settings import with_settings
from minisasrec.models import MODELS, SequenceModel
from minisasrec.random import make_key, random_uint32

Record = dict[str, Any]
TRAINING = (
    "lr",
    "beta2",
    "l2",
    "clip_norm",
    "warm_up",
    "weight_average",
    "batch_size",
    "negatives",
    "order",
)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


Space = dict[str, Range | list[Any]]
TRIAL_FORM = {
    "trial": int,
    "state": str,
    SELECT: (*NUMBER, NOTHING),
    "best_epoch": (int, NOTHING),
    "epochs": int,
    "seconds": NUMBER,
    "values": dict,
    "validations": dict,
    "error?": (str, NOTHING),
}

DEFAULT: Space = {
    "lr": Range(3e-4, 1e-2, log=True),
    "dropout": Range(0.0, 0.7, step=0.1),
    "d": [32, 50, 64, 100, 128],
    "n": [20, 50, 100, 200],
    "blocks": [1, 2, 3],
    "heads": [1, 2],
    "l2": [0.0, 1e-6, 1e-5, 1e-4],
    "row_l2": Range(1e-4, 1.0, log=True),
    "loss": ["bce", "gbce", "softmax"],
    "negatives": [1, 4, 16],
}


def default_space(config: TrainConfig, split: Split) -> Space:
    """The part of `DEFAULT` that the model has; no n above what the longest history needs."""
    known = _types(config)
    space = {name: values for name, values in DEFAULT.items() if name in known}
    if config.model != "sasrec":  # whose losses and lengths are other ones
        for name in ("loss", "n"):
            space.pop(name, None)
    if "n" in space:
        longest = int((split.train_end - split.dataset.offsets[:-1]).max())
        lengths = [n for n in DEFAULT["n"] if isinstance(n, int)]  # type: ignore[union-attr]
        enough = next((n for n in lengths if n >= longest), lengths[-1])
        space["n"] = [n for n in lengths if n <= enough]
    return space


def read_space(values: dict[str, Any], config: TrainConfig) -> Space:
    """A space from JSON: `{"lr": {"low": 1e-4, "high": 1e-2, "log": true}, "d": [32, 64]}`.

    A list holds choices, an object is a range, anything else the only value. Raises `ConfigError`
    for a name that is no setting of the model or its training, and for a value that it cannot have.
    """
    known = _types(config)
    space: Space = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{name} is not a setting to search; there are {', '.join(known)}")
        if isinstance(value, dict):
            space[name] = _range(name, value, known[name])
            ends: list[Any] = [value["low"], value["high"]]
        else:
            space[name] = ends = list(value) if isinstance(value, list) else [value]
        if not ends:
            raise ConfigError(f"{name} has no value to choose from: []")
        for end in ends:
            with_settings(config, {name: end})  # of the right type, and inside the setting's bounds
    if not space:
        raise ConfigError("the space is empty; name a setting, such as lr")
    return space


def space_to_json(space: Space) -> Record:
    """The space as `read_space` reads it."""
    usual = Range(0, 1)
    return {
        name: values
        if isinstance(values, list)
        else {
            key: value
            for key, value in vars(values).items()
            if key in ("low", "high") or value != getattr(usual, key)
        }
        for name, values in space.items()
    }


def _range(name: str, value: dict[str, Any], kind: Any) -> Range:
    allowed = [f.name for f in dataclasses.fields(Range)]
    if not {"low", "high"} <= value.keys() <= {*allowed}:
        raise ConfigError(f"{name} is {value}; a range has low and high, and may have log or step")
    if kind not in (int, float):
        raise ConfigError(f"{name} is not a number, so it has no range; give a list of choices")
    found = Range(**value)
    step = 1 if found.step is None else found.step
    numbers = [type(number) in (int, float) for number in (found.low, found.high, step)]
    if not all(numbers) or not isinstance(found.log, bool):
        raise ConfigError(f"{name} is {value}; low, high and step are numbers, log true or false")
    if not 0 < step < np.inf or (kind is int and step != int(step)):
        least = "1, 2, ..." if kind is int else "above 0"
        raise ConfigError(f"{name}: step is {step}; it must be {least}")
    if not found.low < found.high:
        raise ConfigError(f"{name}: low is {found.low}, high is {found.high}; low must be lower")
    if found.log and (found.low <= 0 or found.step):
        raise ConfigError(f"{name}: with log, low must be above 0 and there is no step")
    return found


def _types(config: TrainConfig) -> dict[str, Any]:
    """The settings that can be searched, with their types."""
    section = MODELS[config.model][1]
    own = get_type_hints(type(getattr(config, section))) if section else {}
    training = get_type_hints(TrainConfig)
    return {**{name: training[name] for name in TRAINING}, **own}


def values_of(config: TrainConfig, names: Space) -> Record:
    """What `config` has for the settings of a space."""
    section = MODELS[config.model][1]
    return {
        name: getattr(config if name in TRAINING else getattr(config, section), name)
        for name in names
    }


def without_test(split: Split) -> Split:
    """The same train and validation parts; the test targets and all after them are gone.

    So no trial can depend on the test part, not even by which candidates validation draws.
    """
    data, held_out = split.dataset, split.valid_at != NONE
    offsets = data.offsets[:-1]
    ends = np.where(held_out, split.valid_at + 1, split.train_end)
    keep = np.zeros(data.num_actions + 1, np.int64)
    np.add.at(keep, offsets, 1)
    np.add.at(keep, ends, -1)
    kept = np.cumsum(keep)[:-1] > 0
    starts = np.concatenate([[0], np.cumsum(ends - offsets)])
    dataset = dataclasses.replace(
        data,
        items=data.items[kept],
        offsets=starts,
        times=None if data.times is None else data.times[kept],
        repeats=split.repeats,
    )
    moved = starts[:-1] - offsets
    valid_at = np.where(held_out, split.valid_at + moved, NONE)
    nobody = np.full_like(split.test_at, NONE)
    return Split(dataset, split.train_end + moved, valid_at, nobody, split.rule)


# --- the search ----------------------------------------------------------------------------------


class _Pruned(Exception):
    """A trial is worse than the others were."""


class OutOfTime(Exception):
    """The time that the user gave is over; the trial at work is dropped."""


@dataclass
class Search:
    """A search in one folder. `trials` are the finished ones, as trials.jsonl has them."""

    config: TrainConfig
    split: Split  # without its test part
    space: Space
    file: Path
    prune: bool = True

    def __post_init__(self) -> None:
        """Read what is finished. Raises `CheckpointError` for what this search cannot have made."""
        self.trials = read_trials(self.file)
        wrong = f"{self.file} has a trial that this search cannot have made"
        with reading(self.file, CheckpointError, wrong=wrong):
            for record in self.trials:
                self._told(record)

    @property
    def best(self) -> Record | None:
        """The finished trial with the best validation."""
        done = [trial for trial in self.trials if trial["state"] == "done"]
        return max(done, key=lambda trial: trial[SELECT], default=None)

    def run(
        self,
        trials: int,
        deadline: float | None = None,
        on_epoch: Callable[[int, Record], None] | None = None,
    ) -> Iterator[Record]:
        """Compute trials until there are so many; each is on disk before it is handed out.

        `deadline` is a time of `time.monotonic()`: after it the trial at work is dropped, and
        `OutOfTime` raised.
        """
        library = optuna()
        study = library.create_study(direction="maximize", pruner=self._pruner())
        for record in self.trials:
            study.add_trial(self._told(record))
        told = False
        while len(self.trials) < trials:
            if deadline is not None and time.monotonic() > deadline:
                raise OutOfTime
            number = len(self.trials)
            seed = int(random_uint32(make_key(self.config.seed, "trial"), np.array([number]))[0])
            study.sampler = library.samplers.TPESampler(seed=seed)
            if number == 0:  # the settings as they are, to compare with
                study.enqueue_trial(self._baseline())
            trial = study.ask()
            with warnings.catch_warnings():
                if told:  # once is enough
                    warnings.simplefilter("ignore", DataWarning)
                record = self._trial(number, trial, deadline, on_epoch)
            told = True
            states = library.trial.TrialState
            state = {"done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
            value = record[SELECT] if record["state"] == "done" else None
            study.tell(trial, value, state=state[record["state"]])
            append_json(self.file, record)
            self.trials.append(record)
            yield record

    def _trial(
        self,
        number: int,
        trial: Any,
        deadline: float | None,
        on_epoch: Callable[[int, Record], None] | None,
    ) -> Record:
        values = self._draw(trial)
        validations: dict[int, float] = {}
        start = time.perf_counter()

        def watch(entry: Record) -> None:
            if on_epoch is not None:
                on_epoch(number, entry)
            if SELECT in entry:
                validations[entry["epoch"]] = entry[SELECT]
                trial.report(entry[SELECT], entry["epoch"])
                if self.prune and trial.should_prune():
                    raise _Pruned
            if deadline is not None and time.monotonic() > deadline:
                raise OutOfTime

        state, why = "done", None
        try:
            config = with_settings(self.config, values)
            model = make_model(config, self.split)
            if not isinstance(model, SequenceModel):
                raise ConfigError(f"{config.model} is not trained, so it has no settings to search")
            fit(model, self.split, config, progress=False, on_epoch=watch)
        except _Pruned:
            state = "pruned"
        except (ConfigError, TrainingError) as error:  # such as heads that do not divide d
            state, why = "failed", str(error)
        best = max(validations, key=lambda epoch: validations[epoch], default=None)
        return to_plain(
            {
                "trial": number + 1,
                "state": state,
                SELECT: None if best is None else validations[best],
                "best_epoch": best,
                "epochs": max(validations, default=0),
                "seconds": round(time.perf_counter() - start, 2),
                "values": values,
                "validations": validations,
                "error": why,
            }
        )

    def _draw(self, trial: Any) -> Record:
        drawn: Record = {}
        usual = vars(getattr(self.config, MODELS[self.config.model][1]))
        for name in sorted(self.space, key=lambda name: name in DEPENDENT):  # these after the rest
            if not idle_beside(name, usual | drawn):
                drawn[name] = self._suggest(trial, name)
        return drawn

    def _suggest(self, trial: Any, name: str) -> Any:
        of = self._distribution(name)
        if isinstance(self.space[name], list):
            return trial.suggest_categorical(name, of.choices)
        suggest = trial.suggest_int if _types(self.config)[name] is int else trial.suggest_float
        return suggest(name, of.low, of.high, step=of.step, log=of.log)

    def _distribution(self, name: str) -> Any:
        of, values = optuna().distributions, self.space[name]
        if isinstance(values, list):
            return of.CategoricalDistribution(values)
        if _types(self.config)[name] is int:
            ends, step = (int(values.low), int(values.high)), int(values.step or 1)
            return of.IntDistribution(*ends, log=values.log, step=step)
        return of.FloatDistribution(values.low, values.high, log=values.log, step=values.step)

    def _baseline(self) -> Record:
        """The settings as they are, where the space holds them."""
        found: Record = {}
        for name, value in values_of(self.config, self.space).items():
            values = self.space[name]
            inside = value in values if isinstance(values, list) else _holds(values, value)
            if inside:
                found[name] = value
        return found

    def _pruner(self) -> Any:
        """The median rule; not before five trials are done, nor in the first fifth of the epochs.

        There a small learning rate or a loss that starts slowly would always look worse.
        """
        return optuna().pruners.MedianPruner(
            n_startup_trials=5, n_warmup_steps=self.config.epochs // 5
        )

    def _told(self, record: Record) -> Any:
        """A finished trial, as the study of the run that computed it had it."""
        states = optuna().trial.TrialState
        validations = {int(epoch): value for epoch, value in record["validations"].items()}
        last = list(validations.values())[-1] if validations else None
        state, value = {
            "done": (states.COMPLETE, record[SELECT]),
            "pruned": (states.PRUNED, last),
            "failed": (states.FAIL, None),
        }[record["state"]]
        return optuna().trial.create_trial(
            state=state,
            value=value,
            params=record["values"],
            distributions={name: self._distribution(name) for name in record["values"]},
            intermediate_values=validations,
        )


def _holds(values: Range, value: float) -> bool:
    steps = (value - values.low) / values.step if values.step else 0.0
    return values.low <= value <= values.high and abs(steps - round(steps)) < 1e-9


def read_trials(file: Path) -> list[Record]:
    """The finished trials; a last line that a power cut left half-written is dropped.

    Raises `CheckpointError` for any other line that is no trial.
    """
    if not file.is_file():
        return []
    with reading(file, CheckpointError, wrong=f"{file} is damaged"):
        lines = file.read_text(encoding="utf-8").split("\n")
        trials = [json_value(line) for line in lines[:-1]]
    if lines[-1]:
        Run(file.parent).write(
            file.name, lambda path: path.write_text("\n".join([*lines[:-1], ""]), encoding="utf-8")
        )
    for number, trial in enumerate(trials, 1):
        check_form(trial, TRIAL_FORM, f"{file} line {number}")
        epochs = dict.fromkeys(trial["validations"], NUMBER)
        check_form(trial["validations"], epochs, f"{file} line {number}, validations")
        if trial["trial"] != number:
            raise CheckpointError(
                f"{file} line {number} is of trial {trial['trial']}; it was changed by hand"
            )
        if trial["state"] == "done" and trial[SELECT] is None:
            raise CheckpointError(f"{file} line {number} is done, and nothing was measured")
    return trials


def optuna() -> Any:
    """The library, which is optional. Raises `ConfigError`."""
    try:
        library = import_module("optuna")
    except ImportError:
        raise ConfigError(
            'tune needs optuna, which is not installed: pip install "minisasrec[tune]"'
        ) from None
    library.logging.set_verbosity(library.logging.WARNING)
    return library
