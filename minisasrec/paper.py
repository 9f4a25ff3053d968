"""Figures of the paper (Kang & McAuley, 2018), to set beside ours."""

from __future__ import annotations

# Table III: Hit@10 and NDCG@10 of the target among 100 sampled negatives
TABLE_III: dict[str, dict[str, tuple[float, float]]] = {
    "amazon-beauty": {
        "poprec": (0.4003, 0.2277),
        "bpr": (0.3775, 0.2183),
        "fmc": (0.3771, 0.2477),
        "fpmc": (0.4310, 0.2891),
        "transrec": (0.4607, 0.3020),
        "gru4rec": (0.2125, 0.1203),
        "gru4rec+": (0.3949, 0.2556),
        "caser": (0.4264, 0.2547),
        "sasrec": (0.4854, 0.3219),
    },
    "amazon-games": {
        "poprec": (0.4724, 0.2779),
        "bpr": (0.4853, 0.2875),
        "fmc": (0.6358, 0.4456),
        "fpmc": (0.6802, 0.4680),
        "transrec": (0.6838, 0.4557),
        "gru4rec": (0.2938, 0.1837),
        "gru4rec+": (0.6599, 0.4759),
        "caser": (0.5282, 0.3214),
        "sasrec": (0.7410, 0.5360),
    },
    "steam": {
        "poprec": (0.7172, 0.4535),
        "bpr": (0.7061, 0.4436),
        "fmc": (0.7731, 0.5193),
        "fpmc": (0.7710, 0.5011),
        "transrec": (0.7624, 0.4852),
        "gru4rec": (0.4190, 0.2691),
        "gru4rec+": (0.8018, 0.5595),
        "caser": (0.7874, 0.5381),
        "sasrec": (0.8729, 0.6306),
    },
    "ml-1m": {
        "poprec": (0.4329, 0.2377),
        "bpr": (0.5781, 0.3287),
        "fmc": (0.6986, 0.4676),
        "fpmc": (0.7599, 0.5176),
        "transrec": (0.6413, 0.3969),
        "gru4rec": (0.5581, 0.3381),
        "gru4rec+": (0.7501, 0.5513),
        "caser": (0.7886, 0.5538),
        "sasrec": (0.8245, 0.5905),
    },
}
