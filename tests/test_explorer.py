"""The page that carries a model, in a real browser: its numbers, and what one does with it.

These tests need Playwright and a browser, that of the system or Playwright's own; without them they
are skipped. The network is off in all of them.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shop import fitted

from minisasrec import Recommender, Tensor
from minisasrec.autograd.registry import OPS
from minisasrec.backends import use_backend
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import ConfigError
from minisasrec.experiments.attention_maps import attention_maps
from minisasrec.explorer import page
from minisasrec.explorer.page import _file
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn import Module

N = 10
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "msedge")
WIRINGS: dict[str, dict[str, Any]] = {
    "the paper": {},
    "two heads": {"heads": 2},
    "no blocks": {"blocks": 0},
    "three blocks": {"blocks": 3},
    "no positions": {"positions": False},
    "not scaled": {"scale_embedding": False},
    "two tables": {"shared_embedding": False},
    "no residual": {"residual": False},
    "no layer norm": {"layer_norm": False},
    "output projection": {"output_projection": True},
    "post": {"norm": "post", "heads": 2, "output_projection": True},
    "post without layer norm": {"norm": "post", "layer_norm": False},
    "authors": {"norm": "authors"},
    "authors, two heads, not scaled": {"norm": "authors", "heads": 2, "scale_embedding": False},
    "authors without residual": {"norm": "authors", "residual": False},
    "padding visible": {"padding": "visible", "heads": 2, "norm": "post"},
    "padding zeroed": {"padding": "zeroed", "output_projection": True, "norm": "authors"},
    "padding visible, no positions": {"padding": "visible", "positions": False},
}


def recommender(seed: int = 1, **settings: Any) -> Recommender:
    """A SASRec whose weights are all far from their first values, and the pages of a small shop."""
    known, config = fitted().known, fitted().config
    own = SASRecConfig(**{"n": N, "d": 8, "blocks": 2, "heads": 1, **settings})
    model = SASRec(len(known.item_ids) - 1, own, seed=seed)
    generator = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data += generator.normal(scale=0.4, size=parameter.shape).astype(np.float32)
    model.item_embedding.table.data[0] = 7  # what padding must not read
    return Recommender.of(dataclasses.replace(config, sasrec=own), known, model)


def histories(items: int) -> list[list[int]]:
    """Item numbers: 1, n - 1, n and n + 5 of them, one with an item twice."""
    generator = np.random.default_rng(3)
    lengths = (1, 2, N - 1, N, N + 5)
    found = [generator.integers(1, items + 1, length).tolist() for length in lengths]
    return [*found, [5, 9, 5]]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser; the one of the system before Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        options: dict[str, Any] = {"executable_path": found} if found else {}
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in a container
            options["args"] = ["--no-sandbox"]
        try:
            started = playwright.chromium.launch(**options)
        except sync_api.Error as error:
            pytest.skip(f"no browser starts here: {str(error).splitlines()[0]}")
        yield started
        started.close()


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a recommender from disk; no error and no request may come of it."""
    contexts, wrong = [], list[str]()

    def opened(
        made: Recommender | str,
        fragment: str = "",
        *,
        context: dict[str, Any] | None = None,
        **how: Any,
    ) -> Any:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(made if isinstance(made, str) else page(made, **how), encoding="utf-8")
        given = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US", **(context or {})}
        contexts.append(browser.new_context(offline=True, **given))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(10_000)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        tab.on("request", lambda sent: sent.url[:5] in ("file:", "data:") or wrong.append(sent.url))
        tab.on(
            "dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss())
        )
        tab.goto(path.as_uri() + fragment)
        settled(tab)
        return tab

    yield opened
    for one in contexts:
        one.close()
    assert not wrong


def settled(tab: Any) -> None:
    """Wait until the page has computed all that it shows."""
    tab.wait_for_function("typeof answer !== 'undefined' && answer.done")


def titles_of(tab: Any, where: str) -> list[str]:
    return [row.strip() for row in tab.locator(f"#{where} li .title").all_inner_texts()]


def start(tab: Any, items: list[int]) -> None:
    """Put these item numbers into the history."""
    tab.evaluate("items => explorer.edit(items)", items)
    settled(tab)


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wiring", WIRINGS)
def test_scores_are_those_of_the_package(wiring: str, visit: Open) -> None:
    made = recommender(**WIRINGS[wiring])
    model, tab = made.model_, visit(made, beside="none")
    asked = histories(model.num_items)
    wanted = model.all_scores(np.full(len(asked), -1), pack_sequences(asked, N))
    assert np.ptp(wanted[:, 1:]) > 1
    for history, scores in zip(asked, wanted, strict=True):
        got = tab.evaluate("items => Array.from(explorer.scores(items))", history)
        np.testing.assert_allclose(got[1:], scores[1:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("repeats", ["allow", "forbid"])
def test_the_ten_best_are_those_of_the_package(repeats: str, visit: Open) -> None:
    made = recommender()
    popularity = made.known.popularity.copy()
    popularity[7] = 0  # an item that nobody has in the train part
    known = dataclasses.replace(made.known, repeats=repeats, popularity=popularity)
    made = Recommender.of(made.config, known, made.model_)
    tab = visit(made)
    for history in [[], *histories(made.model_.num_items)]:
        past = [made.item_ids[i - 1] for i in history]
        wanted = made.recommend(histories=[past])
        got = tab.evaluate("items => explorer.recommend(items)", history)
        assert [row["item"] for row in got] == wanted["item"].tolist()
        np.testing.assert_allclose([row["score"] for row in got], wanted["score"], atol=1e-4)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_gradients_are_those_of_the_engine(wiring: str, visit: Open) -> None:
    made = recommender(**WIRINGS[wiring])
    model, tab = made.model_, visit(made, beside="none")
    for history in histories(model.num_items):
        wanted = gradients(model, history, item=11)
        assert np.abs(wanted).max() > 1e-2
        got = tab.evaluate(
            "([items, i]) => { const g = explorer.gradients(items, i);"
            " return {rows: g.rows, data: Array.from(g.data)}; }",
            [history, 11],
        )
        got = np.reshape(got["data"], (got["rows"], -1))[-len(wanted) :]  # without padding
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3 * max(1, np.abs(wanted).max()))


def gradients(model: Any, history: list[int], item: int) -> np.ndarray:
    """d score / d M_{s_t} by our engine: the rows that the model looks up become a leaf."""

    class Leaf(Module):
        def forward(self, ids: np.ndarray) -> Tensor:
            rows = table.data[ids].copy()
            rows[ids == 0] = 0
            self.rows = Tensor(rows, requires_grad=True)
            return self.rows

    own, table, leaf = model.item_embedding, model.item_embedding.table, Leaf()
    N_i = model.item_vectors()[item]
    inputs = pack_sequences([history], model.n)
    model.item_embedding = leaf
    try:
        with use_backend("numpy"):  # every op by itself
            F = model(inputs)
            (F[inputs.last] * N_i).sum().backward()
    finally:
        model.item_embedding = own
    return np.asarray(leaf.rows.grad)[-len(inputs.items) :]


def test_attention_is_that_of_the_package(visit: Open) -> None:
    made = recommender(heads=2)
    tab, history = visit(made), [3, 50, 8, 21]
    wanted = next(attention_maps(made.model_, pack_sequences([history], N), by_head=True))
    got = tab.evaluate(
        "items => explorer.model().forward(items).steps.filter(s => s.name === 'attention')"
        ".map(s => s.value.weights.map(p => Array.from(p.data)))",
        history,
    )
    for block, heads in enumerate(wanted):
        np.testing.assert_allclose(np.reshape(got[block], heads.shape), heads, atol=1e-5)


def test_positions_off_is_a_table_of_zeros(visit: Open) -> None:
    made = recommender()
    tab, history = visit(made), [3, 50, 8, 21]
    with_order = made.model_.all_scores(np.array([-1]), pack_sequences([history], N))[0]
    made.model_.position_embedding.table.data[:] = 0
    wanted = made.model_.all_scores(np.array([-1]), pack_sequences([history], N))[0]
    got = tab.evaluate("h => Array.from(explorer.scores(h, {positions: false}))", history)
    np.testing.assert_allclose(got[1:], wanted[1:], atol=1e-4)
    assert np.abs(wanted - with_order).max() > 0.1


def test_mask_off_is_attention_to_all(visit: Open) -> None:
    made = recommender(blocks=1)
    model, history = made.model_, [3, 50, 8, 21]
    tab, block = visit(made), model.blocks[0]
    x = model.item_embedding.table.data[history] * np.float32(np.sqrt(8))
    x = x + model.position_embedding.table.data[N - 4 :]
    z = block.attention_norm(Tensor(x))
    q, k, v = (
        layer(z).data
        for layer in (block.attention.query, block.attention.key, block.attention.value)
    )
    r = q @ k.T / np.float32(np.sqrt(8))
    p = np.exp(r - r.max(axis=1, keepdims=True))
    x = x + (p / p.sum(axis=1, keepdims=True)) @ v
    x = x + block.ffn(block.ffn_norm(Tensor(x)), None).data
    wanted = model.final_norm(Tensor(x)).data
    got = tab.evaluate(
        "h => Array.from(explorer.model().forward(h, {mask: false}).F.data)", history
    )
    np.testing.assert_allclose(np.reshape(got, (4, 8)), wanted, atol=1e-4)


def test_what_an_item_adds_is_what_the_package_explains(visit: Open) -> None:
    made = recommender()
    tab, history = visit(made), histories(made.model_.num_items)[4]
    start(tab, history)
    wanted = made.explain([made.item_ids[i - 1] for i in history], k=1)
    got = tab.evaluate("reasons().map(({t, item, adds}) => [t, item, adds])")
    assert [made.known.shown_titles[item] for _, item, _ in got] == wanted.past
    np.testing.assert_allclose([adds for *_, adds in got], wanted.adds[0], atol=2e-4)


def test_float16_is_the_rounded_model(visit: Open) -> None:
    made = recommender()
    table = made.model_.item_embedding.table.data
    table[1, :4] = [6e-8, -3e-5, 65504, 0]  # subnormal numbers, the largest one, zero
    tab = visit(made, weights="float16")
    got = tab.evaluate("Array.from(explorer.model().weights['item_embedding.table'].data)")
    assert np.array_equal(np.float16(got), np.float16(table.ravel()))
    assert np.array_equal(got, np.float16(table.ravel()).astype(np.float32))
    table[1, 2] = 1e6
    with pytest.raises(ConfigError, match="float32"):
        page(made, weights="float16")


def test_the_second_model(visit: Open) -> None:
    made, other = recommender(), recommender(seed=5, norm="post", d=12, heads=3)
    for beside in (other, "untrained"):
        tab = visit(made, beside=beside)
        second = other.model_
        if beside == "untrained":
            second = type(made.model_).of_size(
                0, made.known.popularity, made.model_.config, made.config.seed
            )
        wanted = second.all_scores(np.array([-1]), pack_sequences([[4, 9]], N))[0]
        got = tab.evaluate("Array.from(explorer.scores([4, 9], {}, 1))")
        np.testing.assert_allclose(got[1:], wanted[1:], atol=1e-4)


def test_every_op_of_the_page_is_one_of_the_package() -> None:
    used = set(re.findall(r'made\("(\w+)"', _file("ops.js")))
    assert len(used) == 8 and used <= set(OPS)
