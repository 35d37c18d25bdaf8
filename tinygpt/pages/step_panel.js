// The chosen number: what it was made from, what it goes into, its gradient in three ways, its update.

const FEW = 12; // rows of a table that are shown at first

function drawPanel() {
  const panel = document.getElementById("panel");
  const wasOpen = panel.classList.contains("open");
  panel.replaceChildren(...(current ? chosenNumber(current) : nothingChosen()).flat(Infinity).filter(Boolean));
  panel.classList.toggle("none", current == null);
  openPanel(wasOpen && current != null);
}

function nothingChosen() {
  return [make("div", { class: "sheet" }, make("h2", {}, "Choose a number"),
    make("p", {}, "Open a layer and choose any square. Here you will see what it was made from, what it goes into, ",
      "and its gradient, found in three ways."))];
}

function chosenNumber({ array, index, terms, uses, trail }) {
  const gradient = gradientOf(array);
  return [
    panelBar(array, index, gradient),
    make("div", { class: "sheet" },
      trailLine(trail),
      make("p", { class: "quiet small where" }, array.pass === "param" ? "parameter" : layerTitle(array.path),
        array.pass === "backward" && " · backward"),
      make("h2", { class: "mono" }, nameOf(array), make("wbr"), placesOf(array, index)),
      make("p", { class: "value mono" }, shown(array.v[index])),
      make("p", { class: "words" }, inWords(array, index)),
      array.code && codeOf(array),
      array.comment && make("p", { class: "small quiet mono" }, array.comment),
      differsMark(array),
      lessonsOf(array),
      madeFrom(array, index, terms),
      array.pass === "backward" ? gradientOfWhat(array, index, uses) : gradientPart(array, index, uses),
      array.pass === "param" && updatePart(array, index),
      tablePart(array)),
  ];
}

// On a phone the panel is this bar at the bottom until it is opened; elsewhere it is not shown.
function panelBar(array, index, gradient) {
  const answer = gradient && array.pass !== "backward" ? `gradient ${shown(gradient.values[index])}` : "backward";
  return make("button", { class: "bar", "aria-expanded": "false", onclick: () => openPanel() },
    make("span", { class: "mono name" }, nameOf(array), placesOf(array, index)),
    make("span", { class: "mono" }, shown(array.v[index])),
    make("span", { class: "small quiet" }, answer),
    make("span", { class: "turn", "aria-hidden": true }, "⌃"),
    make("span", { class: "unseen" }, "all about it"));
}

// On a phone an open panel has the screen to itself.
function openPanel(open = !document.getElementById("panel").classList.contains("open")) {
  const panel = document.getElementById("panel");
  panel.classList.toggle("open", open);
  const alone = open && isNarrow();
  document.body.classList.toggle("covered", alone);
  for (const part of ["top", "overview", "arrays", "foot"]) document.getElementById(part).inert = alone;
  panel.querySelector(".bar")?.setAttribute("aria-expanded", String(open));
  panel.scrollTop = 0;
}

// The numbers that one came by, the last of them a click away.
function trailLine(trail) {
  if (!trail.length) return null;
  const steps = trail.slice(-3).map(({ array, index }) => [numberButton(array, index), " → "]);
  return make("p", { class: "trail small", role: "navigation", "aria-label": "the numbers that you came by" },
    trail.length > 3 && "… → ", steps, make("span", { class: "quiet" }, "here"));
}

// A number that one can go to. beside: where it is named, so that of the same block the block need not be said.
function numberButton(array, index, beside, name = nameBeside(array, beside)) {
  const slash = name.indexOf("/") + 1;
  return make("button", { class: "link mono number", title: inWords(array, index), "data-to": addressOf(array, index),
    onclick: () => choose(array, index, { focus: true }) },
  slash > 0 && [name.slice(0, slash), make("wbr")],
  make("span", { class: "whole-word" }, name.slice(slash), placesOf(array, index)));
}

// Made from.

function madeFrom(array, index, terms) {
  const title = make("h3", {}, "Made from");
  if (isMasked(array, index)) {
    return [title, make("p", {}, "Nothing: the mask has put −∞ here, whatever the score was. ",
      "Its weight in the softmax is 0.")];
  }
  if (array.pass === "param") {
    return [title, make("p", {}, "Nothing of this step: it is a parameter, learned in the steps before.")];
  }
  if (!terms.length) return [title, make("p", {}, madeFromNothing(array, array.v[index]))];
  const groups = [...new Set(terms.map((term) => term.array))].map((source) => [
    source, terms.filter((term) => term.array === source)]);
  const whole = addUpTo(array.v[index], terms);
  const each = !whole && groups.length > 1 && groups.every(([, group]) => addUpTo(array.v[index], group));
  const tables = groups.map(([source, group]) => termTable(array, source, group, each ? array.v[index] : null));
  return [title, tables, madeFromSentence(array, index, { whole, each, groups })];
}

function madeFromNothing(array, value) {
  if (!array.terms) return "What this line was made from could not be followed.";
  if (!Number.isFinite(value)) return "It is not finite, so that what moves it cannot be told.";
  if (D.coarse) return "No number moves it so much that one could tell in float32.";
  return "No number that was recorded moves it: it is a constant of its line, or a zero that stays one.";
}

// A later character's key: the mask has put −∞ there. Elsewhere −∞ has come of the numbers themselves.
function isMasked(array, index) {
  const place = indicesOf(array, index);
  return array.v[index] === -Infinity && isSquareOfText(array) && place.at(-1) > place.at(-2);
}

function product({ array, index, by }) {
  const value = array.v[index];
  return by * (Number.isFinite(value) ? value : 0);
}

// Whether the products of these terms have this sum, but for the rounding of each, and for what moves it by less than
// 1e-9, which the recording leaves out.
function addUpTo(value, terms) {
  const sum = terms.reduce((total, term) => total + product(term), 0);
  const sizes = terms.reduce((total, term) => total + Math.abs(product(term)), 0);
  const leftOut = 1e-9 * Math.max(...terms.map((term) => Math.abs(term.array.v[term.index])));
  const slack = tolerance() * sizes + Math.min(leftOut, 1e-2 * Math.abs(value));
  return Number.isFinite(value) && Math.abs(sum - value) <= slack;
}

// What each product of two numbers is multiplied by: 1/2 in q · k / √4. Null where there is no such number.
function factorOf([[, some], [, others]]) {
  const [few, many] = some.length > others.length ? [others, some] : [some, others];
  const values = many.map((term) => term.array.v[term.index]).filter((value) => value !== 0);
  const factor = few[0].by / values[0];
  const fits = ({ by }, k) => Math.abs(by - factor * values[k]) <= 1e-4 * Math.abs(by);
  return few.length === values.length && few.every(fits) ? factor : null;
}

function madeFromSentence(array, index, { whole, each, groups }) {
  const value = shown(array.v[index]);
  if (whole) {
    return make("p", { class: "sum" }, "The products add up to this number: ",
      make("strong", { class: "mono" }, value), ".");
  }
  if (each) {
    const names = groups.map(([source]) => source.name).join(" and of ");
    const factor = groups.length === 2 ? factorOf(groups) : null;
    const times = factor == null || Math.abs(factor - 1) < 1e-4 ? "" : `, times ${shown(factor)}`;
    return make("p", { class: "sum" }, `The products of ${names} each add up to this number, ${value}: it is a sum of `,
      "products", factor == null ? "." : `, and what moves it by way of one is the other’s value${times}.`);
  }
  if (!Number.isFinite(array.v[index])) {
    return make("p", { class: "sum quiet" }, "No products add up to such a number.");
  }
  return make("p", { class: "sum quiet" }, `The products do not add up to this number, ${value}: the line is more `,
    "than a sum of products", D.coarse && ", or in float32, where one cannot tell",
    ". The middle column says how much of a small change is passed on, near these values.");
}

function termTable(array, source, terms, sum) {
  const rows = terms.map((term) => [numberButton(source, term.index, array, nameOf(source)),
    shown(source.v[term.index]), shown(term.by), shown(product(term))]);
  return numberTable([nameBeside(source, array), "value", "moves it by", "product"], rows,
    sum == null ? null : ["sum", "", "", shown(sum)]);
}

// A table of which at first FEW rows are shown.
function numberTable(head, rows, sum) {
  const cells = (row) => row.map((cell) => make("td", {}, cell));
  const heads = head.map((name) => (name ? make("th", { scope: "col" }, name) : make("td")));
  const body = make("tbody", {}, rows.slice(0, FEW).map((row) => make("tr", {}, cells(row))));
  const rest = rows.slice(FEW).map((row) => make("tr", {}, cells(row)));
  const more = rest.length > 0 && make("button", { class: "link small", onclick: () => {
    body.append(...rest);
    more.remove();
    body.rows[FEW].querySelector("button")?.focus();
  } }, `${counted(rest.length, "row")} more`);
  return make("div", { class: "numbers" }, make("table", {}, make("thead", {}, make("tr", {}, heads)), body,
    sum && make("tfoot", {}, make("tr", {}, cells(sum)))), more);
}

// The gradient.

function gradientPart(array, index) {
  const { uses, engine, chain, nudge, largest } = threeGradients(array, index);
  const lost = array.followed === false && chain != null && !agree(chain, nudge, largest);
  const known = [engine, lost ? null : chain, nudge].filter((value) => value != null);
  const agreeing = known.every((value) => agree(value, nudge ?? value, largest)) && agreement(known, largest);
  return [
    make("h3", {}, "Its gradient, three ways"),
    nudge != null && Number.isFinite(array.v[index]) && make("p", { class: "small quiet" },
      `Were this number larger by 0.01, the loss would change by about ${shown(0.01 * nudge)}; the gradient is that, `,
      "for a whole unit."),
    make("dl", { class: "three" },
      oneGradient("backward", engine == null ? "never formed" : shown(engine)),
      oneGradient("chain rule", chain == null ? "–" : shown(chain)),
      oneGradient("nudge", nudge == null ? "–" : shown(nudge))),
    make("p", {}, nudge == null ? notNudged() : gradientSentence({ engine, chain, lost, agreeing })),
    engine != null && array.grad != null && make("p", { class: "small" }, "Backward formed it as ",
      numberButton(arrays.get(array.grad), index, array), "."),
    goesInto(array, uses),
  ];
}

function oneGradient(name, value) {
  return make("div", {}, make("dt", {}, name), make("dd", { class: "mono" }, value));
}

function notNudged() {
  const why = Number.isNaN(D.loss) ? "The loss is not a finite number" : "The step does not give the same loss twice";
  return `${why}, so that nothing can be nudged, and nothing compared.`;
}

// In which words numbers agree; where one sees another number, that it is rounding.
function agreement(values, largest) {
  if (new Set(values.map(shown)).size === 1) return "agree.";
  return `agree: beside the largest gradient of this array, ${shown(largest)}, they differ by rounding alone.`;
}

// agreeing: in which words, false where they do not; lost: the chain rule has not all that the number goes into.
function gradientSentence({ engine, chain, lost, agreeing }) {
  const nudge = (lost ? "What it goes into could not be followed in full, so that the chain rule gives another. " : "")
    + "For the nudge the model ran again, with this number a hair larger and a hair smaller.";
  if (engine == null) {
    const others = lost ? "" : `The other two ${agreeing || "do not agree."} `;
    return `Backward never forms this gradient: a later line goes past it in one step. ${others}${nudge}`;
  }
  if (agreeing) return `${chain == null || lost ? "Backward and the nudge" : "All three"} ${agreeing} ${nudge}`;
  return [make("span", { class: "bad" }, D.mine
    ? "They do not agree: what backward says here is not how the loss answers. "
    : "They do not agree. "), nudge];
}

function goesInto(array, uses) {
  const later = usersIn(array, "backward");
  const kept = later.length > 0 && make("p", { class: "small" }, "Backward needs it too: for ",
    later.slice(0, 6).map((user, k) => [k ? ", " : "", arrayLink(user)]), later.length > 6 && " and more", ".");
  if (!uses.length) {
    return [make("h3", {}, "Goes into"), make("p", {}, goesIntoNothing(array)), kept];
  }
  if (!uses.every((use) => use.array.fd)) return [make("h3", {}, "Goes into"), movesTable(uses, array), kept];
  const rows = uses.toSorted((a, b) => Math.abs(passedOn(b)) - Math.abs(passedOn(a)));
  const sum = rows.reduce((total, use) => total + passedOn(use), 0);
  return [
    make("h3", {}, "Goes into"),
    make("p", { class: "small quiet" }, "The chain rule: how much it moves each of these, times that one’s own ",
      "gradient (by a nudge)."),
    numberTable(["", "moves it by", "its gradient", "product"],
      rows.map((use) => [numberButton(use.array, use.index, array), shown(use.by), shown(use.array.fd[use.index]),
        shown(passedOn(use))]),
      [`sum of ${uses.length}`, "", "", shown(sum)]),
    kept,
  ];
}

function goesIntoNothing(array) {
  if (array.key === "loss/loss") return "Nothing: forward ends here, and backward begins.";
  if (Number.isNaN(D.loss)) return "What is not finite cannot be followed: the loss is not a finite number.";
  return "Nothing: no later number moves with it.";
}

function movesTable(uses, beside) {
  return numberTable(["", "moves it by"],
    uses.map(({ array, index, by }) => [numberButton(array, index, beside), shown(by)]));
}

// Of a number of the backward pass: whose gradient it is, and what it goes into.
function gradientOfWhat(array, index, uses) {
  const [owner] = array.gradientOf;
  const largest = owner?.fd ? largestOf(owner.fd) : null;
  const right = !owner?.fd || agree(array.v[index], owner.fd[index], largest);
  const parts = [make("h3", {}, `It ${right ? "is" : "should be"} the gradient of`)];
  if (owner?.fd) {
    parts.push(ownersOf(array, index),
      make("p", { class: right ? null : "bad" }, `A nudge of the whole loss gives ${shown(owner.fd[index])}: `,
        right ? `they ${agreement([array.v[index], owner.fd[index]], largest)}` : "they do not agree."));
  } else if (owner) {
    parts.push(ownersOf(array, index));
  } else {
    parts.push(make("p", {}, "No array of the forward pass: it is a step on the way to gradients that are."));
  }
  if (uses.length) parts.push(make("h3", {}, "Goes into"), movesTable(uses, array));
  return parts;
}

function ownersOf(array, index) {
  return make("p", {}, array.gradientOf.map((one, k) => [k ? " and " : "", numberButton(one, index, array)]), ".");
}

// A parameter's update.
function updatePart(array, index) {
  const { g, m, v, mHat, vHat, decay, move, before, after, byRule } = updateOf(array, index);
  const { scale, beta1, beta2, lr, eps, step } = D.update;
  const rows = [
    ["before", "", before],
    ["gradient g", scale === 1 ? "as it is" : `${shown(array.g[index])} × ${shown(scale)}, clipped`, g],
    ["m", `${beta1} × ${shown(array.m0[index])} + ${plain(1 - beta1)} g`, m],
    ["v", `${beta2} × ${shown(array.v0[index])} + ${plain(1 - beta2)} g²`, v],
    ["m̂", `m / (1 − ${beta1}^${step})`, mHat],
    ["v̂", `v / (1 − ${beta2}^${step})`, vHat],
    ["step", `−${lr} m̂ / (√v̂ + ${eps})`, -move],
    ["decay", array.decayed ? `−${plain(lr * D.update.weight_decay)} of it` : "none: a vector", -decay],
    ["after", "", after],
  ];
  return [make("h3", { id: "its-update" }, "Its update"),
    Math.abs(byRule - after) > 1e-5 * lr + 1e-6 * Math.abs(before) && make("p", { class: "bad" },
      `By AdamW’s rule it would be ${shown(byRule)} after the step.`),
    numberTable(["AdamW", "", ""], rows.map(([name, how, value]) => [name, how, shown(value)]))];
}

// The whole array as a table, for who would rather read than look.
function tablePart(array) {
  const details = make("details", { class: "whole", ontoggle: () => {
    if (details.open && details.childElementCount === 1) details.append(...wholeTable(array));
  } }, make("summary", {}, `Show ${array.key} as a table`));
  return details;
}

function wholeTable(array) {
  const { rows, columns, panels, across, down } = layoutOf(array);
  const letters = (axis, count) => (axis == null ? Array(count).fill("") : lettersOf(array, axis));
  const heads = letters(across, columns);
  const sides = letters(down, rows);
  return Array.from({ length: panels }, (_, panel) => {
    const name = panels > 1 ? panelName(array, layoutOf(array), panel) : array.name;
    const cell = (row, column) => {
      const index = (panel * rows + row) * columns + column;
      return make("td", {}, make("button", { class: "plain", tabindex: -1,
        onclick: () => choose(array, index, { focus: true }) }, shown(array.v[index])));
    };
    const line = (_, row) => make("tr", {}, make("th", { scope: "row" }, sides[row] || String(row)),
      Array.from({ length: columns }, (__, column) => cell(row, column)));
    return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `${array.key}, ${name}` },
      make("table", {}, make("caption", {}, name),
        make("thead", {}, make("tr", {}, make("td"), heads.map((head, k) => make("th", { scope: "col" }, head || k)))),
        make("tbody", {}, Array.from({ length: rows }, line))));
  });
}
