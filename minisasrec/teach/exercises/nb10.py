"""Exercise of notebook 10: weights that make a block average the history, as FISM does."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.data.sequences import pack_sequences
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.models.variants import SASRecVariant
from minisasrec.teach.exercises import Wrong, exercise

HISTORIES = [[3], [1, 2], [5, 1, 4], [2, 6, 3, 1, 5, 4, 2]]
ATOL = 1e-4  # float32, after something was added and taken away again


@exercise(
    "become_fism",
    notebook="10_reductions",
    hints=(
        "Uniform attention: queries (or keys) of zero, weights and bias. The values: what has "
        "W^V to be for the value of an item to be its embedding?",
        "ReLU leaves positive numbers alone. A bias b1 can lift every feature above 0, and b2 can "
        "take the same amount off again.",
        "query.W and .b = 0; value.W = identity, .b = 0; layer1.W = layer2.W = identity, "
        "layer1.b = 2, layer2.b = -2. ([:] = np.eye(d) sets a square one.)",
    ),
)
def _(answer: Any) -> str:
    for d, seed in ((2, 1), (3, 2), (6, 3)):
        model = SASRec(
            6,
            SASRecConfig(
                n=8, d=d, blocks=1, dropout=0.0, positions=False, shared_embedding=False,
                residual=False, layer_norm=False, scale_embedding=False,
            ),
            seed,
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        for parameter in model.parameters():  # biases, too, start from something
            parameter.data[:] = rng.uniform(-1, 1, parameter.shape)
        assert isinstance(model, SASRecVariant)
        table, output = model.item_embedding.table.data.copy(), model.output_embedding.data.copy()
        changed = answer(model)
        if not isinstance(changed, SASRec):
            raise Wrong(f"your function returns {type(changed).__name__}, expected the model")
        if changed.config != model.config:
            raise Wrong("the model has other settings now; set the weights of the one given")
        assert isinstance(changed, SASRecVariant)
        model = changed
        if not (
            np.array_equal(model.item_embedding.table.data, table)
            and np.array_equal(model.output_embedding.data, output)
        ):
            raise Wrong("the item tables M and N were to stay as they are")
        for name, parameter in model.named_parameters():
            if parameter.data.dtype != np.float32:
                raise Wrong(
                    f"{name} holds {parameter.data.dtype} now, and the other weights float32; "
                    ".data[:] = ... keeps what it was"
                )
        for history in HISTORIES:
            _compare(model, table, history, f"d={d}, history {history}")
    return "F is the mean of the history's embeddings, so its scores are those of FISM"


def _compare(model: SASRec, table: np.ndarray, history: list[int], where: str) -> None:
    got = model.encode(np.array([0]), pack_sequences([history], model.n))[0]
    rows = table[history]
    want = rows.mean(axis=0)
    if np.allclose(got, want, atol=ATOL):
        return
    if len(history) > 1 and np.allclose(got, rows[-1], atol=ATOL):
        raise Wrong(f"for {where} F is the last item's embedding: that is FMC, not FISM")
    if np.allclose(got, np.maximum(want, 0), atol=ATOL):
        raise Wrong(
            f"for {where} F is the mean with its negative features cut to 0: the ReLU is in the way"
        )
    at = int(np.abs(got - want).argmax())
    lift = np.abs(model.blocks[0].ffn.layer1.b.data).max()
    lifted = "; of a number lifted so high float32 keeps few digits: take a smaller b1"
    raise Wrong(
        f"for {where} feature {at} of F is {got[at]:.4f}, that of the mean {want[at]:.4f}"
        + lifted * bool(lift > 99)
    )
