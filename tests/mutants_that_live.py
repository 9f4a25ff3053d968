"""Changes of the code that no test has to notice, each with the reason; see `mutants.py`.

File, line, change, reason. `mutants.py` stops at an entry that is no longer true of its file.
"""

from __future__ import annotations

ANY_LENGTH = "NumPy takes any negative length for the one that follows from the others"
ONE_AXIS = "the array has two axes: the last one is axis 1"
OTHER_DRAW = "another draw of the same distribution"
SPEED = "how many users or gradients are taken at a time, or which way is quicker: same numbers"

LIVES: list[tuple[str, str, str, str]] = [
    (
        "autograd/engine.py",
        "if len(waiting) == MOST_WAITING:",
        "Eq to NotEq",
        "sums are made earlier, in the same order: less memory, more calls",
    ),
    (
        "autograd/engine.py",
        "for i, (parent, dx) in enumerate(zip(parents, input_gradients, strict=True)):",
        "True to False",
        "the number of gradients was checked in the line before",
    ),
    (
        "autograd/gradients.py",
        "added: Array = total.implementation(arrays[0].size)(arrays)",
        "0 to 1",
        "all of them are of one size, and there are two at least",
    ),
    (
        "autograd/op.py",
        "name = self.signature.axes(i + 1)[i][0]",
        "1 to 2",
        "argument i has the same name in a longer list of arguments",
    ),
    ("ops/attention.py", "_check_heads(name, q.shape[-1], heads)", "USub to UAdd", ONE_AXIS),
    (
        "ops/dropout.py",
        "return (random_uint32(key, counter) >= np.uint32(drop_threshold(rate))).reshape(shape)",
        "GtE to Gt",
        "differs for one random number in 2^32",
    ),
    ("ops/embedding.py", "rows = dy.reshape(-1, table.shape[1])", "1 to 2", ANY_LENGTH),
    (
        "ops/feed_forward.py",
        "if x.shape[1] < kernels.matmul.lane_count(x.dtype):",
        "Lt to LtE",
        SPEED,
    ),
    (
        "ops/loss.py",
        "positive = (h * items[targets]).sum(-1)  # r of the target, (T)",
        "USub to UAdd",
        ONE_AXIS,
    ),
    ("ops/matmul.py", "drows = np.ascontiguousarray(dy).reshape(-1, m)", "1 to 2", ANY_LENGTH),
    (
        "ops/matmul.py",
        "rows, W = np.ascontiguousarray(x).reshape(-1, k), np.ascontiguousarray(W)",
        "1 to 2",
        ANY_LENGTH,
    ),
    ("ops/projections.py", "if d < kernels.matmul.lane_count(x.dtype):", "Lt to LtE", SPEED),
    (
        "ops/softmax.py",
        "rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])",
        "1 to 2",
        ANY_LENGTH,
    ),
    (
        "nn/optim.py",
        "return min(1.0, self.clip_norm / (total**0.5 + 1e-12))",
        "Add to Sub",
        "differs in the last bits, and for norms of gradients below 1e-8",
    ),
    (
        "nn/optim.py",
        "first = self.parameters[0].dtype if self.parameters else None",
        "condition turned round",
        "no parameter counts as small then: slower, same numbers",
    ),
    (
        "nn/optim.py",
        "for i, part in zip(self.small, _parts(flat, shapes), strict=True):",
        "True to False",
        "both lists are made of self.small",
    ),
    (
        "learn/evaluation.py",
        "if max_users and len(self.users) > max_users:",
        "Gt to GtE",
        "all users are chosen out of as many",
    ),
    ("learn/evaluation.py", "self.calls = 0", "0 to 1", OTHER_DRAW),
    ("learn/evaluation.py", "self.calls += 1", "1 to 2", OTHER_DRAW),
    (
        "learn/evaluation.py",
        "drawn = draw_items(key, counter, 0, self.split.dataset.num_items)",
        "0 to 1",
        OTHER_DRAW,
    ),
    (
        "learn/evaluation.py",
        "self.chooser = ThreadChooser(first=1, block=1, blocks=6, period=256)"
        "  # there are few steps",
        "1 to 2",
        SPEED,
    ),
    (
        "learn/evaluation.py",
        "met = pack(items, starts, ends, int((ends - starts).max()))",
        "Sub to Add",
        "a limit on the length of histories, above all of them either way",
    ),
    (
        "learn/evaluation.py",
        "lists = np.zeros((len(users), 0), np.int32)",
        "0 to 1",
        "an empty list is wanted of it: no column is copied",
    ),
    (
        "learn/evaluation.py",
        "lengths = (offsets[1:] - offsets[:-1])[users]",
        "Sub to Add",
        "a quick estimate fails, and all users are counted: slower, same number",
    ),
    (
        "learn/evaluation.py",
        "lengths = (offsets[1:] - offsets[:-1])[users]",
        "USub to UAdd",
        "as above",
    ),
    (
        "data/split.py",
        "if 10 * 365.25 <= latest / (units * 86_400) < 130 * 365.25:",
        "LtE to Lt",
        "differs at one moment, noon of 1 January 1980",
    ),
]
