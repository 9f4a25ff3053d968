// What one sees and touches. The model is in sasrec.js; here are the history, its edits, and views.
//
// Every title is put in as text, never as HTML. Try in the console: explorer.recommend([1, 2, 3]).
"use strict";

// --- small helpers --------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** An element: h("p", {class: "hint", onclick: f}, "text", other elements). */
function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−");
const signed = (x) => (x < 0 ? "" : "+") + number(x);
const percent = (p) => `${Math.round(100 * p)}%`;
/** Let the browser paint and hear. */
const pause = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));

// --- what the page carries ------------------------------------------------------------------------

const data = JSON.parse($("data").textContent);
const { titles, ids, popularity } = data;
const numberOf = new Map(ids.map((id, i) => [id, i]).slice(1));

/** The weights of model k as tensors by name: one array after another, base64. */
function unpack(k) {
  const { shapes, weights } = data.models[k], text = atob($(`weights-${k}`).textContent);
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const numbers = weights === "float32" ? new Float32Array(bytes.buffer) : halves(new Uint16Array(bytes.buffer));
  const tensors = {};
  let at = 0;
  for (const [name, [rows, cols]] of Object.entries(shapes)) {
    tensors[name] = new Tensor(rows, cols, numbers.subarray(at, (at += rows * cols)));
  }
  return tensors;
}

/** float16 -> float32: a sign, 5 bits of exponent, 10 bits of fraction. */
function halves(values) {
  return Float32Array.from(values, (bits) => {
    const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return bits >> 15 ? -size : size;
  });
}

const made_models = [];
function model(k = 0) {
  return (made_models[k] ??= new SASRec(data.models[k].settings, unpack(k)));
}

// --- recommendations ------------------------------------------------------------------------------

const SHOWN = innerWidth < 760 ? 8 : 12; // items of the history and rows of attention that are shown at first
const K = 10;

/** Whether item i may be recommended: somebody has it in the train part, and the rule about items met before. */
function allowed(i, history) {
  return popularity[i] > 0 && (data.repeats === "allow" || !history.includes(i));
}

/** Scores of all items after a history, the K best, and how it came about. */
function recommend(history, options = {}, k = 0) {
  // nothing to go by: the most popular items, as in minisasrec
  if (!history.length) return { history, scores: Float32Array.from(popularity), run: null };
  const run = model(k).forward(history, options);
  return { history, run, scores: model(k).scores(run.F.row(run.F.rows - 1)) };
}

/** The best items, best first; of equal scores the lower number first. */
function best({ history, scores }, count = K) {
  const met = new Set(data.repeats === "allow" ? [] : history), list = [];
  for (let i = 1; i < scores.length; i++) {
    if (list.length === count && !(scores[i] > scores[list[count - 1]])) continue;
    if (!popularity[i] || met.has(i)) continue;
    let place = list.length;
    while (place && scores[i] > scores[list[place - 1]]) place--;
    list.splice(place, 0, i);
    list.length = Math.min(list.length, count);
  }
  return list;
}

/** The place of item i among all, from 1. */
function placeOf(i, { history, scores }) {
  const met = new Set(data.repeats === "allow" ? [] : history);
  let place = 1;
  for (let j = 1; j < scores.length; j++) {
    if ((scores[j] > scores[i] || (scores[j] === scores[i] && j < i)) && popularity[j] && !met.has(j)) place++;
  }
  return place;
}

/** The score in the middle of the catalogue: what bars are measured from. */
function middle(scores) {
  return scores.slice(1).sort()[(scores.length - 1) >> 1];
}

// --- words ----------------------------------------------------------------------------------------

const state = {
  history: [], before: [], example: 0, chosen: null, pinned: null, beside: "none",
  mask: true, positions: true, all: false, block: 0, head: 0, row: null,
  language: (navigator.language || "en").startsWith("ko") ? "ko" : "en",
};

/** A sentence in the language of the page, with `values` (texts or elements) at its {names}. */
function say(key, values = {}) {
  const sentence = data.words[state.language][key];
  if (sentence === undefined) throw new Error(`no words for ${key}`);
  return sentence.split(/\{(\w+)\}/).map((part, i) => (i % 2 ? values[part] ?? "" : part));
}
const text = (key, values) => say(key, values).join("");
const title = (i) => h("bdi", { class: "title", title: titles[i] }, i ? titles[i] : text("padding"));
const strong = (i) => h("strong", {}, title(i));
const options = () => ({ mask: state.mask, positions: state.positions });

// --- edits ----------------------------------------------------------------------------------------

let answer; // what `recommend` says to the history on the page
let turn = 0; // of the last edit: what an earlier one is still computing is dropped

function edit(history, example = null) {
  state.before.push({ history: state.history, example: state.example });
  state.before = state.before.slice(-100);
  Object.assign(state, { history, example, chosen: null, row: null });
  update();
}

function update() {
  turn++;
  answer = recommend(state.history, options());
  answer.best = best(answer);
  answer.selected = answer.best.includes(state.chosen) ? state.chosen : answer.best[0];
  answer.without = [];
  saveLink();
  keepingFocus(() => {
    renderHistory();
    renderNext();
    renderBeside();
    renderWhy();
  });
  explain(turn);
}

/** What can wait until the answer is seen: the views, and each item taken out in turn, the newest first. */
async function explain(mine) {
  const asked = answer, used = state.history.slice(-model().n);
  const tell = () => {
    asked.done = true;
    renderReasons();
    if ($("backwards").open) renderView("backwards", viewBackwards); // its numbers stand beside these
  };
  await pause();
  if (mine !== turn) return;
  keepingFocus(renderViews);
  let began = performance.now();
  for (let t = used.length - 1; t >= 0 && used.length > 1; t--) {
    asked.without[t] = recommend(used.filter((_, s) => s !== t), options());
    if (performance.now() - began > 12) {
      await pause();
      if (mine !== turn) return;
      began = performance.now();
    }
    if (t === used.length - SHOWN) tell(); // the older ones may change it
  }
  tell();
  $("live").textContent = text("live", { title: titles[asked.best[0]] });
}

/** What each item of the history adds to the score of the selected one: [{t, item, adds, place}]. */
function reasons() {
  const used = state.history.slice(-model().n), i = answer.selected;
  return Object.entries(answer.without).map(([t, other]) => ({
    t: +t,
    item: used[t],
    adds: answer.scores[i] - other.scores[i],
    get place() {
      return placeOf(i, other);
    },
  }));
}

/** Render, and give the focus back to the element that stands for the same thing. */
function keepingFocus(render) {
  const key = document.activeElement?.getAttribute("data-key");
  render();
  if (key && document.activeElement?.getAttribute("data-key") !== key) {
    document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }
}

// --- the history ----------------------------------------------------------------------------------

function renderHistory() {
  const { history } = state, first = state.all ? 0 : Math.max(0, history.length - SHOWN);
  $("earlier").hidden = !first;
  $("earlier").textContent = text("earlier", { count: first });
  $("history").replaceChildren(
    ...history.slice(first).map((item, k) => {
      const at = first + k, past = history.length - at > model().n;
      return h(
        "li",
        { class: past ? "past" : "", "data-at": at },
        h("button", {
          type: "button", class: "handle", "data-key": `move-${at}`, "aria-label": text("move", { title: titles[item] }),
          onkeydown: (event) => moveByKey(event, at), onpointerdown: (event) => drag(event, at),
        }, "⠿"),
        title(item),
        h("span", { class: "adds" }, past ? text("past", { n: model().n }) : ""),
        h("button", {
          type: "button", class: "icon", "data-key": `remove-${at}`, "aria-label": text("remove", { title: titles[item] }),
          onclick: () => remove(at),
        }, "×"),
      );
    }),
  );
  if (!history.length) $("history").append(h("li", { class: "none" }, text("history.none")));
  $("undo").disabled = !state.before.length;
  $("empty").disabled = !history.length;
  const example = data.examples[state.example];
  $("examples").value = state.example ?? "";
  $("real").replaceChildren(...(example?.next ? say("real", { title: strong(example.next) }) : []));
}

function remove(at) {
  edit(state.history.filter((_, i) => i !== at));
  const left = Math.min(at, state.history.length - 1);
  (document.querySelector(`[data-key="remove-${left}"]`) ?? $("search")).focus();
}

function move(from, to) {
  const history = [...state.history], [item] = history.splice(from, 1);
  history.splice(to, 0, item);
  edit(history);
}

function moveByKey(event, at) {
  const to = at + { ArrowUp: -1, ArrowDown: 1, Home: -at, End: state.history.length - 1 - at }[event.key];
  if (event.key === "Delete") remove(at);
  else if (to >= 0 && to < state.history.length) {
    if (to !== at) move(at, to);
    document.querySelector(`[data-key="move-${to}"]`)?.focus();
  } else return;
  event.preventDefault();
}

/** Drag with a mouse, a pen or a finger: the row goes along, and its place counts at the end. */
function drag(event, at) {
  if (event.button) return;
  const row = event.currentTarget.closest("li"), list = $("history"), first = +list.firstElementChild.dataset.at;
  row.classList.add("dragged");
  const go = ({ clientY }) => {
    const others = [...list.children].filter((other) => other !== row);
    const below = others.find((other) => {
      const box = other.getBoundingClientRect();
      return clientY < box.top + box.height / 2;
    });
    if (row.nextElementSibling !== (below ?? null)) list.insertBefore(row, below ?? null);
  };
  const end = ({ type }) => {
    for (const [name, act] of Object.entries(heard)) removeEventListener(name, act);
    row.classList.remove("dragged");
    const to = first + [...list.children].indexOf(row);
    if (type === "pointerup" && to !== at) move(at, to);
    else renderAgain();
  };
  // by the window: an element that is moved in the document hears no more of its pointer
  const heard = { pointermove: go, pointerup: end, pointercancel: end };
  for (const [name, act] of Object.entries(heard)) addEventListener(name, act);
}

/** What is shown, once more. */
function renderAgain() {
  keepingFocus(() => {
    renderHistory();
    renderReasons();
  });
}

// --- what comes next ------------------------------------------------------------------------------

function listOf(found, others, real, { pick = false } = {}) {
  const base = middle(found.scores), top = Math.max(found.scores[found.best[0]] - base, 1e-9);
  return found.best.map((i, k) => {
    const score = found.scores[i], before = others ? placeOf(i, others) : k + 1;
    const met = others && !allowed(i, others.history);
    const moved = others && (met || before !== k + 1) && h("span", { class: "moved" }, met
      ? text("moved.met")
      : `${before > k + 1 ? "▲" : "▼"} ${text(state.beside === "pinned" ? "moved.was" : "moved.there", { place: before })}`);
    const row = [
      h("span", { class: "place" }, k + 1),
      h("span", { class: "what" }, title(i), i === real && h("span", { class: "moved" }, `✓ ${text("came")}`), moved),
      h("span", { class: "score" }, found.run ? number(score) : score),
      h("span", { class: "bar", "aria-hidden": "true", style: { width: percent(Math.max(0, (score - base) / top)) } }),
    ];
    if (!pick) return h("li", {}, h("div", { class: "pick" }, row));
    return h(
      "li", {},
      h("button", {
        type: "button", class: "pick", "data-key": `pick-${i}`, "aria-pressed": String(i === found.selected),
        onclick: () => select(i),
      }, row),
      h("button", {
        type: "button", class: "icon", "data-key": `add-${i}`, "aria-label": text("add", { title: titles[i] }),
        onclick: () => edit([...state.history, i]),
      }, "+"),
    );
  });
}

function select(i) {
  state.chosen = answer.selected = i;
  keepingFocus(() => {
    renderNext();
    renderReasons();
    renderViews();
  });
}

function renderNext() {
  const other = state.beside === "none" ? null : besides();
  $("next-hint").textContent = text(answer.run ? "next.hint" : "next.popular");
  $("next").replaceChildren(...listOf(answer, other, data.examples[state.example]?.next, { pick: true }));
}

/** The other answer that is set beside: of the pinned history, or of another model. */
function besides() {
  const k = +state.beside;
  const other = state.beside === "pinned" ? recommend(state.pinned, options()) : recommend(state.history, options(), k);
  return { ...other, best: best(other) };
}

const modelName = (k) => text(`model.${data.models[k].kind}`, { label: data.models[k].label });

function renderBeside() {
  const choices = [["none", text("beside.none")]];
  if (state.pinned) choices.push(["pinned", text("beside.pinned")]);
  data.models.forEach((_, k) => k && choices.push([String(k), modelName(k)]));
  $("beside-choice").replaceChildren(
    ...choices.map(([value, label]) => h("option", { value, selected: value === state.beside }, label)),
  );
  $("beside-card").hidden = state.beside === "none";
  document.querySelector(".columns").classList.toggle("three", state.beside !== "none");
  $("pin").textContent = text(state.pinned ? "pin.again" : "pin");
  if (state.beside === "none") return;
  const other = besides();
  $("beside-head").textContent = text("beside.head", { name: choices.find(([value]) => value === state.beside)[1] });
  const list = state.beside === "pinned" ? changes(state.pinned, state.history) : [text("beside.same")];
  $("beside-hint").replaceChildren(...list);
  $("beside").replaceChildren(...listOf(other, null, null));
}

/** How two histories differ, in words. */
function changes(before, now) {
  const less = (a, b) => a.filter((i) => !b.includes(i));
  const named = (items) => items.flatMap((i, k) => [k ? ", " : "", title(i)]);
  const gone = less(before, now), come = less(now, before);
  const told = [];
  if (gone.length) told.push(...say("changes.gone", { items: "" }), ...named(gone), " ");
  if (come.length) told.push(...say("changes.come", { items: "" }), ...named(come), " ");
  if (told.length) return told;
  return [text(before.join() === now.join() ? "changes.none" : "changes.order")];
}

function pin() {
  Object.assign(state, { pinned: [...state.history], beside: "pinned" });
}

// --- why ------------------------------------------------------------------------------------------

function renderReasons() {
  renderWhy();
  const found = reasons(), most = Math.max(...found.map(({ adds }) => Math.abs(adds)), 1e-9);
  const used = Math.min(state.history.length, model().n), from = state.history.length - used;
  $("adds-head").textContent = found.length ? text("adds") : "";
  for (const reason of found) {
    const cell = document.querySelector(`#history li[data-at="${from + reason.t}"] .adds`);
    if (!cell) continue;
    const side = reason.adds < 0 ? "takes" : "gives";
    cell.replaceChildren(
      h("span", { class: `bar ${side}`, "aria-hidden": "true", style: { width: `${(60 * Math.abs(reason.adds)) / most}%` } }),
      h("span", { class: side }, signed(reason.adds)),
    );
    cell.title = text("without", { place: reason.place });
  }
}

function renderWhy() {
  const { history } = state, i = answer.selected, place = answer.best.indexOf(i) + 1;
  const found = reasons().sort((a, b) => b.adds - a.adds);
  const told = [];
  const tell = (key, values) => told.push(h("p", {}, say(key, values)));
  $("try").hidden = history.length < 2;
  if (i === undefined) tell("why.nothing");
  else if (!history.length) tell("why.empty", { title: strong(i) });
  else if (history.length === 1) tell("why.one", { title: strong(i), past: strong(history[0]), place });
  else if (!answer.done) tell("why.wait", { title: strong(i), place });
  else {
    const [first, second] = found, weakest = found.at(-1);
    if (first.adds <= 0) tell("why.none", { title: strong(i), place });
    else {
      const values = { title: strong(i), past: strong(first.item), place, without: first.place };
      tell(first.place > place ? "why.first" : "why.stays", { ...values, adds: number(first.adds) });
      const large = first.adds / 10; // less is not worth a sentence; its bar is there
      if (second?.adds > large) tell("why.second", { past: strong(second.item), adds: number(second.adds) });
      if (-weakest.adds > large) tell("why.against", { past: strong(weakest.item), adds: number(-weakest.adds) });
    }
  }
  $("why").replaceChildren(...told);
}

// --- search ---------------------------------------------------------------------------------------

const FOUND = 12;
let plainTitles, cursor = -1, offers = [];

/** A text as it is searched: no accents, no case. Hangul falls into its letters, so a half syllable finds. */
const plain = (words) => words.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function search(query) {
  plainTitles ??= titles.map(plain);
  const words = plain(query).split(/\s+/).filter(Boolean), found = [];
  for (let i = 1; i < titles.length; i++) if (words.every((word) => plainTitles[i].includes(word))) found.push(i);
  const begins = (i) => (words.length && plainTitles[i].startsWith(words[0]) ? 1 : 0);
  return found.sort((a, b) => begins(b) - begins(a) || popularity[b] - popularity[a]);
}

function offer() {
  const query = $("search").value, found = search(query);
  offers = found.slice(0, FOUND);
  cursor = query && offers.length ? 0 : -1;
  $("found").replaceChildren(
    ...offers.map((i, k) => h("li", { role: "option", id: `found-${k}`, onpointerdown: (event) => (event.preventDefault(), take(k)) }, title(i))),
    ...(found.length > FOUND ? [h("li", { class: "none", role: "presentation" }, text("found.more", { count: found.length - FOUND }))] : []),
    ...(found.length ? [] : [h("li", { class: "none", role: "presentation" }, text("found.none"))]),
  );
  $("found").hidden = false;
  point();
}

function point() {
  [...$("found").querySelectorAll("[role=option]")].forEach((row, k) => row.setAttribute("aria-selected", String(k === cursor)));
  $("search").setAttribute("aria-expanded", String(!$("found").hidden));
  if (cursor < 0) $("search").removeAttribute("aria-activedescendant");
  else {
    $("search").setAttribute("aria-activedescendant", `found-${cursor}`);
    $(`found-${cursor}`).scrollIntoView({ block: "nearest" });
  }
}

function take(k) {
  $("search").value = "";
  closeSearch();
  edit([...state.history, offers[k]]);
}

function closeSearch() {
  $("found").hidden = true;
  cursor = -1;
  point();
}

function searchKey(event) {
  const open = !$("found").hidden, step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && !open) offer();
  else if (step && offers.length) cursor = (cursor + step + offers.length) % offers.length;
  else if (event.key === "Enter" && open && cursor >= 0) return event.preventDefault(), take(cursor);
  else if (event.key === "Escape" && open) return closeSearch();
  else return;
  event.preventDefault();
  point();
}

// --- the link -------------------------------------------------------------------------------------

const packed = (items) => items.map((i) => encodeURIComponent(ids[i])).join(",");

function saveLink() {
  const parts = [`history=${packed(state.history)}`];
  if (state.pinned) parts.push(`pinned=${packed(state.pinned)}`);
  if (state.spoken) parts.push(`language=${state.language}`);
  try {
    history.replaceState(null, "", `#${parts.join("&")}`);
  } catch {} // inside a notebook the page has no address
}

/** Take over what the fragment of the address says; false if it says nothing. */
function readLink() {
  const given = Object.fromEntries(location.hash.slice(1).split("&").map((part) => part.split("=")));
  const read = (words) => words.split(",").map((word) => {
    try {
      return numberOf.get(decodeURIComponent(word));
    } catch {
      return undefined; // a % that means nothing
    }
  }).filter((i) => i !== undefined);
  if (data.words[given.language]) Object.assign(state, { language: given.language, spoken: true });
  if (given.pinned !== undefined) Object.assign(state, { pinned: read(given.pinned), beside: "pinned" });
  if (given.history === undefined) return false;
  Object.assign(state, { history: read(given.history), example: null, chosen: null });
  return true;
}

async function copyLink() {
  let told = "link.copied";
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    told = "link.address"; // a browser that does not let a page write: it stands in the address
  }
  $("link").textContent = $("live").textContent = text(told);
  setTimeout(() => ($("link").textContent = text("link")), 2500);
}

// --- views that open: attention, the steps, the walk back, the mask ---------------------------------

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
  const height = 34, y = (k) => (k + 0.5) * height, svg = (tag, given) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
    return node;
  };
  const picture = svg("svg", { width: 90, height: rows.length * height, "aria-hidden": "true" });
  const from = rows.indexOf(t);
  rows.forEach((s, k) => {
    const w = p.row(t)[s], bow = 12 + (70 * Math.abs(from - k)) / Math.max(rows.length - 1, 1);
    const path = from === k
      ? `M 88 ${y(k) - 6} C 60 ${y(k) - 14}, 60 ${y(k) + 14}, 88 ${y(k) + 6}`
      : `M 88 ${y(from)} C ${88 - bow} ${y(from)}, ${88 - bow} ${y(k)}, 88 ${y(k)}`;
    if (w > 0.002) picture.append(svg("path", { d: path, class: "arc", "stroke-width": 1 + 9 * w, opacity: 0.25 + 0.75 * w }));
  });
  return h("div", { class: "arcs" }, picture, h("ol", {}, rows.map((s) => h(
    "li", {},
    h("button", {
      type: "button", class: "pick", "data-key": `arc-${s}`, "aria-pressed": String(s === t), onclick: () => again({ row: s }),
    },
      title(run.items[s]),
      h("span", { class: "score" }, hidden(t, s) ? text("masked") : percent(p.row(t)[s])),
      h("span", { class: "bar attention", "aria-hidden": "true", style: { width: percent(p.row(t)[s]) } }),
    ),
  ))));
}

/** Whether row r cannot see row s. */
const hidden = (r, s) => state.mask && s > r;

/** How a cell of attention looks. */
const share = (w, r, s) => ({ strength: w, shown: hidden(r, s) ? text("masked") : percent(w) });

/** A table with a row for each item that looks and a column for each that is looked at. */
function map(run, rows, valueOf, look) {
  const told = h("p", { class: "told", "aria-live": "polite" }, text("map.point"));
  const tell = (r, s, shown) => told.replaceChildren(...say("map.told", { row: strong(run.items[r]), column: strong(run.items[s]), value: h("strong", {}, shown) }));
  const small = rows.length > 8; // cells too small for text
  const body = rows.map((r) => h("tr", {}, h("th", { scope: "row" }, title(run.items[r])), rows.map((s) => {
    const { strength, shown, negative = false } = look(valueOf(s, r), r, s);
    return h("td", {
      class: hidden(r, s) ? "hidden" : negative ? "negative" : "", style: { "--p": Math.min(Math.abs(strength), 1).toFixed(3) },
      "aria-label": shown,
      onpointerenter: () => tell(r, s, shown), onclick: () => tell(r, s, shown),
    }, small || hidden(r, s) ? "" : shown);
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
const STEPS = ({ scale_embedding, positions, norm, layer_norm }) => ({
  M: ["M_{s}", "M_{s_1} … M_{s_L}"],
  P: ["P", "P_{n−L+1} … P_n"],
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
      mask: [(s, r) => !hidden(r, s), (seen) => ({ strength: seen / 2, shown: seen ? "✓" : "−∞" })],
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

// --- the beginning ----------------------------------------------------------------------------------

function renderWords() {
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = text(node.dataset.word);
  $("language").textContent = text("language");
  $("theme").textContent = text(document.documentElement.dataset.theme === "dark" ? "theme.light" : "theme.dark");
  const s = model().settings;
  $("about").textContent = text("about", { users: data.users.toLocaleString(), items: (titles.length - 1).toLocaleString(), name: data.name });
  $("settings").textContent = `SASRec · ${data.name} · n ${s.n} · d ${s.d} · ${text("block")} ${s.blocks} · ${text("head")} ${s.heads} · norm ${s.norm} · loss ${data.models[0].loss}`;
  $("examples").replaceChildren(
    h("option", { value: "" }, text(data.examples.length ? "examples.own" : "examples.none")),
    ...data.examples.map(({ items }, k) => h("option", { value: k }, text("examples.one", { place: k + 1, count: items.length }))),
  );
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  renderWords();
}

function listen() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  on("theme", "click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  on("language", "click", () => {
    Object.assign(state, { language: state.language === "en" ? "ko" : "en", spoken: true });
    renderWords();
    update();
  });
  on("search", "input", offer);
  on("search", "focus", offer);
  on("search", "blur", closeSearch);
  on("search", "keydown", searchKey);
  on("examples", "change", ({ target }) => target.value !== "" && edit(data.examples[target.value].items, +target.value));
  on("earlier", "click", () => ((state.all = true), update()));
  on("undo", "click", () => (Object.assign(state, state.before.pop(), { chosen: null, row: null }), update()));
  on("empty", "click", () => edit([]));
  on("pin", "click", () => (pin(), update()));
  on("link", "click", copyLink);
  on("try-reason", "click", () => {
    const [first] = reasons().sort((a, b) => b.adds - a.adds);
    if (!first) return;
    pin();
    edit(state.history.filter((_, at) => at !== Math.max(0, state.history.length - model().n) + first.t));
  });
  on("try-reverse", "click", () => (pin(), edit([...state.history].reverse())));
  on("try-last", "click", () => (pin(), edit(state.history.slice(-1))));
  on("beside-choice", "change", ({ target }) => ((state.beside = target.value), update()));
  on("no-mask", "change", ({ target }) => ((state.mask = !target.checked), update()));
  on("no-positions", "change", ({ target }) => ((state.positions = !target.checked), update()));
  $("no-positions").disabled = !model().settings.positions;
  for (const [name, view] of Object.entries(VIEWS)) on(name, "toggle", () => $(name).open && renderView(name, view));
  addEventListener("hashchange", () => readLink() && (renderWords(), update()));
}

if (!readLink() && data.examples.length) state.history = data.examples[0].items;
else if (!data.examples.length) state.example = null;
listen();
update();

/** For the console: numbers are those of the items, from 1 on. */
const explorer = {
  data, state, model, search, edit, best, placeOf,
  recommend: (history, options, k) => {
    const found = recommend(history, options, k);
    return best(found).map((i) => ({ item: ids[i], title: titles[i], score: found.scores[i] }));
  },
  scores: (history, options, k) => recommend(history, options, k).scores,
  gradients: (history, i, options, k = 0) => model(k).gradients(model(k).forward(history, options), i).dM,
};
