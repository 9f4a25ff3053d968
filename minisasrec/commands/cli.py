"""What the command lines share: one-line errors, exit codes, threads and backend, loading."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from minisasrec.commands.arguments import gather, meant, unguard, with_homes
from minisasrec.data import DataWarning, load_dataset
from minisasrec.data.dataset import Repeats
from minisasrec.data.split import Split, make_split
from minisasrec.errors import CheckpointError, ConfigError, MinisasrecError
from minisasrec.learn.config import TrainConfig, make_model
from minisasrec.learn.known import Known
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.learn.runs import WEIGHTS, Run, to_plain
from minisasrec.models import Model, SequenceModel
from minisasrec.recommender import load_model
from minisasrec.terminal import ended, say, streams

Options = TypeVar("Options")
NARROWEST = 40  # columns that help and messages about options need
INTERRUPTED = 130  # as shells report a program ended by Ctrl-C
TERMINATED = 143  # and by SIGTERM, as from `kill` or the queue of a cluster


def run_command(command: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    """Call `command`; an error of this package becomes one line and an exit code.

    0: done; 1: something was wrong with the input, or the output could not be printed; 2: a wrong
    option; 130: Ctrl-C; 143: SIGTERM.
    """
    warnings.showwarning = _one_line_warning
    with streams() as out, _sigterm_as_ctrl_c() as heard:
        status = _status(command, argv)
        return ended(out, TERMINATED if heard and status == INTERRUPTED else status)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[list[int]]:
    """Inside this block SIGTERM ends the program as Ctrl-C does; the list tells whether it came."""
    heard: list[int] = []

    def interrupt(number: int, frame: object) -> NoReturn:
        heard.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield heard  # only the main thread hears signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(command: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    try:
        command(argv)
    except SystemExit as end:  # after --help
        return end.code if isinstance(end.code, int) else 0
    except ConfigError as error:
        say(f"error: {error}")
        return 2
    except (MinisasrecError, OSError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt as interrupt:
        say(f"interrupted{': ' if interrupt.args else ''}{interrupt}")
        return INTERRUPTED
    except MemoryError as error:
        say(f"error: out of memory: {error}; lower --batch-size or --n")
        return 1
    return 0


def read_options(options: type[Options], command: str, argv: Sequence[str] | None) -> Options:
    """The options of `python -m minisasrec.COMMAND`, as a dataclass. Raises `ConfigError`."""
    import tyro

    arguments = gather(options, sys.argv[1:] if argv is None else argv)
    with errors_in_one_line(options):
        read = tyro.cli(
            options,
            prog=f"python -m minisasrec.{command}",
            args=arguments,
            config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes),
        )
    return with_homes(unguard(read), arguments)


def print_json(document: Any) -> None:
    """Print what `--json` promises: one JSON document, ASCII only, on stdout.

    A number that JSON lacks (NaN, infinity) becomes null.
    """
    print(json.dumps(_with_null(to_plain(document)), allow_nan=False))


def _with_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_null(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_null(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def errors_in_one_line(options: type[Any] | None = None) -> Iterator[None]:
    """Inside this block, what tyro prints about a wrong option becomes a `ConfigError`.

    With the options of the command, it names those that may be meant.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said), _wide_enough():
            yield
    except SystemExit as ended:
        if not ended.code:  # --help
            raise
        # tyro prints a title, a line, the message, a line; some consoles get no frame around it,
        # and a terminal gets colours
        plain = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())
        lines = [line.strip("│| ") for line in plain.split("\n")]
        below = dropwhile(_is_rule, dropwhile(lambda line: not _is_rule(line), lines))
        message = " ".join(takewhile(lambda line: not _is_rule(line), below))
        message = message or " ".join(plain.split())
        raise ConfigError(message + (meant(message, options) if options else "")) from None


@contextmanager
def _wide_enough() -> Iterator[None]:
    """Tell tyro of `NARROWEST` columns or more: its --help for one column never ends."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(max(NARROWEST, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _is_rule(line: str) -> bool:
    return line.startswith(("╭", "╰", "+", "──", "--"))


def _one_line_warning(message: Any, category: type, *_: Any, **__: Any) -> None:
    say(f"note: {message}")


def load_split(config: TrainConfig) -> Split:
    """The data set of a configuration, split; its warnings are shown as notes."""
    warnings.simplefilter("always", DataWarning)
    dataset = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        download=config.data_dir is None,
        repeats=config.repeats,
        **config.columns.given(),
    )
    return make_split(dataset, config.split)


def load_run(
    folder: Path,
    machine: MachineOptions,
    data_dir: Path | None = None,
    repeats: Repeats | None = None,
) -> tuple[Run, TrainConfig, Split, Model]:
    """A finished or interrupted run: its settings, its data and its best model.

    The data comes from the run's folder; from its file where `data_dir` is given or the folder has
    no histories. `machine` is that of the command, with the run's backend where it names none.
    `repeats` takes the place of the run's own, where given. Raises `CheckpointError` if the data is
    not what it was trained on.
    """
    machine.check()
    run = Run.open(folder)
    config, facts = run.settings()
    use_machine(replace(machine, backend=machine.backend or config.machine.backend))
    if data_dir is not None:
        config = replace(config, data_dir=data_dir)
    if repeats is not None:
        config = replace(config, repeats=repeats)
    if "known" in facts:
        known = Known.read(run, facts)
        model = load_model(run, config, known)
        config = replace(config, repeats=repeats or known.repeats)  # the rule of the data counts
        held = known.measured(config.repeats)
        if held is not None and data_dir is None:
            return run, config, held, model
    split = load_split(config)
    check_data(run, facts, split.fingerprint())
    if "known" not in facts:  # a run of an experiment, or of an earlier version
        model = make_model(config, split)
        if isinstance(model, SequenceModel):
            model.load_state(run.load_arrays(WEIGHTS)[0])
    return run, config, split, model


def check_data(run: Run, facts: dict[str, Any], fingerprint: str) -> None:
    """Raise `CheckpointError` unless the run was trained on the data with this fingerprint."""
    if facts.get("data") != fingerprint:
        raise CheckpointError(
            f"{run.folder} was trained on other data than that read now (fingerprint "
            f"{str(facts.get('data'))[:12]}, now {fingerprint[:12]}); give the file it was "
            "trained on"
        )
