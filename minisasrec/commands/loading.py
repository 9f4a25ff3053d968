"""From a folder to a recommender that answers, and what to say of users that it does not know."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

from minisasrec.commands.cli import load_run
from minisasrec.data import DataWarning, load_dataset
from minisasrec.errors import ConfigError, DataError, MinisasrecError
from minisasrec.learn.known import Known
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.learn.runs import ALL, Run
from minisasrec.recommender import Recommender


def load_recommender(
    folder: Path, machine: MachineOptions, data_dir: Path | None = None
) -> Recommender:
    """The recommender of a run, or of a folder that `Recommender.save` wrote.

    It needs no data file, unless `data_dir` is given, or the folder is of an experiment of
    `reproduce`, which keeps none. `machine` is that of the command, with the run's backend where it
    names none. Raises `CheckpointError`.
    """
    machine.check()
    run = Run.open(folder)
    _, facts = run.settings()
    if "known" in facts and data_dir is None:
        found = Recommender.load(folder)
        config, known, model = found.config, found.known, found.model_
    else:
        _, config, split, model = load_run(folder, machine, data_dir)
        known = Known.of(split)
    machine = dataclasses.replace(machine, backend=machine.backend or config.machine.backend)
    use_machine(machine)
    return Recommender.of(dataclasses.replace(config, machine=machine), known, model)


def check_out(
    out: Path, run: Path, recommender: Recommender, read: Sequence[Path | None] = ()
) -> None:
    """Raise `ConfigError` for an --out that is a file of the run, the log, or a file that is read.

    A run says where its log was for the folder in which the training was started. Where there is
    no such file, one of the log's name is taken for it.
    """
    if out.name in ALL and out.parent.resolve() == run.resolve():
        raise ConfigError(f"--out is {out}, a file of the run itself; give another name")
    log = Path(recommender.config.dataset)
    if out.is_file() and (out.samefile(log) if log.exists() else out.name == log.name):
        raise ConfigError(f"--out is {out}, the log of this run; give another name")

    for file in read:
        if file is not None and out.is_file() and file.is_file() and out.samefile(file):
            raise ConfigError(f"--out is {out}, which is read here, too; give another name")


def check_users(recommender: Recommender, users: Sequence[str]) -> None:
    """Raise `DataError` for the first user that is not known.

    A user whom the filter left out is told so, where the data file is still there to say it.
    """
    known = recommender.known
    if known.split is None:
        raise DataError(
            f"{known.name} was saved without users; give a history: --items or --history"
        )
    for user, number in zip(users, known.users.find(users), strict=True):
        if number < 0:
            reason = _left_out(recommender, user) or known.users.unknown(user, known.name)
            raise DataError(f"{reason}; for somebody new give a history: --items or --history")


def _left_out(recommender: Recommender, user: str) -> str:
    """What to say of a user whom the filter has dropped; "" for one who was never there."""
    known, config = recommender.known, recommender.config
    if not known.filter:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            everyone = load_dataset(
                config.dataset,
                data_dir=config.data_dir,
                download=False,
                progress=False,
                **{**config.columns.given(), "min_actions": 0},
            )
    except MinisasrecError:  # the file is not here, or is another one by now
        return ""
    if user not in everyone.user_ids:
        return ""
    actions = len(everyone.sequence(list(everyone.user_ids).index(user)))
    return (
        f"user {user!r} was left out of the training by the {known.filter} ({actions} "
        f"action{'s' * (actions != 1)} in {config.dataset})"
    )
