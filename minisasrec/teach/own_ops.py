"""A student's own file: what he or she wrote is kept in it, and the model trains with it.

    keep("inverted_dropout", my_dropout)    # into my_ops.py beside the notebook, once it is right

    with own_ops() as whose:                # a table: which parts are the student's
        fit(model, split, config)           # computes with them, and by the definitions elsewhere

`my_ops.py` is plain Python to read and to change: a part for each exercise, with all that it needs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from minisasrec import ops
from minisasrec.autograd import engine
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import use_backend
from minisasrec.errors import ConfigError
from minisasrec.learn.runs import Run
from minisasrec.nn import optim
from minisasrec.ops.attention import attention_weights
from minisasrec.ops.dropout import keep_mask
from minisasrec.teach.exercises import find, verdict
from minisasrec.teach.grading.cells import uses
from minisasrec.teach.handout import read_solutions
from minisasrec.teach.tables import Table

FILE = "my_ops.py"
HEAD = '"""What I wrote in the notebooks. `keep` writes this file; notebook 08 trains with it."""\n'
Function = Callable[..., Any]


# --- keeping -------------------------------------------------------------------------------------


def keep(name: str, answer: Any, file: str = FILE) -> None:
    """Write the answer to an exercise into the student's file, if it is right; print what happened.

    Run again, it replaces the part of that exercise and leaves the others. What the function uses
    comes with it: imports, other functions of the notebook, numbers. Raises `ConfigError` for an
    exercise that does not exist.
    """
    if verdict(find(name).grade, answer).result != "correct":
        print(f"kept in {file} once it is right")
        return
    try:
        text = source_with_needs(answer)
    except ConfigError as error:
        print(f"not kept: {error}")
        return
    parts = read_solutions(Path(file)) if Path(file).is_file() else {}
    parts[name] = text
    whole = HEAD + "".join(f"\n\n# exercise: {part}\n{code}\n" for part, code in parts.items())
    Run(Path(file).absolute().parent).write_bytes(Path(file).name, whole.encode())
    print(f"kept in {file}: {', '.join(parts)}")


def source_with_needs(function: Any) -> str:
    """The source of a function, below that of all it uses. Raises `ConfigError` if that fails."""
    parts: dict[str, str] = {}
    _collect(getattr(function, "py_func", function), parts)
    imports = sorted(part for part in parts.values() if part.startswith(("import ", "from ")))
    others = [part for part in parts.values() if part not in imports]
    return "\n".join(dict.fromkeys([*imports, *others]))


def _collect(function: Any, parts: dict[str, str]) -> None:
    try:
        text = textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        raise ConfigError(
            "the source of your function is not to be found; run its cell once more"
        ) from None
    for name in sorted(uses(text)):
        if name in parts or name == function.__name__ or name not in function.__globals__:
            continue
        value = function.__globals__[name]
        inner = getattr(value, "py_func", value)
        if isinstance(value, ModuleType):
            same = value.__name__ == name
            parts[name] = f"import {value.__name__}" + ("" if same else f" as {name}")
        elif inspect.isfunction(inner) and inner.__module__ == function.__module__:
            parts[name] = ""  # so that two functions may call each other
            _collect(inner, parts)
            parts[name] = parts.pop(inner.__name__)
        elif isinstance(value, bool | int | float | str):
            parts[name] = f"{name} = {value!r}"
        elif getattr(value, "__module__", None) not in (None, function.__module__):
            known = getattr(value, "__name__", name)
            parts[name] = f"from {value.__module__} import {known}" + (
                "" if known == name else f" as {name}"
            )
        else:
            raise ConfigError(
                f"your function uses {name}, which is a {type(value).__name__} of the notebook; "
                "make it inside the function, so that the function works elsewhere, too"
            )
    parts[function.__name__] = text


def read_own(file: str = FILE) -> dict[str, Function]:
    """Exercise -> the function in the student's file; its own error where a part does not run."""
    path, found = Path(file), dict[str, Function]()
    if not path.is_file():
        return found
    for name, code in read_solutions(path).items():
        space: dict[str, Any] = {"__name__": f"my_ops.{name}"}
        try:
            exec(compile(code, str(path), "exec"), space)
            defined = [n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)]
            found[name] = space[defined[-1]]
        except Exception as error:
            found[name] = _fails(error)
    return found


def _fails(error: Exception) -> Function:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail


# --- putting to work -----------------------------------------------------------------------------


@contextmanager
def own_ops(file: str = FILE) -> Iterator[Table]:
    """Compute with what the student's file holds, and by the NumPy definitions elsewhere.

    Every part is graded first. One that is missing or no longer right is the package's; the table
    says so. At the end of the block all is as it was.
    """
    own, right, rows = read_own(file), dict[str, Function](), list[tuple[str, ...]]()
    for name, (does, _) in PARTS.items():
        if name in own:
            said = verdict(find(name).grade, own[name])
            if said.result == "correct":
                right[name] = own[name]
            whose = (
                "yours" if name in right else f"the package's; yours: {said.text or said.result}"
            )
        else:
            whose = f"the package's; not yet in {file}"
        rows.append((does, f"{name} ({find(name).notebook[:2]})", whose))
    with ExitStack() as block:
        block.enter_context(use_backend("numpy"))
        for name in right:
            target, attribute, replacement = PARTS[name][1](right)
            block.enter_context(patch.object(target, attribute, replacement))
        yield Table(("in the model", "exercise", "whose"), rows)


Place = tuple[Any, str, Function]  # object, attribute and what it is to be


def _order(own: dict[str, Function]) -> Place:
    def order(root: Tensor) -> list[Tensor]:
        tensors, parents = [root], dict[str, list[str]]()
        number = {root: "0"}
        for tensor in tensors:  # it grows
            for parent in tensor.parents:
                if parent.requires_grad and parent not in number:
                    number[parent] = str(len(tensors))
                    tensors.append(parent)
        for tensor in tensors:
            parents[number[tensor]] = [number[p] for p in tensor.parents if p.requires_grad]
        return [tensors[int(each)] for each in own["topological_order"]("0", parents)]

    return engine, "topological_order", order


def _embedding(own: dict[str, Function]) -> Place:
    by_the_book = ops.embedding.definition

    def embedding(table: Any, *, ids: Any, padding_id: int | None = None) -> Any:
        y, _ = by_the_book(table, ids=ids, padding_id=padding_id)
        ids = np.asarray(ids)
        none, rows = np.zeros_like(ids), len(table)

        def backward(dy: Any) -> tuple[Any, ...]:
            if padding_id == 0:  # the items' table
                dtable = own["embedding_backward"](dy, ids, none, rows - 1, 1)[0]
            else:  # that of the positions
                dtable = own["embedding_backward"](dy, none, ids, 1, rows)[1]
            return (np.asarray(dtable, table.dtype),)

        return y, backward

    return ops.embedding, "definition", embedding


def _attention(own: dict[str, Function]) -> Place:
    """Forward and backward may come from different hands: both exercises lead here."""
    by_the_book = ops.packed_causal_attention.definition
    gradients_of: Function = own.get("attention_backward", _attention_backward)

    def attention(q: Any, k: Any, v: Any, *, offsets: Any, heads: int = 1, **other: Any) -> Any:
        if heads > 1 or other.get("rate"):
            return by_the_book(q, k, v, offsets=offsets, heads=heads, **other)
        y, parts = np.empty_like(q), []
        for start, end in zip(offsets[:-1], offsets[1:], strict=True):
            if start < end:
                one = slice(start, end)
                y[one], p = _attend(q[one], k[one], v[one], own)
                parts.append((one, np.asarray(p, q.dtype)))

        def backward(dy: Any) -> tuple[Any, ...]:
            gradients = tuple(np.empty_like(x) for x in (q, k, v))
            for one, p in parts:
                found = gradients_of(q[one], k[one], v[one], p, dy[one])
                for gradient, part in zip(gradients, found, strict=True):
                    gradient[one] = part
            return gradients

        return y, backward

    return ops.packed_causal_attention, "definition", attention


def _attend(q: Any, k: Any, v: Any, own: dict[str, Function]) -> tuple[Any, Any]:
    allowed = np.tril(np.ones((len(q), len(q)), dtype=bool))
    if "causal_mask" in own:
        allowed = own["causal_mask"](np.ones((1, len(q)), dtype=bool))[0]
    if "attention" in own:
        out, p = own["attention"](q, k, v, allowed)
        return out, p
    p = attention_weights(q, k, allowed)
    return p @ v, p


def _attention_backward(q: Any, k: Any, v: Any, p: Any, dout: Any) -> tuple[Any, ...]:
    dp = dout @ v.T
    dz = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dz @ k, dz.T @ q, p.T @ dout


def _layer_norm(own: dict[str, Function]) -> Place:
    by_the_book = ops.layer_norm.definition

    def layer_norm(x: Any, gamma: Any, beta: Any, *, eps: float = 1e-8) -> Any:
        y, back = by_the_book(x, gamma, beta, eps=eps)
        rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(eps))
        xhat = (x - x.mean(axis=-1, keepdims=True)) * rstd

        def backward(dy: Any) -> tuple[Any, ...]:
            dxhat = dy * gamma
            two = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True))
            dx = two + own["third_term"](xhat, rstd, dxhat)
            return (np.asarray(dx, x.dtype), *back(dy)[1:])

        return y, backward

    return ops.layer_norm, "definition", layer_norm


def _dropout(own: dict[str, Function]) -> Place:
    def dropout(x: Any, *, rate: float, key: Any, slot_ids: Any = None) -> Any:
        y, back = own["inverted_dropout"](x, keep_mask(x.shape, rate, key, slot_ids), rate)
        return np.asarray(y, x.dtype), lambda dy: (np.asarray(back(dy), x.dtype),)

    return ops.dropout, "definition", dropout


def _loss(own: dict[str, Function]) -> Place:
    by_the_book = ops.sampled_bce.definition

    def sampled_bce(h: Any, items: Any, *, targets: Any, negatives: Any, **other: Any) -> Any:
        y, back = by_the_book(h, items, targets=targets, negatives=negatives, **other)
        if np.shape(negatives)[1] != 1 or other.get("beta", 1.0) != 1:
            return y, back

        def backward(dloss: Any) -> tuple[Any, ...]:
            found = own["bce_backward"](h, items, targets, negatives[:, 0])
            return tuple(np.asarray(dloss * gradient, h.dtype) for gradient in found)

        return y, backward

    return ops.sampled_bce, "definition", sampled_bce


def _adam(own: dict[str, Function]) -> Place:
    def update(self: optim.Adam, trained: list[int], settings: tuple[float, ...]) -> None:
        beta1, beta2, step_size, _, l2, factor = settings
        t = self.steps
        lr = step_size * (1 - beta1**t) / (1 - beta2**t) ** 0.5  # undo what `_settings` folds
        for i in trained:
            w = self.parameters[i].own_data()
            g = factor * np.asarray(self.parameters[i].grad) + l2 * w
            found = own["adam_step"](
                w.copy(), g, self.m[i], self.v[i], t, lr, beta1, beta2, self.eps
            )
            for array, new in zip((w, self.m[i], self.v[i]), found, strict=True):
                array[...] = new
            self.parameters[i].mark_changed()

    return optim.Adam, "_update", update


PARTS: dict[str, tuple[str, Callable[[dict[str, Function]], Place]]] = {
    "topological_order": ("the order of the walk back", _order),
    "third_term": ("layer norm: the third term of its gradient", _layer_norm),
    "embedding_backward": ("the gradient of both embeddings", _embedding),
    "causal_mask": ("the mask", _attention),
    "attention": ("attention", _attention),
    "attention_backward": ("the gradient of attention", _attention),
    "inverted_dropout": ("dropout and its gradient", _dropout),
    "bce_backward": ("the gradient of the loss", _loss),
    "adam_step": ("a step of Adam", _adam),
}
