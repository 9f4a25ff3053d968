"""The peers: SASRec in PyTorch as people write it, and as a careful engineer would.

Both are padded, trained with BCE and one negative, Adam(beta2=.98), dropout as in the port
(embedding, attention weights, inside the FFN). Written here from the paper and the public port's
published design; no code of theirs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minisasrec.data.batches import Batch
from minisasrec.models.sasrec_config import SASRecConfig


class PortBlock(nn.Module):
    """nn.MultiheadAttention with a boolean causal mask; 1x1 convolutions as the FFN."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-8), nn.LayerNorm(d, eps=1e-8)
        self.attention = nn.MultiheadAttention(d, heads, dropout)
        self.conv1, self.conv2 = nn.Conv1d(d, d, 1), nn.Conv1d(d, d, 1)
        self.drop1, self.drop2 = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.transpose(0, 1)  # (n, B, d), as the module wants it
        z = self.norm1(x)
        s, _ = self.attention(z, z, z, attn_mask=mask)
        x = (x + s).transpose(0, 1)
        z = self.norm2(x).transpose(-1, -2)
        z = self.drop2(self.conv2(torch.relu(self.drop1(self.conv1(z)))))
        return x + z.transpose(-1, -2)


class TunedBlock(nn.Module):
    """One GEMM for Q, K and V; scaled_dot_product_attention(is_causal=True); linear layers."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-8), nn.LayerNorm(d, eps=1e-8)
        self.qkv = nn.Linear(d, 3 * d)
        self.layer1, self.layer2 = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        s = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=self.rate if self.training else 0.0
        )
        x = x + F.dropout(s.transpose(1, 2).reshape(B, n, d), self.rate, self.training)
        z = F.dropout(torch.relu(self.layer1(self.norm2(x))), self.rate, self.training)
        return x + F.dropout(self.layer2(z), self.rate, self.training)


class TorchSASRec(nn.Module):
    """The model around either block."""

    def __init__(self, num_items: int, config: SASRecConfig, tuned: bool) -> None:
        super().__init__()
        d, self.n, self.tuned = config.d, config.n, tuned
        self.items = nn.Embedding(num_items + 1, d, padding_idx=0)
        self.positions = nn.Embedding(config.n, d)
        block = TunedBlock if tuned else PortBlock
        self.blocks = nn.ModuleList(
            [block(d, config.heads, config.dropout) for _ in range(config.blocks)]
        )
        self.norm = nn.LayerNorm(d, eps=1e-8)
        self.drop = nn.Dropout(config.dropout)
        self.register_buffer("slots", torch.arange(config.n))
        self.register_buffer("mask", ~torch.tril(torch.ones(config.n, config.n, dtype=torch.bool)))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, items: Tensor) -> Tensor:
        x = self.items(items) * self.items.embedding_dim**0.5 + self.positions(self.slots)
        x = self.drop(x) * (items != 0).unsqueeze(-1)
        for block in self.blocks:
            x = block(x, self.mask)
        return self.norm(x)

    def loss(self, items: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        h = self(items)
        positive = (h * self.items(targets)).sum(-1)
        negative = (h * self.items(negatives)).sum(-1)
        real = targets != 0
        if self.tuned:  # no boolean gather: shapes stay fixed
            per_row = -F.logsigmoid(positive) - F.logsigmoid(-negative)
            return (per_row * real).sum() / real.sum()
        bce = nn.BCEWithLogitsLoss()
        index = torch.where(real)
        return bce(positive[index], torch.ones_like(positive[index])) + bce(
            negative[index], torch.zeros_like(negative[index])
        )

    def optimizer(self) -> torch.optim.Optimizer:
        fused = {"fused": True} if self.tuned else {}
        return torch.optim.Adam(self.parameters(), lr=1e-3, betas=(0.9, 0.98), **fused)


def to_torch(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as padded tensors (items, targets, negatives)."""
    padded = batch.padded()
    arrays = (padded.inputs.items, padded.targets, padded.negatives[..., 0])
    items, targets, negatives = (torch.from_numpy(a.astype(np.int64)) for a in arrays)
    return items, targets, negatives
