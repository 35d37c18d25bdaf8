// The tour: stops, each a number of this step and a few sentences in which the numbers are this step's own.

let stops = null; // {title, array, index, text, inUpdate}
let stopNow = null;

function tourStops() {
  return (stops ??= [tokenStop, scoreStop, maskStop, weightStop, normStop, residualStop, logitStop, keyStop,
    embeddingStop, updateStop].map((find) => find()).filter(Boolean));
}

function number(value) {
  return make("strong", { class: "mono" }, shown(value));
}

function at(place) {
  return `${inQuotes(text[place])} at ${place}`;
}

function largestAmong(indices, values) {
  return indices.reduce((best, index) => (Math.abs(values[index]) > Math.abs(values[best]) ? index : best), indices[0]);
}

function range(count, from = 0) {
  return Array.from({ length: count }, (_, k) => from + k);
}

// In block 0, head 0: a query and, of the keys before it, the one that it attends to most; two characters that differ
// and that one can see, where the text has such.
function attendedPair() {
  const weights = arrayAt("h.0.attn", "weights");
  const visible = range(text.length).filter((place) => text[place].trim());
  const query = visible.findLast((place) => place > 0) ?? text.length - 1;
  const before = range(Math.max(query, 1));
  const others = before.filter((key) => visible.includes(key) && text[key] !== text[query]);
  const keys = others.length ? others : before;
  if (!hasPairs(weights)) return { query, key: keys[0] };
  const row = keys.map((key) => indexOf(weights, [0, 0, query, key]));
  return { query, key: indicesOf(weights, largestAmong(row, weights.v))[3] };
}

function hasPairs(array) {
  return array?.shape.length === 4 && array.shape[2] === text.length && array.shape[3] === text.length;
}

// Whether what is said of an array and its gradient holds: a reader's own layer may be wrong.
function isSound(array) {
  return array != null && !array.differs && !arrays.get(array.grad)?.differs;
}

function tokenStop() {
  const array = arrayAt("wte", "tok_emb", "out");
  if (!array) return null;
  const token = D.idx[0];
  return { title: "A character is a row of a table", array, index: 0, text: [
    `The model reads ${quoted(text)}, and each character is the number of a row in the table wte.weight. `,
    `${inQuotes(D.chars[token])} is row ${token}, so this number is that row’s first, `, number(array.v[0]),
    ", copied. Wherever the character stands, it begins as the same row; a second table, wpe.weight, has a row for ",
    "each position, and the two are added. Nothing more is known of the text." ] };
}

function scoreStop() {
  const array = arrayAt("h.0.attn", "scores");
  if (!hasPairs(array)) return null;
  const { query, key } = attendedPair();
  const index = indexOf(array, [0, 0, query, key]);
  const size = D.config.n_embd / D.config.n_head;
  return { title: "An attention score is a query times a key", array, index, text: [
    `How well does ${at(key)} fit what ${at(query)} looks for? The ${size} numbers of the one’s key and of the `,
    `other’s query are multiplied pair by pair, added, and divided by √${size}, so that wider heads have no larger `,
    "scores: ", number(array.v[index]), ". Look at “Made from”: what moves the score by way of q is a number of k ",
    `divided by √${size}, and what moves it by way of k is a number of q divided by √${size}. The `,
    "backward pass needs both, and keeps them." ] };
}

function maskStop() {
  const array = D.arrays.find((one) => one.path === "h.0.attn" && one.pass === "forward" && one.v.includes(-Infinity));
  if (!hasPairs(array) || !isSound(array) || text.length < 2) return null;
  const follows = (place) => text[place].trim() && text[place + 1].trim() && text[place] !== text[place + 1];
  const query = range(text.length - 1).findLast(follows) ?? 0;
  const index = indexOf(array, [0, 0, query, query + 1]);
  const before = arrayAt("h.0.attn", "scores");
  const was = hasPairs(before) && before !== array ? [" (it was ", number(before.v[index]), ")"] : "";
  return { title: "The mask: no looking ahead", array, index, text: [
    `At ${query} the model is to guess what follows ${inQuotes(text[query])}. The answer stands right there, as the `,
    `key of ${at(query + 1)}, so it must not look. The score of every later key is replaced by −∞`, was, ", and in ",
    "the softmax exp(−∞) is 0. A weight that stays 0 whatever the score was sends no gradient back: the hatched ",
    "squares are 0 in the gradient, too." ] };
}

function weightStop() {
  const array = arrayAt("h.0.attn", "weights");
  if (!hasPairs(array) || !isSound(array) || !isSound(arrayAt("h.0.attn", "scores"))) return null;
  const { query, key } = attendedPair();
  const index = indexOf(array, [0, 0, query, key]);
  const w = array.v[index];
  return { title: "Softmax: one gains what the others lose", array, index, text: [
    "The exponentials of a row of scores, divided by their sum: the weights of a row add up to 1, and ", number(w),
    ` of the attention of ${at(query)} goes to ${at(key)}. So no score moves its own weight alone. A little more of `,
    "this score raises its weight by w(1 − w) = ", number(w * (1 - w)), " times as much, and lowers each other ",
    "weight of the row by w times that one. Backward says the same in one line: dscores is weights × (dweights − ",
    "their weighted mean)." ] };
}

function normStop() {
  const array = arrayAt("h.0.ln_1", "centred");
  if (!array || array.size !== text.length * D.config.n_embd) return null;
  const width = D.config.n_embd;
  const row = range(width, (text.length - 1) * width);
  const index = largestAmong(row, array.v);
  const { chain, nudge } = threeGradients(array, index);
  if (chain == null) return null;
  const isOwn = D.calls.some((call) => call.mine && call.path === array.path) || gradientOf(array).formed;
  return { title: "LayerNorm’s two hidden paths", array, index, text: [
    `x minus the mean of its ${width} channels. Under “Made from”: its own x moves it by 1 − 1/${width}, and each `,
    `of the others by −1/${width}. That is the first hidden path, through the mean. The second is through the `,
    "variance: this number goes into var, and by var into the scale of all its neighbours. Backward has to bring ",
    "something back by each path; forget one, and the gradients have the right shape and wrong values. The gradient ",
    "of this number is, by the chain rule and by a nudge, ", number(chain), " and ", number(nudge), isOwn
      ? "." : "; the engine goes past it in one line and never forms it." ] };
}

function residualStop() {
  const array = folds.find((fold) => fold.path === "h.0")?.forward[0];
  if (!array?.fd || array.size !== text.length * D.config.n_embd) return null;
  const index = largestAmong(range(D.config.n_embd, (text.length - 1) * D.config.n_embd), array.fd);
  const parts = termsOf(array, index);
  const { uses, chain, nudge } = threeGradients(array, index);
  const along = uses.filter((use) => use.array.path === "h.0");
  if (parts.length !== 2 || !along.length) return null;
  const unchanged = along.reduce((sum, use) => sum + passedOn(use), 0);
  return { title: "The residual stream: a gradient that passes", array, index, text: [
    "What attention found is added to what was there: ", number(parts[0].array.v[parts[0].index]), " + ",
    number(parts[1].array.v[parts[1].index]), " = ", number(array.v[index]), ". A sum moves as much as either of ",
    "its parts does, so its gradient, ", number(nudge), ", goes to both unchanged. And it is itself a sum: ",
    number(unchanged), " comes back from the next sum, untouched, and ", number(chain - unchanged),
    " from the branch through ln_2. Along the stream no gradient is multiplied by anything: that is why the first ",
    "layers of a deep model still hear the loss." ] };
}

function logitStop() {
  const array = arrayAt("head", "logits", "out");
  if (!array || array.shape.at(-1) !== D.chars.length) return null;
  const chances = D.targets.map((token, place) => probabilityOf(array, place, token));
  const place = chances.indexOf(Math.min(...chances));
  const token = D.targets[place];
  const index = place * D.chars.length + token;
  const count = D.targets.length;
  return { title: "Softmax minus one-hot", array, index, text: [
    `After ${at(place)} comes ${inQuotes(D.chars[token])}; the model gives it a probability of `,
    number(chances[place]),
    `, and should have given 1. Softmax and cross-entropy have together the shortest of gradients, softmax minus `,
    `one-hot: (p − 1) / ${count} = `, number((chances[place] - 1) / count), ` for the right token, p / ${count} for `,
    `every other; ${count}, because the loss is the mean over ${count} characters. The row adds up to 0: what the `,
    "right token is to gain the others are to lose. From here all other gradients come." ] };
}

function keyStop() {
  const k = arrayAt("h.0.attn", "k");
  const array = k?.grad == null ? null : arrays.get(k.grad);
  if (!isSound(array) || array.shape.length !== 4) return null;
  const { key } = attendedPair();
  const size = array.shape[3];
  const index = largestAmong(range(size, key * size), array.v);
  const count = text.length - key;
  return { title: "dK needs the transpose", array, index, text: [
    `Forward, the key of ${at(key)} was held against every query that may see it: ${counted(count, "query").replace(
      "querys", "queries")}. So its gradient, `, number(array.v[index]), ", is a sum over those queries: under ",
    `“Made from”, the dscores of column ${key}, each times a number of its query’s q. But a product of matrices sums `,
    `along the rows of the first. So the first is turned over, and its column ${key} becomes row ${key}: `,
    `dk = dscoresᵀ @ q. Leave the transpose out and nothing complains, since ${text.length} × ${text.length} turned `,
    `over is ${text.length} × ${text.length} still; but the sum would run along row ${key}, over the keys that `,
    `${at(key)} itself looked at.` ] };
}

function repeatedToken() {
  const times = (token) => D.idx.filter((one) => one === token).length;
  return D.idx.find((token) => times(token) > 1) ?? D.idx[0];
}

function embeddingPlace() {
  const array = byKey.get("wte.weight");
  const token = repeatedToken();
  const width = array.shape[1];
  return { array, token, index: largestAmong(range(width, token * width), array.g) };
}

function embeddingStop() {
  const { array, token, index } = embeddingPlace();
  const uses = usesOf(array, index);
  const reads = uses.filter((use) => use.array.path === "wte");
  const head = uses.filter((use) => use.array.path !== "wte");
  if (!reads.length || !isSound(array) || !uses.every((use) => use.array.fd)) return null;
  const places = range(text.length).filter((place) => D.idx[place] === token);
  const readings = places.length > 1
    ? [`${inQuotes(D.chars[token])} is read at ${places.join(", ").replace(/, (\d+)$/, " and $1")}, each time from `,
      "this row. Each reading sends a gradient back: ", reads.map((use, k) => [k ? ", " : "", number(passedOn(use))]),
      ". They add up; to write one over the other would keep only the last. "]
    : [`No character is read twice in this text. ${inQuotes(D.chars[token])} is read at ${places[0]}, and that sends `,
    "back ", number(passedOn(reads[0])), "; were it read twice, the row would receive the sum of two gradients. "];
  return { title: "A gradient arrives at an embedding", array, index, text: [ readings,
    head.length ? ["The same table is used once more, in the head, to score every token; from there comes ",
      number(head.reduce((sum, use) => sum + passedOn(use), 0)), ". "] : "",
    "Together they are the gradient of this parameter, ", number(array.g[index]), "." ] };
}

function updateStop() {
  const { array, index } = embeddingPlace();
  const { g, m, v, move, decay, before, after } = updateOf(array, index);
  const { scale, lr } = D.update;
  const clipped = scale < 1 ? ["its gradient, clipped to ", number(g)] : ["its gradient, ", number(g)];
  return { title: "The update, and the loss after it", array, index, inUpdate: true, text: [
    "Now the parameter moves. AdamW puts ", clipped, ", into two running means, of gradients (m, now ", number(m),
    ") and of their squares (v, now ", number(v), "), and divides the first by the root of the second, ",
    "both corrected for having begun at 0. For a gradient that stays the same from step to step that would be 1 or ",
    `−1, whatever its size, and the step as long as the learning rate, ${lr}; here it is `, number(-move), ". ",
    array.decayed ? ["Weight decay, towards 0, adds ", number(-decay), ", and the"] : "The",
    " parameter goes from ", number(before), " to ", number(after),
    `. All ${D.config.n_params.toLocaleString("en")} parameters move at once, and the loss of these characters goes `,
    "from ", number(D.loss), " to ", number(D.after), "." ] };
}

// A stop stands in the page, above the array that it speaks of.
function drawStop(count) {
  endTour();
  const all = tourStops();
  stopNow = count;
  const stop = all[count - 1];
  const way = (to, name, first) => to >= 1 && to <= all.length
    ? make("a", { class: `button${first ? " first" : ""}`, href: `#tour-${to}` }, name) : null;
  const card = make("section", { id: "tour", "aria-labelledby": "tour-title" },
    make("p", { class: "small quiet" }, `Tour, stop ${count} of ${all.length}`),
    make("h3", { id: "tour-title", tabindex: -1 }, stop.title),
    make("p", {}, stop.text),
    make("div", { class: "ways" }, way(count + 1, "Next", true), way(count - 1, "Previous"),
      make("button", { class: "button phone", onclick: () => openPanel(true) }, "All about this number"),
      make("button", { class: "button", onclick: leaveTour }, count === all.length ? "Done" : "End the tour")));
  rowOf(stop.array, stop.inUpdate).before(card);
  return { card, stop };
}

function endTour() {
  document.getElementById("tour")?.remove();
  stopNow = null;
}

// The number stays chosen, and has an address of its own.
function leaveTour() {
  const { array, index } = current;
  endTour();
  history.pushState({ trail: [] }, "", `#${addressOf(array, index)}`);
  document.getElementById("panel").focus({ preventScroll: true });
}
