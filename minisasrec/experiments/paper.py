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

DATASETS = ("amazon-beauty", "amazon-games", "steam", "ml-1m")

# Table II: statistics after preprocessing. The row of ML-1M counts the train part only, the others
# count everything; later papers give Beauty 52,204 users.
TABLE_II: dict[str, dict[str, float]] = {
    name: dict(
        zip(("users", "items", "actions/user", "actions/item", "million actions"), row, strict=True)
    )
    for name, row in {
        "amazon-beauty": (52_024, 57_289, 7.6, 6.9, 0.4),
        "amazon-games": (31_013, 23_715, 9.3, 12.1, 0.3),
        "steam": (334_730, 13_047, 11.0, 282.5, 3.7),
        "ml-1m": (6_040, 3_416, 163.5, 289.1, 1.0),
    }.items()
}

# Table IV: NDCG@10 of SASRec with one thing changed, d = 50. Columns as in DATASETS. Beauty's
# default differs from Table III (.3219): about .005 to .008 is the paper's own noise.
TABLE_IV: dict[str, dict[str, float]] = {
    name: dict(zip(DATASETS, row, strict=True))
    for name, row in {
        "default": (0.3142, 0.5360, 0.6306, 0.5905),
        "no-positions": (0.3183, 0.5301, 0.6036, 0.5772),
        "unshared": (0.2437, 0.4266, 0.4472, 0.4557),
        "no-residual": (0.2591, 0.4303, 0.5693, 0.5535),
        "no-dropout": (0.2436, 0.4375, 0.5959, 0.5801),
        "0-blocks": (0.2620, 0.4745, 0.5588, 0.4830),
        "1-block": (0.3066, 0.5408, 0.6202, 0.5653),
        "3-blocks": (0.3078, 0.5312, 0.6275, 0.5931),
        "2-heads": (0.3080, 0.5311, 0.6272, 0.5885),
    }.items()
}

# Table V: ML-1M by the longest sequence n; seconds to train on a GTX 1080 Ti, NDCG@10
TABLE_V: dict[int, tuple[float, float]] = {
    10: (75, 0.480),
    50: (101, 0.557),
    100: (157, 0.571),
    200: (341, 0.587),
    300: (613, 0.593),
    400: (965, 0.594),
    500: (1406, 0.596),
    600: (1895, 0.595),
}

# Fig. 2 has no numbers; these are its latent dimensions
FIGURE_2: tuple[int, ...] = (10, 20, 30, 40, 50)

# Fig. 3, ML-1M, histories cut to 200 items: seconds an epoch as printed there; the NDCG@10 that the
# curve settles at is read off the picture
FIGURE_3: dict[str, tuple[float, float]] = {
    "sasrec": (1.7, 0.59),
    "gru4rec+": (30.7, 0.53),
    "caser": (19.1, 0.525),
}

# Fig. 4: attention among the last positions; Fig. 5: among films of these categories
FIGURE_4_POSITIONS = 15
FIGURE_5_CATEGORIES = ("Sci-Fi", "Romance", "Animation", "Horror")
