"""How the pictures of the notebooks look."""

from __future__ import annotations

import sys
from typing import Any

from minisasrec.plots import COLOURS


def lecture_style() -> None:
    """Set Matplotlib to colours that everybody tells apart, and to letters for the last row.

    Pictures are SVG, sharp at any size. The background is white also in a dark notebook, since axes
    and letters are dark.
    """
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "svg.fonttype": "none",  # letters stay letters: small files, and a page can be searched
            "svg.hashsalt": "minisasrec",
        }
    )
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        from matplotlib_inline import backend_inline

        formats: Any = backend_inline.set_matplotlib_formats  # has no types
        formats("svg")
