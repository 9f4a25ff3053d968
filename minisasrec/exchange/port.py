"""Weights of the public PyTorch port (pmixer/SASRec.pytorch), in and out.

Its forward pass has had three wirings. The weights have the same names and shapes in each, so they
do not say which one they belong to:

    norm="post"     since May 2025; padding is visible to attention, positions count from 1 to n
    norm="pre"      the same with --norm_first
    norm="authors"  before: the authors' wiring, padding set to zero before each block
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minisasrec.data import DataWarning
from minisasrec.errors import CheckpointError, ConfigError
from minisasrec.exchange.arrays import Source, read_arrays, read_metadata, write_arrays
from minisasrec.exchange.items import ItemMap, ids_beside, their_rows
from minisasrec.exchange.port_names import Arrays, Reading, clean, port_weights, sizes
from minisasrec.exchange.reference import Reference, check
from minisasrec.models.base import Model
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import Norm, Padding, SASRecConfig

# a prediction does not use these
ONLY_TRAINING = {"dropout", "inner_dropout", "loss", "gbce_t", "own_items"}
ITEM_TABLES = {"item_embedding.table", "output_embedding"}  # row i belongs to item i
PADDING: dict[Norm, Padding] = {"post": "visible", "pre": "visible", "authors": "zeroed"}


def from_port(
    source: Source,
    norm: Norm | None = None,
    heads: int | None = None,
    *,
    n: int | None = None,
    padding: Padding | None = None,
    dropout: float = 0.2,
    items: ItemMap | None = None,
    reference: Any = None,
) -> tuple[SASRec, SASRecConfig]:
    """The port's `state_dict`, as a file or a mapping, as our model and its settings.

    `norm` names the wiring (above); `heads` is 1 unless given. d, blocks, n and the number of items
    are read from the shapes; `n` says whether the first position row belongs to padding.
    `padding` is that of the wiring unless given: versions of 2023 to 2025 have norm="authors" with
    padding="visible". `dropout` matters only to training that goes on. `items` maps their item ids
    to ours. `reference` is (sequences, logits) or a file of both, in our item ids: see
    `Reference.read`. Without it a warning says that nothing was compared.

    Raises `ConfigError` for settings that are missing or do not fit, `CheckpointError` for weights
    that are not the port's, not finite or do not give the reference's logits, `DataError` for an
    item map or a reference batch that is not complete.
    """
    theirs = clean(read_arrays(source))
    if norm is None:
        raise ConfigError(
            'the weights do not say which wiring they belong to; give norm="post" (the port since '
            'May 2025), "pre" (its --norm_first) or "authors" (before)'
        )
    if norm not in PADDING:
        raise ConfigError(f"norm is {norm!r}; choose one of {', '.join(PADDING)}")
    found = sizes(theirs, n)
    config = SASRecConfig(
        n=found["n"],
        d=found["d"],
        blocks=found["blocks"],
        heads=1 if heads is None else heads,
        dropout=dropout,
        norm=norm,
        padding=padding or PADDING[norm],
        output_projection=True,
        inner_dropout=True,
    )
    reading = _reading(theirs, config, items, found["num_items"])
    model = reading.model(theirs)
    if reference is None:
        _say_what_was_assumed(config.n if n is None else None, theirs, heads)
    _compare(theirs, reading, model, reference)
    return model, config


def start_from(
    model: Model,
    source: Source,
    *,
    items: ItemMap | None = None,
    reference: Any = None,
    item_ids: Sequence[str] | None = None,
) -> None:
    """Set the weights of `model` from the port's, or from weights of our own names.

    The wiring and the heads are those of the model's settings. `item_ids` are the ids of the
    model's items, entry 0 the padding's (`dataset.item_ids`): with them an item takes the vector of
    the same id in a run of ours, whose items.json lies beside the weights, and an item that the run
    did not have keeps its first vector; a warning says how many do.

    Raises `ConfigError` that names the settings that do not fit or says that no item is the same,
    and what `from_port` raises. After an error no weight has changed.
    """
    if not isinstance(model, SASRec):
        raise ConfigError(f"{type(model).__name__} cannot start from weights of a SASRec")
    arrays = read_arrays(source)
    if "item_embedding.table" in arrays:
        if items is not None or reference is not None:
            raise ConfigError("an item map and a reference batch go with weights of the port only")
        _check_own_settings(model.config, source)
        arrays = clean(arrays)
        if item_ids is not None:
            arrays = _of_the_same_ids(arrays, ids_beside(source), item_ids, model, source)
        model.load_state(arrays)
        return
    if any(name.startswith("adam.") for name in arrays):
        raise ConfigError(
            f"{source} is a checkpoint to resume a training from; the weights to start from are in "
            "best.safetensors beside it"
        )
    theirs = clean(arrays)
    positions = theirs.get("pos_emb.weight")
    rows = 0 if positions is None else len(positions)
    # n rows of which the first is zeros are the padding's and n - 1 positions
    fits = rows == model.n + 1 or (rows == model.n and positions is not None and positions[0].any())
    found = sizes(theirs, model.n if fits else None)
    _check_settings(model.config, "output_projection")
    for name, size in found.items():
        ours = model.num_items if name == "num_items" else getattr(model.config, name)
        if size != ours:
            raise ConfigError(f"the weights have {name} = {size}, the model has {name} = {ours}")
    if item_ids is not None and items is None:
        _warn_of_rows(source)
    reading = _reading(theirs, model.config, items, model.num_items)
    _compare(theirs, reading, reading.model(theirs), reference)
    model.load_state(reading.weights(theirs))


def to_port(
    model: SASRec, path: str | Path | None = None, *, padding_row: bool | None = None
) -> Arrays:
    """Our weights as the port's `state_dict` of arrays; with `path`, written there as well.

    `padding_row` is whether the position table begins with a row of zeros for padding; it does in
    the versions since 2023, those with padding="visible", unless given. `path` ends in
    .safetensors or .npz. Raises `ConfigError` for a model that the port's code cannot compute.
    """
    if not isinstance(model, SASRec):
        raise ConfigError(f"the port has no {type(model).__name__}, only a SASRec")
    c = model.config
    _check_settings(c)
    if c.padding == "hidden" or (c.norm != "authors" and c.padding == "zeroed"):
        raise ConfigError(
            f"the port lets items attend to padding, and this model was trained with "
            f"padding={c.padding!r}: it would give other scores there; train with --padding "
            f"{PADDING[c.norm]}"
        )
    theirs = port_weights(model, c.padding == "visible" if padding_row is None else padding_row)
    if path is not None:
        write_arrays(path, theirs)
    return theirs


def _of_the_same_ids(
    arrays: Arrays,
    theirs: Sequence[str] | None,
    ours: Sequence[str],
    model: SASRec,
    source: Source,
) -> Arrays:
    """The arrays with row i of each item table for our item i, whichever row they had it in."""
    if theirs is None:
        _warn_of_rows(source)
        return arrays
    state = model.state()
    tables = ITEM_TABLES & arrays.keys() & state.keys()
    for name in tables:
        if len(arrays[name]) != len(theirs):
            raise CheckpointError(
                f"{source} has {len(arrays[name]):,} rows in {name}, and items.json beside it "
                f"{len(theirs) - 1:,} ids; they are not of one run"
            )
    if list(theirs) == list(ours):
        return arrays
    row = {name: i for i, name in enumerate(theirs) if i}
    found = [i for i, name in enumerate(ours) if i and name in row]
    if not found:
        raise ConfigError(
            f"{source} knows {len(theirs) - 1:,} items such as {theirs[1]!r}, and none of them is "
            f"among the {len(ours) - 1:,} here, such as {ours[1]!r}; start from a run on the same "
            "catalogue"
        )
    if new := len(ours) - 1 - len(found):
        warnings.warn(
            f"{source}: {len(found):,} of {len(ours) - 1:,} items have the vector of the same id "
            f"there; the other {new:,} begin at random",
            DataWarning,
            stacklevel=3,
        )
    arrays = dict(arrays)
    for name in tables:
        if arrays[name].shape[1:] == state[name].shape[1:]:  # else load_state tells the shapes
            table = state[name].astype(arrays[name].dtype)
            table[found] = arrays[name][[row[ours[i]] for i in found]]
            arrays[name] = table
    return arrays


def _warn_of_rows(source: Source) -> None:
    what = "the weights" if isinstance(source, Mapping) else source
    warnings.warn(
        f"{what}: no items.json beside them says which items they were trained on, so row i of the "
        "item table is taken as item i here; is it the same file of data, read in the same way?",
        DataWarning,
        stacklevel=4,
    )


def _check_own_settings(config: SASRecConfig, source: Source) -> None:
    """Raise `ConfigError` for weights of another computation, as our own files say.

    Another norm or another number of heads changes no shape.
    """
    told = read_metadata(source).get("settings", {})
    if told:  # a setting that is not named was added after these weights, and has its default
        told = vars(SASRecConfig()) | told
    for name, ours in vars(config).items():
        if name not in ONLY_TRAINING and told.get(name, ours) != ours:
            raise ConfigError(
                f"{source} was trained with {name} = {told[name]!r}, the model has {ours!r}; give "
                f"--{name.replace('_', '-')} {told[name]}"
            )


def _check_settings(config: SASRecConfig, *more: str) -> None:
    """Raise `ConfigError` for a setting whose layers or computation the port lacks."""
    needed = ["positions", "shared_embedding", "residual", "layer_norm", *more]
    if config.norm != "authors":  # which always has the factor
        needed.append("scale_embedding")
    if config.norm == "ligr" or config.positions_from != "end":
        raise ConfigError(
            f"the port has no norm=ligr and counts positions from the end; this model has norm="
            f"{config.norm}, positions_from={config.positions_from}"
        )
    lacking = ["--" + name.replace("_", "-") for name in needed if not getattr(config, name)]
    if lacking:
        raise ConfigError(f"the port's model has {', '.join(lacking)}, and this one has not")


def _reading(
    theirs: Arrays, config: SASRecConfig, items: ItemMap | None, num_items: int
) -> Reading:
    """The weights as the arguments say. Raises `ConfigError` if padding would have a vector."""
    rows = len(theirs["pos_emb.weight"])
    first = rows - config.n
    tables = ["item_emb.weight"] + ["pos_emb.weight"] * first
    for name in tables if config.padding == "visible" else []:
        if theirs[name][0].any():
            or_n = (
                f", or n={rows} if its positions begin at row 0" if name == "pos_emb.weight" else ""
            )
            raise ConfigError(
                f"row 0 of {name}, the padding's, is not zero, and items would attend to it; give "
                f'padding="zeroed" if the port set padding to zero before each block{or_n}'
            )
    return Reading(config, their_rows(items, num_items), first)


def _compare(theirs: Arrays, reading: Reading, model: SASRec, reference: Any) -> None:
    """Check the model against the reference batch, or note that there is none."""
    if reference is None:
        _note(
            "no reference batch was given, so nothing was compared: a wrong wiring, wrong items or "
            "shifted positions would not be seen"
        )
        return
    batch = Reference.read(reference, model.num_items)
    left_open = check(theirs, reading, model, batch)
    if left_open:
        _note(
            f"the reference batch fits, and would fit as well with {'; or with '.join(left_open)}: "
            "give histories shorter than n, of n items and longer"
        )


def _say_what_was_assumed(n: int | None, theirs: Arrays, heads: int | None) -> None:
    if heads is None:
        _note("the weights do not say the number of heads; taken as heads=1")
    if n is not None:
        rows = len(theirs["pos_emb.weight"])
        what = "its first row is the padding's" if n < rows else "none of them is the padding's"
        _note(f"n = {n} was read from the {rows} rows of pos_emb.weight: {what}")


def _note(text: str) -> None:
    warnings.warn(text, DataWarning, stacklevel=4)
