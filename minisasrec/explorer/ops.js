// Tensors, ops and the walk back: what minisasrec/autograd and minisasrec/ops do, in JavaScript.
//
// An op makes its value y at once and keeps backward(dy), which returns the gradient of each input.
// Weights are constants here: the page asks how a score changes with the history, it trains nothing.
"use strict";

/** A matrix, its numbers row by row; `inputs` and `backward` if an op made it. */
class Tensor {
  constructor(rows, cols, data = new Float32Array(rows * cols)) {
    Object.assign(this, { rows, cols, data, op: "", inputs: [], backward: null });
  }
  row(i) {
    return this.data.subarray(i * this.cols, (i + 1) * this.cols);
  }
}

function made(op, y, inputs, backward) {
  return Object.assign(y, { op, inputs, backward });
}

/** The walk back from y, one tensor at a time: [tensor, its gradient]   (autograd/engine.py) */
function* backwardSteps(y, dy) {
  const order = [], seen = new Set();
  (function visit(tensor) {
    if (seen.has(tensor)) return;
    seen.add(tensor);
    tensor.inputs.forEach(visit);
    order.push(tensor);
  })(y);
  const arrived = new Map([[y, dy]]); // the sum of the gradients that have reached a tensor so far
  for (const tensor of order.reverse()) {
    const grad = arrived.get(tensor);
    yield [tensor, grad];
    if (!tensor.backward) continue;
    tensor.backward(grad).forEach((dx, i) => {
      const x = tensor.inputs[i], before = arrived.get(x);
      arrived.set(x, before ? before.map((value, j) => value + dx[j]) : dx);
    });
  }
}

/** y = table[ids], a row for each id                                     (ops/embedding.py) */
function embedding(table, ids) {
  const y = new Tensor(ids.length, table.cols);
  ids.forEach((id, i) => y.row(i).set(table.row(id)));
  return made("embedding", y, [], null);
}

/** y = x + z */
function add(x, z) {
  const y = new Tensor(x.rows, x.cols, x.data.map((value, i) => value + z.data[i]));
  return made("add", y, [x, z], (dy) => [dy, dy]);
}

/** y = x z, number by number */
function mul(x, z) {
  const y = new Tensor(x.rows, x.cols, x.data.map((value, i) => value * z.data[i]));
  const times = (dy, w) => dy.map((value, i) => value * w.data[i]);
  return made("mul", y, [x, z], (dy) => [times(dy, z), times(dy, x)]);
}

/** y = x sigmoid(a)                                                      (ops/elementwise.py) */
function gate(x, a) {
  const open = a.data.map((value) => 1 / (1 + Math.exp(-value)));
  const y = new Tensor(x.rows, x.cols, x.data.map((value, i) => value * open[i]));
  return made("gate", y, [x, a], (dy) => [
    dy.map((value, i) => value * open[i]),
    dy.map((value, i) => value * x.data[i] * open[i] * (1 - open[i])),
  ]);
}

/** y = c x */
function scale(x, c) {
  const y = new Tensor(x.rows, x.cols, x.data.map((value) => c * value));
  return made("scale", y, [x], (dy) => [dy.map((value) => c * value)]);
}

/** y = x, and 0 in row `hidden`                                          (ops/elementwise.py) */
function hideRow(x, hidden) {
  const y = new Tensor(x.rows, x.cols, x.data.slice());
  y.row(hidden).fill(0);
  return made("masked_fill", y, [x], (dy) => {
    const dx = dy.slice();
    dx.fill(0, hidden * x.cols, (hidden + 1) * x.cols);
    return [dx];
  });
}

/** y = max(x, 0) */
function relu(x) {
  const y = new Tensor(x.rows, x.cols, x.data.map((value) => Math.max(value, 0)));
  return made("relu", y, [x], (dy) => [dy.map((value, i) => (x.data[i] > 0 ? value : 0))]);
}

/** y = x W + b                                                           (ops/matmul.py) */
function linear(x, W, b) {
  const T = x.rows, K = W.rows, m = W.cols, y = new Tensor(T, m);
  const Wt = (W.transposed ??= transpose(W.data, K, m)); // once, as a weight does not change
  for (let t = 0; t < T; t++) {
    const xt = x.row(t), yt = y.row(t);
    for (let j = 0; j < m; j++) yt[j] = b.data[j] + dot(xt, 0, Wt, j * K, K);
  }
  return made("linear", y, [x], (dy) => {
    const dx = new Float32Array(T * K); // dx = dy Wᵀ
    for (let t = 0; t < T; t++) {
      for (let k = 0; k < K; k++) dx[t * K + k] = dot(dy, t * m, W.data, k * m, m);
    }
    return [dx];
  });
}

/** xᵀ, of a matrix with so many rows and columns */
function transpose(x, rows, cols) {
  const y = new Float32Array(rows * cols);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) y[j * rows + i] = x[i * cols + j];
  return y;
}

/** The sum of x[i + j] z[k + j] over j < n, as four sums, none of which waits for another */
function dot(x, i, z, k, n) {
  let a = 0, b = 0, c = 0, e = 0, j = 0;
  for (; j + 3 < n; j += 4) {
    a += x[i + j] * z[k + j];
    b += x[i + j + 1] * z[k + j + 1];
    c += x[i + j + 2] * z[k + j + 2];
    e += x[i + j + 3] * z[k + j + 3];
  }
  for (; j < n; j++) a += x[i + j] * z[k + j];
  return a + b + c + e;
}

/** y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps)           (ops/layer_norm.py) */
function layerNorm(x, gamma, beta, eps = 1e-8) {
  const d = x.cols, y = new Tensor(x.rows, d), xhat = new Tensor(x.rows, d), rstd = [];
  for (let t = 0; t < x.rows; t++) {
    let mean = 0, variance = 0;
    for (let j = 0; j < d; j++) mean += x.data[t * d + j] / d;
    for (let j = 0; j < d; j++) variance += (x.data[t * d + j] - mean) ** 2 / d;
    rstd[t] = 1 / Math.sqrt(variance + eps);
    for (let j = 0; j < d; j++) {
      const hat = (x.data[t * d + j] - mean) * rstd[t];
      xhat.data[t * d + j] = hat;
      y.data[t * d + j] = gamma.data[j] * hat + beta.data[j];
    }
  }
  return made("layer_norm", y, [x], (dy) => {
    const dx = new Float32Array(dy.length);
    for (let t = 0; t < x.rows; t++) {
      const hat = xhat.row(t), dhat = gamma.data.map((g, j) => g * dy[t * d + j]);
      const through = dhat.reduce((sum, value) => sum + value, 0) / d;
      const along = dot(dhat, 0, hat, 0, d) / d;
      dhat.forEach((value, j) => (dx[t * d + j] = rstd[t] * (value - through - hat[j] * along)));
    }
    return [dx];
  });
}

/** out_t = sum over s of p_ts v_s,  p_t = softmax over s of q_t . k_s / sqrt(d / h)
 *
 * With `mask`, only s <= t count. `bias` is added to the scores of each key.   (ops/attention.py)
 * The result keeps `scores` and `weights`, a T x T matrix for each head.
 */
function attention(q, k, v, { heads, mask, bias }) {
  const T = q.rows, d = q.cols, width = d / heads, root = Math.sqrt(width);
  const y = new Tensor(T, d), scores = [], weights = [], vt = transpose(v.data, T, d);
  for (let head = 0; head < heads; head++) {
    const at = head * width, r = new Tensor(T, T), p = new Tensor(T, T);
    for (let t = 0; t < T; t++) {
      const last = mask ? t : T - 1, rt = r.row(t), pt = p.row(t), yt = y.row(t);
      let top = -Infinity, sum = 0;
      for (let s = 0; s < T; s++) {
        rt[s] = dot(q.data, t * d + at, k.data, s * d + at, width) / root + bias[s];
      }
      for (let s = 0; s <= last; s++) top = Math.max(top, rt[s]);
      for (let s = 0; s <= last; s++) sum += pt[s] = Math.exp(rt[s] - top);
      for (let s = 0; s <= last; s++) pt[s] /= sum;
      for (let j = at; j < at + width; j++) yt[j] = dot(pt, 0, vt, j * T, last + 1);
    }
    scores.push(r);
    weights.push(p);
  }
  Object.assign(y, { scores, weights });
  return made("causal_attention", y, [q, k, v], (dy) => {
    const [dq, dk, dv] = [q, k, v].map((x) => new Float32Array(x.data.length));
    for (let head = 0; head < heads; head++) {
      const at = head * width;
      for (let t = 0; t < T; t++) {
        const pt = weights[head].row(t);
        const dp = pt.map((_, s) => dot(dy, t * d + at, v.data, s * d + at, width));
        const along = dot(pt, 0, dp, 0, T);
        for (let s = 0; s < T; s++) {
          const dr = (pt[s] * (dp[s] - along)) / root; // softmax backwards: 0 where p is 0
          for (let j = at; j < at + width; j++) {
            dq[t * d + j] += dr * k.data[s * d + j];
            dk[s * d + j] += dr * q.data[t * d + j];
            dv[s * d + j] += pt[s] * dy[t * d + j];
          }
        }
      }
    }
    return [dq, dk, dv];
  });
}
