"""How docs/_ext makes the site: cards from heads, alt texts from pictures, groups of the API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "docs" / "_ext"

pytest.importorskip("sphinx", reason="Sphinx is not installed (the extra `docs`)")


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of docs/_ext by its name."""

    def load(name: str) -> ModuleType:
        return __import__(name)

    monkeypatch.syspath_prepend(str(EXTENSIONS))
    before = set(sys.modules)
    yield load
    for name in set(sys.modules) - before:  # `notebooks` and `api` are names for others, too
        if str(EXTENSIONS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# --- cards -----------------------------------------------------------------------------------

INLINE = """\
# 42  Answers: what they are worth

*A line.*

**You need** [07](07_prediction.ipynb) (scores). \
**Time** 45 minutes, with a break; 10 for the exercise. \
**You are not building** a thing.

Afterwards you can

- say what $x^2$ is;
- count to three,
  slowly.

More.
"""
LISTED = """\
# 42  Answers: what they are worth

- **Paper:** none.
- **Before this:** [07](07_prediction.ipynb) (scores).
- **Time:** 45 minutes, with a break; 10 for the exercise. The clock is yours.
- **You are not building:** a thing.

Afterwards you can

- say what $x^2$ is;
- count to three, slowly.

More.
"""


@pytest.mark.parametrize("text", [INLINE, LISTED], ids=["inline", "listed"])
def test_a_card_says_what_the_head_says(extension: Any, text: str) -> None:
    notebooks = extension("notebooks")
    card = notebooks.card(notebooks.head("42_answers", text))
    assert "{doc}`42  Answers: what they are worth </notebooks/42_answers>`" in card
    assert "**Time** 45 minutes, with a break; 10 for the exercise.\n" in card
    assert "**You need** {doc}`07 </notebooks/07_prediction>` (scores).\n" in card
    assert "Afterwards you can\n\n- say what $x^2$ is\n- count to three, slowly\n" in card
    assert "{download}`42_answers.ipynb </../notebooks/42_answers.ipynb>`" in card


@pytest.mark.parametrize(
    ("lost", "said"),
    [("# 42  ", "a title"), ("**Time**", "its time"), ("**You need**", "what it needs")],
)
def test_a_head_that_lacks_a_fact_stops_the_build(extension: Any, lost: str, said: str) -> None:
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match=rf"42_answers\.ipynb: the first cell lacks {said}"):
        extension("notebooks").head("42_answers", INLINE.replace(lost, ""))


def test_every_notebook_has_a_card_with_the_minutes_of_the_guide(extension: Any) -> None:
    heads = extension("notebooks").heads()
    assert len(heads) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    guide = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) [^|]+\|[^|]*\| (\d+) \|", guide, flags=re.MULTILINE)
    assert {head.number: head.time.split()[0] for head in heads} == dict(rows)


# --- alt texts -------------------------------------------------------------------------------


def picture(draw: Any, **figure: Any) -> str:
    import io

    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        canvas, axes = plt.subplots(**figure)
        draw(axes)
        file = io.StringIO()
        canvas.savefig(file, format="svg")
        plt.close(canvas)
    return file.getvalue()


def test_an_alt_text_says_title_axes_and_legend(extension: Any) -> None:
    def draw(axes: Any) -> None:
        axes.plot([1, 2], [3, 5], label="cats")
        axes.plot([1, 2], [4, 1], label=r"$\sigma(r)$")
        axes.text(1.5, 2, "a fence")
        axes.set(title="Cats win", xlabel="day", ylabel="naps")
        axes.legend()

    alt = extension("figures").alt_text(picture(draw))
    assert alt == "Figure: Cats win; x: day; y: naps; legend: cats, σ(r); in it: a fence."


def test_an_alt_text_names_each_bar_but_no_number_and_no_title_that_is_not_there(
    extension: Any,
) -> None:
    def draw(both: Any) -> None:
        both[0].barh(["fork", "spoon"], [1, 2])
        both[0].text(1, 0, "here")
        both[1].plot([1, 1000], [1, 2])
        both[1].set(xscale="log", title=r"$10^2$ is a hundred")

    alt = extension("figures").alt_text(picture(draw, ncols=2))
    assert alt == "Figure: y: fork, spoon; in it: here. 10^2 is a hundred."


def test_the_alt_text_of_another_drawing_is_its_words(extension: Any) -> None:
    words = "".join(f"<text>w{i}</text>" for i in range(8))
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg">{words}</svg>'
    alt_text = extension("figures").alt_text
    assert alt_text(drawing) == "Drawing with the words: w0, w1, w2, w3, w4, w5 and 2 more"
    assert alt_text(drawing.replace("<text>w0", "<title>Two boxes</title><text>")) == (
        "Drawing: Two boxes."
    )
    assert alt_text('<svg xmlns="http://www.w3.org/2000/svg"/>') == ""


# --- the API ---------------------------------------------------------------------------------


def test_every_module_has_one_group_or_is_private(extension: Any) -> None:
    api = extension("api")
    groups = api.groups()  # raises for a module without a group
    assert [name for name, *_ in groups][:4] == ["package", "autograd", "ops", "kernels"]
    pages = [module for _, _, modules in groups for module in modules]
    assert len(pages) == len(set(pages)) > 60
    assert {"autograd.engine", "train", "teach.grading.hidden", "kernels.softmax"} <= set(pages)
    assert not {"kernels.jit", "teach.exercises.nb05", "teach.grading.judge"} & set(pages)


def test_a_module_without_a_group_stops_the_build(
    extension: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sphinx.errors import ExtensionError

    api = extension("api")
    monkeypatch.setattr(api, "ORDER", tuple(name for name in api.ORDER if name != "nn"))
    with pytest.raises(ExtensionError, match=r"no group and not PRIVATE: nn, nn\."):
        api.groups()


# --- in a browser ----------------------------------------------------------------------------


def test_a_notebook_for_the_browser_installs_the_package_and_links_to_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import lite

    cells = lite.in_a_browser("05_self_attention")["cells"]
    assert cells[1]["source"].startswith("%pip install -q minisasrec")
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    linked = set(re.findall(r"\]\(([\w./]+)\.(?:ipynb|md)\)", text))
    assert "04_embedding" in linked
    assert linked <= set(lite.NAMES)


NO_NUMBA = """\
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None  # as if they were not installed
import numpy as np
from minisasrec import Tensor, backend, ops
x = Tensor(np.array([[1.0, 2.0]], np.float32), requires_grad=True)
ops.softmax(x).sum().backward()
from minisasrec import SASRecConfig
from minisasrec.teach import check, lecture_style, shape_trace
print(backend(), x.grad.shape)
"""


def test_the_package_runs_where_numba_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_NUMBA],
        capture_output=True,
        text=True,
        timeout=120,
        env={k: v for k, v in os.environ.items() if k != "MINISASREC_BACKEND"},
    )
    assert (done.stdout, done.stderr) == ("numpy (1, 2)\n", "")


def test_no_numba_is_asked_for_in_a_browser() -> None:
    markers = pytest.importorskip("packaging.requirements")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [found] = re.findall(r'^    "(numba.*?)",', text, flags=re.MULTILINE)
    marker = markers.Requirement(found).marker
    assert not marker.evaluate({"sys_platform": "emscripten"})
    assert all(marker.evaluate({"sys_platform": name}) for name in ("linux", "darwin", "win32"))


# --- a small site ----------------------------------------------------------------------------

SITE_CONF = """\
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "sphinx.ext.mathjax", "breaks", "figures", "offline"]
myst_enable_extensions = ["dollarmath"]
html_static_path = [{static!r}]
mathjax_path = "mathjax.js"
nb_execution_mode = "off"
"""


@pytest.mark.slow
def test_a_page_needs_no_network_and_its_picture_has_words(
    extension: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("myst_nb", "sphinx-mathjax-offline"):
        if not __import__("importlib.util").util.find_spec(needed):
            pytest.skip(f"{needed} is not installed (the extra `docs`)")
    import nbformat
    from sphinx.application import Sphinx

    offline = extension("offline")
    static = tmp_path / "static"
    static.mkdir()
    monkeypatch.setattr(offline, "STATIC", static)
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    conf = SITE_CONF.format(extensions=str(EXTENSIONS), static=str(static))
    (source / "conf.py").write_text(conf, encoding="utf-8")
    svg = picture(lambda axes: axes.set(title="Nothing here", xlabel="day"))
    code = nbformat.v4.new_code_cell("draw()")
    code.outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": svg})]
    text = nbformat.v4.new_markdown_cell("# A page\n\n$x^2$, `data/a_long_name.py::Name`\n")
    nbformat.write(nbformat.v4.new_notebook(cells=[text, code]), source / "index.ipynb")
    Sphinx(source, source, out, tmp_path / "trees", "html", warningiserror=True).build()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'alt="Figure: Nothing here; x: day."' in page
    assert "data/<wbr>a_<wbr>long_<wbr>name.py::<wbr>Name" in page
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page)
    assert any("_static/mathjax.js" in name for name in loaded)
    assert not [name for name in loaded if name.startswith(("http:", "https:", "//"))]
    assert (out / "_static" / "mathjax.js").stat().st_size > 1_000_000
    with zipfile.ZipFile(out / offline.ZIP) as archive:
        names = archive.namelist()
        first = archive.read("minisasrec-site/index.html").decode("utf-8")
    assert "data-offline" in first and "data-offline" not in page
    assert "minisasrec-site/notebooks/00_tour.ipynb" in names
    assert not [name for name in names if name.endswith(".zip")]
