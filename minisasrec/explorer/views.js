// The views that open below the answer: attention, every step of a prediction, the walk back, the mask.
//
// Each is a function of the forward pass on show, `run`, and returns elements. It uses what page.js has.
"use strict";

const VIEWS = { attention: viewAttention, steps: viewSteps, backwards: viewBackwards, leak: viewLeak };

function renderViews() {
  for (const [name, view] of Object.entries(VIEWS)) if ($(name).open) renderView(name, view);
}

function renderView(name, view) {
  $(name).querySelector(".body").replaceChildren(...(answer.run ? view(answer.run) : [h("p", {}, text("view.empty"))]));
}

/** The rows of a run that are shown: the last ones. */
const shownRows = (run) => run.items.map((_, t) => t).slice(-SHOWN);

/** Choose a number among some, as a row of buttons. */
function chooser(label, count, chosen, choose, key) {
  if (count < 2) return null;
  return h("div", { class: "buttons", role: "group", "aria-label": label }, h("span", {}, label),
    Array.from({ length: count }, (_, k) => h("button", {
      type: "button", "data-key": `${key}-${k}`, "aria-pressed": String(k === chosen), onclick: () => choose(k),
    }, k + 1)));
}

function again(changes) {
  Object.assign(state, changes);
  keepingFocus(renderViews);
}

/** The choice of a row t, by its title. */
function rowChoice(run, label) {
  const chosen = state.row ?? run.items.length - 1;
  return h("label", { class: "choice" }, h("span", {}, text(label)), h("select", {
    "data-key": label, onchange: (event) => again({ row: +event.target.value }),
  }, shownRows(run).map((t) => h("option", { value: t, selected: t === chosen }, `${t + 1}. ${run.items[t] ? titles[run.items[t]] : text("padding")}`))));
}

function viewAttention(run) {
  const { blocks, heads } = model().settings;
  if (!blocks) return [h("p", {}, text("attention.no"))];
  const block = Math.min(state.block, blocks - 1), head = Math.min(state.head, heads - 1);
  const p = run.steps.find((step) => step.name === "attention" && step.block === block).value.weights[head];
  const rows = shownRows(run), t = state.row ?? run.items.length - 1, left = rows[0];
  const rest = p.row(t).slice(0, left).reduce((sum, w) => sum + w, 0);
  return [
    h("p", { class: "hint" }, text("attention.hint")),
    chooser(text("block"), blocks, block, (b) => again({ block: b }), "block"),
    chooser(text("head"), heads, head, (k) => again({ head: k }), "head"),
    rowChoice(run, "attention.row"),
    left ? h("p", { class: "hint" }, text("rows.cut", { shown: rows.length, all: run.items.length, rest: percent(rest) })) : null,
    arcs(run, p, rows, t),
    h("h3", {}, text("map")),
    h("p", { class: "hint" }, text("map.hint")),
    map(run, rows, (s, r) => p.row(r)[s], share),
  ].filter(Boolean);
}

/** The history as a column; an arc from row t to each item that it looks at, as wide as the weight. */
function arcs(run, p, rows, t) {
  const height = matchMedia("(pointer: coarse)").matches ? 44 : 34, y = (k) => (k + 0.5) * height, svg = (tag, given) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
    return node;
  };
  const picture = svg("svg", { width: 90, height: rows.length * height, "aria-hidden": "true" });
  const from = rows.indexOf(t), most = Math.max(...rows.map((s) => p.row(t)[s]));
  rows.forEach((s, k) => {
    const w = p.row(t)[s], bow = 12 + (70 * Math.abs(from - k)) / Math.max(rows.length - 1, 1);
    const path = from === k
      ? `M 88 ${y(k) - 6} C 60 ${y(k) - 14}, 60 ${y(k) + 14}, 88 ${y(k) + 6}`
      : `M 88 ${y(from)} C ${88 - bow} ${y(from)}, ${88 - bow} ${y(k)}, 88 ${y(k)}`;
    if (w > 0.002) picture.append(svg("path", { d: path, class: "arc", "stroke-width": 1 + (5 * w) / most, opacity: 0.3 + (0.7 * w) / most }));
  });
  return h("div", { class: "arcs", style: { "--row": `${height}px` } }, picture, h("ol", {}, rows.map((s) => h(
    "li", {},
    h("button", {
      type: "button", class: "pick", "data-key": `arc-${s}`, "aria-pressed": String(s === t), onclick: () => again({ row: s }),
    },
      title(run.items[s]),
      h("span", { class: "score" }, hidden(t, s) ? text("masked") : percent(p.row(t)[s])),
      h("span", { class: "bar attention", "aria-hidden": "true", style: { width: percent(p.row(t)[s] / most) } }),
    ),
  ))));
}

/** Whether row r cannot see row s. */
const hidden = (r, s) => state.mask && s > r;

/** How a cell of attention looks; by the root, small shares are seen beside large ones. */
const share = (w, r, s) => (hidden(r, s) ? { masked: true, shown: text("masked") } : { strength: Math.sqrt(w), shown: percent(w) });

/** A table with a row for each item that looks and a column for each that is looked at. */
function map(run, rows, valueOf, look) {
  const told = h("p", { class: "told", "aria-live": "polite" }, text("map.point"));
  const tell = (r, s, shown) => told.replaceChildren(...say("map.told", { row: strong(run.items[r]), column: strong(run.items[s]), value: h("strong", {}, shown) }));
  const small = rows.length > 8; // cells too small for text
  const body = rows.map((r) => h("tr", {}, h("th", { scope: "row" }, title(run.items[r])), rows.map((s) => {
    const { strength = 0, shown, negative = false, masked = false } = look(valueOf(s, r), r, s);
    return h("td", {
      class: masked ? "hidden" : negative ? "negative" : "", style: { "--p": Math.min(Math.abs(strength), 1).toFixed(3) },
      "aria-label": shown,
      onpointerenter: () => tell(r, s, shown), onclick: () => tell(r, s, shown),
    }, small || masked ? "" : shown);
  })));
  let [at, to] = [rows.length - 1, rows.length - 1];
  const table = h("table", {
    class: small ? "map small" : "map", tabindex: 0, "aria-label": text("map.label"),
    onkeydown: (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const inside = (x) => Math.max(0, Math.min(rows.length - 1, x));
      [at, to] = [inside(at + step[0]), inside(to + step[1])];
      table.querySelector(".cursor")?.classList.remove("cursor");
      const cell = table.tBodies[0].rows[at].cells[to + 1];
      cell.classList.add("cursor");
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      tell(rows[at], rows[to], cell.getAttribute("aria-label"));
    },
  },
    h("thead", {}, h("tr", {}, h("td", {}), rows.map((s) => h("th", { scope: "col" }, title(run.items[s]))))),
    h("tbody", {}, body));
  return h("div", {}, h("div", { class: "scroll" }, table), told);
}

// --- the steps of one prediction --------------------------------------------------------------------

/** Symbol and formula of each step as the paper writes them; what they mean is in words.json. */
const STEPS = ({ scale_embedding, positions, positions_from, norm, layer_norm }) => ({
  M: ["M_{s}", "M_{s_1} … M_{s_L}"],
  P: ["P", positions_from === "end" ? "P_{n−L+1} … P_n" : "P_1 … P_L"],
  E: ["Ê", `Ê_t = ${scale_embedding || norm === "authors" ? "√d · " : ""}M_{s_t}${positions && state.positions ? " + P_t" : ""}`],
  attention_norm: ["LN(x)", "γ ⊙ (x − mean) / √(var + ε) + β"],
  query: ["Q", "Q = x W^Q"],
  key: ["K", "K = x W^K"],
  value: ["V", "V = x W^V"],
  scores: ["QKᵀ/√d", "r_{ts} = q_t · k_s / √(d/h)"],
  mask: ["s ≤ t", "r_{ts} = −∞   (s > t)"],
  softmax: ["p", "p_{ts} = exp(r_{ts}) / Σ_{s ≤ t} exp(r_{ts})"],
  attention: ["S", "S_t = Σ_s p_{ts} v_s"],
  output: ["S W^O", "S W^O + b^O"],
  attention_gate: ["σ(a) ⊙ S", "σ(x W + b) ⊙ S"],
  attention_residual: norm === "authors" ? ["LN(x) + S", "x ← LN(x) + S"] : ["x + S", "x ← x + S"],
  ffn_norm: ["LN(x)", "γ ⊙ (x − mean) / √(var + ε) + β"],
  ffn_hidden: norm === "ligr" ? ["SwiGLU", "silu(a) ⊙ c,   a = S_t W^{(1)} + b^{(1)},   c = S_t W^{(3)} + b^{(3)}"] : ["ReLU", "ReLU(S_t W^{(1)} + b^{(1)})"],
  ffn: norm === "ligr" ? ["F", "F_t = (silu(a) ⊙ c) W^{(2)} + b^{(2)}"] : ["F", "F_t = ReLU(S_t W^{(1)} + b^{(1)}) W^{(2)} + b^{(2)}"],
  ffn_gate: ["σ(a) ⊙ F", "σ(x W + b) ⊙ F"],
  ffn_residual: ["x + F", "x ← x + F"],
  F: ["F_t", layer_norm ? "F = LN(x)" : "F = x"],
  score: ["r", "r_{i,t} = F_t · N_i = Σ_j F_{tj} N_{ij}"],
});

/** "M_{s_t}" with its index set low, "W^Q" with its mark set high. */
function formula(written) {
  const nodes = [], pieces = written.matchAll(/([_^])(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\S))|[^_^]+/gu);
  for (const [piece, mark, inner, single] of pieces) {
    if (mark) nodes.push(h(mark === "_" ? "sub" : "sup", {}, [...formula(inner ?? single).childNodes]));
    else nodes.push(piece);
  }
  return h("span", { class: "formula" }, nodes);
}

const opened = new Set(["M"]);

function viewSteps(run) {
  const list = run.steps.flatMap((step) => (step.name !== "attention" ? [step] : [
    { name: "scores", block: step.block, value: step.value },
    { name: "mask", block: step.block, value: step.value },
    { name: "softmax", block: step.block, value: step.value },
    step,
  ]));
  list.push({ name: "score", block: null, value: run.F });
  let block = null;
  const nodes = [h("p", { class: "hint" }, text("steps.hint")), rowChoice(run, "steps.row")];
  list.forEach((step, k) => {
    if (step.block !== block && step.block !== null) nodes.push(h("h3", {}, text("steps.block", { block: step.block + 1 })));
    if (step.block !== block && step.block === null && k > 3) nodes.push(h("h3", {}, text("steps.end")));
    block = step.block;
    nodes.push(stepNode(run, step, k + 1));
  });
  return nodes;
}

/** The key of the words for a step: two steps are another thing with other settings. */
function meaning(name) {
  const { positions_from, norm } = model().settings;
  if (name === "P" && positions_from === "beginning") return "step.P-beginning";
  if (name === "ffn_hidden" && norm === "ligr") return "step.swiglu";
  return `step.${name}`;
}

function stepNode(run, step, place) {
  const { name, block, value } = step, key = block === null ? name : `${name}-${block}`;
  const [symbol, written] = STEPS(model().settings)[name], square = name === "scores" || name === "mask" || name === "softmax";
  const shape = name === "score" ? "1" : square ? `${value.rows} × ${value.rows}` : `${value.rows} × ${value.cols}`;
  const body = h("div", { class: "body" });
  const fill = () => body.replaceChildren(
    h("p", {}, text(meaning(name), { d: model().settings.d, n: model().n, h: model().settings.heads })),
    h("p", {}, formula(written)),
    ...(name === "score" ? scoreRows(run) : square ? squares(run, step) : [matrix(run, value)]),
  );
  const node = h("details", { class: "step", ontoggle: () => {
    if (node.open) opened.add(key);
    else opened.delete(key);
    if (node.open && !body.firstChild) fill();
  } }, h("summary", { "data-key": `step-${key}` },
    h("span", { class: "place" }, place), h("span", { class: "name" }, text(`name.${name}`)), formula(symbol),
    h("span", { class: "shape" }, shape)), body);
  if (opened.has(key)) {
    node.open = true;
    fill();
  }
  return node;
}

const SIGN = { positive: [29, 95, 208], negative: [201, 82, 0] };

/** A row of numbers as a strip: blue above zero, orange below, pale near it. */
function strip(values, most) {
  const canvas = h("canvas", { width: values.length, height: 1, class: "strip", role: "img", "aria-label": text("strip", {
    count: values.length, low: number(Math.min(...values)), high: number(Math.max(...values)),
  }) });
  const draw = canvas.getContext("2d"), image = draw.createImageData(values.length, 1);
  values.forEach((x, j) => image.data.set([...(x < 0 ? SIGN.negative : SIGN.positive), (255 * Math.abs(x)) / most], 4 * j));
  draw.putImageData(image, 0, 0);
  return canvas;
}

const largest = (values) => Math.max(values.reduce((most, x) => Math.max(most, Math.abs(x)), 0), 1e-9);
const chosenRow = (run) => state.row ?? run.items.length - 1;

/** A matrix: a strip for each shown row, and the numbers of the chosen one. */
function matrix(run, value) {
  const most = largest(value.data), t = chosenRow(run);
  return h("div", {},
    h("table", { class: "strips" }, h("tbody", {}, shownRows(run).map((r) => h("tr", { class: r === t ? "chosen" : "" },
      h("th", { scope: "row" }, title(run.items[r])), h("td", {}, strip(value.row(r), most)))))),
    numbers(run, value.row(t), t));
}

function numbers(run, values, t) {
  return h("details", { class: "numbers" }, h("summary", {}, say("numbers", { count: values.length, title: title(run.items[t]) })),
    h("p", { class: "digits" }, [...values].map((x) => number(x, 3)).join("  ")));
}

function squares(run, { name, value }) {
  const rows = shownRows(run), t = chosenRow(run);
  return value.scores.flatMap((scores, head) => {
    const most = largest(scores.data), p = value.weights[head];
    const looks = {
      scores: [(s, r) => scores.row(r)[s], (x) => ({ strength: x / most, shown: number(x), negative: x < 0 })],
      mask: [(s, r) => !hidden(r, s), (seen) => ({ strength: seen / 2, masked: !seen, shown: seen ? "✓" : "−∞" })],
      softmax: [(s, r) => p.row(r)[s], share],
    };
    const row = name === "softmax" ? p.row(t) : scores.row(t);
    return [
      value.scores.length > 1 ? h("h4", {}, text("head.number", { head: head + 1 })) : null,
      map(run, rows, ...looks[name]),
      name === "mask" ? null : numbers(run, row, t),
    ].filter(Boolean);
  });
}

/** F_t, N_i and their products, which sum to the score. */
function scoreRows(run) {
  const t = chosenRow(run), F = run.F.row(t), N = model().N.row(answer.selected);
  const product = F.map((x, j) => x * N[j]), sum = dot(F, 0, N, 0, N.length);
  const rows = [[formula("F_t"), title(run.items[t]), F], [formula("N_i"), title(answer.selected), N], [formula("F_{tj} N_{ij}"), "", product]];
  return [
    h("table", { class: "strips" }, h("tbody", {}, rows.map(([symbol, name, values]) => h("tr", {},
      h("th", { scope: "row" }, symbol, " ", name), h("td", {}, strip(values, largest(values))))))),
    h("p", {}, say("score.sum", { title: strong(answer.selected), score: h("strong", {}, number(sum, 4)) })),
    h("details", { class: "numbers" }, h("summary", {}, text("score.numbers", { count: product.length })),
      h("p", { class: "digits" }, [...product].map((x) => number(x, 3)).join("  "))),
  ];
}

// --- the walk back ----------------------------------------------------------------------------------

function viewBackwards(run) {
  const { dM, walk } = model().gradients(run, answer.selected), rows = shownRows(run);
  const length = (values) => Math.sqrt(dot(values, 0, values, 0, values.length));
  const sizes = rows.map((t) => length(dM.row(t))), most = Math.max(...sizes, 1e-9), largestOf = largest(dM.data);
  const found = new Map(reasons().map(({ t, adds }) => [t, adds]));
  const pad = run.shown ? 1 : 0;
  return [
    h("p", { class: "hint" }, say("backwards.hint", { title: strong(answer.selected) })),
    h("p", {}, formula("∂r_{i,t} / ∂M_{s}")),
    h("div", { class: "scroll" }, h("table", { class: "strips wide" },
      h("thead", {}, h("tr", {}, ["backwards.item", "backwards.size", "backwards.gradient", "backwards.guess", "backwards.real"].map((key) =>
        h("th", { scope: "col" }, text(key))))),
      h("tbody", {}, rows.map((t, k) => h("tr", {},
        h("th", { scope: "row" }, title(run.items[t])),
        h("td", { class: "sized" }, h("span", { class: "bar attention", "aria-hidden": "true", style: { width: `${(100 * sizes[k]) / most}px` } }), number(sizes[k], 3)),
        h("td", {}, strip(dM.row(t), largestOf)),
        h("td", { class: "digit" }, signed(dot(dM.row(t), 0, run.M.row(t), 0, dM.cols))),
        h("td", { class: "digit" }, found.has(t - pad) ? signed(found.get(t - pad)) : "–")))))),
    h("h3", {}, text("walk")),
    h("p", { class: "hint" }, text("walk.hint")),
    h("ol", { class: "walk" }, walk.filter(([tensor]) => tensor.op).map(([tensor, grad]) =>
      h("li", {}, h("code", {}, tensor.op), " ", h("span", { class: "shape" }, `${tensor.layer ?? ""} ${tensor.rows} × ${tensor.cols}`), " ",
        h("span", { class: "digit" }, `‖dy‖ = ${number(length(grad), 3)}`)))),
  ];
}

// --- the mask ---------------------------------------------------------------------------------------

/** What each row knows of the last item: how far F_t goes when another item is put in its place. */
function viewLeak(run) {
  const history = state.history.slice(-model().n), pad = run.shown ? 1 : 0;
  if (history.length < 2) return [h("p", {}, text("leak.short"))];
  const last = history.at(-1), other = search("").find((i) => !history.includes(i));
  const changed = [...history.slice(0, -1), other];
  const moved = [true, false].map((mask) => {
    const [a, b] = [history, changed].map((items) => model().forward(items, { ...options(), mask }).F);
    return (t) => Math.sqrt(a.row(t).reduce((sum, x, j) => sum + (x - b.row(t)[j]) ** 2, 0));
  });
  const rows = shownRows(run).filter((t) => t < run.items.length - 1 && t >= pad);
  const most = Math.max(...rows.map(moved[1]), 1e-9);
  const cell = (size) => h("td", { class: "sized" }, h("span", { class: "bar takes", "aria-hidden": "true", style: { width: `${(100 * size) / most}px` } }), number(size, 3));
  return [
    h("p", {}, say("leak.hint", { last: strong(last), other: strong(other) })),
    h("div", { class: "scroll" }, h("table", { class: "strips wide" },
      h("thead", {}, h("tr", {}, ["leak.row", "leak.with", "leak.off"].map((key) => h("th", { scope: "col" }, text(key))))),
      h("tbody", {}, rows.map((t) => h("tr", {}, h("th", { scope: "row" }, title(run.items[t])), moved.map((size) => cell(size(t)))))))),
    h("p", { class: "hint" }, text("leak.why")),
  ];
}
