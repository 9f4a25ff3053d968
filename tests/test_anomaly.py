"""Numbers that are none: where they came from, and settings that nobody can mean."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import random_split

from minisasrec import Tensor, ops
from minisasrec import train as train_command
from minisasrec.autograd.anomaly import backward_with_checks, first_anomaly
from minisasrec.autograd.op import op
from minisasrec.autograd.registry import OPS
from minisasrec.commands.cli import run_command
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError, ConfigError, TrainingError
from minisasrec.learn.config import TrainConfig, from_json, make_model
from minisasrec.learn.fit import fit
from minisasrec.learn.runs import Run
from minisasrec.models import MODELS, Popularity, SequenceModel
from minisasrec.nn.optim import Adam

TRAINED = [name for name, (kind, _) in MODELS.items() if issubclass(kind, SequenceModel)]
SMALL = {"n": 6, "d": 4, "dropout": 0.0}


@pytest.fixture(scope="module")
def split() -> Split:
    return random_split(repeated=False, seed=2)


def config_of(name: str, **changes: Any) -> TrainConfig:
    """Small, in one batch an epoch."""
    config = from_json({"model": name, "epochs": 3, "batch_size": 64, **changes})
    section = getattr(config, MODELS[name][1])
    sizes = {k: v for k, v in SMALL.items() if hasattr(section, k)}
    return dataclasses.replace(config, **{MODELS[name][1]: dataclasses.replace(section, **sizes)})


def weights(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True, name="weights")


# --- the walk ------------------------------------------------------------------------------------


def test_the_first_result_that_is_not_finite() -> None:
    x = weights(1.0, 0.0, 2.0)
    with np.errstate(divide="ignore"):
        loss = (ops.log(x) * 3.0).sum()
    assert first_anomaly(loss) == (
        "the first result that is not finite, that of log, holds -inf at (1,), 1 of 3 entries"
    )
    assert first_anomaly((x * 3.0).sum()) == ""


def test_a_weight_that_is_not_finite_comes_first() -> None:
    loss = (weights(1.0, np.nan) * 2.0).sum()
    assert (
        first_anomaly(loss) == "the weight weights holds nan at (1,), 1 of 2 entries before any op"
    )


@pytest.fixture
def root() -> Any:
    @op("x (...) -> (...)")
    def root_of_test(x: Any) -> Any:
        y = np.sqrt(x)

        def backward(dy: Any) -> Any:
            with np.errstate(divide="ignore"):
                return (dy / (2 * y),)

        return y, backward

    yield root_of_test
    del OPS["root_of_test"]


def test_the_first_gradient_that_is_not_finite(root: Callable[[Tensor], Tensor]) -> None:
    """The root of 0 is 0, so the loss is a number; its slope there is infinite."""
    x = weights(4.0, 0.0)
    loss = (root(x * 1.0) * 2.0).sum()
    with pytest.raises(TrainingError) as raised:
        backward_with_checks(loss, "epoch 1, step 2")
    assert str(raised.value) == (
        "epoch 1, step 2: the first gradient that is not finite is that of root_of_test with "
        "respect to x: holds inf at (1,), 1 of 2 entries"
    )


def test_with_checks_the_gradients_are_the_same() -> None:
    a, b = weights(1.0, 2.0), weights(1.0, 2.0)
    (ops.softmax(a) * a).sum().backward()
    backward_with_checks((ops.softmax(b) * b).sum(), "here")
    x = Tensor(np.full(3, 1e5, np.float32), requires_grad=True)
    tiny = np.full(3, 1e-25, np.float32)  # its own gradient is infinite, and nobody wants it
    backward_with_checks((x / tiny).sum(), "here")
    assert np.isfinite(x.grad).all()
    assert np.array_equal(a.grad, b.grad)  # type: ignore[arg-type]


# --- training ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRAINED)
def test_checks_find_nothing_where_nothing_is_wrong(split: Split, name: str) -> None:
    """No result inside any model is infinite on purpose, and looking changes no weight."""
    states = []
    for look in (False, True):
        config = config_of(name, detect_anomaly=look)
        model = make_model(config, split)
        assert isinstance(model, SequenceModel)
        fit(model, split, config, progress=False)
        states.append(model.state())
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("look", [False, True], ids=["as usual", "detect"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_loss_that_explodes_names_step_and_op(split: Split, name: str, look: bool) -> None:
    """Weights of +-1e30: their products overflow float32, in whatever op comes first."""
    config = config_of(name, detect_anomaly=look)
    model = make_model(config, split)
    assert isinstance(model, SequenceModel)
    dice = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data = np.copysign(np.float32(1e30), dice.normal(size=parameter.shape)).astype(
            "f"
        )
    with pytest.raises(TrainingError) as raised, np.errstate(all="ignore"):
        fit(model, split, config, progress=False)
    said = str(raised.value)
    assert said.count("\n") == 0
    if name == "gru4rec" and not look:  # its loss is bounded: only the gradients overflow
        assert said.startswith("epoch 1: the weights item_embedding.table hold NaN")
        assert "--detect-anomaly says where it began" in said
        return
    named = re.search(r"that of (\w+)", said)
    assert "epoch 1, step 1" in said and named and named[1] in OPS, said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bpr", "fmc", "fpmc", "gru4rec+", "caser"])
def test_a_loss_that_explodes_and_is_still_a_number_ends_the_run(split: Split, name: str) -> None:
    config = config_of(name, lr=1e6)
    model = make_model(config, split)
    assert isinstance(model, SequenceModel)
    with pytest.raises(
        TrainingError, match=r"the loss is .*e\+\d+ in epoch \d, step 1: it has expl"
    ):
        fit(model, split, config, progress=False)


@pytest.mark.filterwarnings("ignore")
def test_a_large_loss_of_many_negatives_has_not_exploded(split: Split) -> None:
    """It is a sum over the negatives: 1e4 of them cost 7,000 nats before anything is learnt."""
    config = config_of("sasrec", negatives=20_000, epochs=1)
    model = make_model(config, split)
    assert isinstance(model, SequenceModel)
    assert fit(model, split, config, progress=False).epochs[0]["loss"] > 1e4


@pytest.mark.filterwarnings("ignore")
def test_weights_that_the_last_step_made_infinite(split: Split, tmp_path: Path) -> None:
    config = config_of("sasrec", epochs=1, lr=1e38)  # one step: no loss comes after it
    model = make_model(config, split)
    assert isinstance(model, SequenceModel)
    run = Run.create(tmp_path / "run", config, {})
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingError, match="hold NaN or infinity after the last step; lower --lr"),
    ):
        fit(model, split, dataclasses.replace(config, l2=1e6), run, progress=False)
    assert not run.path("last.safetensors").exists()  # such weights are not kept


def test_counts_that_are_not_finite_are_refused(split: Split) -> None:
    model = Popularity(split)
    before = model.counts.copy()
    with pytest.raises(CheckpointError, match="counts holds NaN or infinity"):
        model.load_state({"counts": np.where(before > 2, np.nan, before)})
    assert np.array_equal(model.counts, before)


def test_a_damaged_state_of_the_optimiser_is_refused(split: Split) -> None:
    config = config_of("bpr")
    model = make_model(config, split)
    assert isinstance(model, SequenceModel)
    optimizer = Adam(model.parameters(), 1e-3)
    state = {name: value.copy() for name, value in optimizer.state().items()}
    state["v.0"].flat[3] = np.inf
    with pytest.raises(CheckpointError, match="the optimiser's v.0 holds NaN or infinity"):
        optimizer.load_state(state)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--n", str(10**30), "--n is a number of 30 digits or more; it must be at most 1,048,576"),
        ("--d", str(10**9), "--d is 1,000,000,000; it must be at most 65,536"),
        (
            "--seed",
            str(2**64),
            "--seed is 18,446,744,073,709,551,616; it must be at most 18,446,744,073,709,551,615",
        ),
        ("--negatives", str(10**400), "--negatives is a number of 30 digits"),
        (
            "--batch-size",
            str(2**31),
            "--batch-size is 2,147,483,648; it must be at most 2,147,483,647",
        ),
        ("--lr", "inf", "--lr is inf; give a finite number"),
        ("--lr", "nan", "--lr is nan; give a finite number"),
        ("--l2", "inf", "--l2 is inf; give a finite number"),
        ("--gbce-t", "nan", "--gbce-t is nan; give a finite number"),
    ],
)
def test_settings_that_nobody_can_mean(
    option: str, value: str, message: str, tmp_path: Path, capsys: Any
) -> None:
    assert run_command(train_command.main, [option, value, "--out", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"error: {message}") and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted({s for _, s in MODELS.values() if s}))
def test_all_sections_are_checked(name: str) -> None:
    section = getattr(TrainConfig(), name)
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if type(value) in (int, float):
            wrong = 2**40 if type(value) is int else float("inf")
            with pytest.raises(ConfigError, match=f"--{field.name.replace('_', '-')} is "):
                dataclasses.replace(section, **{field.name: wrong})
    assert TrainConfig(seed=2**64 - 1).seed == 2**64 - 1
