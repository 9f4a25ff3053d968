"""Long names in code may break where a reader would: after a slash, ::, a dot, _ or =."""

import re

NAME = re.compile(r'(<span class="pre">)([^<]{12,})(</span>)')
PLACE = re.compile(r"(/|::|=|(?<=\w)_(?=\w)|(?<=\w)\.(?!py\b)(?=\w))")


def allow_breaks(app, pagename, templatename, context, doctree):
    """Put <wbr> into inline code, which a reader who copies the name does not copy."""
    if "body" in context:
        context["body"] = NAME.sub(
            lambda m: m[1] + PLACE.sub(r"\1<wbr>", m[2]) + m[3], context["body"]
        )


def setup(app):
    app.connect("html-page-context", allow_breaks)
    return {"version": "1", "parallel_read_safe": True}
