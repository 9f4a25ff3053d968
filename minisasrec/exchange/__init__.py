"""Weights and models in and out: the public PyTorch port, ONNX, item vectors for a search library.

from minisasrec.exchange import from_port, to_port, start_from, to_onnx, save_item_vectors
"""

from __future__ import annotations

from minisasrec.exchange.items import item_map
from minisasrec.exchange.onnx_graph import to_onnx
from minisasrec.exchange.port import from_port, start_from, to_port
from minisasrec.exchange.vectors import save_item_vectors

__all__ = ["from_port", "item_map", "save_item_vectors", "start_from", "to_onnx", "to_port"]
