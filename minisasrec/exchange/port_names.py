"""The public PyTorch port's weights by its names and shapes, and ours.

    theirs                                              ours
    item_emb.weight (I + 1, d)                          item_embedding.table
    pos_emb.weight (n, d) or (n + 1, d)                 position_embedding.table
    attention_layernorms.i.weight .bias                 blocks.i.attention_norm.gamma .beta
    attention_layers.i.in_proj_weight (3d, d) _bias     blocks.i.attention.query key value .W .b
    attention_layers.i.out_proj.weight .bias            blocks.i.attention.output.W .b
    forward_layernorms.i.weight .bias                   blocks.i.ffn_norm.gamma .beta
    forward_layers.i.conv1 conv2.weight (d, d, 1)       blocks.i.ffn.layer1 layer2.W .b
    last_layernorm.weight .bias                         final_norm.gamma .beta

Their layers compute x W^T + b, ours x W + b: each matrix is transposed. Their position table begins
with a row for padding in the newer versions (n + 1 rows), ours never does.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from minisasrec.errors import CheckpointError, ConfigError
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig

Array = np.ndarray
Arrays = dict[str, Array]

MATRICES = {"conv1": "layer1", "conv2": "layer2"}
NORMS = {"attention_layernorms": "attention_norm", "forward_layernorms": "ffn_norm"}
WRAPPERS = ("module.", "_orig_mod.")  # put before each name by DataParallel, torch.compile


def clean(arrays: Arrays) -> Arrays:
    """The arrays without a wrapper's prefix, in float32.

    Raises `CheckpointError` for a weight that is NaN or infinite, or no decimal number.
    """
    for prefix in WRAPPERS:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise CheckpointError(f"{name} holds {array.dtype}; weights are decimal numbers")
        with np.errstate(over="ignore"):
            found[name] = array.astype(np.float32)
        if not np.isfinite(found[name]).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(found[name]))[0])
            raise CheckpointError(
                f"{name} holds {array[bad]} at {bad}: the training had diverged; take an earlier "
                "checkpoint"
            )
    return found


def sizes(theirs: Arrays, n: int | None = None) -> dict[str, int]:
    """num_items, d, blocks and n, read from the shapes of weights whose names are checked here.

    Without `n`, a first row of zeros in the position table is taken as the padding's. Raises
    `CheckpointError` for missing, unknown or wrongly shaped weights, `ConfigError` if n cannot be.
    """
    for name in ("item_emb.weight", "pos_emb.weight"):
        if name not in theirs:
            some = ", ".join(sorted(theirs)[:3]) or "nothing"
            raise CheckpointError(f"no weights of the port: {name} is missing; found {some}")
        if theirs[name].ndim != 2 or not theirs[name].size:
            raise CheckpointError(f"{name} has shape {theirs[name].shape}; a table was expected")
    items, d = theirs["item_emb.weight"].shape
    rows = len(theirs["pos_emb.weight"])
    numbers = [int(m[1]) for m in (re.match(r"\w+_layer\w+\.(\d+)\.", k) for k in theirs) if m]
    blocks = max(numbers, default=-1) + 1
    if blocks > len(theirs):  # a number out of all proportion
        raise CheckpointError(f"weights of block {blocks - 1}, but there are {len(theirs)} in all")
    _check(theirs, _shapes(items, d, blocks, rows))
    if n is None:
        n = rows if theirs["pos_emb.weight"][0].any() else rows - 1
    elif rows not in (n, n + 1):
        raise ConfigError(
            f"n is {n}, but pos_emb.weight has {rows} rows; the port has n, or n + 1 with the "
            f"padding's first: n is {rows} or {rows - 1}"
        )
    return {"num_items": items - 1, "d": d, "blocks": blocks, "n": n}


def _shapes(items: int, d: int, blocks: int, rows: int) -> dict[str, tuple[int, ...]]:
    """Every name of the port with its shape."""
    shapes: dict[str, tuple[int, ...]] = {
        "item_emb.weight": (items, d),
        "pos_emb.weight": (rows, d),
    }
    norms = ["last_layernorm"]
    for i in range(blocks):
        norms += [f"{norm}.{i}" for norm in NORMS]
        attention = f"attention_layers.{i}"
        shapes |= {f"{attention}.in_proj_weight": (3 * d, d), f"{attention}.in_proj_bias": (3 * d,)}
        shapes |= {f"{attention}.out_proj.weight": (d, d), f"{attention}.out_proj.bias": (d,)}
        for conv in MATRICES:
            layer = f"forward_layers.{i}.{conv}"
            shapes |= {f"{layer}.weight": (d, d, 1), f"{layer}.bias": (d,)}
    return shapes | {f"{norm}.{part}": (d,) for norm in norms for part in ("weight", "bias")}


def _check(theirs: Arrays, shapes: dict[str, tuple[int, ...]]) -> None:
    missing, unknown = sorted(shapes.keys() - theirs.keys()), sorted(theirs.keys() - shapes.keys())
    if missing or unknown:
        raise CheckpointError(
            f"not the weights of the port: missing {', '.join(missing) or 'none'}; not known "
            f"{', '.join(unknown) or 'none'}"
        )
    for name, shape in shapes.items():
        if theirs[name].shape != shape:
            raise CheckpointError(f"{name} has shape {theirs[name].shape}; {shape} was expected")


@dataclass(frozen=True)
class Reading:
    """One way to read the port's weights: the choices that names and shapes do not settle."""

    config: SASRecConfig
    rows: Array
    """(I + 1): our item i is row rows[i] of their item table."""
    first: int
    """The row of the position table that belongs to our first slot."""
    transposed: tuple[str, ...] = ()
    """Layers whose matrices are already ours, x W: "attention", "ffn"."""

    def weights(self, theirs: Arrays) -> Arrays:
        """Their weights by our names."""
        d, n = self.config.d, self.config.n
        ours = {
            "item_embedding.table": theirs["item_emb.weight"][self.rows],
            "position_embedding.table": theirs["pos_emb.weight"][self.first : self.first + n],
        }

        def linear(name: str, W: Array, b: Array) -> None:
            kind = name.split(".")[2]
            ours[f"{name}.W"] = W if kind in self.transposed else W.T
            ours[f"{name}.b"] = b

        def norm(name: str, of: str) -> None:
            ours[f"{name}.gamma"], ours[f"{name}.beta"] = (
                theirs[f"{of}.weight"],
                theirs[f"{of}.bias"],
            )

        for i in range(self.config.blocks):
            W, b = (theirs[f"attention_layers.{i}.in_proj_{part}"] for part in ("weight", "bias"))
            for k, name in enumerate(("query", "key", "value")):
                part = slice(k * d, (k + 1) * d)
                linear(f"blocks.{i}.attention.{name}", W[part], b[part])
            out = f"attention_layers.{i}.out_proj"
            linear(f"blocks.{i}.attention.output", theirs[f"{out}.weight"], theirs[f"{out}.bias"])
            for conv, name in MATRICES.items():
                of = f"forward_layers.{i}.{conv}"
                linear(
                    f"blocks.{i}.ffn.{name}", theirs[f"{of}.weight"][..., 0], theirs[f"{of}.bias"]
                )
            for of, name in NORMS.items():
                norm(f"blocks.{i}.{name}", f"{of}.{i}")
        norm("final_norm", "last_layernorm")
        return ours

    def model(self, theirs: Arrays) -> SASRec:
        """The model with their weights."""
        model = SASRec(len(self.rows) - 1, self.config)
        model.load_state(self.weights(theirs))
        return model

    def with_settings(self, **settings: object) -> Reading:
        """The same with other settings of the model."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **settings))  # type: ignore[arg-type]


def port_weights(model: SASRec, padding_row: bool) -> Arrays:
    """Our weights by their names; W_O is the identity where the model has none."""
    ours, c = model.state(), model.config
    P = ours["position_embedding.table"]
    theirs = {
        "item_emb.weight": ours["item_embedding.table"],
        "pos_emb.weight": np.concatenate([np.zeros_like(P[:1]), P]) if padding_row else P,
    }

    def norm(name: str, of: str) -> None:
        theirs[f"{name}.weight"], theirs[f"{name}.bias"] = ours[f"{of}.gamma"], ours[f"{of}.beta"]

    for i in range(c.blocks):
        attention = f"blocks.{i}.attention"
        W = [ours[f"{attention}.{name}.W"].T for name in ("query", "key", "value")]
        b = [ours[f"{attention}.{name}.b"] for name in ("query", "key", "value")]
        theirs[f"attention_layers.{i}.in_proj_weight"] = np.concatenate(W)
        theirs[f"attention_layers.{i}.in_proj_bias"] = np.concatenate(b)
        W_O = ours.get(f"{attention}.output.W", np.eye(c.d, dtype=P.dtype))
        theirs[f"attention_layers.{i}.out_proj.weight"] = W_O.T
        b_O = ours.get(f"{attention}.output.b", np.zeros(c.d, P.dtype))
        theirs[f"attention_layers.{i}.out_proj.bias"] = b_O
        for conv, name in MATRICES.items():
            layer = f"blocks.{i}.ffn.{name}"
            theirs[f"forward_layers.{i}.{conv}.weight"] = ours[f"{layer}.W"].T[..., None]
            theirs[f"forward_layers.{i}.{conv}.bias"] = ours[f"{layer}.b"]
        for to, name in NORMS.items():
            norm(f"{to}.{i}", f"blocks.{i}.{name}")
    norm("last_layernorm", "final_norm")
    return {name: np.array(array, order="C") for name, array in theirs.items()}  # copies
