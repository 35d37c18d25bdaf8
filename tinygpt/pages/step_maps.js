// Heat maps: an array of any number of axes as squares, heads side by side, with letters along its edges.

const GAP = 10; // between heads
const EDGE = 18; // for the letters
const maps = new Set(); // those that are in the page
const nearby = new IntersectionObserver(drawWhenNear, { rootMargin: "400px" });

// Which axis goes down and which across; all before them make panels that stand side by side.
function layoutOf(array) {
  const axes = array.shape.map((_, axis) => axis);
  while (axes.length > 2 && array.shape[axes[0]] === 1) axes.shift();
  if (axes.length === 2 && array.shape[axes[0]] === 1 && array.axes[axes[0]] === "batch") axes.shift();
  const across = axes.length ? axes.at(-1) : null;
  const down = axes.length > 1 ? axes.at(-2) : null;
  const rows = down == null ? 1 : array.shape[down];
  const columns = across == null ? 1 : array.shape[across];
  return { rows, columns, panels: array.size / (rows * columns), across, down, outer: axes.slice(0, -2) };
}

// A heat map of an array, or of other values in its shape. `chosen` is what a number in it stands for: the array
// itself, or the parameter whose moments these are. options: label, width (pixels there are), still (not a tab stop).
function heatMap(array, values, chosen, { label, width, still = false }) {
  const canvas = make("canvas", {
    role: still ? "img" : "application",
    "aria-roledescription": still ? null : "heat map",
    "aria-label": `${label}, ${shapeOf(array)}${still ? "" : "; arrows move, Enter chooses"}`,
    tabindex: still ? null : 0,
    "data-key": chosen.key,
    class: "map",
  });
  const map = { canvas, array, values, chosen, layout: layoutOf(array), cursor: 0, drawn: false, largest: 0 };
  canvas.map = map;
  maps.add(map);
  sizeMap(map, width);
  canvas.addEventListener("click", (event) => {
    const index = indexUnder(map, event);
    if (index == null) return;
    map.cursor = index;
    choose(map.chosen, index, { stay: true });
  });
  canvas.addEventListener("pointermove", (event) => showTip(map, indexUnder(map, event), event));
  canvas.addEventListener("pointerleave", hideTip);
  if (!still) {
    canvas.addEventListener("keydown", (event) => moveCursor(map, event));
    canvas.addEventListener("focus", () => (drawMap(map), sayCursor(map)));
    canvas.addEventListener("blur", () => (hideTip(), drawMap(map)));
  }
  nearby.observe(canvas);
  return canvas;
}

function sizeMap(map, width) {
  const { rows, columns, panels, outer, across } = map.layout;
  const free = width - EDGE - (panels - 1) * GAP - 2;
  map.cell = Math.max(4, Math.min(18, Math.floor(free / (panels * columns))));
  map.top = (map.array.axes[across] === "one" ? 2 : EDGE) + (outer.length ? 14 : 0);
  map.width = EDGE + panels * columns * map.cell + (panels - 1) * GAP + 2;
  map.height = map.top + rows * map.cell + 2;
  const scale = devicePixelRatio || 1;
  map.canvas.width = Math.round(map.width * scale);
  map.canvas.height = Math.round(map.height * scale);
  map.canvas.style.width = `${map.width}px`;
  map.canvas.style.aspectRatio = `${map.width} / ${map.height}`;
  map.drawn = false;
}

function drawWhenNear(entries) {
  for (const { isIntersecting, target } of entries) {
    target.map.near = isIntersecting;
    if (isIntersecting && !target.map.drawn) drawMap(target.map);
  }
}

function drawMap(map) {
  map.drawn = true;
  map.largest ||= largestOf(map.values);
  const context = map.canvas.getContext("2d");
  const scale = devicePixelRatio || 1;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, map.width, map.height);
  drawLetters(map, context);
  drawSquares(map, context);
  drawFrames(map, context);
}

function drawSquares(map, context) {
  const { rows, columns, panels } = map.layout;
  const space = map.cell > 6 ? 1 : 0.5;
  context.fillStyle = colourOf("--line");
  for (let panel = 0; panel < panels; panel++) {
    const [x, y] = cornerOf(map, panel * rows * columns);
    context.fillRect(x - space, y - space, columns * map.cell + space, rows * map.cell + space);
  }
  for (let index = 0; index < map.array.size; index++) {
    const [x, y] = cornerOf(map, index);
    const fill = colour(map.values[index], map.largest);
    if (fill == null) {
      hatch(context, x, y, map.cell - space);
    } else {
      context.fillStyle = fill;
      context.fillRect(x, y, map.cell - space, map.cell - space);
    }
  }
}

function drawLetters(map, context) {
  const { array, layout, cell } = map;
  context.fillStyle = colourOf("--quiet");
  context.textBaseline = "middle";
  context.textAlign = "center";
  const down = layout.down == null ? [] : lettersOf(array, layout.down);
  const across = layout.across == null ? [] : lettersOf(array, layout.across);
  down.forEach((letter, row) => letterAt(context, array, layout.down, letter, row, cell, [
    EDGE / 2, map.top + (row + 0.5) * cell]));
  for (let panel = 0; panel < layout.panels; panel++) {
    const [left] = cornerOf(map, panel * layout.rows * layout.columns);
    if (layout.outer.length) {
      context.font = `11px ${colourOf("--sans")}`;
      context.textAlign = "left";
      context.fillText(panelName(array, layout, panel), left, 7);
      context.textAlign = "center";
    }
    across.forEach((letter, column) => letterAt(context, array, layout.across, letter, column, cell, [
      left + (column + 0.5) * cell, map.top - 8]));
  }
}

// Characters all stand at the edge; of numbers, where they would touch, every fourth.
function letterAt(context, array, axis, letter, place, cell, [x, y]) {
  const isText = ["time", "token"].includes(array.axes[axis]);
  const room = isText ? cell >= 7 : cell >= 14 && array.shape[axis] <= 10;
  if (!room && place % 4) return;
  context.font = `${isText ? Math.min(12, cell + 1) : 10}px ${colourOf("--mono")}`;
  context.fillText(letter, x, y);
}

function panelName(array, layout, panel) {
  const places = [];
  for (const axis of [...layout.outer].reverse()) {
    const length = array.shape[axis];
    const place = panel % length;
    panel = Math.floor(panel / length);
    if (length === 1) continue;
    places.unshift(array.axes[axis] === "" ? stacked(array, place, length)[0] : `${array.axes[axis]} ${place}`);
  }
  return layout.panels > 3 ? places.join(" ").replace("head ", "") : places.join(", ");
}

const FRAMES = { // what a number was made from has a whole frame, what it goes into a broken one
  from: { colour: "--accent", dash: [] },
  onward: { colour: "--onward", dash: [3, 2] },
  chosen: { colour: "--ink", dash: [] },
};

function drawFrames(map, context) {
  for (const [kind, frame] of Object.entries(FRAMES)) {
    for (const index of framesOf(map, kind)) frameAt(map, context, index, frame, kind === "chosen");
  }
  if (document.activeElement === map.canvas) {
    frameAt(map, context, map.cursor, { colour: "--ink", dash: [2, 2] }, true);
  }
}

function framesOf(map, kind) {
  if (!current) return [];
  if (kind === "chosen") return isChosenHere(map) ? [current.index] : [];
  if (map.values !== map.array.v) return [];
  const places = kind === "from" ? current.terms : current.uses;
  return places.filter((place) => place.array === map.array).map((place) => place.index);
}

// The chosen number's own map, and that of its gradient or of what it is the gradient of.
function isChosenHere({ chosen }) {
  return chosen === current.array || chosen.id === current.array.grad || chosen.grad === current.array.id;
}

function frameAt(map, context, index, { colour: name, dash }, wide) {
  const [x, y] = cornerOf(map, index);
  const size = map.cell - 1;
  context.setLineDash([]);
  if (wide) {
    context.lineWidth = 4;
    context.strokeStyle = colourOf("--paper");
    context.strokeRect(x, y, size, size);
  }
  context.setLineDash(dash);
  context.lineWidth = 2;
  context.strokeStyle = colourOf(name);
  context.strokeRect(x, y, size, size);
  context.setLineDash([]);
}

const colours = new Map();
function colourOf(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

function cornerOf(map, index) {
  const { rows, columns } = map.layout;
  const panel = Math.floor(index / (rows * columns));
  const row = Math.floor((index % (rows * columns)) / columns);
  return [EDGE + panel * (columns * map.cell + GAP) + (index % columns) * map.cell, map.top + row * map.cell];
}

function indexUnder(map, event) {
  const box = map.canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * map.width - EDGE;
  const y = ((event.clientY - box.top) / box.height) * map.height - map.top;
  const { rows, columns, panels } = map.layout;
  const wide = columns * map.cell + GAP;
  const panel = Math.floor(x / wide);
  const column = Math.floor((x - panel * wide) / map.cell);
  const row = Math.floor(y / map.cell);
  if (x < 0 || y < 0 || panel >= panels || column >= columns || row >= rows) return null;
  return (panel * rows + row) * columns + column;
}

// Arrows go in two directions, and from the edge of one head into the next.
function moveCursor(map, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(map.chosen, map.cursor, { stay: true });
    return;
  }
  const { rows, columns, panels } = map.layout;
  let panel = Math.floor(map.cursor / (rows * columns));
  let row = Math.floor((map.cursor % (rows * columns)) / columns);
  let column = panel * columns + (map.cursor % columns);
  const last = panels * columns - 1;
  if (event.key === "ArrowRight") column = Math.min(last, column + 1);
  else if (event.key === "ArrowLeft") column = Math.max(0, column - 1);
  else if (event.key === "ArrowDown") row = Math.min(rows - 1, row + 1);
  else if (event.key === "ArrowUp") row = Math.max(0, row - 1);
  else if (event.key === "Home") column = 0;
  else if (event.key === "End") column = last;
  else return;
  event.preventDefault();
  panel = Math.floor(column / columns);
  map.cursor = (panel * rows + row) * columns + (column % columns);
  drawMap(map);
  showTip(map, map.cursor);
  sayCursor(map);
}

function sayCursor(map) {
  say(`${inWords(map.array, map.cursor) || nameOf(map.array)}: ${shown(map.values[map.cursor])}`);
}

function showTip(map, index, event) {
  const tip = document.getElementById("tip") ?? make("div", { id: "tip", "aria-hidden": true });
  if (index == null) return hideTip();
  document.body.append(tip);
  tip.textContent = `${inWords(map.array, index) || map.array.name}: ${shown(map.values[index])}`;
  const box = map.canvas.getBoundingClientRect();
  const [x, y] = cornerOf(map, index);
  const left = event ? event.clientX + 12 : box.left + x + map.cell;
  const top = event ? event.clientY + 16 : box.top + y + map.cell + 6;
  tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${top + tip.offsetHeight > innerHeight ? top - 2 * tip.offsetHeight : top}px`;
}

function hideTip() {
  document.getElementById("tip")?.remove();
}

// After a choice, another colour scheme or another width.
function redrawMaps() {
  colours.clear();
  for (const map of maps) {
    if (!map.canvas.isConnected) maps.delete(map);
    else if (map.near) drawMap(map);
    else map.drawn = false;
  }
}
