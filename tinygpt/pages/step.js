// What starts the page: a number is chosen, links are followed, Back goes back, keys do what they say.

let current = null; // {array, index, terms, uses, trail}

// Choose a number. stay: it is where one looks, so nothing scrolls; focus: the panel takes the focus, as what was
// pressed is gone from it.
function choose(array, index, { stay = false, focus = false } = {}) {
  if (current?.array === array && current.index === index) return;
  keepTrail("pushState", `#${addressOf(array, index)}`);
  clearNotice();
  show(array, index, trailHere(), { stay });
  if (focus) document.getElementById("panel").focus({ preventScroll: true });
}

function show(array, index, trail, { stay = false, inUpdate = false } = {}) {
  current = { array, index, trail, terms: termsOf(array, index), uses: usesOf(array, index) };
  drawPanel();
  const row = rowOf(array, inUpdate);
  document.querySelectorAll(".now").forEach((one) => one.classList.remove("now"));
  row.classList.add("now");
  for (const { map } of row.querySelectorAll("canvas")) {
    if (map.chosen === array || map.array.shape.join() === array.shape.join()) map.cursor = index;
  }
  redrawMaps();
  markHere();
  if (inUpdate && !isNarrow()) panelTo("its-update");
  if (!stay) bringIntoView(row);
  say(sentenceOf(array, index));
}

// The row of an array; its fold is opened.
function rowOf(array, inUpdate = false) {
  if (inUpdate) {
    openFold(updating);
    return updating.body.querySelector(`[data-key="${CSS.escape(array.key)}"]`);
  }
  const { fold, row } = homes.get(array.id);
  openFold(fold);
  return fold.body.querySelector(`.row[data-key="${CSS.escape(row.key)}"]`);
}

function bringIntoView(element) {
  const box = element.getBoundingClientRect();
  if (box.top < 8 || box.bottom > innerHeight - (isNarrow() ? 70 : 8)) element.scrollIntoView({ block: "start" });
}

function panelTo(id) {
  const panel = document.getElementById("panel");
  panel.scrollTop += document.getElementById(id).getBoundingClientRect().top - panel.getBoundingClientRect().top - 12;
}

function isNarrow() {
  return matchMedia("(max-width: 1000px)").matches;
}

function say(words) {
  document.getElementById("said").textContent = words;
}

// What a link says, followed.

function route() {
  clearNotice();
  const said = decoded(location.hash.slice(1));
  const tour = /^tour-(\d+)$/.exec(said ?? "");
  if (said === "arrays" || said === "top") return;
  if (!tour) endTour();
  if (said === "") return showStart();
  if (tour) return showTour(Number(tour[1]));
  const place = said && placeOf(said);
  if (place?.index != null) return show(place.array, place.index, trailHere());
  const fold = folds.find((one) => one.path === said) ?? (said === "update" ? updating : null);
  if (fold) return showFold(fold);
  showStart();
  notice(wrongLink(said, place));
}

function decoded(hash) {
  try {
    return decodeURIComponent(hash);
  } catch {
    return null;
  }
}

// "h.0.attn/scores[0,1,3,2]" as an array and an index; the index is null where there is none such.
function placeOf(said) {
  const parts = /^(.*?)(?:\[([\d,\s]*)\])?$/.exec(said);
  const array = arrayCalled(parts[1]);
  if (!array) return null;
  if (parts[2] === undefined) return { array, index: worstOf(array) };
  const indices = parts[2].trim() ? parts[2].split(",").map((one) => (one.trim() ? Number(one) : NaN)) : [];
  const inside = indices.length === array.shape.length && indices.every((place, axis) => place < array.shape[axis]);
  return { array, index: inside ? indexOf(array, indices) : null };
}

function wrongLink(said, place) {
  if (place) {
    return `The link asks for ${said}, but ${place.array.key} is ${shapeOf(place.array)} here, with indices from 0.
      This is the start; the arrays are below.`;
  }
  const isStop = /^tour-/.test(said ?? "");
  const there = isStop ? `the tour has ${tourStops().length} stops` : "no array of this step has that name";
  return `The link asks for ${said ?? location.hash.slice(1)}, but ${there}: it may be of another version, or of another
    layer’s code. This is the start; the arrays are below.`;
}

// The way by which one came: the browser keeps it with the address; a link that was followed goes on from here.
function trailHere() {
  if (history.state == null) keepTrail("replaceState", location.hash);
  return history.state.trail.map(placeOf).filter((place) => place?.index != null);
}

function keepTrail(how, address) {
  const steps = current ? [...current.trail, current].slice(-12) : [];
  history[how]({ trail: steps.map((step) => addressOf(step.array, step.index)) }, "", address);
}

function showStart() {
  current = null;
  drawPanel();
  document.querySelectorAll(".now").forEach((one) => one.classList.remove("now"));
  redrawMaps();
  markHere();
}

function showFold(fold) {
  openFold(fold);
  bringIntoView(fold.element);
  fold.element.querySelector("summary").focus({ preventScroll: true });
}

function showTour(count) {
  const all = tourStops();
  if (count < 1 || count > all.length) {
    endTour();
    showStart();
    return notice(wrongLink(`tour-${count}`));
  }
  const { card, stop } = drawStop(count);
  show(stop.array, stop.index, [], { stay: true, inUpdate: stop.inUpdate });
  card.scrollIntoView({ block: "start" });
  document.getElementById("tour-title").focus({ preventScroll: true });
}

function notice(words) {
  document.getElementById("notices").append(make("div", { class: "notice", id: "wrong-link" }, make("p", {}, words)));
  scrollTo(0, 0);
}

function clearNotice() {
  document.getElementById("wrong-link")?.remove();
}

// Keys.

const KEYS = [
  ["Tab", "to the next layer, heat map or number"],
  ["Enter", "open a layer; choose the number under the frame"],
  ["← ↑ → ↓", "move in a heat map, and from one head into the next"],
  ["Home, End", "the row’s first and last number"],
  ["Alt+← or Back", "the number before"],
  ["[  ]", "the tour’s stop before and after"],
  ["Esc", "close the panel on a phone; end the tour"],
  ["?", "these keys"],
];

function showKeys() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(make("h2", { id: "keys-title" }, "Keys"),
    make("table", {}, KEYS.map(([key, does]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)),
      make("td", {}, does)))),
    make("form", { method: "dialog" }, make("button", { class: "button first" }, "Close")));
  dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
  if (event.key === "?") showKeys();
  else if (event.key === "Escape" && document.body.classList.contains("covered")) closePanel();
  else if (event.key === "Escape" && stopNow) leaveTour();
  else if (event.key === "]" && stopNow) followStop(stopNow + 1);
  else if (event.key === "[" && stopNow) followStop(stopNow - 1);
}

function closePanel() {
  openPanel(false);
  document.querySelector("#panel .bar").focus();
}

function followStop(count) {
  if (count >= 1 && count <= tourStops().length) location.hash = `tour-${count}`;
}

function start() {
  drawFolds();
  drawTop();
  drawModel();
  drawPanel();
  addEventListener("popstate", route);
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    redrawMaps();
    document.querySelectorAll(".sample").forEach((sample) => sample.paint());
  });
  addEventListener("beforeprint", () => maps.forEach((map) => map.drawn || drawMap(map)));
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawModel();
    openPanel(document.body.classList.contains("covered"));
    sizeMapsAgain();
  });
  const first = D.first && arrayCalled(D.first);
  const opening = first ? addressOf(first, worstOf(first)) : D.start;
  if (!location.hash && opening) history.replaceState(null, "", `#${opening}`);
  route();
}

start();
