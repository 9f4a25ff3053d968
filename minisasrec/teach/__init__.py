"""Tools of the notebooks: exercises that grade themselves, and pictures of the engine.

    from minisasrec.teach import check, draw_graph, hint, shape_trace, show_source, steps_table

`check` and `hint` belong to the exercises. `keep` writes a right answer to a file of the
student's, and `own_ops` lets the model train with what is in it. `lecture_style` sets how pictures
look, `explorer` shows a trained model to play with. The others return objects that Jupyter shows as
the last line of a cell, and that print as text anywhere else.
"""

from minisasrec.teach.exercises import check, hint, require
from minisasrec.teach.explorer import explorer
from minisasrec.teach.graph import draw_graph
from minisasrec.teach.own_ops import keep, own_ops
from minisasrec.teach.source import show_source
from minisasrec.teach.style import lecture_style
from minisasrec.teach.tables import shape_trace, steps_table

__all__ = [
    "check",
    "draw_graph",
    "explorer",
    "hint",
    "keep",
    "lecture_style",
    "own_ops",
    "require",
    "shape_trace",
    "show_source",
    "steps_table",
]
