// The page of `tinygpt show`: one text, one state (a token, a layer, a head), and everything drawn from the two.

const data = JSON.parse(document.getElementById("data").textContent);
const page = {
  tokens: data.tokens,
  T: data.tokens.length,
  L: data.config.n_layer,
  H: data.config.n_head,
  V: data.config.vocab_size,
  losses: unpack(data.losses, Float32Array), // of each token but the first
  probabilities: unpack(data.probabilities, Float32Array),
  weights: unpack(data.attention, Uint8Array),
  text: (token) => visible(data.names[data.tokens[token]]),
};
const state = { token: 0, layer: 0, head: 0, past: 0 };
const byId = (id) => document.getElementById(id);
let layout = null; // of the large map

// A token's text so that all of it is seen. A mark within it has a letter to stand on.
function visible(name) {
  const letters = Array.from(name, (letter, place) => (place > 0 && /^\p{M}$/u.test(letter) ? letter : seen(letter)));
  return letters.join("") || "(nothing)";
}

function percent(part) {
  if (part >= 0.9995) return part < 1 ? "> 99.9%" : "100%";
  if (part >= 0.001) return `${(100 * part).toFixed(1)}%`;
  return part >= 1e-5 ? `${(100 * part).toPrecision(2)}%` : part > 0 ? "< 0.001%" : "0%";
}

// A number as it is read: 1.0955, 44.53, 56,009; and what is beyond that.
function inFull(number) {
  if (number >= 1e6) return shown(number);
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 4 : number < 1000 ? 2 : 0 });
}

function ordinal(number) {
  const teen = number % 100 >= 11 && number % 100 <= 13;
  return number.toLocaleString("en") + (teen ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th"));
}

// A token before a number, which stays behind it whichever way its letters run.
function withNumber(token, number) {
  return `\u2068${page.text(token)}\u2069 ${number}`;
}

function quoted(token) {
  return make("b", { class: "t" }, `“${page.text(token)}”`);
}

// The colour under a token, never so deep that its letters could not be read.
function tint(value, largest) {
  return colour(value, largest * (isDark() ? 4.4 : 1.8));
}

function largestLoss() {
  return Math.max(Math.log(page.V), largestOf(page.losses));
}

// What stands above: the model, its losses on this text, what there is to note.

function drawTotals() {
  byId("model").textContent =
    `${data.model}, ${counted(page.L, "layer")} of ${counted(page.H, "head")}, ` +
    `context of ${data.config.block_size.toLocaleString("en")}, ${page.V.toLocaleString("en")} tokens known`;
  const rows = [[page.T.toLocaleString("en"), page.T === 1 ? "token" : "tokens"]];
  if (page.losses.length) {
    const sum = page.losses.reduce((total, loss) => total + loss, 0);
    const mean = sum / page.losses.length;
    rows.push([mean.toFixed(4), "nats per token, the loss"], [inFull(Math.exp(mean)), "perplexity"]);
    if (data.characters) rows.push([(sum / Math.LN2 / data.characters).toFixed(4), "bits per character"]);
    rows.push([Math.log(page.V).toFixed(2), "nats, the loss of a blind guess"]);
  }
  const row = ([number, what]) => make("div", {}, make("dt", {}, what), make("dd", {}, number));
  byId("totals").replaceChildren(...rows.map(row));
  byId("notes").replaceChildren(...data.notes.map((note) => make("p", { class: "note small" }, note)));
}

function drawScale() {
  const most = largestLoss();
  const steps = [0, 0.05, 0.15, 0.3, 0.5, 0.75, 1];
  const boxes = steps.map((part) => make("b", { style: `background: ${tint(part * most, most)}` }));
  const known = page.V.toLocaleString("en");
  const guess = most > Math.log(page.V) + 0.005 ? "the largest here" : `a blind guess among ${known}`;
  byId("scale").replaceChildren("0 nats, certain", make("i", {}, boxes), `${most.toFixed(1)} nats, ${guess}`);
}

// The text.

function describedToken(token) {
  const name = `token ${token}, ${page.text(token)}`;
  if (token === 0) return `${name}, the first: nothing stands before it`;
  const loss = page.losses[token - 1];
  return `${name}, probability ${percent(Math.exp(-loss))}, ${ordinal(data.ranks[token - 1])} likeliest`;
}

function tokenSpan(token, attributes) {
  return make("span", { class: token === 0 ? "token first" : "token", ...attributes }, page.text(token));
}

// Tokens as they stand in the text, in its lines.
function inLines(spans) {
  return spans.flatMap((span, token) => (data.names[data.tokens[token]].endsWith("\n") ? [span, "\n"] : [span]));
}

function drawTokens() {
  const spans = data.tokens.map((_, token) =>
    tokenSpan(token, {
      role: "option",
      id: `t${token}`,
      "aria-label": describedToken(token),
      title: describedToken(token),
      onclick: () => choose({ token }),
    }),
  );
  byId("tokens").replaceChildren(...inLines(spans));
  byId("tokens").onkeydown = moveInText;
  colourTokens();
}

function colourTokens() {
  const most = largestLoss();
  for (let token = 1; token < page.T; token++) byId(`t${token}`).style.background = tint(page.losses[token - 1], most);
}

function moveInText(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -page.T, End: page.T };
  let token = state.token + (steps[event.key] ?? 0);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") token = besideInText(event.key === "ArrowDown" ? 1 : -1);
  else if (!(event.key in steps)) return;
  event.preventDefault();
  choose({ token: Math.max(0, Math.min(page.T - 1, token)) }, { byKey: true });
  byId(`t${state.token}`).focus();
}

// The token in the line below (1) or above (-1) that is nearest to the chosen one.
function besideInText(direction) {
  const place = (token) => byId(`t${token}`).getClientRects()[0];
  const here = place(state.token);
  let best = state.token;
  let line = null;
  for (let token = state.token; token >= 0 && token < page.T; token += direction) {
    const there = place(token);
    if (direction * (there.top - here.top) < here.height / 2) continue;
    line ??= there.top;
    if (Math.abs(there.top - line) > here.height / 2) break;
    if (best === state.token || Math.abs(there.left - here.left) < Math.abs(place(best).left - here.left)) best = token;
  }
  return best;
}

// What was expected, beside the text.

function bar(name, share, came) {
  const most = make("b", { style: `width: ${(100 * share).toFixed(2)}%` });
  const label = make("span", { class: "name", title: name }, name);
  const mark = came && make("span", { class: "unseen" }, ", which came");
  return make("li", { class: came && "came" }, label, make("span", { class: "bar" }, most),
    make("span", { class: "share" }, percent(share), mark));
}

// The likeliest tokens after a position, and what came, also where that is not among them.
function expectedAfter(position) {
  const ids = data.likeliest[position];
  const came = data.tokens[position + 1];
  const share = (place) => page.probabilities[position * ids.length + place];
  const rows = ids.map((id, place) => bar(visible(data.names[id]), share(place), id === came));
  if (came != null && !ids.includes(came)) {
    rows.push(make("li", { class: "gap", "aria-hidden": "true" }, "⋮"));
    rows.push(bar(page.text(position + 1), Math.exp(-page.losses[position]), true));
  }
  return make("ol", { class: "bars" }, rows);
}

function drawPanel() {
  const { token } = state;
  let says = "The first token: nothing stands before it, so it has no loss.";
  const lists = [];
  if (token > 0) {
    const loss = page.losses[token - 1];
    const rank = data.ranks[token - 1];
    const likeliest = rank === 1 ? "the likeliest" : `the ${ordinal(rank)} likeliest of ${page.V.toLocaleString("en")}`;
    says = `It came with a probability of ${percent(Math.exp(-loss))}, ${likeliest}: a loss of ` +
      `${loss.toFixed(2)} nats, ${(loss / Math.LN2).toFixed(2)} bits.`;
    if (page.losses.length > 1 && loss === largestOf(page.losses)) says += " None here was expected less.";
    lists.push(make("div", {}, make("h3", {}, "Expected in its place"), expectedAfter(token - 1)));
  }
  const ends = token === page.T - 1 ? ", where the text ends" : "";
  lists.push(make("div", {}, make("h3", {}, `Expected after it${ends}`), expectedAfter(token)));
  const title = make("h3", {}, "Token ", String(token), ": ", quoted(token));
  byId("panel").replaceChildren(title, make("p", {}, says), make("div", { class: "lists" }, lists));
}

// Attention.

function shareOf(layer, head, token, past) {
  return Maps.row(page, layer, head, token)[past] / data.levels;
}

// The tokens that a head takes most from, the most first.
function mostSeen(layer, head, token, count) {
  const row = Maps.row(page, layer, head, token);
  return Array.from(row.keys()).sort((a, b) => row[b] - row[a] || b - a).slice(0, count);
}

// Heads to begin with: those that look most, on average, where heads often do.
function drawBegin() {
  if (page.T < 3 || page.L * page.H === 1) return;
  const link = (words, back) => {
    const { layer, head, share } = Maps.foremost(page, back);
    const text = `layer ${layer}, head ${head}`;
    const button = make("button", { class: "link", type: "button", onclick: () => choose({ layer, head }) }, text);
    return [button, ` ${words} (${percent(share / data.levels)} on average)`];
  };
  byId("begin").replaceChildren("Of all heads ", ...link("looks most at the token before", (token) => token - 1), ", ",
    ...link("at the token itself", (token) => token), ", and ", ...link("at the first", () => 0), ".");
}

function describedHead(layer, head) {
  const [past] = mostSeen(layer, head, state.token, 1);
  const share = percent(shareOf(layer, head, state.token, past));
  return { text: withNumber(past, share), label: `layer ${layer}, head ${head}: token ${state.token} takes ` +
    `${share} from token ${past}, ${page.text(past)}` };
}

function drawHeads() {
  const grid = byId("heads");
  grid.style.gridTemplateColumns = `max-content repeat(${page.H}, minmax(0, 9rem))`;
  const named = (what, number) => (page.H > 8 ? String(number) : `${what} ${number}`);
  const cells = [make("span", {})];
  for (let head = 0; head < page.H; head++) cells.push(make("span", { class: "head" }, named("head", head)));
  for (let layer = 0; layer < page.L; layer++) {
    cells.push(make("span", { class: "layer" }, named("layer", layer)));
    for (let head = 0; head < page.H; head++) cells.push(smallMap(layer, head));
  }
  grid.replaceChildren(...cells);
  grid.onkeydown = moveInHeads;
}

function smallMap(layer, head) {
  const canvas = Maps.paint(make("canvas", { "aria-hidden": "true" }), page, layer, head);
  const frame = make("span", { class: "frame" }, canvas, make("span", { class: "row" }));
  const caption = make("span", { class: "caption", "aria-hidden": "true" });
  return make("button", { class: "small-map", type: "button", id: `h${layer}-${head}`,
    onclick: () => choose({ layer, head }) }, frame, caption);
}

function moveInHeads(event) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  const within = (number, count) => Math.max(0, Math.min(count - 1, number));
  choose({ layer: within(state.layer + step[0], page.L), head: within(state.head + step[1], page.H) }, { byKey: true });
  byId(`h${state.layer}-${state.head}`).focus();
}

function markHeads() {
  byId("heads").classList.toggle("sharp", page.T <= 96);
  const wide = byId("heads").clientWidth / (page.H + 1);
  byId("heads").classList.toggle("tight", wide < 64);
  byId("heads").classList.toggle("tightest", wide < 20);
  const middle = `calc(${(100 * (state.token + 0.5)) / page.T}% - 0.5px)`;
  for (let layer = 0; layer < page.L; layer++) {
    for (let head = 0; head < page.H; head++) {
      const chosen = layer === state.layer && head === state.head;
      const { text, label } = describedHead(layer, head);
      const button = byId(`h${layer}-${head}`);
      button.tabIndex = chosen ? 0 : -1;
      button.setAttribute("aria-pressed", chosen);
      button.setAttribute("aria-label", label);
      button.title = label;
      button.querySelector(".caption").textContent = text;
      button.querySelector(".row").style.top = middle;
    }
  }
  const captions = byId("heads").classList.contains("tight") ? "" : " Under each, what that takes most from.";
  byId("under").textContent = `The line is the row of token ${state.token}.${captions}`;
}

function drawHead() {
  const { layer, head, token, past } = state;
  byId("head-title").textContent = `Layer ${layer}, head ${head}`;
  const keys = "up and down choose the token that looks, left and right the one that it looks at";
  byId("map").setAttribute("aria-label", `map of layer ${layer}, head ${head}: ${keys}`);
  layout = Maps.large(byId("map"), page, state);
  sayWeight(token, past);
  byId("from-title").replaceChildren("Where ", quoted(token), `, token ${token}, looks`);
  const row = Maps.row(page, layer, head, token);
  const spans = Array.from(row, (weight, other) => {
    const share = weight / data.levels;
    const span = tokenSpan(other, { onclick: () => choose({ token: other }), title: percent(share) });
    span.style.background = tint(share, 1);
    span.classList.toggle("now", other === token);
    return span;
  });
  byId("looks").replaceChildren(...inLines(spans));
  const most = mostSeen(layer, head, token, 5).filter((other) => row[other] > 0);
  const bars = most.map((other) => bar(withNumber(other, other), row[other] / data.levels, false));
  byId("most").replaceChildren(...bars);
}

function sayWeight(token, past) {
  const share = percent(shareOf(state.layer, state.head, token, past));
  byId("cell").replaceChildren(
    quoted(token), ` (token ${token}) takes ${share} from `, quoted(past), ` (token ${past}).`,
  );
}

function pointAt(event, chooses) {
  const there = Maps.at(byId("map"), page, layout, event);
  if (there && chooses) choose(there);
  else if (there) sayWeight(there.token, there.past);
}

function moveInMap(event) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!step) return;
  event.preventDefault();
  const token = Math.max(0, Math.min(page.T - 1, state.token + step[0]));
  choose({ token, past: Math.max(0, Math.min(token, state.past + step[1])) }, { byKey: true });
}

// One state, in the address as well: #token-17/layer-2-head-1, what was chosen last before the other.

function address(what) {
  const parts = [`token-${state.token}`, `layer-${state.layer}-head-${state.head}`];
  return `#${("head" in what ? parts.reverse() : parts).join("/")}`;
}

function choose(what, { byKey = false } = {}) {
  const before = { ...state };
  Object.assign(state, what);
  if (!("past" in what)) [state.past] = mostSeen(state.layer, state.head, state.token, 1);
  const to = address(what);
  redraw(before);
  if (to !== location.hash) history[byKey ? "replaceState" : "pushState"](null, "", to);
}

function redraw(before) {
  byId(`t${before.token}`).classList.remove("now");
  const now = byId(`t${state.token}`);
  now.classList.add("now");
  for (const [token, chosen] of [[before.token, false], [state.token, true]]) {
    byId(`t${token}`).tabIndex = chosen ? 0 : -1;
    byId(`t${token}`).setAttribute("aria-selected", chosen);
  }
  drawPanel();
  markHeads();
  drawHead();
}

// What the address says, and for the rest the token that was expected least, and the first head.
function fromAddress() {
  const before = { ...state };
  const token = Number(/token-(\d+)/.exec(location.hash)?.[1] ?? NaN);
  const [layer, head] = (/layer-(\d+)-head-(\d+)/.exec(location.hash) ?? []).slice(1).map(Number);
  state.token = token < page.T ? token : page.losses.length ? page.losses.indexOf(largestOf(page.losses)) + 1 : 0;
  [state.layer, state.head] = layer < page.L && head < page.H ? [layer, head] : [0, 0];
  [state.past] = mostSeen(state.layer, state.head, state.token, 1);
  redraw(before);
}

function drawAll() {
  page.palette = Maps.palette(data.levels);
  drawTotals();
  drawScale();
  drawTokens();
  drawBegin();
  drawHeads();
  fromAddress();
}

drawAll();
if (/^#layer/.test(location.hash)) byId("attention").scrollIntoView();
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says what is chosen
  byId(`t${state.token}`).focus();
});
byId("map").addEventListener("pointermove", (event) => pointAt(event, false));
byId("map").addEventListener("pointerleave", () => sayWeight(state.token, state.past));
byId("map").addEventListener("click", (event) => pointAt(event, true));
byId("map").addEventListener("keydown", moveInMap);
addEventListener("popstate", fromAddress);
addEventListener("hashchange", fromAddress);
addEventListener("resize", () => { markHeads(); drawHead(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
