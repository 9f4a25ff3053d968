"""Figures of the paper (Kang & McAuley, 2018), to set beside ours."""

from __future__ import annotations

# Table III: Hit@10 and NDCG@10 of the target among 100 sampled negatives
TABLE_III: dict[str, dict[str, tuple[float, float]]] = {
    "amazon-beauty": {"poprec": (0.4003, 0.2277), "sasrec": (0.4854, 0.3219)},
    "amazon-games": {"poprec": (0.4724, 0.2779), "sasrec": (0.7410, 0.5360)},
    "steam": {"poprec": (0.7172, 0.4535), "sasrec": (0.8729, 0.6306)},
    "ml-1m": {"poprec": (0.4329, 0.2377), "sasrec": (0.8245, 0.5905)},
}
