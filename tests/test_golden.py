"""Golden values: what three steps of training give, to the bit where bits can be promised.

Losses and a few weights are the same on every machine up to rounding. Bits are the same for every
number of threads; between processors (width of vectors), compilers and BLAS builds they may differ,
so a digest stands under the name of what made it. `python tests/test_golden.py` writes what this
machine gives to golden.json: do so when bits are meant to change, and say why in the commit.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import random_split

from minisasrec import SASRec, SASRecConfig
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.kernels.threads import threads
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

FILE = Path(__file__).with_name("golden.json")
GOLDEN = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "post": {"norm": "post", "output_projection": True, "loss": "softmax", "padding": "visible"},
}


def three_steps(variant: str) -> dict[str, Any]:
    """Losses, some weights and a digest of all of them."""
    split = random_split(users=300, num_items=90, longest=60, seed=1)
    config = SASRecConfig(n=50, d=36, heads=2, dropout=0.3, **VARIANTS[variant])
    model = SASRec(split.dataset.num_items, config, seed=1)
    batches = TrainingBatches(split, n=config.n, batch_size=100, seed=1)
    optimizer, losses = Adam(model.parameters()), []
    for step, batch in enumerate(batches.epoch(0)):
        loss = model.loss(batch, Keys(1, step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert len(losses) == 3
    digest = hashlib.sha256()
    for name, weights in model.state().items():
        digest.update(name.encode() + weights.tobytes())
    sums = {
        name: float(w.sum(dtype=np.float64)) for name, w in model.state().items() if w.ndim == 2
    }
    return {"losses": losses, "sums": sums, "digest": digest.hexdigest()[:16]}


def maker(backend: str) -> str:
    """What the bits of a backend depend on, beside the code."""
    import llvmlite
    import numba

    made_by = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    if backend == "numpy":  # and the kernels of its BLAS, which some hosts choose by a variable
        made_by = f"numpy {np.__version__} {os.environ.get('OPENBLAS_CORETYPE', '')}".strip()
    return f"{made_by}, {llvmlite.binding.get_host_cpu_name()}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_three_steps_give_these_numbers(backend: str, variant: str) -> None:
    with use_backend(backend):
        got = three_steps(variant)
    want = GOLDEN["numbers"][variant]
    assert got["losses"] == pytest.approx(want["losses"], rel=2e-6)
    assert got["sums"] == pytest.approx(want["sums"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bits_do_not_depend_on_threads(variant: str) -> None:
    digests = []
    for count in (1, 2, 4):
        with use_backend("numba"), threads(count):
            digests.append(three_steps(variant)["digest"])
    assert len(set(digests)) == 1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_bits_are_what_they_were(backend: str, variant: str) -> None:
    known = GOLDEN["digests"].get(maker(backend))
    if known is None:
        pytest.skip(f"no golden bits for {maker(backend)}; python tests/test_golden.py adds them")
    with use_backend(backend):
        assert three_steps(variant)["digest"] == known[variant]


if __name__ == "__main__":
    GOLDEN.setdefault("digests", {})
    for backend in ("numpy", "numba"):
        with use_backend(backend):
            found = {variant: three_steps(variant) for variant in VARIANTS}
        GOLDEN["digests"][maker(backend)] = {v: f.pop("digest") for v, f in found.items()}
        GOLDEN["numbers"] = found
    FILE.write_text(json.dumps(GOLDEN, indent=1) + "\n", encoding="utf-8")
