"""A site that needs no network: formulas by a copy of MathJax, and the whole site in one zip."""

import importlib.util
import shutil
import zipfile
from pathlib import Path

from notebooks import NOTEBOOKS

STATIC = Path(__file__).parents[1] / "generated" / "static"
ZIP = "minisasrec-site.zip"


def copy_mathjax(*_):
    """Take MathJax out of the package that carries it, of which no other part is used.

    It draws with SVG, so it is one file and needs no fonts, which a browser may refuse to read
    from a page that is opened as a file.
    """
    [folder] = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations
    STATIC.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(folder, "static", "mathjax", "tex-svg.js"), STATIC / "mathjax.js")


def write_zip(app, error):
    """The site in the site: `minisasrec-site.zip`, with the notebooks as files beside their pages.

    Its pages hide what is `online`, and show what is `offline`."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    target = out / ZIP
    target.unlink(missing_ok=True)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            name = path.relative_to(out)
            if name.parts[0] in (".doctrees", ".buildinfo", "lite"):
                continue  # lite: needs a server and a network
            place = Path("minisasrec-site", name).as_posix()
            if name.suffix == ".html":
                text = path.read_text(encoding="utf-8")
                archive.writestr(place, text.replace("<html ", '<html data-offline="yes" ', 1))
            else:
                archive.write(path, place)
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):  # a browser shows a file, and saves none
            archive.write(path, f"minisasrec-site/notebooks/{path.name}")


def setup(app):
    app.connect("builder-inited", copy_mathjax)
    app.connect("build-finished", write_zip)
    return {"version": "1", "parallel_read_safe": True}
