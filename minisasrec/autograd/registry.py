"""Every op by its name: what the tests, the docs and the operators of `Tensor` go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minisasrec.autograd.op import Op

OPS: dict[str, Op] = {}
