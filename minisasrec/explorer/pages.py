"""From a recommender to one HTML file that needs nothing else: no server, no network.

The file holds weights (base64), ids, titles, settings and the scripts of this folder. All that came
from outside is data: JSON inside a script element that no browser runs, shown as text. A content
security policy names the scripts by their hash and allows nothing to be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisasrec.errors import ConfigError, DataError, TrainingError
from minisasrec.learn.runs import Run
from minisasrec.models import SASRec, SASRecVariant
from minisasrec.recommender import Recommender
from minisasrec.terminal import printable

Array = np.ndarray
Weights = Literal["float32", "float16"]
Beside = Recommender | str  # a str is "untrained" or "none"

LARGEST = 50_000 * 64  # numbers of the table of items: more is no page for a phone
SCRIPTS = ("ops.js", "sasrec.js", "views.js", "page.js")
# The settings that the forward pass of sasrec.js reads, with the values that it knows.
READS: dict[str, tuple[Any, ...] | None] = {
    "n": None,
    "d": None,
    "blocks": None,
    "heads": None,
    "positions": (True, False),
    "positions_from": ("end", "beginning"),
    "shared_embedding": (True, False),
    "residual": (True, False),
    "layer_norm": (True, False),
    "norm": ("pre", "post", "authors", "ligr"),
    "padding": ("hidden", "visible", "zeroed"),
    "output_projection": (True, False),
    "scale_embedding": (True, False),
}
# No answer depends on these.
ONLY_TRAINING = {"dropout", "inner_dropout", "loss", "own_items", "gbce_t"}


def page(
    recommender: Recommender,
    *,
    beside: Beside = "untrained",
    weights: Weights = "float32",
    examples: int = 8,
) -> str:
    """The HTML file as text.

    * `beside`: a second model to compare with, over the same items; "untrained" is the same model
      with first weights; "none"
    * `weights`: float32 gives the scores of the package; float16 takes half the space
    * `examples`: so many histories of real users, without their ids; 0 keeps all users out

    Raises `ConfigError` for a model that is no SASRec, or too large; `DataError` for a second model
    of other items.
    """
    if weights not in get_args(Weights):
        raise ConfigError(f"weights is {weights!r}; choose one of {', '.join(get_args(Weights))}")
    if examples < 0:
        raise ConfigError(f"examples is {examples}; it must be at least 0")
    known, model = recommender.known, _sasrec(recommender)
    models = [_packed("trained", "", model, weights)]
    if isinstance(beside, Recommender):
        models.append(
            _packed("other", _differences(recommender, beside), _second(beside, known), weights)
        )
    elif beside == "untrained":
        new = type(model).of_size(
            known.num_users, known.popularity, model.config, recommender.config.seed
        )
        models.append(_packed("untrained", "", new, weights))
    elif beside != "none":
        raise ConfigError(f"beside is {beside!r}; give untrained, none or a second recommender")
    data = {
        "name": printable(known.name),
        "users": known.num_users,
        "repeats": known.repeats,
        "ids": list(known.item_ids),
        "titles": [printable(title) for title in known.shown_titles],
        "popularity": known.popularity.tolist(),
        "examples": _examples(recommender, examples),
        "models": [facts for facts, _ in models],
        "words": json.loads(_file("words.json")),
    }
    style, scripts = _file("page.css"), [_file(name) for name in SCRIPTS]
    parts = {
        "title": html.escape(printable(known.name)),
        "style": style,
        "style-hash": _hash(style),
        "script-hashes": " ".join(map(_hash, scripts)),
        "data": _json(data),
        "weights": "\n".join(
            f'<script type="text/plain" id="weights-{i}">{text}</script>'
            for i, (_, text) in enumerate(models)
        ),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # in one pass, so that nothing inside a part is taken for a place
    return re.sub(r"\{\{([\w-]+)\}\}", lambda place: parts[place[1]], _file("page.html"))


def write(recommender: Recommender, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write the page; `options` are those of `page`. Returns the path.

    The file appears whole or not at all. Raises what `page` does, `ConfigError` for a name that is
    no page's, and `TrainingError` if it cannot be written.
    """
    target = Path(path).absolute()
    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"the page goes to a file that ends in .html, not to {os.fspath(path)!r}")
    content = page(recommender, **options).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot write {target}: {error.filename or target.parent}: {error.strerror or error}"
        ) from None
    Run(target.parent).write_bytes(target.name, content)
    return target


@dataclass(frozen=True, repr=False)
class Shown:
    """A page that a notebook shows in place."""

    html: str
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {self.height}px; border: 0" '
            'title="A SASRec to play with"></iframe>'
        )

    def __repr__(self) -> str:
        """What is shown where there is no browser."""
        return f"<a page of {len(self.html) / 1e6:.1f} MB; a notebook shows it>"


def show(recommender: Recommender, *, height: int = 900, **options: Any) -> Shown:
    """The page inside a notebook: the last line of a cell.

    `options` are those of `page`; to keep the notebook small, `weights` is float16 and `beside`
    "none" unless they say otherwise.
    """
    return Shown(page(recommender, **{"weights": "float16", "beside": "none", **options}), height)


# --- the parts ------------------------------------------------------------------------------------


def _sasrec(recommender: Recommender) -> SASRec:
    """The model, if the page can compute it."""
    model = recommender.model_
    if type(model) not in (SASRec, SASRecVariant):
        raise ConfigError(
            f"the page shows SASRec, and this model is {recommender.config.model}; train one with "
            "--model sasrec"
        )
    assert isinstance(model, SASRec)
    for name, value in vars(model.config).items():
        known = READS.get(name, () if name not in ONLY_TRAINING else None)
        if known is not None and value not in known:
            raise ConfigError(f"the page does not know SASRec with {name} = {value!r}")
    if (model.num_items + 1) * model.config.d > LARGEST:
        most = LARGEST // model.config.d
        raise ConfigError(
            f"the page holds up to {most:,} items of d = {model.config.d}, and this model has "
            f"{model.num_items:,}; train on fewer, such as with a higher --min-actions, or a "
            "smaller --d"
        )
    return model


def _second(beside: Recommender, known: Any) -> SASRec:
    if list(beside.known.item_ids) != list(known.item_ids):
        raise DataError(
            f"the second model knows {len(beside.known.item_ids) - 1:,} items of "
            f"{beside.known.name}, the first {len(known.item_ids) - 1:,} of {known.name}; train "
            "both on the same data"
        )
    return _sasrec(beside)


def _differences(first: Recommender, second: Recommender) -> str:
    """The settings of the second model that differ from those of the first: `loss = bce`."""
    settings = [
        {**vars(each.config.sasrec), "epochs": each.config.epochs, "seed": each.config.seed}
        for each in (first, second)
    ]
    return ", ".join(
        f"{name} = {value}" for name, value in settings[1].items() if settings[0][name] != value
    )


def _packed(
    kind: str, label: str, model: SASRec, weights: Weights = "float32"
) -> tuple[dict[str, Any], str]:
    """What the page has to know of a model, and its weights one after another as base64."""
    state = model.state()
    with np.errstate(over="ignore"):  # told below
        arrays = [np.asarray(array, weights) for array in state.values()]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ConfigError("a weight is too large for float16; take --weights float32")
    facts = {
        "kind": kind,
        "label": label,
        "settings": {name: getattr(model.config, name) for name in READS},
        "loss": model.config.loss,
        "weights": weights,
        "shapes": {name: np.atleast_2d(array).shape for name, array in state.items()},
    }
    content = b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    return facts, base64.b64encode(content).decode()


def _examples(recommender: Recommender, count: int) -> list[dict[str, Any]]:
    """Histories of some users, shortest first, and what came next; 0 where nothing was held out."""
    split = recommender.known.split
    if split is None or not count:
        return []
    users = split.eval_users("test")
    users = users if len(users) else np.arange(len(split.train_end))
    drawn = np.random.default_rng(recommender.config.seed).choice(
        users, min(count, len(users)), replace=False
    )
    held_out = split.test
    found = [
        {"items": split.history(int(user), "test").tolist(), "next": int(held_out[user])}
        for user in drawn
    ]
    return sorted((one for one in found if one["items"]), key=lambda one: len(one["items"]))


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(document: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(document, separators=(",", ":")).replace("<", "\\u003c")


def _hash(content: str) -> str:
    """How a content security policy names a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
