"""Golden values: what three steps of training give, to the bit where bits can be promised.

Losses and a few weights are the same on every machine up to rounding. The bits of the kernels are
the same for every number of threads. Between processors (width of vectors), compilers, and builds
and threads of BLAS they may differ, so a digest stands under the name of what made it.
`python tests/test_golden.py` writes what this machine gives to golden.json: do so when bits are
meant to change, and say why in the commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import random_split

from minisasrec import SASRec, SASRecConfig
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.kernels.threads import threads
from minisasrec.learn.receipt import BLAS_THREADS, machine
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
    with use_backend(backend):
        found = {"processor": "any processor", **machine()}
    if backend == "numba":
        return "numba {numba}, llvmlite {llvmlite}, {processor}".format(**found)
    return "numpy {numpy}, {blas}, BLAS threads: {blas_threads}, {processor}".format(**found)


def in_a_process(blas_threads: int) -> dict[str, Any]:
    """What the numpy backend gives where BLAS has so many threads, or as many as it can have."""
    told = {name: str(blas_threads) for name in BLAS_THREADS}
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, "--print"],
        env={**os.environ, **told, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def check_numbers(got: dict[str, Any], variant: str) -> None:
    want = GOLDEN["numbers"][variant]
    assert got["losses"] == pytest.approx(want["losses"], rel=2e-6)
    assert got["sums"] == pytest.approx(want["sums"], rel=1e-4, abs=1e-4)


def check_bits(digest: str, made_by: str, variant: str) -> None:
    known = GOLDEN["digests"].get(made_by)
    if known is None:
        pytest.skip(f"no golden bits for {made_by}; python tests/test_golden.py adds them")
    assert digest == known[variant]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_kernels_give_these_bits_whatever_the_threads(variant: str, count: int) -> None:
    with use_backend("numba"), threads(count):
        got = three_steps(variant)
    check_numbers(got, variant)
    with use_backend("numba"), threads(3):
        assert three_steps(variant)["digest"] == got["digest"]
    check_bits(got["digest"], maker("numba"), variant)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_definitions_give_these_bits_for_these_threads_of_blas(count: int) -> None:
    """How BLAS divides a product is not ours: other threads are other bits, and so noted."""
    got = in_a_process(count)
    for variant in VARIANTS:
        check_numbers(got[variant], variant)
    for variant in VARIANTS:
        check_bits(got[variant]["digest"], got["made_by"], variant)


if __name__ == "__main__" and "--print" in sys.argv:
    with use_backend("numpy"):
        print(json.dumps({"made_by": maker("numpy"), **{v: three_steps(v) for v in VARIANTS}}))
elif __name__ == "__main__":
    GOLDEN.setdefault("digests", {})
    with use_backend("numba"):
        found = {variant: three_steps(variant) for variant in VARIANTS}
    GOLDEN["digests"][maker("numba")] = {v: f.pop("digest") for v, f in found.items()}
    GOLDEN["numbers"] = found
    for count in (1, 2, 4):
        told = in_a_process(count)
        GOLDEN["digests"][told["made_by"]] = {v: told[v]["digest"] for v in VARIANTS}
    FILE.write_text(json.dumps(GOLDEN, indent=1) + "\n", encoding="utf-8")
