"""The bookshop: an invented data set whose every probability is known.

A seeded simulator in place of a download: readers pick books one after the other by a stated
model. Because the model is known, so is the best ranking any recommender could reach, and a
learner sees how much of what can be known was learnt.

**The model.** A reader has two hidden moods: a genre ``z`` and a season ``s`` of the year. Before
every book both take one step of a Markov chain (`Recipe`); then the reader goes to a shelf, and
takes from it a book i not read yet with probability proportional to its appeal ``w_i``::

    p(i | h, z, s) =  series  * k_i / sum_j k_j      next volumes of books read lately
                   +  author  * w(i | shelf of the last book's author)
                   +  mood    * w(i | shelf of genre z)
                   +  season  * w(i | shelf of season s)
                   +  popular * w(i | all books)
                   +  noise   / number of unread books

    w(i | shelf) = w_i / (sum of w_j over unread books j on the shelf),  0 if i is read or not there
    k_i = lag_weights[l - 1] if i is unread and the next volume of the book read l steps ago, else 0

The weights are those of `Recipe`; with no next volume to read, or nothing left by the author, that
weight goes to ``mood``.

**Why the oracle is exact.** Moods are hidden, so nobody can do better than average over them given
the visible history: ``p(i | h) = sum_{z,s} p(z, s | h) p(i | h, z, s)``. There are only genres *
seasons pairs (z, s), and given a pair everything else in p is visible; so p(z, s | h) follows from
the forward algorithm of hidden Markov models without approximation. A mood computed from the
visible history would be exact too, but hidden moods are what makes a long memory worth having:
one book says little about a mood, ten books say much.

**Same arrays everywhere.** Weights are integers and draws use raw PCG64 output, whose stream NumPy
guarantees; no floating-point number takes part in the simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minisasrec.data.dataset import PAD, Dataset
from minisasrec.errors import ConfigError, DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SERIES, AUTHOR, MOOD, SEASON, POPULAR, NOISE = range(6)
COMPONENTS = ("series", "author", "mood", "season", "popular", "noise")
KIND = {AUTHOR: 3, MOOD: 1, SEASON: 2, POPULAR: 0, NOISE: 0}  # of shelf: all, genre, season, author
PROTOCOLS = ("sampled", "full")


@dataclass(frozen=True)
class Recipe:
    """All numbers of the model; whole numbers, so that every platform computes the same."""

    series: int = 36  # percent of choices that continue a series
    author: int = 4  # percent: another book by the author of the last book
    mood: int = 42  # percent: the shelf of the hidden genre mood
    season: int = 8  # percent: the shelf of the hidden season
    popular: int = 7  # percent: the shelf of all books
    noise: int = 3  # percent: any unread book, appeal ignored
    lag_weights: tuple[int, ...] = (6, 4, 3, 2)  # pull of a next volume, 1, 2, ... steps on
    mood_stays: int = 93  # percent a step; the mood drifts to the next genre of the ring ...
    mood_drifts: int = 6  # ... with this percent, else it becomes any genre, uniformly
    season_stays: int = 88  # percent a step; otherwise the next season comes
    head: int = 8  # appeal of the book of rank r (from 0) is 10**7 // (r + head): small = peaked
    genres: int = 12
    seasons: int = 4
    series_share: int = 16  # percent of the books, or a little more, are volumes of series
    volumes: tuple[int, int] = (5, 9)  # fewest and most volumes of a series
    seasonal_share: int = 50  # percent of the other books that stand on a season's shelf
    shortest: int = 5
    longest: int = 60
    go_on: int = 963  # per mille: chance that a reader of `shortest` or more books reads another

    def __post_init__(self) -> None:
        """Raise ConfigError unless the six component weights sum to 100."""
        total = sum(self.weights)
        if total != 100:
            raise ConfigError(f"series + author + ... + noise must be 100 percent, got {total}")

    @property
    def weights(self) -> tuple[int, ...]:
        """Percent of the six components, in the order of COMPONENTS."""
        return tuple(getattr(self, name) for name in COMPONENTS)

    def mood_chain(self) -> Ints:
        """Integer transition weights (genres, genres); every row sums to 100 * genres."""
        G = self.genres
        eye = np.eye(G, dtype=np.int64)
        chain = self.mood_stays * G * eye + self.mood_drifts * G * np.roll(eye, 1, axis=1)
        return chain + (100 - self.mood_stays - self.mood_drifts)

    def season_chain(self) -> Ints:
        """Integer transition weights (seasons, seasons); every row sums to 100."""
        eye = np.eye(self.seasons, dtype=np.int64)
        return self.season_stays * eye + (100 - self.season_stays) * np.roll(eye, 1, axis=1)


class _Dice:
    """Uniform integers from raw PCG64 output, the part of NumPy's streams that never changes."""

    def __init__(self, seed: int) -> None:
        self.bits = np.random.PCG64(seed)

    def raw(self, *shape: int) -> NDArray[np.uint64]:
        """Uniform on 0..2**32-1."""
        return self.bits.random_raw(shape) >> np.uint64(32)

    def below(self, n: int) -> int:
        """Uniform on 0..n-1."""
        return int(self.raw(1)[0]) * n >> 32

    def shuffled(self, things: Sequence[Any]) -> list[Any]:
        """A random order, by stable sort of random keys."""
        return [things[j] for j in np.argsort(self.raw(len(things)), kind="stable")]


def _draw(weights: Ints, raw: NDArray[np.uint64]) -> NDArray[np.intp]:
    """One column per row, with probability weights / row sum: weights (R, C), raw (R,) -> (R,)."""
    cumulative = np.cumsum(weights, axis=1)
    mark = (cumulative[:, -1].astype(np.uint64) * raw >> np.uint64(32)).astype(np.int64)
    columns: NDArray[np.intp] = (cumulative <= mark[:, None]).sum(axis=1)
    return columns


@dataclass(frozen=True, eq=False)
class Shop:
    """The catalogue: I books, each on the shelf of all books, of its genre, season and author.

    ``shelves`` (I+1, 4) holds each book's shelf on those four; shelf numbers run over all books,
    genres, seasons, the shelf `nowhere` of books without a season, then authors. ``appeal`` (I+1,)
    holds the distinct integers w_i, ``sequel`` (I+1,) the next volume or 0. Entry 0 is padding.
    """

    recipe: Recipe
    titles: list[str]
    authors: list[str]
    shelves: Ints
    appeal: Ints
    sequel: Ints

    @property
    def nowhere(self) -> int:
        """Number of the shelf of books that belong to no season."""
        return 1 + self.recipe.genres + self.recipe.seasons

    @property
    def first_shelves(self) -> tuple[int, int, int, int]:
        """Numbers of the first shelf of each of the four kinds."""
        return 0, 1, 1 + self.recipe.genres, self.nowhere + 1

    def labels(self, book: int) -> tuple[str, ...]:
        """Genre, and season if the book has one."""
        genre, season = self.shelves[book, 1:3] - self.first_shelves[1:3]
        return (list(GENRES)[genre], *list(SEASONS)[: self.recipe.seasons][season : season + 1])

    def author(self, book: int) -> str:
        """The invented author."""
        return self.authors[int(self.shelves[book, 3]) - self.first_shelves[3]]

    def tables(self) -> list[Ints]:
        """For each kind of shelf the books on each of its shelves, padded with 0."""
        tables = []
        for kind, first in enumerate(self.first_shelves):
            on = self.shelves[1:, kind] - first
            order = np.argsort(on, kind="stable")
            order = order[on[order] < self.recipe.seasons] if kind == 2 else order
            counts = np.bincount(on[order])
            table = np.zeros((len(counts), counts.max()), dtype=np.int64)
            table[np.arange(counts.max()) < counts[:, None]] = 1 + order
            tables.append(table)
        return tables


class _Readers:
    """What is visible of R readers: the books read, the latest ones, appeal left on each shelf."""

    def __init__(self, shop: Shop, R: int) -> None:
        full = np.zeros(shop.first_shelves[3] + len(shop.authors), dtype=np.int64)
        np.add.at(full, shop.shelves[1:], shop.appeal[1:, None])
        full[shop.nowhere] = 2 * full[0]  # nobody goes there; this keeps the divisor positive
        self.shop = shop
        self.read = np.zeros((R, len(shop.appeal)), dtype=bool)
        self.read[:, 0] = True
        self.latest = np.zeros((R, len(shop.recipe.lag_weights)), dtype=np.int64)
        self.left = np.tile(full, (R, 1))

    def take(self, rows: Ints, books: Ints) -> None:
        """Reader rows[j] reads books[j]."""
        self.read[rows, books] = True
        self.left[rows[:, None], self.shop.shelves[books]] -= self.shop.appeal[books][:, None]
        self.latest[rows, 1:] = self.latest[rows, :-1]
        self.latest[rows, 0] = books

    def choices(self, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """Next volumes (R, K), their pulls k (R, K), percents of the six components (R, 6)."""
        recipe = self.shop.recipe
        volumes = self.shop.sequel[self.latest[rows]]
        pulls = np.where(self.read[rows[:, None], volumes], 0, np.array(recipe.lag_weights))
        last = self.latest[rows, 0]
        percents = np.tile(np.array(recipe.weights), (len(rows), 1))
        no_author = (last == 0) | (self.left[rows, self.shop.shelves[last, 3]] == 0)
        for component, idle in ((SERIES, pulls.sum(axis=1) == 0), (AUTHOR, no_author)):
            percents[idle, MOOD] += percents[idle, component]
            percents[idle, component] = 0
        return volumes, pulls, percents

    def parts(self, rows: Ints, books: Ints, mood: Floats, season: Floats) -> Floats:
        """The six summands of p for books (R or 1, C): (6, R, C); mood (R, G), season (R, S).

        The two are probabilities of the hidden moods; ones give p as if each book's own genre and
        season were the hidden ones.
        """
        shop = self.shop
        volumes, pulls, percents = self.choices(rows)
        r = np.arange(len(rows))[:, None]
        unread = ~self.read[rows[:, None], books]
        appeal = unread * shop.appeal[books]
        on = shop.shelves[books]
        left = np.maximum(self.left[rows], 1)  # an empty shelf has nothing unread to divide
        _, genres, seasons, _ = shop.first_shelves
        visits = np.zeros(left.shape)  # probability of a visit to the shelf / appeal left on it
        visits[:, genres:seasons] = mood / left[:, genres:seasons]
        visits[:, seasons : shop.nowhere] = season / left[:, seasons : shop.nowhere]
        author = shop.shelves[self.latest[rows, 0], 3][:, None]
        parts = np.zeros((6, *unread.shape))
        for lag, volume in enumerate(volumes.T):
            parts[SERIES] += pulls[:, lag, None] * (volume[:, None] == books)
        parts[SERIES] /= np.maximum(pulls.sum(axis=1), 1)[:, None]
        parts[AUTHOR] = appeal * (on[..., 3] == author) / left[r, author]
        parts[MOOD] = appeal * visits[r, on[..., 1]]
        parts[SEASON] = appeal * visits[r, on[..., 2]]
        parts[POPULAR] = appeal / left[:, :1]
        parts[NOISE] = unread / (~self.read[rows]).sum(axis=1, keepdims=True)
        return parts * (percents.T[:, :, None] / 100)


def simulate(shop: Shop, readers: int, dice: _Dice) -> tuple[NDArray[np.int32], Ints]:
    """Histories of all readers, step t of everybody at once: items (A,), offsets (U+1,)."""
    recipe = shop.recipe
    chances = [10**6]
    for _ in range(recipe.shortest, recipe.longest):
        chances.append(chances[-1] * recipe.go_on // 1000)
    lengths = recipe.shortest + _draw(np.tile(chances, (readers, 1)), dice.raw(readers))
    chains = recipe.mood_chain(), recipe.season_chain()
    hidden = [_draw(np.ones((readers, len(c)), dtype=np.int64), dice.raw(readers)) for c in chains]
    tables = shop.tables()
    state = _Readers(shop, readers)
    table = np.zeros((readers, recipe.longest), dtype=np.int32)
    for t in range(recipe.longest):
        rows = np.flatnonzero(lengths > t)
        raw = dice.raw(4, readers)[:, rows]
        for which, chain in enumerate(chains):
            hidden[which][rows] = _draw(chain[hidden[which][rows]], raw[which])
        volumes, pulls, percents = state.choices(rows)
        component = _draw(percents, raw[2])
        author = shop.shelves[state.latest[rows, 0], 3] - shop.first_shelves[3]
        shelf = {AUTHOR: author, MOOD: hidden[0][rows], SEASON: hidden[1][rows]}
        books = np.zeros(len(rows), dtype=np.int64)
        for c in range(len(COMPONENTS)):
            at = np.flatnonzero(component == c)
            if c == SERIES:
                offered, weights = volumes[at], pulls[at]
            else:
                offered = tables[KIND[c]][shelf[c][at] if c in shelf else 0 * at]
                appeal = np.ones_like(offered) if c == NOISE else shop.appeal[offered]
                weights = np.where(state.read[rows[at, None], offered], 0, appeal)
            books[at] = offered[np.arange(len(at)), _draw(weights, raw[3, at])]
        state.take(rows, books)
        table[rows, t] = books
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)
    return table[np.arange(recipe.longest) < lengths[:, None]], offsets


class Oracle:
    """Knows the model: exact p(next | history), and the best scores any recommender can reach."""

    def __init__(self, shop: Shop, items: NDArray[np.int32], offsets: Ints) -> None:
        """Take the shop, and the histories whose held-out books `best_reachable` ranks."""
        self.shop = shop
        self.items, self.offsets = items, offsets
        self._best: dict[str, Floats] = {}

    def scores(self, histories: Sequence[ArrayLike], batch: int = 256) -> Floats:
        """p(next = i | history), (len(histories), I+1): rows sum to 1, books read have 0.

        A history is the ids of the books read, oldest first, possibly none. Raises DataError for
        ids outside 1..I and for repeated books.
        """
        p = np.empty((len(histories), len(self.shop.appeal)))
        for start in range(0, len(histories), batch):
            p[start : start + batch] = self._parts(histories[start : start + batch])[0].sum(axis=0)
        return p

    def moods(self, history: ArrayLike) -> Floats:
        """p(z, s | history), (genres, seasons): the hidden moods before the next book."""
        return np.asarray(self._follow([history])[1][0])

    def _follow(self, histories: Sequence[ArrayLike]) -> tuple[_Readers, Floats]:
        """The forward algorithm, all histories at once -> visible state, p(z, s | h) (R, G, S)."""
        recipe, R = self.shop.recipe, len(histories)
        arrays = [self._check(h) for h in histories]
        lengths = np.array([len(a) for a in arrays])
        state = _Readers(self.shop, R)
        belief = np.full((R, recipe.genres, recipe.seasons), 1 / (recipe.genres * recipe.seasons))
        mood_chain, season_chain = (
            c / c[0].sum() for c in (recipe.mood_chain(), recipe.season_chain())
        )
        one = np.ones((1, 1))
        for t in range(lengths.max(initial=0)):
            rows = np.flatnonzero(lengths > t)
            books = np.array([arrays[r][t] for r in rows])
            parts = state.parts(rows, books[:, None], one, one)[:, :, 0]
            r = np.arange(len(rows))
            genre, season = (self.shop.shelves[books, 1:3] - self.shop.first_shelves[1:3]).T
            p = np.zeros((len(rows), recipe.genres, recipe.seasons + 1))  # last column: no season
            p += parts[[SERIES, AUTHOR, POPULAR, NOISE]].sum(axis=0)[:, None, None]
            p[r, genre] += parts[MOOD][:, None]
            p[r, :, season] += parts[SEASON][:, None]
            posterior = belief[rows] * p[:, :, :-1]
            posterior /= posterior.sum(axis=(1, 2), keepdims=True)
            belief[rows] = mood_chain.T @ posterior @ season_chain
            state.take(rows, books)
        return state, belief

    def _parts(self, histories: Sequence[ArrayLike]) -> tuple[Floats, Floats]:
        """The six summands of p for all books (6, R, I+1), and p(z, s | h)."""
        state, belief = self._follow(histories)
        every_book = np.arange(len(self.shop.appeal))[None, :]
        rows = np.arange(len(histories))
        return state.parts(rows, every_book, belief.sum(axis=2), belief.sum(axis=1)), belief

    def _check(self, history: ArrayLike) -> Ints:
        books = np.asarray(history, dtype=np.int64).reshape(-1)
        last = len(self.shop.appeal) - 1
        if len(books) and not (1 <= books.min() and books.max() <= last):
            raise DataError(f"book ids must lie in 1..{last}, got {books.min()}..{books.max()}")
        if len(np.unique(books)) < len(books):
            raise DataError("a history holds a book twice: nobody in the bookshop reads one again")
        return books

    def best_reachable(
        self,
        split: Literal["valid", "test"] = "test",
        protocol: Literal["sampled", "full"] = "sampled",
    ) -> dict[str, float]:
        """HR@10 and NDCG@10 of the optimal ranker, which ranks by p(next | history).

        ``HR@10``, ``NDCG@10``: on the users and targets of this data set, the number to hold a
        trained model against. ``expected HR@10``, ``expected NDCG@10``: averaged over all targets
        the readers could have chosen instead, free of the luck of this seed. ``"sampled"`` ranks
        the target among 100 different books the reader never reads, and averages over all draws:
        how many of the m better books are drawn is hypergeometric. ``"full"`` ranks all books not
        in the history.
        """
        if split not in ("valid", "test") or protocol not in PROTOCOLS:
            raise ConfigError(
                "split is 'valid' or 'test' and protocol 'sampled' or 'full', "
                f"got {split!r} and {protocol!r}"
            )
        if split not in self._best:
            self._best[split] = self._score_itself(1 if split == "test" else 2)
        row = self._best[split][PROTOCOLS.index(protocol)].tolist()
        names = ("HR@10", "NDCG@10", "expected HR@10", "expected NDCG@10")
        return dict(zip(names, row, strict=True))

    def _score_itself(self, held_out: int) -> Floats:
        """(2, 4): by protocol, realised and expected HR@10, NDCG@10 of ranking by p."""
        ends = self.offsets[1:] - held_out
        total = np.zeros((2, 4))
        gains: dict[tuple[int, int], Floats] = {}  # by numbers of books to rank and negatives
        for start in range(0, len(ends), 256):
            users = range(start, min(start + 256, len(ends)))
            histories = [self.items[self.offsets[u] : ends[u]] for u in users]
            for u, p in zip(users, self.scores(histories), strict=True):
                target, *later = self.items[ends[u] : self.offsets[u + 1]]
                unread = len(p) - 1 - int(ends[u] - self.offsets[u])
                better = int((p > p[target]).sum())
                excused = int((p[later] > p[target]).sum())  # read later: never a negative
                sizes = ((unread - len(later), 100), (unread, unread - 1), (unread, 100))
                for size in sizes:
                    if size not in gains:
                        gains[size] = _gains(*size)
                sampled, full, any_target = (gains[size] for size in sizes)
                total[:, :2] += sampled[:, better - excused], full[:, better]
                ordered = np.sort(p)[::-1][:unread]
                total[:, 2:] += any_target @ ordered, full @ ordered
        return np.asarray(total / len(ends))

    def explain_next(self, history: ArrayLike, k: int = 10) -> dict[str, Any]:
        """Why the oracle recommends what it does after one history.

        ``books``: the k most probable books, each with title, author, p and the six components,
        which sum to p. ``mood``, ``season``: probabilities of the hidden moods by name.
        """
        parts, belief = self._parts([history])
        p = parts[:, 0].sum(axis=0)
        shop = self.shop
        books = [
            {"book": i, "title": shop.titles[i], "author": shop.author(i), "p": float(p[i])}
            | dict(zip(COMPONENTS, parts[:, 0, i].tolist(), strict=True))
            for i in np.argsort(-p, kind="stable")[:k].tolist()
        ]
        mood, season = belief[0].sum(axis=1).tolist(), belief[0].sum(axis=0).tolist()
        return {
            "books": books,
            "mood": dict(zip(GENRES, mood, strict=False)),
            "season": dict(zip(SEASONS, season, strict=False)),
        }

    def describe(self) -> str:
        """The parameters of the model with their values, one per line."""
        return "\n".join(f"{f.name:15} {getattr(self.shop.recipe, f.name)}" for f in fields(Recipe))


def _gains(unread: int, negatives: int) -> Floats:
    """Mean HR@10 and NDCG@10 of a target with m better books, (2, unread) over m.

    ``negatives`` of the unread - 1 other books are drawn; j of the m better ones are among them
    with probability C(m, j) C(unread - 1 - m, negatives - j) / C(unread - 1, negatives).
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, unread + 1)))])

    def log_choose(n: Ints, k: Ints) -> Floats:
        inside = (k >= 0) & (k <= n)
        n, k = np.where(inside, n, 0), np.where(inside, k, 0)
        ways = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
        return np.where(inside, ways, -np.inf)

    others = unread - 1
    negatives = min(negatives, others)
    m, j = np.arange(unread)[:, None], np.arange(10)[None, :]
    ways = log_choose(m, j) + log_choose(others - m, negatives - j)
    chance = np.exp(ways - log_choose(np.array(others), np.array(negatives)))
    return np.stack([chance.sum(axis=1), chance @ (1 / np.log2(np.arange(10) + 2))])


GENRES = {  # on a ring: a mood drifts from each genre to the one below it
    "Sea stories": "Lighthouse Harbour Tide Anchor Schooner Gull Mermaid Reef Compass Ferryman",
    "Travels": "Caravan Suitcase Ferry Border Timetable Atlas Milestone Passport Tramline Hotel",
    "Garden and field": "Orchard Hedge Beehive Meadow Scarecrow Barn Thistle Heron Allotment Fox",
    "Village comedies": "Parish Teapot Bandstand Vicar Marrow Postman Raffle Goose Choir Bicycle",
    "Romances": "Waltz Letter Ribbon Serenade Promise Balcony Valentine Glove Courtship Piano",
    "Family sagas": "Inheritance Sister Cradle Staircase Portrait Dynasty Aunt Kitchen Name Bakery",
    "Cosy mysteries": "Clue Alibi Butler Cat Poison Footprint Inspector Locket Pantry Umbrella",
    "Spy stories": "Cipher Courier Dossier Embassy Double Signal Defector Briefcase Tunnel Agent",
    "Ghost stories": "Attic Lantern Whisper Crypt Mirror Revenant Hollow Bell Corridor Shadow",
    "Fairy tales": "Dragon Spindle Goblin Tower Wolf Enchantress Apple Thimble Giant Crown",
    "Science fiction": "Orbit Android Airlock Comet Colony Engine Nebula Clone Probe Beacon",
    "Adventures": "Jungle Treasure Expedition Volcano Map Raft Temple Outlaw Canyon Balloon",
}
SEASONS = {
    "winter": "Frostbound Snowlit Midwinter Icebound Candlelit",
    "spring": "Blossoming Rainwashed Greening Primrose Thawing",
    "summer": "Sunburnt Midsummer Barefoot Heatstruck Strawberry",
    "autumn": "Russet Windfallen Misty Harvest Smoky",
}
ADJECTIVES = (
    "Salt Paper Tin Velvet Crooked Borrowed Silent Copper Clockwork Wandering Unfinished Amber "
    "Reluctant Hollow Seventh Painted Invisible Forgotten Marble Whistling Left-Handed Improbable "
    "Upside-Down Patchwork Glass Sleepless Secondhand Vanishing Cardboard Impatient Lopsided Iron"
).split()
PLACES = "Merrowick Tarnholt Quibbling Oskavar Fennimore Dunlarrow Vellum Pennyquay Zorrin".split()
BOOKS_BY_AUTHOR = 10
FIRST = (
    "Ada Bruno Clemency Dov Edda Fergus Greta Hamish Ines Jory Kit Lavinia Milo Nell Otto Petra"
).split()
LAST = (
    ("Thistle", "Penny", "Quill", "Alder", "Marsh", "Winter", "Cobble", "Fern", "Ink", "Larks"),
    ("wick", "moor", "feather", "croft", "bottom", "worth", "by", "gate", "combe", "tree"),
)


def build_shop(books: int, recipe: Recipe, dice: _Dice) -> Shop:
    """Invent the catalogue: genre after genre, author after author, volumes side by side."""
    if books > 3000 or recipe.genres > len(GENRES) or recipe.seasons > len(SEASONS):
        raise ConfigError(
            f"the shop has room for 3000 books, {len(GENRES)} genres and {len(SEASONS)} seasons, "
            f"got {books}, {recipe.genres} and {recipe.seasons}"
        )
    works: list[tuple[int, int, int]] = []  # genre, author, number of volumes
    least, most = recipe.volumes
    author = -1
    for genre in range(recipe.genres):
        room = books * (genre + 1) // recipe.genres - books * genre // recipe.genres
        sizes: list[int] = []
        while room - sum(sizes) > room * (100 - recipe.series_share) // 100:
            sizes.append(min(least + dice.below(most - least + 1), room - sum(sizes)))
        sizes += [1] * (room - sum(sizes))
        written = BOOKS_BY_AUTHOR  # a genre starts with a new author
        for size in dice.shuffled(sizes):
            if written >= BOOKS_BY_AUTHOR:
                author, written = author + 1, 0
            written += size
            works.append((genre, author, size))
    singles = dice.shuffled([j for j, work in enumerate(works) if work[2] == 1])
    seasonal = singles[: len(singles) * recipe.seasonal_share // 100]
    season_of = {work: j % recipe.seasons for j, work in enumerate(seasonal)}

    seasons, authors = 1 + recipe.genres, 2 + recipe.genres + recipe.seasons
    shelves, sequel = np.full((books + 1, 4), authors - 1), np.zeros(books + 1, dtype=np.int64)
    rank_key = dice.raw(books + 1).astype(np.int64)
    titles, taken = [PAD], {""}
    for j, (genre, author, size) in enumerate(works):
        season = season_of.get(j, recipe.seasons)
        name = ""
        while name in taken:
            name = _title(
                list(GENRES)[genre],
                list(SEASONS)[: recipe.seasons][season : season + 1],
                size,
                dice,
            )
        taken.add(name)
        for volume in range(1, size + 1):
            book = len(titles)
            titles.append(name if size == 1 else f"{name}, book {volume}")
            shelves[book] = 0, 1 + genre, seasons + season, authors + author
            sequel[book] = book + 1 if volume < size else 0
            if size > 1:  # openers lie on the table by the door; few enter at a later volume
                rank_key[book] = rank_key[book] // 4 if volume == 1 else rank_key[book] + 2**31
    smallest = np.bincount(shelves[1:].ravel(), minlength=authors)[1 : authors - 1].min()
    if smallest <= recipe.longest:  # or p would need a rule for moods with nothing left to read
        raise ConfigError(
            f"{books} books leave {smallest} on the smallest genre or season shelf and a reader "
            f"may read {recipe.longest}: ask for more books or a smaller Recipe.longest"
        )
    appeal = np.zeros(books + 1, dtype=np.int64)
    appeal[1 + np.argsort(rank_key[1:], kind="stable")] = 10**7 // (recipe.head + np.arange(books))
    names = dice.shuffled([f"{f} {a}{b}" for f in FIRST for a in LAST[0] for b in LAST[1]])
    return Shop(recipe, titles, names[: author + 1], shelves, appeal, sequel)


def _title(genre: str, season: Sequence[str], size: int, dice: _Dice) -> str:
    def one_of(words: Sequence[str]) -> str:
        return words[dice.below(len(words))]

    noun = one_of(GENRES[genre].split())
    phrase = f"{one_of(SEASONS[season[0]].split() if season else ADJECTIVES)} {noun}"
    forms = ("The {0}", "The {0} of {1}", "{2} and the {0}", "The {0} at {1}")
    form = forms[dice.below(4)] if size == 1 else forms[0]
    return form.format(phrase, one_of(PLACES), one_of(FIRST))


def load_bookshop(
    seed: int = 20180820, readers: int = 6000, books: int = 1500, recipe: Recipe | None = None
) -> Dataset:
    """The bookshop as a Dataset: same arguments, same arrays, on every platform.

    ``categories`` are genre and, for seasonal books, season; ``oracle`` is an `Oracle`. The
    default seed is the day the paper went to arXiv. Raises ConfigError if the shop is too small.
    """
    if readers < 1:
        raise ConfigError(f"the bookshop needs at least one reader, got readers={readers}")
    dice = _Dice(seed)
    shop = build_shop(books, recipe or Recipe(), dice)
    items, offsets = simulate(shop, readers, dice)
    return Dataset(
        name="bookshop",
        items=items,
        offsets=offsets,
        user_ids=[f"reader-{u}" for u in range(readers)],
        item_ids=[PAD, *(f"book-{i}" for i in range(1, books + 1))],
        titles=shop.titles,
        source=f"invented by minisasrec.data.bookshop, seed {seed}; no filter; free for any use",
        categories=[(), *(shop.labels(i) for i in range(1, books + 1))],
        oracle=Oracle(shop, items, offsets),
    )


def main() -> None:
    """Print the parameters, the statistics and the best reachable scores."""
    dataset = load_bookshop()
    oracle = dataset.oracle
    assert isinstance(oracle, Oracle)
    print(
        f"{oracle.describe()}\n\n{dataset}\n\nbest reachable    HR@10  NDCG@10  expected HR, NDCG"
    )
    for split in ("valid", "test"):
        for protocol in ("sampled", "full"):
            best = oracle.best_reachable(split, protocol).values()
            print(f"{split:5} {protocol:9}" + "".join(f"{v:9.4f}" for v in best))


if __name__ == "__main__":
    main()
