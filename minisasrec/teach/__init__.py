"""Tools of the notebooks: exercises that grade themselves, and pictures of the engine.

    from minisasrec.teach import check, draw_graph, hint, shape_trace, show_source, steps_table

`check` and `hint` belong to the exercises. The others return objects that Jupyter shows as the
last line of a cell, and that print as text anywhere else.
"""

from minisasrec.teach.exercises import check, hint, require
from minisasrec.teach.graph import draw_graph
from minisasrec.teach.source import show_source
from minisasrec.teach.tables import shape_trace, steps_table

__all__ = ["check", "draw_graph", "hint", "require", "shape_trace", "show_source", "steps_table"]
