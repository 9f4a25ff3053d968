"""The page that carries a model: one HTML file in which a trained SASRec answers and is explained.

`pages.py` puts it together. `ops.js` and `sasrec.js` are the model in JavaScript, to be read beside
`minisasrec/ops` and `minisasrec/models/sasrec.py`; `page.js` is what one sees and touches,
`views.js` what opens below, `words.json` what it says in English and Korean.
"""

from minisasrec.explorer.pages import Shown, page, show, write

__all__ = ["Shown", "page", "show", "write"]
