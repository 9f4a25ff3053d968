"""The teaching tools: graders tell right from wrong, views show what the engine did."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from minisasrec import OPS, SASRec, SASRecConfig, Tensor, ops, use_backend
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import ConfigError, GradientError, ShapeError
from minisasrec.explain import explain
from minisasrec.plots import COLOURS, attention_map, heat_maps, learning_curve, position_average
from minisasrec.random import Key, Keys
from minisasrec.teach import (
    check,
    draw_graph,
    explorer,
    hint,
    ladder,
    lecture_style,
    require,
    shape_trace,
    show_source,
    steps_table,
)
from minisasrec.teach.exercises import Wrong, equal, exercises
from minisasrec.teach.walk import forward_order, labels, modules


@pytest.fixture(autouse=True)
def by_the_book() -> Any:
    with use_backend("numpy"):
        yield


def eight() -> tuple[Tensor, Tensor]:
    """b = 2a, c = 3b, d = b + c."""
    a = Tensor(np.array(2.0), requires_grad=True, name="a")
    b = a * 2
    b.name = "b"
    d = b + b * 3
    return a, d


def small_model() -> tuple[SASRec, Batch]:
    inputs = pack_sequences([[1, 2, 3], [4, 5, 6, 7, 8]], 7)
    batch = Batch(inputs, np.arange(1, 9), np.arange(2, 10)[:, None], np.arange(2))
    return SASRec(30, SASRecConfig(n=7, d=6, blocks=2)), batch


# --- exercises -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_an_answer_of_nothing_is_no_attempt(answer: Any, capsys: Any) -> None:
    check("softmax_backward", answer)
    assert capsys.readouterr().out == ('not attempted yet. hint("softmax_backward") helps\n')


def test_a_stub_inside_an_op_is_no_attempt(capsys: Any) -> None:
    check("div_backward", lambda a, b: (a / b, lambda dy: None))
    assert capsys.readouterr().out.startswith("not attempted yet")


def test_a_part_without_a_body_is_named(capsys: Any) -> None:
    def op(a: np.ndarray, b: np.ndarray) -> Any:
        def backward(dy: np.ndarray) -> Any: ...

        return a / b, backward

    check("div_backward", op)
    assert capsys.readouterr().out.startswith("not attempted yet: backward has no body yet. hint")


def test_an_answer_that_leaves_python_is_told(capsys: Any) -> None:
    check("softmax_backward", lambda y, dy: sys.exit(0))
    assert "not yet: your code raised SystemExit: 0 (at: check(" in capsys.readouterr().out


def test_what_is_required_raises_unless_it_is_right() -> None:
    require("softmax_backward", right_softmax)
    with pytest.raises(AssertionError, match="not yet: dx for random rows of 4"):
        require("softmax_backward", lambda y, dy: dy)
    with pytest.raises(AssertionError, match="^not attempted$"):
        require("softmax_backward", ...)


def right_softmax(y: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return y * (dy - (dy * y).sum(-1, keepdims=True))


def right_third(xhat: np.ndarray, rstd: np.ndarray, dxhat: np.ndarray) -> np.ndarray:
    return -rstd * xhat * (dxhat * xhat).mean(-1, keepdims=True)


def test_right_answers_are_told_what_they_showed(capsys: Any) -> None:
    check("softmax_backward", right_softmax)
    check("third_term", right_third)
    assert capsys.readouterr().out.count("correct: ") == 2


def test_hints_come_one_by_one_and_end_with_the_solution_where_there_is_one(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exercises()["tanh_backward"].shown = 2
    hint("tanh_backward")
    assert "solution" not in capsys.readouterr().out, "a student's copy has none"
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "01_autograd.py").touch()
    question = exercises()["tanh_backward"]
    question.shown = 0
    for _ in range(len(question.hints) + 1):
        hint("tanh_backward")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"hint 1 of 3: {question.hints[0]}"
    assert lines[1].startswith("hint 2 of 3: ")
    assert lines[-2:] == lines[-4:-2]  # the last hint stays
    assert lines[-1] == "(a solution is in notebooks/solutions/01_autograd.py)"


def test_an_exercise_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match="no exercise 'softmax'; there are .*softmax_backward"):
        check("softmax", None)


def test_equal_says_where_and_what_was_expected() -> None:
    equal([1.0, 2.0], [1.0, 2.0 + 1e-9], "x")
    with pytest.raises(Wrong, match=r"x is 2 at \(1,\), expected 3"):
        equal([1.0, 2.0], [1.0, 3.0], "x")
    with pytest.raises(Wrong, match=r"x has shape \(2,\), expected \(1,\)"):
        equal([1.0, 2.0], [1.0], "x")
    with pytest.raises(Wrong, match="x is nan at"):
        equal([np.nan], [1.0], "x")


# --- views -----------------------------------------------------------------------------------


def test_steps_show_the_whole_gradient_at_a_tensor_used_twice() -> None:
    a, d = eight()
    rows = {row[1]: row for row in steps_table(d).rows}
    assert rows["b"][4] == "4"
    assert rows["b"][5] == "8 to a"
    assert rows["a"][4:] == ("8", "stays here: .grad")
    assert a.grad == 8


def test_tables_print_aligned_and_as_html() -> None:
    table = steps_table(eight()[1])
    lines = repr(table).splitlines()
    assert len(lines) == len(table) + 1
    assert {line.index("y = ") for line in lines[1:-1]} == {lines[0].index("op")}
    root = ElementTree.fromstring(table._repr_html_())
    assert len(root.findall("tbody/tr")) == len(table)


def test_the_graph_has_every_tensor_and_its_edges() -> None:
    a, d = eight()
    graph = draw_graph(d, collapse=False)
    boxes = {node.lines[0]: node for node in graph.nodes}
    assert boxes.keys() == {"a", "b", "scale", "add"}
    assert [p.lines[0] for p in boxes["add"].parents] == ["b", "scale"]
    assert boxes["b"].lines[1] == "= 4"
    d.backward(retain_graph=True)
    assert "grad 8" in {n.lines[0]: n for n in draw_graph(d).nodes}["a"].lines
    d.backward()
    with pytest.raises(GradientError, match=r"dropped this graph; .*backward\(retain_graph=True\)"):
        draw_graph(d)
    with pytest.raises(GradientError, match="dropped this graph"):
        draw_graph(d * 2.0)


def test_a_graph_can_be_drawn_after_its_steps_were_listed() -> None:
    _, d = eight()
    steps_table(d)
    assert "grad 8" in {n.lines[0]: n for n in draw_graph(d).nodes}["a"].lines


def test_a_model_is_drawn_module_by_module() -> None:
    model, batch = small_model()
    graph = draw_graph(model.loss(batch, Keys(0, 0)))
    boxes = {node.lines[0]: node for node in graph.nodes}
    attention = boxes["blocks.0.attention"]
    assert (
        attention.lines[2]
        == f"{sum(p.size for p in model.blocks[0].attention.parameters())} weights"
    )
    assert [p.lines[0] for p in attention.parents] == ["blocks.0.attention_norm"]
    assert [p.lines[0] for p in boxes["sampled_bce"].parents] == [
        "final_norm",
        "item_embedding.table",  # read twice, so it stands for itself
    ]
    for node in graph.nodes:
        for parent in node.parents:
            assert parent.layer < node.layer
            assert parent.y + parent.height / 2 < node.y - node.height / 2


def test_boxes_of_a_layer_do_not_overlap() -> None:
    model, batch = small_model()
    layers: dict[int, list[Any]] = {}
    for node in draw_graph(model.loss(batch), collapse=False).nodes:
        layers.setdefault(node.layer, []).append(node)
    for layer in layers.values():
        layer.sort(key=lambda node: node.x)
        for left, right in zip(layer[:-1], layer[1:], strict=True):
            assert left.x + left.width / 2 < right.x - right.width / 2


def test_ops_of_a_module_that_a_path_leaves_and_enters_are_not_merged() -> None:
    x, w1, w2 = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(3))
    w1.name, w2.name = "net.first.W", "net.second.W"
    inside = x @ w1
    outside = inside + x  # x belongs to no module, and so does this
    boxes = [node.lines[0] for node in draw_graph(inside + outside @ w2).nodes]
    assert boxes == ["parameter", "net.first", "add 1", "net.second", "add 2"]


def test_the_svg_is_well_formed_and_escaped() -> None:
    x = Tensor(np.ones(3), requires_grad=True, name="<x & y>")
    root = ElementTree.fromstring(draw_graph(x * x)._repr_svg_())
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "<x & y>"
    assert "keeps 24 bytes" not in texts  # what is kept is the parameter itself


def test_arguments_come_from_left_to_right_and_names_are_numbered() -> None:
    x = Tensor(np.ones(3), requires_grad=True, name="x")
    root = ops.exp(x) - ops.exp(x * x)
    assert list(labels(forward_order(root)).values()) == ["x", "exp 1", "mul", "exp 2", "sub"]


def test_ops_are_placed_in_modules_by_parameter_names() -> None:
    model, batch = small_model()
    order = forward_order(model.loss(batch))
    found = {label: modules(order)[node] for node, label in labels(order).items()}
    assert found["linear 1"] == "blocks.0.attention.query"
    assert found["packed_causal_attention 1"] == "blocks.0.attention"
    assert found["add 2"] == ""  # the residual connection is around the module
    assert found["sampled_bce"] == ""


def test_shape_trace_speaks_the_papers_letters() -> None:
    model, batch = small_model()
    rows = {row[1]: row for row in shape_trace(model, batch).rows}
    assert rows["linear 1"][2] == "(T d), W (d d), b (d)"
    assert rows["embedding 1"][2:] == ("table (|I|+1 d)", "(T d)", "8 x 6")
    padded = {row[1]: row for row in shape_trace(model, batch.inputs.padded()).rows}
    assert padded["causal_attention 1"][2] == "(B n d), (B n d), (B n d)"


def test_a_length_that_fits_two_letters_shows_both() -> None:
    model, _ = small_model()
    inputs = pack_sequences([[1, 2, 3], [4, 5, 6]], 7)
    assert shape_trace(model, inputs).rows[0][3] == "(d or T d or T)"


def test_show_source_is_the_live_source_of_definition_and_kernel() -> None:
    shown = show_source(ops.softmax)
    assert "def softmax(x" in shown.text
    assert "@softmax.fast" in shown.text
    assert repr(shown).startswith("# softmax: minisasrec/ops/softmax.py:")
    assert "def matmul_rows" in show_source(ladder.matmul_rows).text
    assert "<pre" in shown._repr_html_()


def test_attention_maps_hide_the_future_and_average_from_the_last_item() -> None:
    weights = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    figure = attention_map(weights, list("abcd"), "t")
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown.mask, np.triu(np.ones((4, 4), dtype=bool), k=1))
    with pytest.raises(ShapeError, match=r"shape \(4, 4\) with 3 labels"):
        attention_map(weights, list("abc"))
    long, short = np.arange(16.0).reshape(4, 4), np.full((1, 1), 3.0)
    mean = position_average([long, long[:3, :3] * 3, short], size=2)
    np.testing.assert_array_equal(mean, [[(10 + 15) / 2, (11 + 18) / 2], [(14 + 27) / 2, 16.0]])
    with pytest.raises(ShapeError, match="no sequence has 5 items"):
        position_average([long], size=5)


def test_heat_maps_of_one_kind_share_a_scale() -> None:
    weak, strong = np.array([[1.0, np.nan], [2.0, 3.0]]), np.full((2, 2), 8.0)
    maps = {"a": (weak, ["x", "y"]), "b": (strong, ["x", "y"]), "c": (np.eye(3), "uvw")}
    images = [axes.images[0] for axes in heat_maps(maps).axes if axes.images]
    assert [image.get_clim() for image in images] == [(0, 8), (0, 8), (0, 1)]


def test_heat_maps_of_positions_count_from_the_last() -> None:
    axes = heat_maps({"a": (np.eye(12), ()), "b": (np.eye(2), "xy")}).axes
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["-10", "-5", "-1"]
    assert list(axes[0].get_yticks()) == [2, 7, 11]
    assert [tick.get_text() for tick in axes[2].get_yticklabels()] == ["x", "y"]


def test_heat_maps_of_ratios_have_a_scale_around_1() -> None:
    strong, weak, weights = np.array([[0.25, np.nan], [2, 1]]), np.ones((2, 2)), np.full((2, 2), 9)
    maps = {"a": (strong, "xy"), "b": (weak, "xy"), "c": (weights, "xy")}
    figure = heat_maps(maps, ratios=("a", "b"))
    a, b, c = (axes.images[0] for axes in figure.axes if axes.images)
    assert a.get_clim() == b.get_clim() == (0.25, 4)
    assert a.norm(1.0) == pytest.approx(0.5)
    assert a.norm(2.0) - 0.5 == pytest.approx(0.5 - a.norm(0.5)), "2 and 1/2 equally strong"
    assert c.get_clim() == (0, 9)
    [alone] = [
        axes.images[0] for axes in heat_maps({"a": (np.zeros((2, 2)), "xy")}, ratios="a").axes
        if axes.images
    ]  # fmt: skip
    assert np.isfinite(alone.get_array()).all()


def test_a_learning_curve_says_what_was_found_in_colours_that_everybody_tells_apart() -> None:
    epochs = [
        {"epoch": 1, "loss": 1.5, "HR@10": 0.4, "NDCG@10": 0.25},
        {"epoch": 2, "loss": 1.0},
        {"epoch": 3, "loss": 0.5, "HR@10": 0.5, "NDCG@10": 0.2},
    ]
    left, right = learning_curve(epochs).axes
    assert left.get_title() == "Loss: from 1.50 to 0.50"
    assert right.get_title() == "Validation, sampled: best NDCG@10 0.250, epoch 1"
    drawn = [line.get_color() for axes in (left, right) for line in axes.lines]
    assert drawn == [*COLOURS[:3], "grey"]
    assert learning_curve(epochs[1:2]).axes[0].get_title() == "Loss"


# --- explain and the ladder ------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_can_be_explained(name: str) -> None:
    text = explain(name)
    assert str(OPS[name].signature) in text
    assert "tests/test_ops.py" in text


def test_explain_knows_kernels_and_near_misses() -> None:
    assert "minisasrec/kernels/layer_norm.py" in explain("layer_norm")
    assert "none: the NumPy definition" in explain("exp")
    with pytest.raises(ConfigError, match="no op 'softmx'; did you mean one of softmax"):
        explain("softmx")


def reference(name: str, arguments: tuple[Any, ...]) -> np.ndarray:
    """What the op of a ladder gives by its NumPy definition."""
    if name == "attention":
        q, k, v, offsets = arguments
        return OPS["packed_causal_attention"].definition(q, k, v, offsets=offsets)[0]
    if name == "layer_norm":
        x, gamma, beta, eps = arguments
        return OPS["layer_norm"].definition(x, gamma, beta, eps=float(eps))[0]
    if name == "half-block":
        *norm, eps = arguments[:5]
        constants = {"rate": 0.0, "keys": (Key(0, 0), Key(0, 0)), "eps": float(eps)}
        return OPS["feed_forward"].definition(*norm, *arguments[5:], **constants)[0]
    return OPS[name].definition(*arguments)[0]


@pytest.mark.parametrize("name", ladder.LADDERS)
def test_every_rung_equals_the_definition(name: str) -> None:
    for scale, seed in ((15, 0), (31, 1)):  # 68 and 33 rows: not whole tiles or blocks of four
        given = ladder.inputs(name, scale=scale, seed=seed)
        want = reference(name, given.packed)
        for rung in ladder.LADDERS[name]:
            got = given.rows(rung, rung.function(*given.of(rung)))
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6, err_msg=rung.name)


def test_climbing_times_every_rung_and_an_unknown_ladder_is_refused(capsys: Any) -> None:
    timings = ladder.climb("attention", seconds=0.0)
    names = [rung.name for rung in ladder.LADDERS["attention"]]
    assert [t.name for t in timings][: len(names)] == names
    assert all(0 < t.ms < np.inf for t in timings)
    with pytest.raises(ConfigError, match="no ladder 'exp'; there are matmul, softmax"):
        ladder.inputs("exp")


@pytest.mark.slow
def test_the_explorer_is_shown_in_a_notebook() -> None:
    shown = explorer(epochs=1)
    assert "<iframe" in shown._repr_html_()
    assert "The Clockwork Ferry" in shown.html


def test_pictures_have_the_style_of_a_lecture() -> None:
    with matplotlib.rc_context():
        lecture_style()
        figure = Figure()
        axes = figure.subplots()
        colours = [axes.plot([0, i])[0].get_color() for i in range(3)]
    assert colours == ["#0072B2", "#D55E00", "#009E73"]
    assert figure.get_facecolor() == (1, 1, 1, 1)
