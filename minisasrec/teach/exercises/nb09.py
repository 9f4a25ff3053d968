"""Exercises of notebook 09: parameters of any configuration, multiply-adds of a batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.teach.exercises import Wrong, array, exercise, fresh, untouched


def _whole_number(answer: Any, what: str) -> int:
    found = array(answer, what)
    if found.ndim or not float(found).is_integer():
        raise Wrong(f"{what} should be a whole number, yours is {answer!r}")
    return int(found)


@exercise(
    "parameters",
    notebook="09_complexity",
    hints=(
        "Start from the four pieces of the text, and give each its condition.",
        "A d x d layer has d * d + d numbers, a block 5 of them, or 6 with output_projection.",
        "norms = (2 * blocks + 1) * 2 * d if layer_norm, otherwise 0; tables of (num_items + 1) "
        "* d: one, or two if not shared_embedding.",
    ),
)
def _(answer: Any) -> str:
    plain = SASRecConfig(n=23, d=6, blocks=3)  # sizes that tell the pieces apart
    changes: list[dict[str, Any]] = [
        {"heads": 2, "dropout": 0.5},
        {},
        {"d": 10, "n": 20},
        {"blocks": 0},
        {"blocks": 2},
        {"positions": False},
        {"shared_embedding": False},
        {"layer_norm": False},
        {"output_projection": True},
        {"blocks": 1, "positions": False, "shared_embedding": False, "output_projection": True},
    ]
    rng = fresh()
    changes += [_drawn_settings(rng) for _ in range(3)]
    for change in changes:
        config = dataclasses.replace(plain, **change)
        for num_items in (12, 100):
            want = SASRec(num_items, config).num_parameters()
            settings = {"n": plain.n, "d": plain.d, "blocks": plain.blocks} | change
            setting = ", ".join(f"{k} = {v}" for k, v in settings.items())
            what = f"the number of parameters for {num_items} items, {setting},"
            got = _whole_number(answer(num_items, config), what)
            if got != want:
                left_out = _pieces_left_out(num_items, config).get(want - got)
                why = f"; {left_out}" if left_out else ""
                raise Wrong(f"{what} is {want:,}, yours is {got:,} ({got - want:+,}){why}")
    return f"{2 * len(changes)} models built, and each has as many numbers as you said"


@exercise(
    "multiply_adds",
    notebook="09_complexity",
    hints=(
        "Rows and pairs: T = sum of the lengths for the linear layers, and for attention each "
        "history on its own.",
        "A history of length l costs 5 l d^2 + l (l + 1) d in each block.",
        "Scoring: one row for each history, num_items + 1 products of length d.",
    ),
)
def _(answer: Any) -> str:
    rng = fresh()
    cases = (
        ([4], 5, 1, 6),
        ([1], 2, 0, 9),
        ([5], 7, 2, 20),
        ([6, 1, 3], 4, 2, 10),
        ([2] * 7, 5, 3, 8),
        *(_drawn_batch(rng) for _ in range(3)),
    )
    for lengths, d, blocks, num_items in cases:
        want = _counted(lengths, d, blocks, num_items)
        what = f"lengths {lengths}, d = {d}, blocks = {blocks}, num_items = {num_items}"
        got = untouched(answer, lengths=lengths, d=d, blocks=blocks, num_items=num_items)
        got = _whole_number(got, f"the count for {what}")
        if got == want:
            continue
        n, B = max(lengths), len(lengths)
        linear = blocks * 5 * sum(lengths) * d**2
        scoring = B * (num_items + 1) * d
        causal = blocks * d * sum(length * (length + 1) for length in lengths)
        every_pair = 2 * blocks * d * sum(length**2 for length in lengths)
        one_history = blocks * d * sum(lengths) * (sum(lengths) + 1)
        as_long = blocks * B * (5 * n * d**2 + n * (n + 1) * d)
        all_rows = (sum(lengths) - B) * (num_items + 1) * d
        stories = {
            "row t looks at rows 1 to t only": linear + every_pair + scoring,
            "the padding row is scored along with the others": want - B * d,
            "only the last row of each history is scored": want + all_rows,
            "histories do not look at each other": linear + one_history + scoring,
            "packed histories are not as long as the longest": as_long + scoring,
            "scores and weighted sum take as many multiply-adds each": want - causal // 2,
            "a multiply-add counts once here": 2 * want,
            "scoring all items counts, too": want - scoring,
        }
        told = [text for text, value in stories.items() if value == got]
        story = f"; {told[0]}" if len(told) == 1 else ""
        raise Wrong(f"{what}: {want:,}, yours is {got:,}{story}")
    return "the formula equals a count, one by one, for short and long histories side by side"


def _drawn_settings(rng: np.random.Generator) -> dict[str, Any]:
    switches = ("positions", "shared_embedding", "layer_norm", "output_projection")
    d, n, blocks = (int(rng.integers(*limits)) for limits in ((8, 40), (5, 40), (1, 5)))
    return {"d": d, "n": n, "blocks": blocks, **{s: bool(rng.integers(2)) for s in switches}}


def _drawn_batch(rng: np.random.Generator) -> tuple[list[int], int, int, int]:
    lengths = rng.integers(1, 30, rng.integers(2, 5)).tolist()
    return lengths, int(rng.integers(2, 64)), int(rng.integers(1, 5)), int(rng.integers(10, 1000))


def _pieces_left_out(num_items: int, config: SASRecConfig) -> dict[int, str]:
    """Why a count is so much too small (or, below 0, too large)."""
    d, blocks = config.d, config.blocks
    tables = 1 if config.shared_embedding else 2
    layers = 5 + config.output_projection
    found = {
        tables * d: "each table has a row for padding, too",
        d: "each table has a row for padding, too",
        config.positions * config.n * d: "P has n rows",
        -config.n * d * (not config.positions): "without positions there is no P",
        blocks * d * config.output_projection: "output_projection has a bias, too",
        blocks * layers * d: "each d x d layer has a bias",
        config.layer_norm * (2 * blocks + 1) * 2 * d: "the layer norms have two vectors each",
        config.layer_norm * (2 * blocks + 1) * d: "a layer norm has two vectors, gamma and beta",
        config.layer_norm * 2 * d: "a last norm follows the blocks",
        -(2 * blocks + 1) * 2 * d * (not config.layer_norm): "without layer_norm there are none",
        blocks * (d * d + d) * config.output_projection: "output_projection is a layer more",
        (tables - 1) * (num_items + 1) * d: "without shared_embedding there are two tables",
        blocks * 2 * (d * d + d): "the FFN has two layers",
        -(config.heads - 1) * blocks * 3 * (d * d + d): "heads share the layers: h does not count",
    }
    found.pop(0, None)
    return found


def _counted(lengths: list[int], d: int, blocks: int, num_items: int) -> int:
    """By going through every product of the model, one by one."""
    count = 0
    for length in lengths:
        for _ in range(blocks):
            for t in range(length):
                count += 5 * d * d  # query, key, value and the two layers of the FFN
                for _ in range(t + 1):  # what row t looks at
                    count += 2 * d  # an inner product; a share in the weighted sum
        count += (num_items + 1) * d
    return count
