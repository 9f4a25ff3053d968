"""Train a model: `python -m minisasrec.train --dataset ml-1m`.

`--help` lists every option with its default for the chosen data set; `--config FILE` reads a JSON
file of settings, such as the config.json of an earlier run; options on the command line win.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from minisasrec.backends import backend
from minisasrec.commands.arguments import gather, with_homes
from minisasrec.commands.cli import (
    check_data,
    errors_in_one_line,
    load_split,
    print_json,
    run_command,
)
from minisasrec.commands.description import describe
from minisasrec.commands.report import example_recommendations, format_rows
from minisasrec.data import DATASETS
from minisasrec.data.registry import recognised
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError, ConfigError, DataError
from minisasrec.exchange import start_from
from minisasrec.experiments.final_rows import final_rows, users_drawn
from minisasrec.learn.config import (
    NO_NUMBERS,
    TrainConfig,
    from_json,
    is_chosen,
    make_model,
    model_settings,
    preset,
    read_json,
    unchosen,
    without_effect,
)
from minisasrec.learn.fit import History, finished, fit, selection
from minisasrec.learn.known import Known
from minisasrec.learn.machine import use_machine
from minisasrec.learn.receipt import SHOWN, Receipt, origin
from minisasrec.learn.runs import RESULT, WEIGHTS, Run, new_folder, newest_folder, to_plain
from minisasrec.models import MODELS, Model, SASRec, SequenceModel
from minisasrec.plots import learning_curve
from minisasrec.terminal import say, show


def parse(argv: Sequence[str] | None = None) -> TrainConfig:
    """The settings: the data set's preset, changed by --config, changed by the options."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--dataset")
    first.add_argument("--model")
    first.add_argument("--config")
    first.add_argument("--out")
    first.add_argument("--resume", action="store_true")
    try:
        known, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from None
    settings: dict[str, Any] = {}
    if known.config:
        settings = read_json(Path(known.config))
        settings = settings.get("settings", settings)  # config.json of a run holds more than those
    elif known.resume and known.out:  # so that --resume --out RUN needs nothing else
        settings = Run.open(Path(known.out)).settings()[0].to_json()
    from_json(settings)  # before a part of it is used
    for of_this_command in ("json", "dry_run"):  # not of an earlier run
        settings.pop(of_this_command, None)
    dataset = known.dataset or settings.get("dataset", "bookshop")
    model = known.model or settings.get("model", "sasrec")
    if model not in MODELS:
        raise ConfigError(f"--model is {model!r}; choose one of {', '.join(MODELS)}")
    default = from_json({**settings, "model": model}, preset(dataset, model))
    offered = offered_options(default, known.config and Path(known.config))
    with errors_in_one_line(type(offered)):
        options = tyro.cli(
            type(offered),
            prog="python -m minisasrec.train",
            args=gather(type(offered), arguments),
            default=offered,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    values = dataclasses.asdict(with_homes(options, arguments))
    values.pop("config")
    return from_json(values, default)


def offered_options(default: TrainConfig, file: Path | None = None) -> Any:
    """`default` with --config added, and without the settings of the other models."""
    types, own = get_type_hints(TrainConfig), MODELS[default.model][1]
    others = sorted({section for _, section in MODELS.values()} - {own, ""})
    hidden = (tyro.conf.Fixed, tyro.conf.Suppress)
    fields: list[Any] = [(name, Annotated[(types[name], *hidden)]) for name in others]
    help_text = "JSON file of settings; options given here win over it."
    fields.append(("config", Annotated[Path | None, tyro.conf.arg(help=help_text)]))
    help_text = f"{', '.join(DATASETS)}, or the path of a file of your own."
    fields.append(("dataset", Annotated[str, tyro.conf.arg(help=help_text)]))
    values: dict[str, Any] = {**vars(default), "config": file}
    if own:
        section = _unchecked(types[own])
        fields.append((own, section))
        values[own] = section(**vars(values[own]))
    return _unchecked(TrainConfig, fields)(**values)


def _unchecked(config: type[Any], fields: Sequence[Any] = ()) -> type[Any]:
    """A settings class without its checks: tyro would print their messages in its own way."""
    namespace = {"__post_init__": lambda self: None, "__doc__": config.__doc__}
    return dataclasses.make_dataclass(
        config.__name__, fields, bases=(config,), namespace=namespace, frozen=True, kw_only=True
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train, report, write the run's files."""
    config = parse(argv)
    use_machine(config.machine)
    if config.dry_run:
        _show_data(config)
        return
    try:
        split = load_split(config)
    except DataError as error:
        if config.resume and "no file or folder" in str(error):  # a run may be moved
            raise DataError(f"{error}; if the log lies elsewhere by now, give --dataset") from None
        raise
    model = make_model(config, split)
    if config.init_from and not config.resume:
        start_from(model, config.init_from, item_ids=split.dataset.item_ids)
    section = MODELS[config.model][1]
    default = preset(config.dataset, config.model)
    if not is_chosen(config.dataset, config.model) and (
        getattr(config, section) == getattr(default, section)
    ):
        say(f"note: {unchosen(config, known=recognised(split.dataset)[0])}")
    for idle in without_effect(config, default):
        say(f"note: {idle}")
    known = Known.of(split)
    if not config.keep_histories:
        known = known.without_histories(model)
    of = config.dataset, config.model
    if config.resume:
        run = Run.open(config.out or newest_folder(*of))
        check_resumed(run, config, known)
        if (history := finished(run, config)) is not None:  # nothing to write: perhaps it cannot be
            if isinstance(model, SequenceModel):
                model.load_state(run.load_arrays(WEIGHTS)[0])
            _report(model, split, config, run, history, run.result())
            return
    else:
        run = Run(config.out or new_folder(*of))
    with run.owned():
        if not config.resume:
            Run.create(run.folder, config, known.facts() | origin(config), known.files())
        try:
            history, result = _train(model, split, config, run)
            _report(model, split, config, run, history, result)
        except BaseException as ended:
            run.discard_unless_begun()
            if isinstance(ended, KeyboardInterrupt) and run.begun:
                raise KeyboardInterrupt(
                    f"whole epochs are kept; go on with --resume --out {run.folder}"
                ) from None
            raise


def _show_data(config: TrainConfig) -> None:
    found = describe(
        config.dataset,
        data_dir=config.data_dir,
        columns=config.columns,
        repeats=config.repeats,
        split=config.split,
    )
    if config.json:
        print_json({**found.facts(), **found.understood()})
        return
    found.show()
    found.show_understood()
    show("", "nothing was trained or written (--dry-run)")


def _train(
    model: Model, split: Split, config: TrainConfig, run: Run
) -> tuple[History, dict[str, Any]]:
    """Train, measure, and write the result: what happened, and what result.json says."""
    tell = _silent if config.json else show
    tell(f"{split.dataset.name}: {split.dataset.statistics()}")
    if split.dataset.source:
        tell(f"  {split.dataset.source}")
    start = time.perf_counter()
    history = History()
    if isinstance(model, SequenceModel):
        tell(f"{config.model}: {model.num_parameters():,} parameters, {backend()} backend")
        history = fit(model, split, config, run)
    else:
        run.save_arrays(WEIGHTS, model.state(), model_settings(config.model, model))
    rows = final_rows(model, split, config)
    result = to_plain(
        {
            "dataset": split.dataset.name,
            "model": config.model,
            "seed": config.seed,
            **history.summary(),
            "selected_by": selection(split, config) if history.epochs else None,
            "total_seconds": time.perf_counter() - start,
            "out": str(run.folder),
            "test": rows,
        }
    )
    if history.epochs:
        try:
            ranking = selection(split, config)
            run.write(
                "learning_curve.png", lambda path: learning_curve(history.epochs, path, ranking)
            )
        except Exception as error:  # whatever is wrong with a picture, the result counts
            say(f"note: no learning curve: {error}")
    run.write_json(RESULT, result)  # last: who finds it finds all
    return history, result


def _report(
    model: Model,
    split: Split,
    config: TrainConfig,
    run: Run,
    history: History,
    result: dict[str, Any],
) -> None:
    rows = result["test"]
    if config.json:
        print_json({**result, "out": str(run.folder)})
        return
    if history.epochs:
        whose = users_drawn(split, "test", config.max_users)
        print(
            f"\nstopped after epoch {len(history.epochs)}; epoch {history.best_epoch} validated "
            f"best, by {selection(split, config)} ranking; test part, read once"
            + (f", {whose}:\n" if whose else ":\n")
        )
    print(format_rows(rows))
    print("\n" + example_recommendations(model, split, config.seed))
    ids = split.dataset.user_ids[:1] if config.keep_histories else split.dataset.item_ids[1:3]
    whom = ("--user " if config.keep_histories else "--items ") + " ".join(ids)
    show(
        "",
        f"checkpoints, history and learning curve: {run.folder}",
        *_receipt(run),
        *(
            [f"to see why, in a browser: python -m minisasrec.explore {run.folder} --open"]
            if isinstance(model, SASRec)
            else []
        ),
        f"to go on: python -m minisasrec.recommend {run.folder} {whom}",
    )


def _receipt(run: Run) -> Iterator[str]:
    with suppress(CheckpointError):  # a run that an earlier version began has none
        overall = Receipt.of(run).overall[:SHOWN]
        yield (
            f"receipt: {overall}, to compare with a neighbour's: python -m minisasrec.receipt "
            f"{run.folder}"
        )


def check_resumed(run: Run, config: TrainConfig, known: Known) -> None:
    """Raise `ConfigError` unless the run was begun with the same settings and data."""
    before, facts = run.settings()
    check_data(run, facts, known.fingerprint)
    # the data may lie elsewhere by now: it is the same, as was just checked
    free = NO_NUMBERS - {"columns"} | {"epochs", "patience"}
    for name, old, new in _differing(before, config, free):
        raise ConfigError(
            f"--{name.replace('_', '-')} is {new}, but the run in {run.folder} was started with "
            f"{old}; resume with its settings (--config {run.path('config.json')}), or begin anew "
            "with another --out"
        )


def _differing(
    before: Any, now: Any, free: Collection[str] = ()
) -> Iterator[tuple[str, object, object]]:
    """The options that differ, each with both values, also within sections."""
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if field.name in free or old == new:
            continue
        if dataclasses.is_dataclass(old):
            yield from _differing(old, new)
        else:
            yield field.name, old, new


def _silent(*_: object) -> None:
    return


if __name__ == "__main__":
    sys.exit(run_command(main, None))
