"""The page that carries a model, in a real browser: its numbers, and what one does with it.

These tests need Playwright and a browser, that of the system or Playwright's own; without them they
are skipped, unless $MINISASREC_BROWSER says that there has to be one. The network is off.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shop import fitted

from minisasrec import Recommender, Tensor
from minisasrec.autograd.registry import OPS
from minisasrec.backends import use_backend
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import ConfigError, DataError, TrainingError
from minisasrec.experiments.attention_maps import attention_maps
from minisasrec.explore import main
from minisasrec.explorer import page, show, write
from minisasrec.explorer.pages import ONLY_TRAINING, READS, _file
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn import Module

pytestmark = pytest.mark.filterwarnings("ignore::minisasrec.data.DataWarning")

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
    "ligr": {"norm": "ligr", "heads": 2},
    "ligr, output projection": {"norm": "ligr", "output_projection": True},
    "positions from the beginning": {"positions_from": "beginning"},
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
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # as in a container
        arguments = ["--no-sandbox"] if root else []
        found = [{"executable_path": path} for path in map(shutil.which, NAMES) if path]
        for how in (*found, {"channel": "chrome"}, {"channel": "msedge"}, {}):
            try:
                started = playwright.chromium.launch(args=arguments, **how)
                break
            except sync_api.Error as error:
                told = str(error).splitlines()[0]
        else:
            assert not os.environ.get("MINISASREC_BROWSER"), told
            pytest.skip(f"no browser starts here: {told}")
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
    until(tab, "typeof answer !== 'undefined' && answer.done")


def until(tab: Any, condition: str) -> None:
    """Wait for a condition. (Playwright's own way needs `eval`, which the page forbids.)"""
    end = time.monotonic() + 10
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        tab.wait_for_timeout(10)


def open_all(tab: Any) -> None:
    """Open all that opens, and wait until it is filled: views, and the steps inside."""
    for _ in range(2):
        tab.evaluate("document.querySelectorAll('details').forEach(node => (node.open = true))")
        until(
            tab, "[...document.querySelectorAll('details[open] > .body')].every(b => b.firstChild)"
        )


def titles_of(tab: Any, where: str) -> list[str]:
    return [row.strip() for row in tab.locator(f"#{where} li .title").all_inner_texts()]


def start(tab: Any, items: list[int]) -> None:
    """Put these item numbers into the history."""
    tab.evaluate("items => explorer.edit(items)", items)
    settled(tab)


# --- the numbers ---------------------------------------------------------------------------------


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


def test_what_adds_nothing_has_no_sign(visit: Open) -> None:
    told = visit(recommender()).evaluate("[0.0049, -0.0049, 0, 0.006, -1.234].map(signed)")
    assert told == ["0.00", "0.00", "0.00", "+0.01", "−1.23"]


def test_older_items_count_among_the_reasons(visit: Open) -> None:
    tab = visit(recommender(n=40))
    start(tab, list(range(1, 31)))
    assert tab.locator("#history li").count() == 12
    until(tab, "reasons().length === 30")
    tab.get_by_role("button", name="Show 18 earlier titles").click()
    settled(tab)
    assert tab.locator("#history li").count() == 30
    until(tab, "document.querySelectorAll('#history .adds .bar').length === 30")


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
    assert len(used) == 10 and used <= set(OPS)


# --- what one does with it -----------------------------------------------------------------------


def test_the_short_answer_holds_when_one_does_what_it_says(visit: Open) -> None:
    made = recommender()
    tab = visit(made)
    start(tab, [5, 60, 33, 8, 71])
    first, reason = titles_of(tab, "next")[0], tab.locator("#why .title").nth(1).inner_text()
    place = int(re.search(r"(?:to place|the place is) (\d+)", tab.inner_text("#why"))[1])  # type: ignore[index]
    tab.get_by_role("button", name=f"Remove {reason}").click()
    settled(tab)
    assert reason not in titles_of(tab, "history")
    number = made.known.shown_titles.tolist().index(first)
    assert tab.evaluate("i => explorer.placeOf(i, answer)", number) == place
    tab.get_by_role("button", name="Undo").click()
    settled(tab)
    assert len(titles_of(tab, "history")) == 5 and titles_of(tab, "next")[0] == first


def test_take_out_the_main_reason(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33, 8, 71])
    before, reason = titles_of(tab, "next"), tab.locator("#why .title").nth(1).inner_text()
    place = re.search(r"(?:to place|the place is) (\d+)", tab.inner_text("#why"))[1]  # type: ignore[index]
    tab.click("#try-reason")
    settled(tab)
    assert titles_of(tab, "beside") == before  # what was is pinned
    assert reason in tab.inner_text("#beside-hint")
    places = tab.locator("#next .moved").all_inner_texts()
    assert places and all(re.fullmatch(r"[▲▼] was \d+|was in the history", told) for told in places)
    # the title that was first has fallen to the place that the short answer had said
    assert tab.locator("#beside li").first.locator(".moved").inner_text() == f"▼ now {place}"


def test_a_person_is_known_by_the_history(visit: Open) -> None:
    """What really came next is told wherever the history came from: a link, a reload, an undo."""
    made = recommender()
    tab = visit(made)
    person, really = tab.input_value("#examples"), tab.inner_text("#real")
    held_out = tab.evaluate("data.examples[0].next")
    place = tab.evaluate("i => placeOf(i, answer)", held_out)
    assert person == "0" and f"in place {place}." in really
    assert made.known.shown_titles[held_out] in really
    start(tab, [5, 60])
    assert tab.input_value("#examples") == "-1" and tab.inner_text("#real") == ""
    tab.click("#undo")
    settled(tab)
    assert (tab.input_value("#examples"), tab.inner_text("#real")) == (person, really)
    again = visit(made, tab.evaluate("location.hash"))
    assert (again.input_value("#examples"), again.inner_text("#real")) == (person, really)


def test_search_finds_titles_and_adds_them_by_keyboard(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [])
    assert "most popular" in tab.inner_text("#next-hint")
    box = tab.get_by_role("combobox", name="Add a title")
    box.focus()
    box.press_sequentially("PAGE 11")
    options = tab.locator("#found [role=option]")
    assert {"Page 11", "Page 110"} <= set(options.all_inner_texts())
    assert all("11" in told for told in options.all_inner_texts())
    first, second = options.all_inner_texts()[:2]
    box.press("ArrowDown")
    assert box.get_attribute("aria-activedescendant") == "found-1"
    assert options.nth(1).get_attribute("aria-selected") == "true"
    box.press("Enter")
    settled(tab)
    assert titles_of(tab, "history") == [second]
    box.press_sequentially("nothing like it")
    assert "No title" in tab.inner_text("#found")
    box.press("Escape")
    assert not tab.is_visible("#found")


def test_search_ignores_case_and_accents_and_half_a_syllable(visit: Open) -> None:
    made = recommender()
    titles = list(made.known.titles)
    titles[1:4] = ["Les Misérables", "기생충", "İstanbul"]
    tab = visit(
        Recommender.of(made.config, dataclasses.replace(made.known, titles=titles), made.model_)
    )
    for query, found in (("miserables LES", 1), ("기새", 2), ("istan", 3)):
        assert tab.evaluate("q => explorer.search(q)", query) == [found]


def test_titles_are_dragged(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33, 8])
    a, b, c, d = titles_of(tab, "history")
    rows = tab.locator("#history li")

    def middle(k: int) -> tuple[float, float]:
        box = rows.nth(k).locator(".handle").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    tab.mouse.move(*middle(0))
    tab.mouse.down()
    x, y = middle(2)
    tab.mouse.move(x, y + 2, steps=8)
    tab.mouse.up()
    settled(tab)
    assert titles_of(tab, "history") == [b, c, a, d]
    assert tab.evaluate("state.history") == [60, 33, 5, 8]


def test_titles_are_dragged_by_finger(visit: Open) -> None:
    tab = visit(
        recommender(), context={"has_touch": True, "viewport": {"width": 390, "height": 844}}
    )
    start(tab, [5, 60, 33])
    a, b, c = titles_of(tab, "history")
    tab.locator("#history .handle").first.scroll_into_view_if_needed()
    first, last = (tab.locator("#history .handle").nth(k).bounding_box() for k in (0, 2))
    cdp = tab.context.new_cdp_session(tab)

    def touch(kind: str, box: dict[str, float], dy: float = 0) -> None:
        at = {"x": box["x"] + 10, "y": box["y"] + box["height"] / 2 + dy}
        points = [] if kind == "touchEnd" else [at]
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", first)
    for dy in (-20, 0, 10):
        touch("touchMove", last, dy)
    touch("touchEnd", last)
    settled(tab)
    assert titles_of(tab, "history") == [b, c, a]


def test_titles_are_moved_and_removed_by_keyboard(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33, 8])
    a, b, c, d = titles_of(tab, "history")
    tab.locator("#history .handle").first.focus()
    tab.keyboard.press("ArrowDown")
    assert titles_of(tab, "history") == [b, a, c, d]
    tab.keyboard.press("ArrowDown")  # the focus went along
    assert titles_of(tab, "history") == [b, c, a, d]
    tab.keyboard.press("End")
    assert titles_of(tab, "history") == [b, c, d, a]
    tab.keyboard.press("Delete")
    assert titles_of(tab, "history") == [b, c, d]
    assert tab.evaluate("document.activeElement.dataset.key") == "remove-2"
    tab.keyboard.press("Enter")
    assert titles_of(tab, "history") == [b, c]


def test_a_recommendation_is_chosen_and_added(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33])
    third = titles_of(tab, "next")[2]
    tab.locator("#next .pick").nth(2).focus()
    tab.keyboard.press("Enter")
    assert third in tab.inner_text("#why") and "place 3" in tab.inner_text("#why")
    assert tab.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    tab.get_by_role("button", name=f"Add {third} to the history").click()
    settled(tab)
    assert titles_of(tab, "history")[-1] == third


def test_a_link_carries_the_history(visit: Open) -> None:
    made = recommender()
    ids = list(made.known.item_ids)
    ids[5], ids[60] = "a,b&c=%d", "ü/#頁"
    made = Recommender.of(made.config, dataclasses.replace(made.known, item_ids=ids), made.model_)
    tab = visit(made)
    start(tab, [5, 60, 5])
    tab.click("#pin")
    settled(tab)
    start(tab, [60, 33])
    fragment = tab.evaluate("location.hash")
    again = visit(made, fragment)
    assert again.evaluate("state.history") == [60, 33]
    assert again.evaluate("state.pinned") == [5, 60, 5]
    assert titles_of(again, "beside") == titles_of(tab, "beside")
    strange = visit(made, "#history=nobody,%E0%A4%A,ü/&language=xx&b")
    assert strange.evaluate("state.history") == []


def test_a_link_is_whole_after_a_jump_to_the_answer(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [60, 33])
    whole = tab.evaluate("location.hash")
    tab.locator(".skip").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("location.hash") == "#answer"
    tab.click("#link")
    assert tab.evaluate("location.hash") == whole


def test_a_second_model_stands_beside(visit: Open) -> None:
    made = recommender()
    tab = visit(made, beside=recommender(seed=5, norm="post"))
    start(tab, [5, 60, 33])
    tab.select_option("#beside-choice", "1")
    settled(tab)
    assert "norm = post" in tab.inner_text("#beside-head")
    wanted = tab.evaluate("explorer.recommend([5, 60, 33], {}, 1).map(row => row.title)")
    assert titles_of(tab, "beside") == wanted


def test_switches(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33, 8, 71, 2, 90])
    plain = tab.locator("#next .score").all_inner_texts()
    tab.check("#no-positions")
    settled(tab)
    without = tab.locator("#next .score").all_inner_texts()
    tab.uncheck("#no-positions")
    tab.check("#no-mask")
    settled(tab)
    assert len({*map(tuple, (plain, without, tab.locator("#next .score").all_inner_texts()))}) == 3
    assert visit(recommender(positions=False)).is_disabled("#no-positions")


VIEWED = ("two heads", "no blocks", "authors without residual", "padding zeroed", "ligr")


@pytest.mark.parametrize("wiring", VIEWED)
def test_every_view_opens(wiring: str, visit: Open) -> None:
    tab = visit(recommender(**WIRINGS[wiring]), beside="none")
    heads, blocks = (
        tab.evaluate(f"explorer.model().settings.{name}") for name in ("heads", "blocks")
    )
    for history in ([5, 60, 33], list(range(1, 26)), [4], []):
        start(tab, history)
        open_all(tab)
        assert tab.locator(".step").count() == tab.locator(".step p .formula").count()
        if history:
            assert "NaN" not in tab.inner_text("main")
            score = tab.locator("#steps .step").last.locator("strong").last.inner_text()
            wanted = tab.evaluate("answer.scores[answer.selected]")
            assert float(score.replace("−", "-")) == pytest.approx(wanted, abs=1e-3)
    if blocks and wiring == "two heads":
        start(tab, [5, 60, 33])
        tab.locator("[data-key=head-1]").click()
        assert tab.evaluate("state.head") == 1 == heads - 1


def test_the_mask_keeps_the_answer_from_earlier_rows(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33, 8])
    tab.click("#leak summary")
    moved = tab.locator("#leak tbody td").all_inner_texts()
    on, off = moved[::2], [float(size) for size in moved[1::2]]
    assert on == ["0.000"] * 3 and min(off) > 0.01


def test_the_map_is_read_with_arrow_keys(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60, 33])
    table = tab.get_by_role("table", name="Rows look at columns")
    table.first.focus()
    tab.keyboard.press("ArrowLeft")
    told = tab.inner_text("#attention .told")
    third, second = titles_of(tab, "history")[2], titles_of(tab, "history")[1]
    assert re.fullmatch(rf"{third} at {second}: \d+%", told)


# --- titles of others, and the network -----------------------------------------------------------

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"quotes\" 'single' `back` \\ {name} {{data}}",
    "<!-- <script>",
    "עברית (2001)",
    "right\u202eto left",
    "line\nbreak\x00null\x1b[31m",
    "👩‍👩‍👧 family",
    "half \ud83d",
    "]]> &lt;b&gt; &amp;",
    "x" * 3000,
    "",
]


def test_hostile_titles_stay_text(visit: Open) -> None:
    made = recommender()
    titles, ids = list(made.known.titles), list(made.known.item_ids)
    titles[1 : len(HOSTILE) + 1] = HOSTILE
    ids[1 : len(HOSTILE) + 1] = [f"{title}{i}" for i, title in enumerate(HOSTILE)]
    ids[9] = "lone"  # half of a pair is no id: JSON and addresses lack it
    known = dataclasses.replace(
        made.known, titles=titles, item_ids=ids, name="</title><script>alert(1)"
    )
    made = Recommender.of(made.config, known, made.model_)
    text = page(made)
    assert text.lower().count("<script") == text.lower().count("</script") == 7
    tab = visit(text)
    open_all(tab)
    start(tab, list(range(1, len(HOSTILE) + 1)))
    shown = tab.locator("#history .title").evaluate_all("rows => rows.map(row => row.textContent)")
    assert shown[:5] == HOSTILE[:5] and shown[7] == HOSTILE[7] and shown[9] == HOSTILE[9]
    assert shown[5] == "right\\u202eto left"  # a change of direction would spread over the line
    assert shown[6] == "line\\nbreak\\x00null\\x1b[31m"
    assert tab.locator("main script, main img").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not tab.evaluate(
        "history => readLink() && state.history.join() !== history.join()", list(range(1, 13))
    )


def test_nothing_can_be_loaded_or_sent(browser: Any, tmp_path: Path) -> None:
    asked = list[str]()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<link rel=icon href=data:,>here")

        def log_message(self, *_: Any) -> None:
            pass

    path = tmp_path / "page.html"
    path.write_text(page(recommender()), encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        context = browser.new_context()  # online: it is the page that forbids it
        tab = context.new_page()
        tab.goto(address)
        assert tab.inner_text("body") == "here"
        asked.clear()
        tab.goto(path.as_uri())
        assert (
            tab.evaluate(f"fetch('{address}/a').then(() => 'sent', () => 'refused')") == "refused"
        )
        for tag in ("img", "script", "iframe"):
            tab.evaluate(
                "([tag, src]) =>"
                " document.body.append(Object.assign(document.createElement(tag), {src}))",
                [tag, f"{address}/{tag}"],
            )
        tab.evaluate(
            "document.body.append("
            "Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
        )
        tab.wait_for_timeout(300)
        assert tab.evaluate("window.ran") is None  # a script that is not one of the page's own
        context.close()
        server.shutdown()
    assert asked == []


# --- how it looks and reads ----------------------------------------------------------------------

CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
  const ground = (node) => {
    if (!node) return [255, 255, 255];
    return over(numbers(getComputedStyle(node).backgroundColor), ground(node.parentElement));
  };
  const light = (rgb) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const low = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility({opacityProperty: true})) continue;
    if (node.closest("script, style, noscript, #live")) continue;
    const back = ground(node), front = over(numbers(getComputedStyle(node).color), back);
    const [a, b] = [light(back), light(front)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    seen++;
    if (ratio < 4.5) low.push([node.tagName, node.className, ratio, walker.currentNode.data]);
  }
  return {low, seen};
}"""


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1600])
def test_form(width: int, theme: str, locale: str, visit: Open) -> None:
    form = {"viewport": {"width": width, "height": 900}, "color_scheme": theme, "locale": locale}
    tab = visit(recommender(), context=form)
    start(tab, [5, 60, 33, 8, 71])
    tab.click("#try-reason")
    settled(tab)
    open_all(tab)
    assert tab.evaluate("document.documentElement.lang") == locale[:2]
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    told = tab.evaluate(CONTRAST)
    assert told["seen"] > 300 and not told["low"]
    unnamed = tab.locator("button, select, input, [role=img], table[tabindex]").evaluate_all(
        "nodes => nodes.filter(n => !(n.textContent.trim() || n.ariaLabel || n.labels?.length))"
        ".map(n => n.outerHTML)"
    )
    assert not unnamed
    small = tab.locator("button:visible, select:visible").evaluate_all(
        "nodes => nodes.filter(n => n.getBoundingClientRect().height < 24).map(n => n.outerHTML)"
    )
    assert not small  # WCAG 2.2, 2.5.8


def test_on_a_phone_all_is_large_enough_for_a_finger(visit: Open) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    tab = visit(recommender(heads=2), context=phone)
    start(tab, list(range(1, 10)))
    tab.click("#try-reason")
    settled(tab)
    open_all(tab)
    touched = "button:visible, select:visible, input[type=text]:visible, summary:visible"
    small = tab.locator(f"{touched}, label:has([type=checkbox])").evaluate_all(
        "nodes => nodes.map(n => [n.outerHTML, n.getBoundingClientRect()])"
        ".filter(([, box]) => Math.min(box.width, box.height) < 44).map(([html]) => html)"
    )
    assert not small  # WCAG 2.2, 2.5.5
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_a_phone_the_first_is_told_while_one_edits(visit: Open) -> None:
    tab = visit(recommender(), context={"viewport": {"width": 390, "height": 500}})
    start(tab, [5, 60, 33])
    told = tab.locator("#now")
    assert not told.is_visible()  # the answer is in view
    tab.locator("[data-key=remove-1]").click()
    settled(tab)
    told.wait_for()
    assert titles_of(tab, "next")[0] in told.inner_text()
    told.click()
    until(tab, "document.activeElement.id === 'answer'")
    told.wait_for(state="hidden")


def test_it_is_printed_dark_on_light_without_what_one_presses(visit: Open) -> None:
    tab = visit(recommender(), context={"color_scheme": "dark"})
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    told = tab.evaluate(CONTRAST)
    assert told["seen"] > 60 and not told["low"]
    for pressed in (".handle", ".icon", ".tools", "#try", "#search"):
        assert not tab.locator(pressed).first.is_visible()
    bar = "getComputedStyle(document.querySelector('#next .bar')).printColorAdjust"
    assert tab.evaluate(bar) == "exact"


def test_small_shares_of_attention_are_seen(visit: Open) -> None:
    tab = visit(recommender(n=40))
    start(tab, list(range(1, 31)))
    bars = tab.locator("#attention .arcs .bar").evaluate_all(
        "nodes => nodes.map(n => n.style.width)"
    )
    assert len(bars) == 12 and "100%" in bars
    cells = (
        "[...document.querySelectorAll('#attention td')].filter(td => td.ariaLabel?.endsWith('%'))"
    )
    told = tab.evaluate(
        f"{cells}.map(td => [parseFloat(td.ariaLabel), +td.style.getPropertyValue('--p')])"
    )
    for percent, strength in told:
        assert strength**2 == pytest.approx(percent / 100, abs=0.007)


def test_everything_is_reached_by_tab_and_the_focus_is_seen(visit: Open) -> None:
    tab = visit(recommender())
    start(tab, [5, 60])
    seen = []
    for _ in range(80):
        tab.keyboard.press("Tab")
        told = tab.evaluate(
            "() => { const n = document.activeElement, s = getComputedStyle(n);"
            " const width = s.outlineStyle === 'none' ? 0 : parseFloat(s.outlineWidth);"
            " return [n.id || n.dataset.key || n.tagName, width]; }"
        )
        if told[0] == "BODY":  # once around
            break
        seen.append(told)
    names = {name for name, _ in seen}
    assert {
        "theme",
        "try-reason",
        "move-0",
        "remove-1",
        "search",
        "pin",
        "no-mask",
        "block-1",
    } <= names
    assert all(width >= 2 for _, width in seen), seen


def test_language_and_theme_are_switched(visit: Open) -> None:
    tab = visit(recommender())
    tab.click("#theme")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.click("#language")
    assert tab.inner_text("h1") == "왜 이 아이템을 추천했을까?" and "language=ko" in tab.url
    tab.click("#language")
    assert tab.inner_text("h1") == "Why this recommendation?"


def test_words_are_complete() -> None:
    words = json.loads(_file("words.json"))
    assert words["en"].keys() == words["ko"].keys()
    for key, told in words["en"].items():
        names = [set(re.findall(r"\{(\w+)\}", words[language][key])) for language in words]
        assert names[0] == names[1], key
        assert told.isascii() or not re.search("[가-힣]", told) or key == "language"
        assert re.search("[가-힣]", words["ko"][key]) or key in ("language", "map.told"), key
    script, html = _file("page.js") + _file("views.js"), _file("page.html")
    steps = set(
        re.findall(r"^  (\w+): (?:\[|norm|layer)", script[script.index("const STEPS") :], re.M)
    )
    used = set(re.findall(r'data-word="([\w.-]+)"', html)) | set(
        re.findall(r'"([a-z][\w-]*(?:\.[\w-]+)?)"', script)
    )
    used |= {f"{kind}.{step}" for kind in ("name", "step") for step in steps}
    used |= {f"model.{kind}" for kind in ("trained", "untrained", "other")}
    assert not words["en"].keys() - used  # nothing that is never said; what is lacking raises


# --- from Python and the command line ------------------------------------------------------------


def test_every_setting_is_read_or_of_training_alone() -> None:
    fields = {field.name for field in dataclasses.fields(SASRecConfig)}
    assert READS.keys() | ONLY_TRAINING == fields and not READS.keys() & ONLY_TRAINING


def test_a_setting_that_the_page_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READS, "norm", ("pre",))
    with pytest.raises(ConfigError, match="norm = 'post'"):
        page(recommender(norm="post"))
    monkeypatch.delitem(READS, "padding")
    with pytest.raises(ConfigError, match="padding = 'hidden'"):
        page(recommender())


@pytest.mark.parametrize("model", ["gru4rec", "poprec", "fpmc"])
def test_another_model_is_refused(model: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"shows SASRec, and this model is {model}; .*--model sasrec"
    ):
        page(fitted(model))


def test_other_wrong_arguments(tmp_path: Path) -> None:
    made = recommender()
    for given, told in (
        ({"weights": "int8"}, "weights is 'int8'; choose one of float32, float16"),
        ({"examples": -1}, "examples is -1"),
        ({"beside": "both"}, "beside is 'both'"),
    ):
        with pytest.raises(ConfigError, match=told):
            page(made, **given)
    known = dataclasses.replace(
        made.known, item_ids=[f"x{i}" for i in range(len(made.known.item_ids))]
    )
    with pytest.raises(DataError, match="the same data"):
        page(made, beside=Recommender.of(made.config, known, made.model_))


def test_a_second_model_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    recommender().save(tmp_path / "run")
    with pytest.raises(
        ConfigError, match="--beside is gru4rec; give untrained, none or the folder"
    ):
        main([str(tmp_path / "run"), "--beside", "gru4rec"])


def test_a_model_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minisasrec.explorer.pages.LARGEST", 800)
    with pytest.raises(ConfigError, match="up to 100 items of d = 8, and this model has 118"):
        page(recommender())


def test_users_are_left_out_unless_asked_for() -> None:
    made = recommender()

    def carried(text: str) -> Any:
        return json.loads(re.search('id="data">(.*?)</script>', text)[1])  # type: ignore[index]

    text = page(made)
    found = carried(text)["examples"]
    split = made.known.split
    assert len(found) == 8
    for one in found:
        users = [
            u
            for u in range(split.dataset.num_users)
            if split.history(u, "test").tolist() == one["items"]
        ]
        assert split.test[users[0]] == one["next"]
    assert not any(f'"{user}"' in text for user in made.user_ids)
    assert carried(page(made, examples=0))["examples"] == []
    kept = dataclasses.replace(made.known, split=None, user_ids=())
    assert carried(page(Recommender.of(made.config, kept, made.model_)))["examples"] == []


def test_a_page_without_examples_begins_empty(visit: Open) -> None:
    tab = visit(recommender(), examples=0)
    assert titles_of(tab, "history") == [] and len(titles_of(tab, "next")) == 10
    assert "most popular" in tab.inner_text("#why")


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    made, path = recommender(), tmp_path / "new" / "page.html"
    assert write(made, path) == path
    whole = path.read_bytes()
    with pytest.raises(ConfigError):
        write(made, path, weights="int8")
    assert path.read_bytes() == whole and [found.name for found in path.parent.iterdir()] == [
        "page.html"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_it_takes_the_place_of_no_device(tmp_path: Path) -> None:
    """With --out /dev/stdout as root, that name would be a file from then on."""
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(TrainingError, match="pipe.html: it is a pipe or a device; give the name"):
        write(recommender(), tmp_path / "pipe.html")
    assert (tmp_path / "pipe.html").is_fifo()


@pytest.mark.parametrize("name", ["config.json", "shop.csv", "page"])
def test_it_takes_the_place_of_no_other_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"ends in .html, not to .*{name}"):
        write(recommender(), tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_a_notebook_shows_it(browser: Any, tmp_path: Path) -> None:
    shown = show(recommender(), height=700)
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{shown._repr_html_()}", encoding="utf-8")
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri())
    inside = tab.frame_locator("iframe")
    inside.locator("#next li").nth(9).wait_for()
    inside.get_by_role("button", name="Empty").click()
    inside.get_by_text("most popular titles. Add").wait_for()
    context.close()
    assert "MB" in repr(shown)
