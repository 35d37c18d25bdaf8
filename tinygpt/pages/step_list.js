// The arrays in the order in which they were made, in a fold for each layer; a fold is filled when it is opened.

const folds = []; // {path, title, forward, backward, params, tied, element, body}
const homes = new Map(); // of an array's id, the fold that it stands in and the array beside which it stands

// Runs of forward arrays of one path: the residual sums of a block come back to it between its layers.
function layFolds() {
  for (const array of D.arrays.filter((one) => one.pass === "forward")) {
    if (folds.at(-1)?.path !== array.path) folds.push(newFold(array.path));
    folds.at(-1).forward.push(array);
  }
  for (const param of D.arrays.filter((one) => one.pass === "param")) placeParameter(param);
  for (const array of D.arrays.filter((one) => one.pass === "backward" && !one.gradientOf.length)) {
    const fold = folds.findLast((one) => one.path === array.path) ?? nearestFold(array.path);
    fold.backward.push(array);
  }
  for (const fold of folds) rememberHomes(fold);
}

function newFold(path) {
  return { path, title: layerTitle(path), forward: [], backward: [], params: [], tied: [] };
}

// The fold of a path, or of what it belongs to: a helper's arrays stand with its layer.
function nearestFold(path) {
  for (let place = path; place; place = place.replace(/\.?[^.]*$/, "")) {
    const fold = folds.find((one) => one.path === place || one.path.startsWith(`${place}.`));
    if (fold) return fold;
  }
  return folds.at(-1);
}

// A parameter stands at the layer whose name it has; another layer that uses it too says so.
function placeParameter(param) {
  const own = folds.find((fold) => fold.path === param.path);
  const using = folds.filter((fold) => fold.forward.some((array) => array.terms?.src.includes(param.id)));
  const home = own ?? using[0] ?? nearestFold(param.path);
  home.params.push(param);
  using.filter((fold) => fold !== home).forEach((fold) => fold.tied.push(param));
}

// A gradient stands beside the array that it is named after, else beside the last of those whose gradient it is.
function rememberHomes(fold) {
  for (const array of [...fold.params, ...fold.forward, ...fold.backward]) homes.set(array.id, { fold, row: array });
  for (const array of [...fold.params, ...fold.forward]) {
    if (array.grad == null) continue;
    const gradient = arrays.get(array.grad);
    const named = [gradient.name, ...gradient.also].includes(`d${array.name}`);
    if (named || !homes.get(gradient.id)?.named) homes.set(gradient.id, { fold, row: array, named });
  }
}

function sectionOf(path) {
  const block = /^h\.(\d+)/.exec(path);
  if (block) return `Block ${block[1]}`;
  return ["wte", "wpe", "embed"].includes(path) ? "Embeddings" : "Head and loss";
}

function drawFolds() {
  layFolds();
  const list = document.getElementById("arrays");
  list.append(legend());
  let section = null;
  for (const fold of folds) {
    if (sectionOf(fold.path) !== section) {
      section = sectionOf(fold.path);
      list.append(make("h2", {}, section));
    }
    list.append(foldElement(fold, foldSummary(fold), () => fillFold(fold)));
  }
  list.append(make("h2", {}, "The update"), updateFold());
}

function legend() {
  const sample = (paint, words) => {
    const canvas = make("canvas", { width: 32, height: 32, class: "sample", role: "presentation" });
    canvas.paint = () => paint(canvas.getContext("2d"));
    canvas.paint();
    return make("span", { class: "sign" }, canvas, words);
  };
  const square = (value) => (context) => {
    context.fillStyle = colour(value, 1);
    context.fillRect(0, 0, 32, 32);
  };
  const frame = (kind) => (context) => {
    context.clearRect(0, 0, 32, 32);
    context.lineWidth = 5;
    context.setLineDash(FRAMES[kind].dash.map((length) => 2.4 * length));
    context.strokeStyle = colourOf(FRAMES[kind].colour);
    context.strokeRect(4, 4, 24, 24);
  };
  const hatched = (context) => hatch(context, 0, 0, 32);
  return make("p", { id: "legend", class: "small quiet" },
    sample(square(0.7), "above zero"), sample(square(-0.7), "below zero"), sample(hatched, "masked, −∞"),
    sample(frame("from"), "the chosen number was made from it"), sample(frame("onward"), "it goes into this"),
    make("span", {}, make("span", { class: "mono" }, "out~2"), ": a layer’s second array named out"),
    make("button", { class: "link", onclick: showKeys }, "Keys"));
}

function foldElement(fold, summary, fill) {
  fold.body = make("div", { class: "body" });
  fold.fill = () => fold.body.childElementCount || fill();
  summary.addEventListener("click", (event) => {
    event.preventDefault(); // a browser opens it a moment later, and the next Tab would find nothing in it
    openFold(fold, !fold.element.open);
  });
  fold.element = make("details", { class: "fold", "data-path": fold.path, ontoggle: () => {
    if (fold.element.open) fold.fill();
  } }, summary, fold.body);
  return fold.element;
}

function openFold(fold, open = true) {
  fold.element.open = open;
  if (open) fold.fill();
}

function foldSummary(fold) {
  const own = [...fold.params, ...fold.forward, ...fold.backward];
  const beside = [...fold.params, ...fold.forward].map((array) => arrays.get(array.grad));
  const wrong = new Set([...own, ...beside, ...madeByBackward(fold)].filter((array) => array?.differs)).size;
  const names = fold.forward.map(nameOf).join("  ");
  const yours = D.calls.some((call) => call.path === fold.path && call.mine);
  return make("summary", {},
    make("h3", {}, fold.title.replace(/^block \d+ · /, "")),
    make("span", { class: "mono small" }, fold.path.replace(/^h\.\d+\./, "")),
    make("span", { class: "names mono quiet" }, names),
    yours && make("span", { class: "badge" }, "yours"),
    wrong > 0 && make("span", { class: "badge wrong" },
      `≠ ${counted(wrong, "array")} `, wrong > 1 ? "differ" : "differs"));
}

function fillFold(fold) {
  const parts = [];
  if (fold.params.length) parts.push(make("h4", {}, "Parameters"), ...fold.params.map(arrayRow));
  if (fold.tied.length) parts.push(fold.tied.map(tiedLine));
  parts.push(make("h4", {}, "Forward ", make("span", { class: "quiet" }, "and, beside it, how the loss answers")));
  parts.push(...fold.forward.map(arrayRow));
  if (fold.backward.length) {
    parts.push(make("h4", {}, "Backward alone ",
      make("span", { class: "quiet" }, "arrays on the way, which are no forward array’s gradient")));
    parts.push(make("div", { class: "alone" }, fold.backward.map(arrayRow)));
  }
  parts.push(elsewhereLine(fold));
  fold.body.append(...parts.flat().filter(Boolean));
  addMaps(fold.body);
}

function madeByBackward(fold) {
  return D.arrays.filter((array) => array.pass === "backward" && array.path === fold.path);
}

// What the layer's backward made and what stands in another fold, beside what it is the gradient of.
function elsewhereLine(fold) {
  const away = madeByBackward(fold).filter((array) => homes.get(array.id).fold.path !== fold.path);
  if (!away.length) return null;
  const beside = (array) => arrayLink(homes.get(array.id).row);
  const links = away.map((array, k) => [k ? ", " : "", arrayLink(array), " beside ", beside(array)]);
  return make("p", { class: "small" }, "Its backward also made ", links, ".");
}

function tiedLine(param) {
  const verb = "stands at the layer that it is named after, and is used here too; both uses add to its one gradient.";
  return make("p", { class: "small" }, arrayLink(param), ` ${verb}`);
}

function arrayLink(array) {
  return make("a", { href: `#${array.key}`, class: "mono" }, array.key);
}

function arrayRow(array) {
  const others = array.pass === "param" ? [] : array.also.filter((name) => name !== array.name);
  const differs = array.differs || arrays.get(array.grad)?.differs;
  const isFirst = D.first && homes.get(arrayCalled(D.first)?.id)?.row === array;
  return make("div", { class: `row${differs ? " wrong" : ""}`, "data-key": array.key },
    isFirst && make("p", { class: "notice wrong" }, make("strong", {}, "The first difference. "), D.mine?.says),
    make("div", { class: "side" },
      make("div", { class: "title" },
        make("strong", { class: "mono" }, nameOf(array)),
        make("span", { class: "quiet small" }, `${shapeOf(array)} · ${axesInWords(array)}`),
        others.length > 0 && make("span", { class: "quiet small" }, `then called ${others.join(", ")}`),
        differsMark(array)),
      codeOf(array),
      make("div", { class: "place" })),
    gradientSide(array));
}

function differsMark(array) {
  return array.differs && make("span", { class: "badge wrong" }, "≠ differs from the engine’s");
}

function codeOf(array) {
  return make("div", { class: "code" }, array.code && [make("code", {}, array.code),
    make("span", { class: "quiet small mono" }, placeInFile(array))]);
}

function gradientSide(array) {
  const gradient = gradientOf(array);
  if (!gradient) return null;
  const agrees = array.err != null && array.err < tolerance();
  const verdict = !array.fd ? null : agrees
    ? make("span", { class: "good small" }, `✓ nudging agrees to ${array.err.toExponential(0).replace("-", "−")}`)
    : make("span", { class: "badge wrong" }, "✗ nudging gives another");
  return make("div", { class: "side gradient" },
    make("div", { class: "title" }, gradient.formed
      ? [make("strong", { class: "mono" }, gradient.array ? nameOf(gradient.array) : `d${array.key}`), verdict]
      : make("span", { class: "quiet small" }, "Backward never forms this gradient; by nudging it is"),
    gradient.array && differsMark(gradient.array)),
    gradient.array ? codeOf(gradient.array) : make("div"),
    make("div", { class: "place" }));
}

// Heat maps are put in when the row has its width.
function addMaps(body) {
  for (const row of body.querySelectorAll(".row")) {
    const array = byKey.get(row.dataset.key);
    const [place, beside] = row.querySelectorAll(".place");
    const width = place.clientWidth;
    place.append(heatMap(array, array.v, array, { label: array.key, width }));
    if (!beside) continue;
    const gradient = gradientOf(array);
    const label = `gradient of ${array.key}`;
    beside.append(heatMap(gradient.array ?? array, gradient.values, gradient.array ?? array, { label, width }));
  }
}

function sizeMapsAgain() {
  for (const map of maps) if (map.canvas.isConnected) sizeMap(map, map.canvas.parentElement.clientWidth);
  redrawMaps();
}

// The update by AdamW, a row for each parameter.

const updating = { path: "update", title: "AdamW: each parameter takes a step" };

function updateFold() {
  const summary = make("summary", {}, make("h3", {}, updating.title),
    make("span", { class: "names mono quiet" }, "before  gradient  m  v  after"));
  return foldElement(updating, summary, fillUpdate);
}

function fillUpdate() {
  const { lr, beta1, beta2, weight_decay, max_norm, norm, scale, step } = D.update;
  const clipped = scale < 1
    ? `All gradients together have the norm ${shown(norm)}, more than ${max_norm}: each is first multiplied by
      ${shown(scale)}.`
    : `All gradients together have the norm ${shown(norm)}; clipping leaves them as they are.`;
  updating.body.append(
    make("p", {}, `${clipped} Then m ← ${beta1} m + ${plain(1 - beta1)} g, v ← ${beta2} v + ${plain(1 - beta2)} g²; and
      each parameter moves by −${lr} · m̂ / (√v̂ + ${D.update.eps}), where m̂ and v̂ are m and v divided by
      1 − ${beta1}^${step} and 1 − ${beta2}^${step}. Matrices also shrink by ${plain(lr * weight_decay)} of themselves.
      The loss of these characters goes from ${shown(D.loss)} to ${shown(D.after)}.`),
    ...D.arrays.filter((array) => array.pass === "param").map(updateRow));
  for (const place of updating.body.querySelectorAll(".place")) {
    const param = byKey.get(place.closest(".moment").dataset.key);
    const what = place.dataset.what;
    const values = { before: param.v, gradient: param.g, after: param.after }[what] ?? movedValues(param, what);
    const label = `${what} of ${param.key}`;
    place.append(heatMap(param, values, param, { label, width: place.clientWidth, still: what !== "before" }));
  }
}

function updateRow(param) {
  const wide = layoutOf(param).columns > 12;
  const parts = ["before", "gradient", "m", "v", "after"];
  const part = (what) => make("div", {}, make("div", { class: "quiet small" }, what),
    make("div", { class: "place", "data-what": what }));
  return make("div", { class: "moment", "data-key": param.key },
    make("div", { class: "title" }, make("strong", { class: "mono" }, param.key),
      make("span", { class: "quiet small" }, shapeOf(param))),
    make("div", { class: `moments${wide ? " wide-ones" : ""}` }, parts.map(part)));
}
