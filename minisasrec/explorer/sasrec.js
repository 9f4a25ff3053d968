// SASRec: self-attentive sequential recommendation (Kang & McAuley, 2018), Sec. III.
//
//   E_i = M_{s_i} + P_i                       embedding layer      III-A
//   S   = SA(E)                               self-attention       III-B
//   F   = FFN(S)                              point-wise FFN       III-B
//   x + g(LayerNorm(x))                       around each g        III-C
//   r_{i,t} = F_t . N_i,  N = M               prediction layer     III-D
//
// This is minisasrec/models/sasrec.py and variants.py in another language, for one history and
// without dropout. Names of weights are the package's; matrices have a row for each item of the
// history. Every step is noted, so that the page can show it.
"use strict";

/** Where layer norm stands, and what is added back (Sec. III-C; `norm` of the settings). */
const WIRINGS = {
  // the paper: x + g(LayerNorm(x))
  pre(block, x) {
    const z = block.norm("attention_norm", x);
    x = block.residual("attention_residual", x, block.attention(z, z));
    return block.residual("ffn_residual", x, block.ffn(block.norm("ffn_norm", x)));
  },
  // the first Transformer: LayerNorm(x + g(x))
  post(block, x) {
    x = block.norm("attention_norm", block.residual("attention_residual", x, block.attention(x, x)));
    return block.norm("ffn_norm", block.residual("ffn_residual", x, block.ffn(x)));
  },
  // the authors' code: LayerNorm on the query alone, which is what is added back
  authors(block, x) {
    const q = block.norm("attention_norm", x);
    const z = block.norm("ffn_norm", block.residual("attention_residual", q, block.attention(q, x)));
    return block.residual("ffn_residual", z, block.ffn(z));
  },
  // LiGR: each number of a row says by a gate how much of a sub-layer it takes
  ligr(block, x) {
    const z = block.norm("attention_norm", x);
    x = block.gated("attention", x, block.attention(z, z));
    return block.gated("ffn", x, block.ffn(block.norm("ffn_norm", x)));
  },
};

/** One block: attention, then the FFN, the same at every position. */
class Block {
  constructor(model, number, inputs, note) {
    Object.assign(this, { model, number, inputs, note });
  }

  /** A weight, or undefined where the settings leave its layer out. */
  weight(name) {
    return this.model.weights[`blocks.${this.number}.${name}`];
  }

  linear(name, x) {
    const y = linear(x, this.weight(`${name}.W`), this.weight(`${name}.b`));
    return Object.assign(y, { layer: name }); // for the list of the walk back
  }

  norm(name, x) {
    const gamma = this.weight(`${name}.gamma`);
    return gamma ? this.note(name, layerNorm(x, gamma, this.weight(`${name}.beta`))) : x;
  }

  /** S = softmax(Q Kᵀ / sqrt(d)) V,  Q = x_q W_Q,  K = x W_K,  V = x W_V      (Sec. III-B) */
  attention(xq, x) {
    const q = this.note("query", this.linear("attention.query", xq));
    const k = this.note("key", this.linear("attention.key", x));
    const v = this.note("value", this.linear("attention.value", x));
    const s = this.note("attention", attention(q, k, v, this.inputs));
    if (!this.weight("attention.output.W")) return s;
    return this.note("output", this.linear("attention.output", s));
  }

  /** FFN(s) = ReLU(s W1 + b1) W2 + b2; of LiGR: (silu(s W1) (s W3)) W2       (Sec. III-B) */
  ffn(s) {
    const a = this.linear("ffn.layer1", s);
    const third = this.weight("ffn.layer3.W") && this.linear("ffn.layer3", s);
    // silu(a) = a sigmoid(a)
    const hidden = this.note("ffn_hidden", third ? gate(mul(a, third), a) : relu(a));
    return this.note("ffn", this.linear("ffn.layer2", hidden));
  }

  residual(name, x, g) {
    return this.model.settings.residual ? this.note(name, add(x, g)) : g;
  }

  /** x + sigmoid(x W + b) g */
  gated(name, x, g) {
    const part = this.note(`${name}_gate`, gate(g, this.linear(`${name}_gate`, x)));
    return this.note(`${name}_residual`, add(x, part));
  }
}

class SASRec {
  /** `weights`: a Tensor for each name. */
  constructor(settings, weights) {
    Object.assign(this, { settings, weights, n: settings.n });
    this.M = weights["item_embedding.table"];
    this.N = weights["output_embedding"] ?? this.M; // one table serves input and output: N = M
  }

  /**
   * F, a row for each of the last n items of a history that is not empty, and how it came about:
   * `M`, the rows of the item table, and `steps`, [{name, block, value}].
   * `mask: false` lets items see later ones; `positions: false` leaves P out.
   */
  forward(history, { mask = true, positions = true } = {}) {
    const { settings, n, M, weights } = this, steps = [];
    const note = (name, value, block = null) => (steps.push({ name, value, block }), value);
    let items = history.slice(-n);
    // Padding that items can see: its n - L equal rows are one that counts n - L times (padding.py)
    const shown = settings.padding !== "hidden" && items.length < n;
    const bias = items.map(() => 0);
    if (shown) bias.unshift(Math.log(n - items.length));
    if (shown) items = [0, ...items];
    const hide = (x) => (shown ? hideRow(x, 0) : x);

    // E_i = sqrt(d) M_{s_i} + P_i; counted from the end, the last item is in slot n - 1  (III-A)
    const looked = embedding(M, items);
    let x = note("M", looked);
    if (settings.scale_embedding || settings.norm === "authors") x = scale(x, Math.sqrt(settings.d));
    if (settings.positions && positions) {
      const first = settings.positions_from === "end" ? n - items.length : 0;
      const slots = items.map((_, i) => first + i);
      x = add(x, note("P", embedding(weights["position_embedding.table"], slots)));
    }
    x = note("E", hide(x));

    for (let b = 0; b < settings.blocks; b++) {
      const inputs = { heads: settings.heads, mask, bias };
      const block = new Block(this, b, inputs, (name, value) => note(name, value, b));
      if (settings.padding === "zeroed") x = hide(x);
      x = WIRINGS[settings.norm](block, x);
    }
    const gamma = weights["final_norm.gamma"];
    if (gamma) x = layerNorm(x, gamma, weights["final_norm.beta"]);
    return { F: note("F", x), M: looked, items, shown, steps };
  }

  /** r_i = F_t . N_i for every item; entry 0 is padding                      (Sec. III-D) */
  scores(Ft) {
    const { N } = this, r = new Float32Array(N.rows);
    for (let i = 0; i < N.rows; i++) r[i] = dot(Ft, 0, N.data, i * N.cols, N.cols);
    return r;
  }

  /** How the last score of item i changes with M_{s_t}, the row of each past item; and the walk. */
  gradients({ F, M }, i) {
    const dF = new Float32Array(F.data.length);
    dF.set(this.N.row(i), (F.rows - 1) * F.cols); // r = F_t . N_i, so dr/dF_t = N_i
    const walk = [...backwardSteps(F, dF)];
    const [, dM] = walk.find(([tensor]) => tensor === M);
    return { dM: new Tensor(M.rows, M.cols, dM), walk };
  }
}
