"""Alt texts in words for the figures of the notebooks, read from what stands in each picture."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

SVG = "{http://www.w3.org/2000/svg}"
LETTERS = {r"\cdot": "·", r"\sigma": "σ", r"\eta": "η", r"\beta": "β", r"\sqrt": "√"}
NUMBER = re.compile(r"[-−+\d.,%^eE×x/\s]*")
FEW = 6  # names of one kind that are read out; a listener needs no more to know what is meant

logger = logging.getLogger(__name__)


def _words(element):
    """All text inside `element`; of a formula its source, which Matplotlib writes as a comment."""
    for child in element.iter():
        if child.tag is ET.Comment and "$" in (child.text or ""):
            text = re.sub(r"\\[a-z]+", lambda m: LETTERS.get(m[0], ""), child.text)
            return " ".join(re.sub(r"[${}\\]", "", text).split())
    return " ".join(
        " ".join(t for text in element.iter(f"{SVG}text") for t in text.itertext()).split()
    )


def _groups(element, prefix):
    return [g for g in element.findall(f"{SVG}g") if (g.get("id") or "").startswith(prefix)]


def _names(groups):
    """What the groups say, numbers left out, each once."""
    found = dict.fromkeys(_words(group) for group in groups)
    return [name for name in found if not NUMBER.fullmatch(name)]


def _listed(kind, names):
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return [f"{kind}: {', '.join(names[:FEW])}{more}"] if names else []


def _top(axes):
    """Where the frame of the axes ends at the top (y grows downward in SVG)."""
    for patch in _groups(axes, "patch_"):
        for path in patch.findall(f"{SVG}path"):
            return min(float(y) for y in re.findall(r"[ML] \S+ (\S+)", path.get("d", "")))
    return float("-inf")


def _height(group):
    """Where a text stands: a word has its own place, a formula that of the group around it."""
    for element in group.iter():
        place = re.search(
            r"(?:translate\(\S+|rotate\(\S+ \S+) ([-\d.]+)\)", element.get("transform", "")
        )
        if place:
            return float(place[1])
    return float("inf")


def _axes(axes):
    """One picture of a figure: its title, both axes with their names, legend, words in it."""
    texts = _groups(axes, "text_")
    top = _top(axes)
    titles = [text for text in texts if _height(text) < top]
    parts = [_words(text) for text in titles[-1:]]
    seen = []
    for letter, axis in zip("xy", _groups(axes, "matplotlib.axis_")[:2], strict=False):
        label = [_words(text) for text in _groups(axis, "text_")]
        ticks = [tick for tick in axis.findall(f"{SVG}g") if (tick.get("id") or "")[1:6] == "tick_"]
        names = _names(ticks)
        parts += [f"{letter}: {label[0]}"] if label else []
        if names not in seen:  # a map of the same names in rows and columns says them once
            parts += _listed(letter if not label else "on it", names)
        seen.append(names)
    legends = [text for legend in _groups(axes, "legend_") for text in _groups(legend, "text_")]
    parts += _listed("legend", _names(legends))
    parts += _listed("in it", _names([text for text in texts if text not in titles]))
    if len(parts) == 1 and parts[0].startswith("y: "):  # the bar beside a map
        return f"colour: {parts[0][3:]}"
    return "; ".join(part for part in parts if part)


def alt_text(svg):
    """What an SVG shows, in words. Empty where no word stands in it.

    A figure of Matplotlib says where its title, axes and legend are. Of another drawing the words
    are read in their order.
    """
    builder = ET.TreeBuilder(insert_comments=True)
    root = ET.fromstring(svg, parser=ET.XMLParser(target=builder))
    figures = [g for g in root.findall(f"{SVG}g") if g.get("id") == "figure_1"]
    if figures:
        heads = [_words(text) for text in _groups(figures[0], "text_")]
        pictures = [_axes(axes) for axes in _groups(figures[0], "axes_")]
        legends = [t for legend in _groups(figures[0], "legend_") for t in _groups(legend, "text_")]
        parts = [*heads, *dict.fromkeys(pictures), *_listed("legend", _names(legends))]
        words = ". ".join(part for part in parts if part)
        return f"Figure: {words}." if words else ""
    titles = [title.text for title in root.findall(f"{SVG}title")]
    words = [" ".join("".join(text.itertext()).split()) for text in root.iter(f"{SVG}text")]
    return (
        f"Drawing: {titles[0]}." if titles else "; ".join(_listed("Drawing with the words", words))
    )


def set_alt_texts(app, doctree):
    """Give each picture without an alt text the words that stand in it; without words, warn."""
    for image in doctree.findall(nodes.image):
        if image.get("alt"):
            continue
        uri = image["uri"]
        path = Path(app.srcdir, uri)  # Sphinx has made all of them relative to this folder
        if path.suffix == ".svg" and path.is_file():
            image["alt"] = alt_text(path.read_text(encoding="utf-8"))
        if not image.get("alt"):
            logger.warning("a picture needs an alt text: %s", uri, location=image, type="figures")


def setup(app):
    app.connect("doctree-read", set_alt_texts)
    return {"version": "1", "parallel_read_safe": True}
