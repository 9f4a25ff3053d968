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
const signed = (x) => (Math.abs(x) < 0.005 ? "0.00" : (x < 0 ? "" : "+") + number(x));
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
  history: [], before: [], chosen: null, pinned: null, beside: "none",
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

function edit(history) {
  state.before = [...state.before, state.history].slice(-100);
  put(history);
}

function put(history) {
  Object.assign(state, { history, chosen: null, row: null });
  update();
}

/** The real user whose history is on the page, if there is one. */
const example = () => data.examples.find(({ items }) => items.join() === state.history.join());

function update() {
  turn++;
  answer = recommend(state.history, options());
  answer.best = best(answer);
  answer.selected = answer.best.includes(state.chosen) ? state.chosen : answer.best[0];
  answer.without = [];
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
  saveLink();
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
  const first = asked.best[0];
  $("live").textContent = $("now").textContent = first ? text("live", { title: titles[first] }) : "";
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
  const next = example()?.next;
  $("examples").value = data.examples.indexOf(example()); // -1 is one's own
  $("real").replaceChildren(...(next ? say("real", { title: strong(next) }) : []));
  if (allowed(next, history)) $("real").append(" ", ...say("real.place", { place: placeOf(next, answer).toLocaleString() }));
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
    const [pinned, model, taken] = pick
      ? ["moved.was", "moved.there", "moved.met"]
      : ["moved.now", "moved.here", "moved.taken"];
    const moved = others && (met || before !== k + 1) && h("span", { class: "moved" }, met
      ? text(taken)
      : `${before > k + 1 === pick ? "▲" : "▼"} ${text(state.beside === "pinned" ? pinned : model, { place: before })}`);
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
  $("next").replaceChildren(...listOf(answer, other, example()?.next, { pick: true }));
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
  $("beside").replaceChildren(...listOf(other, answer, null));
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
  $("adds-head").replaceChildren(...(found.length ? say("adds", { title: title(answer.selected) }) : []));
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
  const all = titles.reduce((count, _, j) => count + (j > 0 && allowed(j, history)), 0);
  const tell = (key, values) => told.push(h("p", {}, say(key, { ...values, all: all.toLocaleString() })));
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
      if (second?.adds > large) tell("why.second", { past: strong(second.item), adds: number(second.adds), score: number(answer.scores[i]) });
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
  Object.assign(state, { history: read(given.history), chosen: null });
  return true;
}

async function copyLink() {
  saveLink(); // "go to the answer" may stand there
  let told = "link.copied";
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    told = "link.address"; // a browser that does not let a page write: it stands in the address
  }
  $("link").textContent = $("live").textContent = text(told);
  setTimeout(() => ($("link").textContent = text("link")), 2500);
}

// --- the beginning ----------------------------------------------------------------------------------

function renderWords() {
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = text(node.dataset.word);
  $("language").textContent = text("language");
  $("language").lang = state.language === "en" ? "ko" : "en";
  $("theme").textContent = text(document.documentElement.dataset.theme === "dark" ? "theme.light" : "theme.dark");
  const s = model().settings;
  $("about").textContent = text("about", { users: data.users.toLocaleString(), items: (titles.length - 1).toLocaleString(), name: data.name });
  $("settings").textContent = text("settings", { ...s, name: data.name, loss: data.models[0].loss });
  $("examples").replaceChildren(
    h("option", { value: -1 }, text(data.examples.length ? "examples.own" : "examples.none")),
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
  on("examples", "change", ({ target }) => edit(data.examples[target.value]?.items ?? state.history));
  on("earlier", "click", () => ((state.all = true), update()));
  on("undo", "click", () => put(state.before.pop()));
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
  on("now", "click", () => $("answer").focus());
  new IntersectionObserver(([{ isIntersecting }]) => {
    document.body.classList.toggle("away", !isIntersecting);
  }).observe($("why"));
  on("beside-choice", "change", ({ target }) => ((state.beside = target.value), update()));
  on("no-mask", "change", ({ target }) => ((state.mask = !target.checked), update()));
  on("no-positions", "change", ({ target }) => ((state.positions = !target.checked), update()));
  $("no-positions").disabled = !model().settings.positions;
  for (const [name, view] of Object.entries(VIEWS)) on(name, "toggle", () => $(name).open && renderView(name, view));
  addEventListener("hashchange", () => readLink() && (renderWords(), update()));
}

if (!readLink() && data.examples.length) state.history = data.examples[0].items;
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
