"""The training loop: batches, loss, backward, Adam; validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from minisasrec.autograd.anomaly import backward_with_checks, first_anomaly
from minisasrec.backends import backend
from minisasrec.budget import check
from minisasrec.data.batches import Batch, TrainingBatches
from minisasrec.data.dataset import DataWarning
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError, TrainingError
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.learn.config import TrainConfig, model_settings
from minisasrec.learn.curves import TensorBoard, write_csv
from minisasrec.learn.evaluation import (
    Evaluator,
    Protocol,
    negatives_left,
    too_few_negatives,
    usual_protocols,
)
from minisasrec.learn.receipt import go_on
from minisasrec.learn.runs import CHECKPOINT_FORM, Run, check_form
from minisasrec.models import MODELS
from minisasrec.models.base import SequenceModel
from minisasrec.models.factors import FactorConfig
from minisasrec.nn.averaging import RunningMean
from minisasrec.nn.optim import Adam, warm_up
from minisasrec.random import Keys
from minisasrec.terminal import on_terminal, say

SELECT = "NDCG@10"  # on the validation part, under the protocol of `selection`
ADVICE = "lower --lr or set --clip-norm 1, and check the data"
EXPLODED = 1e4  # a loss for each score, in nats: guessing one of I items costs log I, below 25
TOO_GOOD = 0.97  # real data never gave such an HR@10: probably a target leaks


@dataclass
class History:
    """What happened: an entry per epoch, and which epoch validated best."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best: float = -math.inf

    def add(self, entry: dict[str, Any]) -> bool:
        """Append an epoch; True if it validated better than all before."""
        self.epochs.append(entry)
        if entry.get(SELECT, -math.inf) > self.best:
            self.best, self.best_epoch = entry[SELECT], entry["epoch"]
            return True
        return False

    def summary(self) -> dict[str, Any]:
        """What result.json says about the training."""
        return {
            "epochs": len(self.epochs),
            "best_epoch": self.best_epoch,
            "best_validation_NDCG@10": self.best if self.best_epoch else None,
            "training_seconds": sum(e["seconds"] for e in self.epochs),
        }

    def should_stop(self, patience: int) -> bool:
        """True at a validation if the best result is at least `patience` epochs old.

        Between two validations nothing is known, so nothing is decided there. 0 = never stop.
        """
        if not (patience and self.best_epoch and SELECT in self.epochs[-1]):
            return False
        return len(self.epochs) - self.best_epoch >= patience


def fit(
    model: SequenceModel,
    split: Split,
    config: TrainConfig,
    run: Run | None = None,
    *,
    progress: bool = True,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    validation: bool = True,
) -> History:
    """Train `model` in place on the train part; it ends with the weights that validated best.

    Without `validation` it trains all epochs and ends with the last weights; the split needs no
    validation part then. With `config.weight_average`, what is validated, kept and used is the
    running mean of the weights.

    With `run`, every epoch is written to disk, and a run that was interrupted goes on where its
    last whole epoch ended: weights, optimiser and history are read back, and batches, negatives
    and dropout follow from (seed, epoch, step) alone, so the result is the same bit for bit.
    With `config.tensorboard`, the epochs are curves in its folder tensorboard, too.

    Raises `TrainingError` if the loss is no longer a number or explodes, `CheckpointError` if the
    run cannot be gone on with.
    """
    board = TensorBoard(run.path("tensorboard")) if run and config.tensorboard else None
    batches = TrainingBatches(
        split,
        n=model.n,
        batch_size=config.batch_size,
        negatives=config.negatives,
        seed=config.seed,
        order=config.order,
    )
    _check_batch(model, batches)
    optimizer = Adam(
        model.parameters(), config.lr, beta2=config.beta2, l2=config.l2, clip_norm=config.clip_norm
    )
    mean = RunningMean(model.state(), config.weight_average) if config.weight_average else None
    validate = _validator(split, config) if validation else None
    history = History()
    best_weights = _copy(model.state())
    with_threads = _with_threads(config)
    described = model_settings(config.model, model)
    with run.owned() if run is not None else nullcontext():
        if run is not None:
            if run.path("last.safetensors").exists():
                best_weights = _resume(run, model, optimizer, mean, history, described)
                go_on(run, config)
            elif run.begun:
                raise CheckpointError(
                    f"{run.folder} cannot be gone on with: last.safetensors is missing, and "
                    "training anew would overwrite what is there; train with another --out"
                )
            else:
                # an earlier attempt ended before its first checkpoint: its epochs count for nothing
                run.keep_history(0)
                go_on(run, config, anew=True)

        with (
            _ProgressBar(config.epochs, len(batches), len(history.epochs), progress) as bar,
            closing(board) if board else nullcontext(),
        ):
            while len(history.epochs) < config.epochs and not history.should_stop(config.patience):
                epoch = len(history.epochs)
                entry = train_epoch(
                    model, batches, optimizer, config, epoch, bar, with_threads, mean
                )
                _refuse_infinite(model, epoch)
                due = (epoch + 1) % config.eval_every == 0 or epoch + 1 == config.epochs
                with _averaged(model, mean):
                    if due and validate is not None:
                        entry |= validate(model).metrics()
                    improved = history.add(entry)
                    if improved:
                        best_weights = _copy(model.state())
                if run is not None:
                    best = best_weights if improved else None
                    _save(run, model, optimizer, mean, history, best, described)
                if board is not None:
                    board.show(history.epochs)
                bar.epoch(entry, improved)
                if on_epoch is not None:
                    on_epoch(entry)
        if run is not None:
            try:
                run.write("history.csv", lambda path: write_csv(history.epochs, path))
            except TrainingError as error:  # a spreadsheet may hold it open; history.jsonl is there
                say(f"note: {error}")
    if validate is not None:
        model.load_state(best_weights)
    elif mean is not None:
        model.load_state(mean.weights())
    return history


@contextmanager
def _averaged(model: SequenceModel, mean: RunningMean | None) -> Iterator[None]:
    """Inside this block the model has the running mean of its weights, if there is one."""
    if mean is None:
        yield
        return
    weights = _copy(model.state())
    model.load_state(mean.weights())
    try:
        yield
    finally:
        model.load_state(weights)


def _check_batch(model: SequenceModel, batches: TrainingBatches) -> None:
    """Raise `ConfigError` if a step on the longest sequences does not fit into the memory.

    What a step keeps for its backward pass was measured for each row and each of d numbers: 6, and
    4.5 in each block (tests/test_budget.py). To these come the ids of the row's negatives, the
    scores of GRU4Rec's shared ones, and Caser's windows. It is the least: NumPy's definitions keep
    more.
    """
    settings: Any = getattr(model, "config", None)
    d = getattr(settings, "d", 0)
    lengths = np.minimum(batches.ends - batches.starts, model.n)[batches.users]
    if batches.order == "with-replacement":  # a user may come more than once
        rows = int(lengths.mean() * batches.batch_size)
    else:
        rows = int(np.sort(lengths)[-batches.batch_size :].sum())
    kept: float = batches.negatives * getattr(settings, "T", 1) + getattr(settings, "samples", 0)
    if not isinstance(settings, FactorConfig):  # whose rows are a few sums
        kept += d * (6 + 4.5 * getattr(settings, "blocks", 0) + getattr(settings, "L", 0))
    check(
        4 * rows * kept,
        f"a step on {batches.batch_size:,} users, {rows:,} rows of d = {d:,} with "
        f"{batches.negatives:,} negatives,",
        "lower --batch-size, --n, --d or --negatives, or raise --max-memory",
    )


def selection(split: Split, config: TrainConfig) -> Protocol:
    """The protocol that chooses the epoch: the wanted one, or full where too few can be sampled."""
    return "full" if config.select == "full" else usual_protocols(split)[0]


def finished(run: Run, config: TrainConfig) -> History | None:
    """What happened in a run that has its result and nothing left to train; None for any other."""
    if not run.path("result.json").is_file():
        return None
    history = History()
    for entry in run.history():
        history.add(entry)
    if not issubclass(MODELS[config.model][0], SequenceModel):
        return history  # it has counted
    done = len(history.epochs) >= config.epochs or history.should_stop(config.patience)
    # another number: the result is of before it was resumed with more epochs
    whole = history.epochs and run.result()["epochs"] == len(history.epochs)
    return history if whole and done else None


def _validator(split: Split, config: TrainConfig) -> Evaluator:
    """What ranks the validation items."""
    protocol = selection(split, config)
    if protocol != config.select:
        warnings.warn(
            f"{split.dataset.name}: {too_few_negatives(split, negatives_left(split))}, too few to "
            "sample negatives from; validation and test rank all items",
            DataWarning,
            stacklevel=3,
        )
    return Evaluator(split, "valid", protocol, seed=config.seed, max_users=config.max_users)


def train_epoch(
    model: SequenceModel,
    batches: TrainingBatches,
    optimizer: Adam,
    config: TrainConfig,
    epoch: int,
    bar: _ProgressBar,
    with_threads: Callable[[Iterable[Batch]], Iterable[Batch]],
    mean: RunningMean | None = None,
) -> dict[str, Any]:
    """One pass over the batches: mean loss, the last learning rate, seconds and targets per second.

    `with_threads` hands the batches on and chooses the number of threads meanwhile.
    """
    total, targets, start = 0.0, 0, time.perf_counter()
    for i, batch in enumerate(with_threads(batches.epoch(epoch))):
        step, where = epoch * len(batches) + i, f"epoch {epoch + 1}, step {i + 1}"
        loss = model.loss(batch, Keys(config.seed, step))
        value = loss.item()
        if not abs(value) < EXPLODED * (1 + config.negatives):  # or NaN
            wrong = first_anomaly(loss) or "it has exploded"
            raise TrainingError(f"the loss is {value:.4g} in {where}: {wrong}; {ADVICE}")
        if config.detect_anomaly:
            backward_with_checks(loss, where)
        else:
            loss.backward()
        lr = config.lr * warm_up(step, config.warm_up)
        optimizer.step(lr)
        model.after_step()
        if mean is not None:
            mean.add(model.state())
        optimizer.zero_grad()
        count = int(np.count_nonzero(batch.targets))
        total, targets = total + value * count, targets + count
        bar.step(value, count)
    seconds = time.perf_counter() - start
    return {
        "epoch": epoch + 1,
        "loss": total / targets,
        "lr": lr,
        "seconds": round(seconds, 4),
        "targets_per_second": round(targets / seconds),
    }


def _with_threads(config: TrainConfig) -> Callable[[Iterable[Batch]], Iterable[Batch]]:
    """A function that hands batches on; it tries one thread and all, and keeps what is faster."""
    if config.machine.threads is not None or backend() == "numpy":
        return iter
    return partial(ThreadChooser().over, size=lambda batch: batch.targets.size)


def _refuse_infinite(model: SequenceModel, epoch: int) -> None:
    """Raise `TrainingError` for weights that are of no use: the last step made them."""
    for name, weights in model.state().items():
        if not np.isfinite(weights).all():
            raise TrainingError(
                f"epoch {epoch + 1}: the weights {name} hold NaN or infinity after the last step; "
                f"{ADVICE} (--detect-anomaly says where it began)"
            )


def _copy(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in state.items()}


def _save(
    run: Run,
    model: SequenceModel,
    optimizer: Adam,
    mean: RunningMean | None,
    history: History,
    best_weights: dict[str, np.ndarray] | None,
    described: dict[str, Any],
) -> None:
    """Write an epoch and its checkpoint; and `best_weights`, if they are of this epoch."""
    # history first: a crash before the checkpoint leaves an epoch too many, which resuming drops;
    # then last: if best is lacking after a crash, it has the weights of last
    run.append_history(history.epochs[-1])
    # without a validation yet the best is -inf, for which JSON has no number
    best = history.best if history.best_epoch else None
    facts = {"epochs": len(history.epochs), "best_epoch": history.best_epoch, "best": best}
    arrays = {f"model.{name}": value for name, value in model.state().items()}
    arrays |= {f"adam.{name}": value for name, value in optimizer.state().items()}
    if mean is not None:
        arrays |= {f"mean.{name}": value for name, value in mean.sums.items()}
    run.save_arrays("last.safetensors", arrays, facts)
    if best_weights is not None:
        run.save_arrays("best.safetensors", best_weights, facts | described)


def _resume(
    run: Run,
    model: SequenceModel,
    optimizer: Adam,
    mean: RunningMean | None,
    history: History,
    described: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Set model, optimiser and history to the run's last checkpoint; returns the best weights."""
    arrays, facts = run.load_arrays("last.safetensors")
    check_form(facts, CHECKPOINT_FORM, run.path("last.safetensors"))

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    model.load_state(part("model."))
    optimizer.load_state(part("adam."))
    if mean is not None:
        mean.load(part("mean."), optimizer.steps)
    history.epochs = run.history(facts["epochs"])
    if len(history.epochs) != facts["epochs"]:
        raise CheckpointError(
            f"{run.path('history.jsonl')} has {len(history.epochs)} epochs, the checkpoint "
            f"{facts['epochs']}; one of them was changed by hand"
        )
    run.keep_history(facts["epochs"])
    history.best_epoch = facts["best_epoch"]
    if not history.best_epoch:
        return _copy(model.state())
    history.best = facts["best"]
    if run.path("best.safetensors").exists() or history.best_epoch != facts["epochs"]:
        best, best_facts = run.load_arrays("best.safetensors")
        if best_facts.get("best_epoch") == history.best_epoch:
            return best
        if history.best_epoch != facts["epochs"]:
            raise CheckpointError(
                f"{run.path('best.safetensors')} is of epoch {best_facts.get('best_epoch')}, but "
                f"last.safetensors names {history.best_epoch} as the best; they are not of one run"
            )
    # the last epoch was the best, and the crash came between the two files
    with _averaged(model, mean):
        weights = _copy(model.state())
    run.save_arrays("best.safetensors", weights, facts | described)
    return weights


class _ProgressBar:
    """A bar over all steps on a terminal; elsewhere one line per validated epoch. On stderr."""

    def __init__(self, epochs: int, steps: int, done: int, enabled: bool) -> None:
        self.epochs, self.enabled = epochs, enabled
        self.loss = self.seconds = 0.0
        self.targets, self.start = 0, time.perf_counter()
        self.bar: Any = None
        if enabled and on_terminal():
            from tqdm import tqdm

            self.bar = tqdm(total=epochs * steps, initial=done * steps, unit="step", leave=False)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self, loss: float, targets: int) -> None:
        """One training step is done."""
        self.targets += targets
        self.loss = loss if not self.loss else 0.95 * self.loss + 0.05 * loss
        if self.bar is not None:
            rate = self.targets / (time.perf_counter() - self.start)
            self.bar.set_postfix_str(f"loss {self.loss:.4f}, {rate:,.0f} targets/s", refresh=False)
            self.bar.update()

    def epoch(self, entry: dict[str, Any], improved: bool) -> None:
        """One epoch is done."""
        self.targets, self.start = 0, time.perf_counter()
        if not self.enabled or SELECT not in entry:
            return
        line = (
            f"epoch {entry['epoch']:3d}  loss {entry['loss']:.4f}  validation NDCG@10 "
            f"{entry[SELECT]:.4f}{' *' if improved else '  '}  HR@10 {entry['HR@10']:.4f}  "
            f"{entry['seconds']:.1f} s"
        )
        if entry["HR@10"] > TOO_GOOD:
            line += "  (too good to be true: is the time order right, does a target leak?)"
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            say(line)
