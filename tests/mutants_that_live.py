"""Changes of the code that no test has to notice, each with the reason; see `mutants.py`.

File, line, change, reason. An entry whose line is no longer in the file is an error.
"""

from __future__ import annotations

LIVES: list[tuple[str, str, str, str]] = []
