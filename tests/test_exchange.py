"""Weights of the public port in and out, ONNX, item vectors: the oracle is a port in PyTorch."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from minisasrec.backends import use_backend
from minisasrec.data import DataWarning
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import CheckpointError, ConfigError, DataError, TrainingError
from minisasrec.exchange import (
    from_port,
    item_map,
    save_item_vectors,
    start_from,
    to_onnx,
    to_port,
)
from minisasrec.exchange.arrays import read_arrays, write_arrays
from minisasrec.models.bpr import BPR
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn import Residual

ITEMS, N, D, BLOCKS = 30, 7, 12, 2
LENGTHS = (1, 2, 5, N - 1, N, N + 1, 3 * N)
# wiring, padding, a row of positions for padding: the versions of the port
VERSIONS = {
    "post": ("post", "visible", True),
    "pre": ("pre", "visible", True),
    "before": ("authors", "zeroed", False),
    "between": ("authors", "visible", True),
}
NORMS = ("post", "pre", "authors")


def sequences(seed=0, lengths=LENGTHS):
    generator = np.random.default_rng(seed)
    return [generator.integers(1, ITEMS + 1, length) for length in lengths]


def padded(lists):
    ids = np.zeros((len(lists), N), np.int64)
    for row, items in zip(ids, lists, strict=True):
        row[N - len(items[-N:]) :] = items[-N:]
    return ids


def scores(model, lists):
    return model.all_scores(np.full(len(lists), -1), pack_sequences(lists, N))


def close(got, want, atol=1e-5):
    np.testing.assert_allclose(got, want, rtol=0, atol=atol * max(1.0, np.abs(want).max()))


@pytest.fixture(params=["numpy", "numba"])
def each_backend(request):
    with use_backend(request.param):
        yield


# --- the oracle: the port's forward pass, by its description ---------------------------------


def port(norm, heads=1, padding_row=True, seed=0):
    """The layers of the port by its names, with random weights, biases and norms."""
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    nn, generator = torch.nn, torch.Generator().manual_seed(seed)

    def ffn():
        return nn.ModuleDict({c: nn.Conv1d(D, D, kernel_size=1) for c in ("conv1", "conv2")})

    def layers(make):
        return nn.ModuleList([make() for _ in range(BLOCKS)])

    module = nn.Module()
    module.item_emb = nn.Embedding(ITEMS + 1, D)
    module.pos_emb = nn.Embedding(N + padding_row, D)
    module.attention_layernorms = layers(lambda: nn.LayerNorm(D, eps=1e-8))
    module.attention_layers = layers(lambda: nn.MultiheadAttention(D, heads))
    module.forward_layernorms = layers(lambda: nn.LayerNorm(D, eps=1e-8))
    module.forward_layers = layers(ffn)
    module.last_layernorm = nn.LayerNorm(D, eps=1e-8)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
            if "layernorm" in name and name.endswith("weight"):
                weight += 1
        module.item_emb.weight[0] = 0
        if padding_row:
            module.pos_emb.weight[0] = 0
    return module.eval()


def port_logits(module, lists, norm, padding, first_position=None):
    """Logits of all items after each sequence, (B, I + 1), of left-padded slots."""
    import torch

    ids = torch.as_tensor(padded(lists))
    real = (ids != 0)[..., None]
    rows = len(module.pos_emb.weight)
    first = rows - N if first_position is None else first_position
    x = module.item_emb(ids) * D**0.5 + module.pos_emb(torch.arange(first, first + N))
    x = x * real
    later = torch.ones(N, N, dtype=torch.bool).triu(1)
    parts = (
        module.attention_layernorms,
        module.attention_layers,
        module.forward_layernorms,
        module.forward_layers,
    )
    with torch.no_grad():
        for norm1, layer, norm2, convs in zip(*parts, strict=True):

            def attend(q, kv, layer=layer):
                q, kv = q.transpose(0, 1), kv.transpose(0, 1)
                return layer(q, kv, kv, attn_mask=later)[0].transpose(0, 1)

            def ffn(s, convs=convs):
                return convs["conv2"](convs["conv1"](s.transpose(1, 2)).relu()).transpose(1, 2)

            if norm == "post":
                x = norm1(x + attend(x, x))
                x = norm2(x + ffn(x))
            elif norm == "pre":
                x = x + attend(norm1(x), norm1(x))
                x = x + ffn(norm2(x))
            else:
                q = norm1(x)
                z = norm2(q + attend(q, x))
                x = z + ffn(z)
            if padding == "zeroed":
                x = x * real
        h = module.last_layernorm(x)[:, -1]
        return (h @ module.item_emb.weight.T).numpy()


def quietly(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return from_port(*args, **kwargs)


def weights_of(seed=1, **settings):
    """Weights of the port without PyTorch: our own model's, by its names."""
    defaults = {"norm": "post", "padding": "visible", "output_projection": True}
    config = SASRecConfig(n=N, d=D, blocks=BLOCKS, **{**defaults, **settings})
    model = random_model(config, seed)
    return to_port(model), model


def random_model(config, seed=1):
    model, generator = SASRec(ITEMS, config), np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        parameter.data = (generator.standard_normal(parameter.shape) * 0.4).astype(np.float32)
        parameter.data += name.endswith("gamma")
        if name == "item_embedding.table":
            parameter.data[0] = 0
    return model


# --- in --------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("version", VERSIONS)
def test_our_logits_are_the_port_s(version, heads, each_backend):
    norm, padding, padding_row = VERSIONS[version]
    module, lists = port(norm, heads, padding_row), sequences()
    want = port_logits(module, lists, norm, padding)
    model, config = quietly(module.state_dict(), norm, heads, padding=padding)
    assert config == model.config
    assert (config.n, config.d, config.blocks, config.heads) == (N, D, BLOCKS, heads)
    assert (config.norm, config.padding, model.num_items) == (norm, padding, ITEMS)
    close(scores(model, lists), want)
    assert config.output_projection and config.inner_dropout and config.dropout == 0.2
    _, other = quietly(module.state_dict(), norm, heads, padding=padding, dropout=0.7)
    assert other == dataclasses.replace(config, dropout=0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        from_port(module.state_dict(), norm, heads, padding=padding, reference=(lists, want))
        if version != "between":  # the padding is that of the wiring unless given
            assert from_port(module.state_dict(), norm, heads, reference=(lists, want))[1] == config


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".pt"])
def test_each_kind_of_file(suffix, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    module, path = port("post"), tmp_path / f"weights{suffix}"
    state = module.state_dict()
    if suffix in (".pth", ".pt"):
        torch.save(state, path)
    else:
        write_arrays(path, {name: value.numpy() for name, value in state.items()})
    model, _ = quietly(path, "post")
    want, _ = quietly(state, "post")
    for name, array in want.state().items():
        np.testing.assert_array_equal(model.state()[name], array)


def test_tensors_of_other_types_and_wrapped_names():
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    module = port("pre")
    want, _ = quietly(module.state_dict(), "pre")
    wrapped = {f"module.{name}": p for name, p in module.named_parameters()}  # with gradients
    for state in (wrapped, {k: p.double().numpy() for k, p in module.state_dict().items()}):
        model, _ = quietly(state, "pre")
        np.testing.assert_array_equal(model.item_vectors(), want.item_vectors())
    half, _ = quietly({k: p.to(torch.bfloat16) for k, p in module.state_dict().items()}, "pre")
    close(half.item_vectors(), want.item_vectors(), atol=1e-2)


def test_a_pth_file_runs_nothing_and_says_what_it_lacks(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")

    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    def one_line(content, match):
        path = tmp_path / "x.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(CheckpointError, match=match) as caught:
            from_port(path, "post")
        assert "\n" not in str(caught.value)

    one_line(Trap(), "state_dict")
    assert not (tmp_path / "ran").exists()
    one_line(port("post"), "state_dict")  # the whole module
    one_line(b"not a file of torch", "state_dict")
    one_line([1, 2], "list")
    one_line({"epoch": 3.0, "state_dict": {"a": torch.ones(1)}}, "state_dict.*holds a")


def test_a_pth_file_without_torch_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "x.pth").touch()
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ConfigError, match=r"minisasrec\[torch\]"):
        from_port(tmp_path / "x.pth", "post")


def test_what_the_weights_do_not_say_is_asked_for_or_told():
    theirs, _ = weights_of()
    with pytest.raises(ConfigError, match="which wiring.*post.*pre.*authors"):
        from_port(theirs)
    with pytest.raises(ConfigError, match="'old'"):
        from_port(theirs, "old")
    with pytest.raises(ConfigError, match="heads is 5"):
        from_port(theirs, "post", 5)
    with pytest.raises(ConfigError, match="heads is 0"):
        quietly(theirs, "post", 0)
    with pytest.warns(DataWarning) as notes:
        from_port(theirs, "post")
    said = [str(note.message) for note in notes]
    assert len(said) == 3 and all("\n" not in one for one in said)
    assert "heads=1" in said[0] and f"n = {N}" in said[1] and "nothing was compared" in said[2]
    assert {note.filename for note in notes} == {__file__}
    with pytest.warns(DataWarning) as notes:
        from_port(theirs, "post", 1, n=N)
    assert len(notes) == 1


def test_n_settles_whose_the_first_row_of_positions_is():
    theirs, _ = weights_of()
    P = theirs["pos_emb.weight"]
    for n, first in ((None, 1), (N, 1), (N + 1, 0)):
        model, config = quietly(theirs, "post", n=n)
        assert config.n == len(P) - first
        np.testing.assert_array_equal(model.position_embedding.table.data, P[first:])
    with pytest.raises(ConfigError, match=f"n is 50.*{N + 1} rows.*{N + 1} or {N}"):
        quietly(theirs, "post", n=50)


@pytest.mark.parametrize("name", ["item_emb.weight", "pos_emb.weight"])
def test_a_vector_of_the_padding_is_refused_where_it_would_be_seen(name):
    theirs, model = weights_of()
    theirs[name][0, 3] = 0.1
    with pytest.raises(ConfigError, match=f"row 0 of {name}.*zeroed"):
        quietly(theirs, "post", n=N)
    clean, _ = quietly(weights_of()[0], "authors", n=N)  # zero before each block: nobody sees it
    dirty, _ = quietly(theirs, "authors", n=N)
    close(scores(dirty, sequences())[:, 1:], scores(clean, sequences())[:, 1:], 1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers_are_refused(value):
    theirs, _ = weights_of()
    name = "forward_layers.1.conv2.weight"
    theirs[name] = theirs[name].astype(np.float64)
    theirs[name][2, 5, 0] = value
    with pytest.raises(CheckpointError, match=r"forward_layers.1.conv2.weight.*\(2, 5, 0\)"):
        from_port(theirs, "post")


def without(name):
    return lambda w: w.pop(name)


def with_one(name, value):
    return lambda w: w.update({name: value})


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (without("item_emb.weight"), "item_emb.weight is missing"),
        (without("last_layernorm.bias"), "missing last_layernorm.bias; not known none"),
        (without("attention_layers.0.in_proj_bias"), "missing attention_layers.0.in_proj_bias"),
        (with_one("abs_pos_K", np.ones(3)), "missing none; not known abs_pos_K"),
        (with_one("forward_layers.7.conv1.bias", np.ones(D)), "missing attention_layernorms.2.bi"),
        (with_one("attention_layers.99999999999.x", np.ones(D)), "block 99999999999"),
        (with_one("pos_emb.weight", np.ones((N, D + 1))), rf"\({N}, {D + 1}\); \({N}, {D}\)"),
        (with_one("item_emb.weight", np.ones(D)), rf"item_emb.weight has shape \({D},\)"),
        (with_one("item_emb.weight", np.ones((0, D))), r"item_emb.weight has shape \(0, "),
        (with_one("last_layernorm.bias", np.arange(D)), "last_layernorm.bias holds int64"),
        (with_one("last_layernorm.bias", "text"), "last_layernorm.bias is no array of numbers"),
        (with_one("last_layernorm.bias", [[1.0], [2.0, 3.0]]), "last_layernorm.bias is no array"),
        (with_one("last_layernorm.bias", None), "last_layernorm.bias is no array of numbers"),
        (lambda w: w.clear(), "found nothing"),
    ],
)
def test_weights_that_are_not_the_port_s_are_one_line(damage, match):
    theirs, _ = weights_of()
    damage(theirs)
    with pytest.raises(CheckpointError, match=match) as caught:
        from_port(theirs, "post")
    assert "\n" not in str(caught.value)


def test_a_conv_kernel_of_two_axes_is_told(tmp_path):
    theirs, _ = weights_of()
    name = "forward_layers.0.conv1.weight"
    theirs[name] = theirs[name][..., 0]
    with pytest.raises(CheckpointError, match=rf"conv1.weight has shape \({D}, {D}\); .*, 1\)"):
        from_port(theirs, "post")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_arrays_of_every_shape_and_order_come_back(suffix, tmp_path):
    table = np.arange(6.0).reshape(2, 3)
    arrays = {"one": np.float32(1.5), "none": np.ones((0, 4)), "f": np.asfortranarray(table)}
    arrays |= {"back": table[::-1, ::-1], "flat": np.arange(3)}
    write_arrays(tmp_path / f"w{suffix}", arrays)
    for name, array in read_arrays(tmp_path / f"w{suffix}").items():
        assert array.shape == np.shape(arrays[name])
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_damaged_files_are_one_line(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    write_arrays(path, weights_of()[0])
    content = path.read_bytes()
    for damaged in (b"", b"\x00" * 40, content[:100], content[: len(content) // 2], b"\x80\x04."):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be read") as caught:
            from_port(path, "post")
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such file"):
        from_port(tmp_path / f"gone{suffix}", None)  # before it asks for the wiring
    with pytest.raises(ConfigError, match=r"cannot read \.bin; give \.safetensors, \.npz"):
        from_port(path.rename(tmp_path / "w.bin"), "post")
    with pytest.raises(ConfigError, match=r"cannot write \.bin"):
        write_arrays(tmp_path / "w.bin", {})


def test_a_type_that_numpy_lacks_is_told(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    for dtype in (torch.bfloat16, torch.float8_e4m3fn):
        save_file({k: v.to(dtype) for k, v in port("post").state_dict().items()}, path)
        with pytest.raises(CheckpointError, match="which NumPy lacks; save it as float32"):
            quietly(path, "post")
    save_file({k: v.half() for k, v in port("post").state_dict().items()}, path)
    close(
        quietly(path, "post")[0].item_vectors(), port("post").item_emb.weight.detach().numpy(), 1e-3
    )


def test_an_npz_file_may_not_hold_pickles(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("w.npz", "one.npz"):
        with pytest.raises(CheckpointError):
            read_arrays(tmp_path / name)


def test_no_error_advises_to_read_a_pickle(tmp_path):
    """The words of NumPy and PyTorch do: 'if you trust the file ...'."""
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    names = ["objects.npz"]
    for suffix in (".npz", ".pth", ".pt")[: 3 if find_spec("torch") else 1]:
        for name, content in (("junk", b"x" * 200), ("pickle", b"\x80\x04N."), ("none", b"")):
            (tmp_path / f"{name}{suffix}").write_bytes(content)
            names.append(f"{name}{suffix}")
    for name in names:
        with pytest.raises(CheckpointError, match=f"{name}.*: save|{name}.*; save") as caught:
            read_arrays(tmp_path / name)
        assert not re.search(
            "pickle|trust|weights_only|unsafe", str(caught.value).partition(name)[2]
        )


@pytest.mark.parametrize("source", [None, 7, ["w"], b"w.npz"])
def test_what_holds_no_weights_is_one_line(source):
    with pytest.raises(ConfigError, match="the weights are .*; give a file"):
        read_arrays(source)


# --- items -----------------------------------------------------------------------------------


def shuffled(seed=3):
    """items[theirs] = ours."""
    return np.concatenate([[0], np.random.default_rng(seed).permutation(ITEMS) + 1])


def test_items_are_renumbered():
    theirs, model = weights_of()
    ours, lists = shuffled(), sequences()
    want = scores(model, lists)  # in their ids
    for items in (ours, ours.tolist(), dict(enumerate(ours.tolist()))):
        moved, _ = quietly(theirs, "post", items=items)
        got = scores(moved, [ours[one] for one in lists])
        close(got[:, ours], want, 1e-6)
    names = [f"item {i}" for i in range(ITEMS + 1)]
    our_names = [names[i] for i in np.argsort(ours)]
    assert item_map(["<pad>", *names[1:]], ["<pad>", *our_names[1:]]) == {
        i: int(ours[i]) for i in range(1, ITEMS + 1)
    }


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.pop(4), "lacks 1 of their items, such as 4"),
        (lambda m: m.update({4: 9}), "their items 4 and 9 both to our 9"),
        (lambda m: m.update({4: ITEMS + 1}), f"our item {ITEMS + 1}; the item table has {ITEMS}"),
        (lambda m: m.update({ITEMS + 1: 4}), f"their item {ITEMS + 1}"),
        (lambda m: m.update({4: -1}), "our item -1"),
        (lambda m: m.update({0: 4}), "their 0 to our 4; 0 is the padding"),
        (lambda m: m.update({4: 0}), "their 4 to our 0; 0 is the padding"),
        (lambda m: m.update({4: "four"}), "'four'; ids are whole numbers"),
        (lambda m: m.update({4: 4.0}), "4.0; ids are whole numbers"),
        (lambda m: m.clear(), f"lacks {ITEMS} of their items"),
    ],
)
def test_an_item_map_that_is_not_complete_is_refused(change, match):
    items = {i: i for i in range(1, ITEMS + 1)}
    change(items)
    with pytest.raises(DataError, match=match):
        from_port(weights_of()[0], "post", items=items)


def test_names_that_do_not_match_are_refused():
    with pytest.raises(DataError, match="they have 1 items that we lack, such as 'c'"):
        item_map(["", "a", "b", "c"], ["", "b", "a"])
    with pytest.raises(DataError, match="we have 1 items that they lack, such as 'c'"):
        item_map(["", "a", "b"], ["", "b", "a", "c"])
    with pytest.raises(DataError, match="our items 1 and 2 are both named '7'"):
        item_map(["", 7, 8], ["", "7", "7"])


# --- the reference batch ---------------------------------------------------------------------


def matrices_as_ours(theirs, layers=("attention", "forward")):
    """The slip of not transposing, seen from the weights."""
    theirs = copy.deepcopy(theirs)
    for name, array in theirs.items():
        if name.endswith("weight") and name.startswith(tuple(f"{x}_layers." for x in layers)):
            blocks = array.reshape(-1, D, D)
            theirs[name] = blocks.transpose(0, 2, 1).reshape(array.shape)
    return theirs


@pytest.mark.parametrize(
    ("slip", "named"),
    [
        ({"norm": "pre"}, "they fit with norm='post', padding='visible'"),
        ({"norm": "authors"}, "they fit with norm='post', padding='visible'"),
        ({"padding": "zeroed"}, "they fit with norm='post', padding='visible'"),
        ({"padding": "hidden"}, "they fit with norm='post', padding='visible'"),
        ({"heads": 1}, "they fit with heads=2"),
        ({"norm": "pre", "heads": 4}, "norm='post', padding='visible' and heads=2"),
        ({"items": shuffled()}, "they fit with no item map"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(slip, named):
    theirs, model = weights_of(heads=2)
    lists = sequences()
    good = {"norm": "post", "heads": 2, "reference": (lists, scores(model, lists))}
    from_port(theirs, **good)
    with pytest.raises(CheckpointError, match=named) as caught:
        from_port(theirs, **{**good, **slip})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", [("attention", "forward"), ("attention",), ("forward",)])
def test_matrices_that_are_transposed_already_are_named(layers):
    theirs, model = weights_of()
    lists = sequences()
    slip = matrices_as_ours(theirs, layers)
    with pytest.raises(CheckpointError, match="taken as they are, not transposed"):
        from_port(slip, "post", reference=(lists, scores(model, lists)))


def test_positions_shifted_by_one_are_named():
    module, lists = port("post"), sequences()
    shifted = port_logits(module, lists, "post", "visible", first_position=0)
    with pytest.raises(CheckpointError, match="fit with positions that begin at row 0"):
        from_port(module.state_dict(), "post", reference=(lists, shifted))


def test_items_that_are_not_permuted_or_the_wrong_way_are_seen():
    theirs, _ = weights_of()
    ours, lists = shuffled(), sequences()
    moved, _ = quietly(theirs, "post", items=ours)
    reference = (lists, scores(moved, lists))
    from_port(theirs, "post", items=ours, reference=reference)
    with pytest.raises(CheckpointError, match=r"no other wiring.*items="):
        from_port(theirs, "post", reference=reference)
    with pytest.raises(CheckpointError, match="the other way round"):
        from_port(theirs, "post", items=np.argsort(ours), reference=reference)
    with pytest.raises(CheckpointError, match="no other wiring"):
        from_port(theirs, "post", items=shuffled(9), reference=reference)


def test_one_weight_that_differs_is_seen():
    theirs, model = weights_of()
    lists = sequences()
    reference = (lists, scores(model, lists))
    theirs["attention_layers.0.in_proj_bias"][2 * D + 3] += 0.05
    with pytest.raises(CheckpointError, match="no other wiring"):
        from_port(theirs, "post", reference=reference)


def test_a_reading_is_named_only_if_it_fits_the_whole_batch():
    theirs, model = weights_of()
    lists = sequences(lengths=(3,) * 40)  # more than other readings are first tried on
    logits = scores(model, lists)
    logits[-1] = logits[-1, ::-1]
    with pytest.raises(CheckpointError, match="no other wiring"):
        from_port(theirs, "pre", reference=(lists, logits))


def test_a_batch_that_leaves_things_open_says_so():
    theirs, model = weights_of()
    full = sequences(lengths=(N, 2 * N))  # without padding
    with pytest.warns(DataWarning, match="as well with norm='post', padding='hidden'; or with"):
        from_port(theirs, "post", 1, reference=(full, scores(model, full)))


def test_the_forms_of_a_reference_batch(tmp_path):
    theirs, model = weights_of()
    lists = sequences()
    logits, ids = scores(model, lists), padded(lists)
    from_port(theirs, "post", reference=(ids, logits[:, 1:]))  # as predict() gives them
    from_port(theirs, "post", reference={"sequences": ids, "logits": logits})
    for suffix in (".npz", ".safetensors"):
        write_arrays(tmp_path / f"r{suffix}", {"sequences": ids, "logits": logits})
        from_port(theirs, "post", reference=tmp_path / f"r{suffix}")
    right = ids[:, ::-1].copy()
    for bad, match in (
        ((ids, logits[:, 2:]), rf"shape \({len(ids)}, {ITEMS - 1}\)"),
        ((ids[1:], logits), "6 sequences"),
        (([], logits[:0]), "0 sequences"),
        ((ids, logits * np.nan), "NaN"),
        ((right, logits), "padding .0. stands on the left"),
        ((ids + ITEMS, logits), f"items are 1 to {ITEMS}"),
        ((ids * 0, logits), "at least one"),
        ((ids * 1.0, logits), "item ids"),
        (ids, "is .sequences, logits."),
        ({"ids": ids}, "holds sequences and logits, got ids"),
    ):
        with pytest.raises(DataError, match=match):
            from_port(theirs, "post", reference=bad)


# --- out -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_out_and_in_again_is_exact(version, tmp_path):
    norm, padding, padding_row = VERSIONS[version]
    module = port(norm, 2, padding_row)
    model, config = quietly(module.state_dict(), norm, 2, padding=padding)
    for suffix in (".npz", ".safetensors"):
        theirs = to_port(model, tmp_path / f"w{suffix}", padding_row=padding_row)
        want = {name: value.numpy() for name, value in module.state_dict().items()}
        for found in (theirs, read_arrays(tmp_path / f"w{suffix}")):
            assert found.keys() == want.keys()
            for name, array in want.items():
                np.testing.assert_array_equal(found[name], array)
    again, same = quietly(tmp_path / "w.npz", norm, 2, padding=padding)
    assert same == config
    for name, array in model.state().items():
        np.testing.assert_array_equal(again.state()[name], array)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_port_computes_what_our_model_does(version, each_backend):
    norm, padding, padding_row = VERSIONS[version]
    for output_projection in (True, False):  # without W_O it is the identity
        _, model = weights_of(
            norm=norm, padding=padding, heads=2, output_projection=output_projection
        )
        module = port(norm, 2, padding_row)
        import torch

        module.load_state_dict({k: torch.as_tensor(v) for k, v in to_port(model).items()})
        close(scores(model, sequences()), port_logits(module, sequences(), norm, padding))


def test_what_is_written_is_a_copy():
    theirs, model = weights_of()
    before = copy.deepcopy(model.state())
    for array in theirs.values():
        array[...] = 0
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"padding": "hidden"}, "padding='hidden'.*--padding visible"),
        ({"padding": "zeroed"}, "padding='zeroed'.*--padding visible"),
        ({"norm": "authors", "padding": "hidden"}, "--padding zeroed"),
        ({"positions": False}, "--positions"),
        ({"shared_embedding": False, "residual": False}, "--shared-embedding, --residual"),
        ({"layer_norm": False, "scale_embedding": False}, "--layer-norm, --scale-embedding"),
    ],
    ids=str,
)
def test_what_the_port_cannot_compute_is_not_written(settings, match):
    config = SASRecConfig(n=N, d=D, **{"norm": "post", "padding": "visible", **settings})
    with pytest.raises(ConfigError, match=match):
        to_port(SASRec(ITEMS, config))
    if settings == {"padding": "hidden"}:
        with pytest.raises(ConfigError, match="no BPR"):
            to_port(BPR(3, ITEMS))


# --- to go on training -----------------------------------------------------------------------


def test_a_model_starts_from_the_port_s_weights():
    theirs, source = weights_of(heads=2)
    model = SASRec(ITEMS, dataclasses.replace(source.config, loss="softmax", dropout=0.5), seed=9)
    with pytest.warns(DataWarning, match="nothing was compared"):
        start_from(model, theirs)
    for name, array in source.state().items():
        np.testing.assert_array_equal(model.state()[name], array)
    ours = shuffled()
    reference = (sequences(), scores(quietly(theirs, "post", 2, items=ours)[0], sequences()))
    start_from(model, theirs, items=ours, reference=reference)
    before = copy.deepcopy(model.state())
    with pytest.raises(CheckpointError, match="differ from the reference"):
        start_from(model, theirs, reference=reference)
    for name, array in model.state().items():
        np.testing.assert_array_equal(before[name], array)
    start_from(model, source.state())  # of a run of ours
    close(scores(model, sequences()), scores(source, sequences()), 1e-7)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"n": N + 5}, f"n = {N}, the model has n = {N + 5}"),
        ({"n": N + 1}, f"n = {N}, the model has n = {N + 1}"),  # row 0 is zeros: the padding's
        ({"d": 2 * D}, f"d = {D}, the model has d = {2 * D}"),
        ({"blocks": 3}, "blocks = 2, the model has blocks = 3"),
        ({"output_projection": False}, "--output-projection"),
        ({"positions": False}, "--positions"),
    ],
    ids=str,
)
def test_a_model_of_other_settings_is_told_which(settings, match):
    theirs, source = weights_of()
    model = SASRec(ITEMS, dataclasses.replace(source.config, **settings))
    with pytest.raises(ConfigError, match=match):
        start_from(model, theirs)


def test_a_model_of_other_items_or_of_another_kind_is_told():
    theirs, source = weights_of()
    with pytest.raises(ConfigError, match=f"num_items = {ITEMS}, the model has num_items = 31"):
        start_from(SASRec(ITEMS + 1, source.config), theirs)
    with pytest.raises(ConfigError, match="BPR"):
        start_from(BPR(3, ITEMS), theirs)
    with pytest.raises(ConfigError, match="of the port only"):
        start_from(source, source.state(), items=shuffled())


# --- ONNX ------------------------------------------------------------------------------------


def onnx_session(model, path, **options):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return runtime.InferenceSession(str(to_onnx(model, path, **options)))


def onnx_batch(lists, width=None):
    """Left-padded to the longest, or to `width`."""
    width = width or max(map(len, lists))
    ids = np.zeros((len(lists), width), np.int64)
    for row, items in zip(ids, lists, strict=True):
        row[width - len(items) :] = items
    return ids


@pytest.mark.parametrize(
    "settings",
    [
        *[
            {"norm": norm, "padding": padding, "heads": heads, "positions": positions}
            for norm in NORMS
            for padding in ("hidden", "visible", "zeroed")
            for heads, positions in ((1, True), (2, True), (2, False))
        ],
        {"output_projection": True, "shared_embedding": False},
        {"norm": "ligr", "heads": 2, "positions_from": "beginning", "output_projection": True},
        {"norm": "ligr", "padding": "zeroed"},
        {"positions_from": "beginning"},
        {"layer_norm": False, "residual": False, "scale_embedding": False},
        {"blocks": 0},
    ],
    ids=str,
)
def test_onnx_gives_our_scores(settings, tmp_path, each_backend):
    config = SASRecConfig(**{"n": N, "d": D, "blocks": BLOCKS, **settings})
    model = random_model(config)
    if config.layer_norm is False:  # numbers of a usual size
        for parameter in model.parameters():
            parameter.data *= 0.3
    lists = sequences()
    want = scores(model, lists)
    session = onnx_session(model, tmp_path / "m.onnx")
    assert not list(tmp_path.glob(".*"))
    for part in (slice(0, 7), slice(0, 1), slice(0, 3), slice(4, 5)):  # other B and L
        (got,) = session.run(None, {"items": onnx_batch(lists[part])})
        assert got.dtype == np.float32 and got.shape == want[part].shape
        close(got[:, 1:], want[part, 1:])
    # more padding than needed changes nothing
    (got,) = session.run(None, {"items": onnx_batch(lists, 5 * N)})
    close(got[:, 1:], want[:, 1:])


def test_onnx_scores_candidates(tmp_path):
    model = random_model(SASRecConfig(n=N, d=D))
    session = onnx_session(model, tmp_path / "m.onnx", candidates=True)
    lists, generator = sequences(), np.random.default_rng(5)
    for c in (1, 4):
        wanted = generator.integers(1, ITEMS + 1, (len(lists), c))
        (got,) = session.run(None, {"items": onnx_batch(lists), "candidates": wanted})
        close(got, np.take_along_axis(scores(model, lists), wanted, axis=1))


@pytest.mark.parametrize("bad", [-1, ITEMS + 1])
@pytest.mark.parametrize("padding", ["hidden", "visible", "zeroed"])
def test_onnx_refuses_items_that_there_are_not(bad, padding, tmp_path):
    """-1, which is what many a lookup says of an unknown id, would be the last item."""
    model = SASRec(ITEMS, SASRecConfig(n=N, d=D, padding=padding))
    session = onnx_session(model, tmp_path / "m.onnx", candidates=True)
    good = np.array([[1, 2]])
    session.run(None, {"items": good, "candidates": good})
    for wrong in ({"items": np.array([[1, bad]])}, {"candidates": np.array([[bad, 2]])}):
        with pytest.raises(Exception, match="out of data bounds"):
            session.run(None, {"items": good, "candidates": good} | wrong)


def test_onnx_layer_norm_keeps_rows_with_a_large_mean(tmp_path):
    model = random_model(SASRecConfig(n=N, d=D, norm="post"))
    model.item_embedding.table.data[1:] += 30  # a variance of .2 on a mean of 100
    session, lists = onnx_session(model, tmp_path / "m.onnx"), sequences()
    (got,) = session.run(None, {"items": onnx_batch(lists)})
    close(got[:, 1:], scores(model, lists)[:, 1:], 1e-4)


def test_onnx_says_what_it_is_and_what_it_cannot(tmp_path, monkeypatch):
    model = random_model(SASRecConfig(n=N, d=D))
    session = onnx_session(model, tmp_path / "m.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == {"n": str(N), "num_items": str(ITEMS), "padding": "hidden"}
    with pytest.raises(ConfigError, match="only a SASRec.*not BPR; .* model_"):
        to_onnx(BPR(3, ITEMS), tmp_path / "b.onnx")
    with pytest.raises(ConfigError, match=r"\.onnx file"):
        to_onnx(model, tmp_path / "m.pb")
    other = random_model(SASRecConfig(n=N, d=D))
    other.blocks[0].ffn_residual = type("Gate", (Residual,), {})(0.0)
    with pytest.raises(ConfigError, match="of the kind Gate has no ONNX form"):
        to_onnx(other, tmp_path / "g.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"minisasrec\[exchange\]"):
        to_onnx(model, tmp_path / "m.onnx")


# --- item vectors ----------------------------------------------------------------------------


def test_item_vectors_find_what_the_model_ranks_first(tmp_path):
    model, lists = random_model(SASRecConfig(n=N, d=D)), sequences()
    path, ids = save_item_vectors(model, tmp_path / "items.npy")
    vectors, numbers = np.load(path), np.load(ids)
    assert vectors.dtype == np.float32 and vectors.shape == (ITEMS, D)
    assert numbers.tolist() == list(range(1, ITEMS + 1))
    queries = model.encode(np.full(len(lists), -1), pack_sequences(lists, N))
    best = numbers[(queries @ vectors.T).argmax(axis=1)]
    assert best.tolist() == (scores(model, lists)[:, 1:].argmax(axis=1) + 1).tolist()
    names = ["<pad>", *(f"é{i}" for i in range(1, ITEMS + 1))]
    for given in (names, names[1:]):  # of a data set, and of a recommender
        _, ids = save_item_vectors(BPR(3, ITEMS), tmp_path / "bpr.npy", given)
        assert np.load(ids).tolist() == names[1:]


@pytest.mark.parametrize("renamed", [0, 1])
def test_vectors_never_stand_beside_the_ids_of_others(renamed, tmp_path, monkeypatch):
    """Ctrl-C while the ids are written, or between the two renamings."""
    model, old = random_model(SASRecConfig(n=N, d=D)), [f"old {i}" for i in range(ITEMS)]
    path, ids = save_item_vectors(SASRec(ITEMS, SASRecConfig(n=N, d=D)), tmp_path / "i.npy", old)
    before, done, replace = np.load(path), [], os.replace

    def pressed(*names):
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(names)
        replace(*names)

    monkeypatch.setattr(os, "replace", pressed)
    with pytest.raises(KeyboardInterrupt):
        save_item_vectors(model, path, [f"new {i}" for i in range(ITEMS)])
    assert np.load(ids)[0] == ("new 0" if renamed else "old 0")
    if path.exists():
        assert not renamed and np.array_equal(np.load(path), before)


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of the size of files")
def test_vectors_that_cannot_be_written_say_why(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(TrainingError, match="File too large"):
            save_item_vectors(SASRec(ITEMS, SASRecConfig(n=N, d=D)), tmp_path / "i.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_item_vectors_say_what_they_need(tmp_path):
    model = SASRec(ITEMS, SASRecConfig(n=N, d=D))
    with pytest.raises(ConfigError, match=r"\.npy file"):
        save_item_vectors(model, tmp_path / "items.npz")
    with pytest.raises(ConfigError, match=f"3 ids for {ITEMS} items"):
        save_item_vectors(model, tmp_path / "items.npy", ["a", "b", "c"])
    with pytest.raises(ConfigError, match="no item vectors"):
        save_item_vectors(object(), tmp_path / "items.npy")
