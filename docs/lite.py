"""The notebooks that run in a browser, with nothing to install: `python docs/lite.py DIR`.

JupyterLite makes a site of files: JupyterLab, a kernel whose Python is compiled for the browser
(Pyodide), these notebooks, and a wheel of this package. Numba is not in it, so the NumPy
definitions run. Pyodide and the other packages are loaded from the network by the reader's browser.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAMES = (
    *("01_autograd", "02_gradient_checking", "04_embedding"),
    *("05_self_attention", "06_stacking", "07_prediction"),
)
INSTALL = "%pip install -q minisasrec  # here alone: the wheel lies beside this page"


def in_a_browser(name: str) -> dict[str, Any]:
    """The notebook `name`, a cell that installs the package, and links to what is here only."""

    def link(match: re.Match[str]) -> str:
        return match[0] if match[2].removesuffix(".ipynb") in NAMES else match[1]

    path = ROOT / "notebooks" / f"{name}.ipynb"
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(
                r"\[([^]]+)\]\(((?:\.\./)?\w[\w/]*\.(?:ipynb|md))\)", link, "".join(cell["source"])
            )
    install = dict(cell_type="code", id="install", metadata={}, outputs=[], source=INSTALL)
    notebook["cells"].insert(1, {**install, "execution_count": None})
    return notebook


def build(out: Path) -> None:
    """Build the site in the folder `out`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
        subprocess.run([*pip, str(work / "wheels"), str(ROOT)], check=True)
        [wheel] = (work / "wheels").glob("minisasrec-*.whl")
        contents = work / "contents"
        contents.mkdir()
        for name in NAMES:
            text = json.dumps(in_a_browser(name), ensure_ascii=False, indent=1)
            (contents / f"{name}.ipynb").write_text(text, encoding="utf-8")
        jupyter = [sys.executable, "-m", "jupyterlite_core", "build", "--apps", "lab"]
        where = ["--contents", str(contents), "--lite-dir", str(work), "--output-dir", str(out)]
        light = ["--no-sourcemaps", "--no-unused-shared-packages"]
        command = [*jupyter, *where, *light, "--piplite-wheels", str(wheel)]
        subprocess.run(command, check=True, cwd=work)  # it leaves files where it runs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder to write the site into")
    build(parser.parse_args().out.resolve())
