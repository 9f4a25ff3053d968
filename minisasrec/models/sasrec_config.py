"""Every choice of SASRec, with the paper's value or that of its authors' code."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from minisasrec.errors import ConfigError
from minisasrec.models.losses import Loss
from minisasrec.models.ranges import check_choices, check_least, check_numbers, check_shares

Norm = Literal["pre", "post", "authors", "ligr"]
Start = Literal["end", "beginning"]
Padding = Literal["hidden", "visible", "zeroed"]


@dataclass(frozen=True)
class SASRecConfig:
    """Every choice of the model; the defaults are the paper's (Sec. IV-C) for ML-1M."""

    n: int = 200
    """Longest sequence; longer ones keep their last n items. Paper: 200 on ML-1M, 50 elsewhere."""
    d: int = 50
    """Latent dimension. Paper: 50."""
    blocks: int = 2
    """Self-attention blocks b. Paper: 2."""
    heads: int = 1
    """Attention heads h; must divide d. Paper: 1."""
    dropout: float = 0.2
    """Share of elements dropped in training. Paper: .2 on ML-1M, .5 on the sparse sets."""
    positions: bool = True
    """Learned position embedding P (Table IV, row 1 turns it off)."""
    positions_from: Start = "end"
    """Where positions are counted from: the end of the sequence, so that the last item always is in
    slot n, as in the paper's figure 1; or its beginning, as in a sentence."""
    shared_embedding: bool = True
    """Score items by the input embedding, N = M (Table IV, row 2)."""
    residual: bool = True
    """Residual connections (Table IV, row 3)."""
    layer_norm: bool = True
    """Layer normalisation."""
    norm: Norm = "pre"
    """pre: x + Dropout(g(LN(x))), the paper's text. post: LN(x + Dropout(g(x))). authors: the
    released code: LN on the query only, residual from the normalised query, and its dropouts.
    ligr: x + sigmoid(x W + b) * Dropout(g(LN(x))), with SwiGLU for the FFN (arXiv 2508.06450)."""
    padding: Padding = "hidden"
    """hidden: nothing attends to padding. visible: items attend to it, as in the public PyTorch
    port. zeroed: the same, with padding set to zero before each block, as that port before 2025."""
    output_projection: bool = False
    """A d x d layer after attention (W_O), as the public PyTorch port has; the paper has none."""
    inner_dropout: bool = False
    """Drop attention weights and the FFN's hidden layer too, as the authors' code does; the
    paper's text drops only what a sub-layer returns. Always on with norm=authors."""
    scale_embedding: bool = True
    """Multiply the input embedding by sqrt(d), as the authors' code does; not in the paper.
    Always on with norm=authors."""
    loss: Loss = "bce"
    """bce: the paper's. gbce: its correction for few negatives. bpr-max: the strongest negatives
    count most. softmax: over all items."""
    own_items: bool = True
    """Whether the softmax loss counts the other items of a sequence among the negatives. They are
    never recommended where repeats are forbidden, so nobody needs to push them down."""
    gbce_t: float = 0.75
    """Calibration t of gBCE, 0 (plain BCE) to 1 (full correction); arXiv 2308.07192."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        check_numbers(self)
        check_least(self, n=1, d=1, blocks=0, heads=1)
        if self.d % self.heads:
            raise ConfigError(f"heads is {self.heads}, which does not divide d = {self.d}")
        check_shares(self, "dropout")
        if not 0 <= self.gbce_t <= 1:
            raise ConfigError(f"gbce-t is {self.gbce_t}; 0 <= t <= 1")
        check_choices(self, norm=Norm, loss=Loss, padding=Padding, positions_from=Start)
        if self.norm == "ligr" and not self.residual:
            raise ConfigError(
                "no-residual has no effect with norm 'ligr': its gates are on residual connections"
            )
        if self.positions_from == "beginning" and self.padding != "hidden":
            raise ConfigError(
                f"positions-from is 'beginning' and padding {self.padding!r}; padding stands "
                "before the first item, so a position has to be counted from the end there"
            )

    @property
    def is_the_papers(self) -> bool:
        """True if the model is that of Sec. III, of whatever size."""
        sizes = ("n", "d", "blocks", "heads", "dropout", "gbce_t")
        plain = SASRecConfig()
        return all(
            getattr(self, f.name) == getattr(plain, f.name)
            for f in dataclasses.fields(self)
            if f.name not in sizes
        )

    @property
    def inner_rate(self) -> float:
        """The share of attention weights and of the FFN's hidden layer that is dropped."""
        return self.dropout if self.inner_dropout or self.norm == "authors" else 0.0
