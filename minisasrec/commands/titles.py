"""Items by their titles, as one types them: `--history "toy story; alien"`.

A title that is typed exactly is that one. Else it is compared without case, accents, punctuation,
its year, and the place of its article: "Matrix, The (1999)" is "the matrix". What is not found so
is taken for a part of a title, and then for a misspelt one. Where that leaves more than one item,
all are named and nothing is guessed.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence

from minisasrec.data import DataWarning
from minisasrec.data.values import tidy
from minisasrec.errors import DataError
from minisasrec.learn.known import Known

SHOWN = 5  # titles in an error
CUTOFF = 0.85  # how like a misspelt title must be
CLEAR = 0.08  # and how much more like than the next one

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_ARTICLE = re.compile(r"^(.*), *(the|a|an|les?|la|l'|il|el|los|las|der|die|das)$")


def plain(title: str) -> str:
    """A title as it is compared.

    >>> plain("Misérables, Les (1995)"), plain("  toy STORY "), plain("E.T.")
    ('les miserables', 'toy story', 'e t')
    """
    text = unicodedata.normalize("NFKD", _YEAR.sub("", title).casefold())
    text = "".join(c for c in text if not unicodedata.combining(c)).strip()
    if match := _ARTICLE.match(text):
        text = f"{match[2]} {match[1]}"
    return " ".join(re.findall(r"\w+", text)) or text


def _longest(text: str, mark: str, is_title: Callable[[str], bool]) -> list[str]:
    """The pieces between the marks; those that together make a title are one."""
    pieces = tidy(text).split(mark)
    found = []
    while pieces:
        for size in range(len(pieces), 0, -1):
            name = mark.join(pieces[:size]).strip()
            if size == 1 or is_title(name):
                break
        if name:
            found.append(name)
        del pieces[:size]
    return found


class Titles:
    """The titles of the items that a recommender knows. Raises `DataError` if it has none."""

    def __init__(self, known: Known) -> None:
        if known.titles is None:
            raise DataError(
                f"{known.name} was trained without titles; name the items by their ids: --items"
            )
        self.known, self.titles = known, known.titles
        self.exact: dict[str, list[int]] = {}  # by title as it is
        self.items: dict[str, list[int]] = {}  # by plain title
        for number, title in enumerate(known.titles):
            if number:
                self.exact.setdefault(tidy(title), []).append(number)
                self.items.setdefault(plain(title), []).append(number)

    def history(self, texts: Sequence[str]) -> list[str]:
        """The ids of the items that texts name; a text may hold several titles.

        They are separated by `;`, or by commas. Both may also be part of a title: the longest
        pieces that are whole titles are taken, those with `;` only if they are typed exactly.
        """
        names: list[str] = []
        for text in texts:
            for part in _longest(text, ";", lambda title: title in self.exact):
                whole = part in self.exact
                names += [part] if whole else _longest(part, ",", lambda t: plain(t) in self.items)
        if not names:
            raise DataError(
                "the history is empty; give titles, such as --history 'Toy Story; Alien'"
            )
        return [self.known.item_ids[self.item(name)] for name in names]

    def item(self, name: str) -> int:
        """The number of the item that a title names. Raises `DataError` unless it is one."""
        wanted = plain(name)
        year = _YEAR.search(name)
        exact = self.exact.get(tidy(name), [])
        found = exact if len(exact) == 1 else self.items.get(wanted, [])
        if year and len(exact) != 1:
            found = [i for i in found if _YEAR.search(self.titles[i]) and year[1] in self.titles[i]]
        if not found and wanted:
            words = f" {wanted} "
            found = [i for key in self.items if words in f" {key} " for i in self.items[key]]
        if not found:
            found = self._misspelt(wanted)
            if len(found) == 1:
                warnings.warn(f"{name!r} is taken for {self.titles[found[0]]!r}", DataWarning, 2)
        if len(found) == 1:
            return found[0]
        if not found:
            raise DataError(f"no title like {name!r} in {self.known.name}{self._nearest(wanted)}")
        named = "; ".join(f"{self.titles[i]} [{self.known.item_ids[i]}]" for i in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(
            f"{name!r} may be {len(found)} items: {named}{more}; write the whole title with its "
            "year, or give ids: --items"
        )

    def _misspelt(self, wanted: str) -> list[int]:
        near = difflib.get_close_matches(wanted, self.items, n=2, cutoff=CUTOFF)
        likeness = [difflib.SequenceMatcher(None, key, wanted).ratio() for key in near]
        if len(near) == 2 and likeness[0] - likeness[1] < CLEAR:
            return [i for key in near for i in self.items[key]]
        return self.items[near[0]] if near else []

    def _nearest(self, wanted: str) -> str:
        near = difflib.get_close_matches(wanted, self.items, n=3, cutoff=0.4)
        titles = [self.titles[self.items[key][0]] for key in near]
        return f"; the nearest are {'; '.join(titles)}" if titles else ""
