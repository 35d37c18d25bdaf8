// The drawing of the whole model, forward and backward; and what stands above it.

const LYING = { base: 232, leg: 96, gap: 98, levels: [66, 120, 180], box: [86, 40], height: 264, apart: 30 };
const STANDING = { base: 30, leg: 62, gap: 60, levels: [86, 176, 264], box: [40, 82], width: 342, apart: 26 };

function drawModel() {
  const narrow = isNarrow();
  const plan = { ...(narrow ? STANDING : LYING), narrow, parts: [], at: narrow ? 24 : 56 };
  drawEmbeddings(plan);
  for (let layer = 0; layer < D.config.n_layer; layer++) drawBlock(plan, layer);
  drawHead(plan);
  const [width, height] = narrow ? [plan.width, plan.at + 26] : [plan.at + 56, plan.height];
  const drawing = make("svg:svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: narrow ? "standing" : "lying",
    role: "group",
    "aria-label": "The model: each box is a layer and opens it",
  });
  drawing.append(...plan.parts.sort((a, b) => a.depth - b.depth).map((part) => part.element));
  document.getElementById("drawing").replaceChildren(drawing);
  markHere();
}

// The layer, or the sum, of the chosen number.
function markHere() {
  const home = current && homes.get(current.array.id);
  for (const link of document.querySelectorAll("#drawing a")) {
    const to = link.getAttribute("href").slice(1);
    const here = home != null && (to === home.fold.path || to === home.row.key);
    link.classList.toggle("here", here);
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// A place along the model (m) and away from the residual stream (c), as x and y of either drawing.
function pointOf(plan, m, c) {
  return plan.narrow ? [plan.base + c, m] : [m, plan.base - c];
}

function drawEmbeddings(plan) {
  const { at, levels } = plan;
  box(plan, at, 0, "wte");
  plan.at += plan.narrow ? 70 : 110;
  arrow(plan, [at + half(plan), 0], [plan.at - 11, 0]);
  box(plan, plan.at, levels[0], "wpe");
  arrow(plan, [plan.at, levels[0] - halfAway(plan)], [plan.at, 11]);
  sum(plan, plan.at, folds.find((fold) => fold.path === "embed")?.forward[0]);
}

function drawBlock(plan, layer) {
  const path = `h.${layer}`;
  const sums = folds.filter((fold) => fold.path === path).map((fold) => fold.forward[0]);
  const start = plan.at;
  drawArch(plan, [`${path}.ln_1`, `${path}.attn.c_attn`, `${path}.attn`, `${path}.attn.c_proj`], sums[0], plan.apart);
  drawArch(plan, [`${path}.ln_2`, `${path}.mlp.c_fc`, `${path}.mlp.gelu`, `${path}.mlp.c_proj`], sums[1]);
  frame(plan, start + plan.gap + plan.apart - half(plan) - 12, plan.at + half(plan) + 12, `Block ${layer}`);
}

// A branch of the residual stream: two layers out, one across, one back to where it is added.
function drawArch(plan, [norm, out, across, back], added, extra = 0) {
  const { levels, leg } = plan;
  const start = plan.at + plan.gap + extra;
  const end = start + leg;
  arrow(plan, [plan.at + 11, 0], [end - 11, 0]);
  const middle = (levels[0] + levels[1]) / 2;
  const away = halfAway(plan);
  arrow(plan, [start, 4], [start, levels[0] - away]);
  arrow(plan, [start, levels[0] + away], [start, levels[1] - away]);
  arrow(plan, [start, levels[1] + away], [start, levels[2] - away]);
  arrow(plan, [end, levels[2] - away], [end, middle + away]);
  arrow(plan, [end, middle - away], [end, 11]);
  box(plan, start, levels[0], norm);
  box(plan, start, levels[1], out);
  box(plan, start + leg / 2, levels[2], across, leg);
  box(plan, end, middle, back);
  plan.at = end;
  sum(plan, end, added);
}

function drawHead(plan) {
  const size = 2 * half(plan);
  let from = plan.at + 11;
  plan.at += plan.gap + plan.apart;
  for (const path of ["ln_f", "head", "loss"]) {
    arrow(plan, [from, 0], [plan.at - half(plan), 0]);
    box(plan, plan.at, 0, path);
    from = plan.at + half(plan);
    plan.at += size + 26;
  }
  plan.at -= size + 26;
}

function half(plan) {
  return plan.box[0] / 2;
}

function halfAway(plan) {
  return plan.box[1] / 2;
}

const TITLES = { wte: "characters", wpe: "positions", gelu: "GELU", attn: "attention" };

function box(plan, m, c, path, longer = 0) {
  const fold = folds.find((one) => one.path === path);
  if (!fold) return;
  const [x, y] = pointOf(plan, m, c);
  const [along, away] = [plan.box[0] + longer, plan.box[1]];
  const [width, height] = plan.narrow ? [away, along] : [along, away];
  const [left, top] = [x - width / 2, Math.max(1, y - height / 2)];
  const name = TITLES[path.split(".").at(-1)] ?? path.split(".").at(-1);
  const below = path === "loss" ? shown(D.loss) : sizes(fold.forward.at(-1));
  const wrong = D.arrays.some((array) => array.path === path && array.differs);
  const yours = D.calls.some((call) => call.path === path && call.mine);
  const words = `${fold.title}, ${shapeOf(fold.forward.at(-1))}${yours ? ", yours" : ""}${wrong ? ", differs" : ""}`;
  const place = Math.max(1, left); // on a phone the stream runs near the edge
  const middle = place + width / 2;
  add(plan, 2, make("svg:a", { href: `#${path}`, "aria-label": words, class: boxClass(fold, wrong) },
    make("svg:rect", { x: place, y: top, width, height, rx: 6 }),
    make("svg:text", { x: middle, y: top + height / 2 - 3, class: "name" }, name),
    make("svg:text", { x: middle, y: top + height / 2 + 12, class: "size" }, yours ? `${below} yours` : below),
    wrong && make("svg:text", { x: place + width - 2, y: top + 3, class: "mark" }, "≠")));
}

// Where the first difference is, the box is filled; what follows from it has a mark alone.
function boxClass(fold, wrong) {
  const first = D.first && arrayCalled(D.first)?.path === fold.path;
  return ["box", wrong && "wrong", first && "first"].filter(Boolean).join(" ");
}

function sizes(array) {
  return array.shape.filter((length, axis) => axis > 0 || length > 1 || array.shape.length === 1).join(" × ") || "1";
}

function sum(plan, m, array) {
  const [x, y] = pointOf(plan, m, 0);
  const sign = [make("svg:circle", { cx: x, cy: y, r: 11 }), make("svg:text", { x, y: y + 5, class: "plus" }, "+")];
  if (!array) return add(plan, 2, make("svg:g", { class: "box" }, sign));
  const wrong = array.differs || arrays.get(array.grad)?.differs;
  const words = `sum, ${array.key}, ${shapeOf(array)}${wrong ? ", differs" : ""}`;
  const link = { href: `#${array.key}`, "aria-label": words, class: `box${wrong ? " wrong" : ""}` };
  add(plan, 2, make("svg:a", link, sign));
}

// Forward a whole line, and beside it backward a broken one.
function arrow(plan, from, to) {
  const [[x1, y1], [x2, y2]] = [pointOf(plan, ...from), pointOf(plan, ...to)];
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  for (const [side, kind] of [[-4, "forward"], [4, "backward"]]) {
    const [sx, sy] = [-dy * side, dx * side];
    const ends = kind === "forward" ? [x1, y1, x2, y2, dx, dy] : [x2, y2, x1, y1, -dx, -dy];
    const [ax, ay, bx, by, ux, uy] = ends;
    const [tx, ty] = [bx + sx, by + sy];
    const tip = `M${tx} ${ty}L${tx - 7 * ux - 3.2 * uy} ${ty - 7 * uy + 3.2 * ux}`
      + `L${tx - 7 * ux + 3.2 * uy} ${ty - 7 * uy - 3.2 * ux}Z`;
    add(plan, 1, make("svg:g", { class: kind },
      make("svg:line", { x1: ax + sx, y1: ay + sy, x2: tx - 5 * ux, y2: ty - 5 * uy }), make("svg:path", { d: tip })));
  }
}

function frame(plan, from, to, name) {
  const far = plan.levels[2] + halfAway(plan) + (plan.narrow ? 0 : 22);
  const [[x1, y1], [x2, y2]] = [pointOf(plan, from, far), pointOf(plan, to, -24)];
  const [x, y] = [plan.narrow ? 1 : Math.min(x1, x2), Math.max(1, Math.min(y1, y2))];
  const [width, height] = [Math.abs(x2 - x1), Math.abs(y2 - y1)];
  add(plan, 0, make("svg:rect", { x, y, width: plan.narrow ? plan.width - 2 : width, height, rx: 10, class: "block" }));
  if (!plan.narrow) add(plan, 0, make("svg:text", { x: x + 12, y: y + 16, class: "block-name" }, name));
}

function add(plan, depth, element) {
  plan.parts.push({ depth, element });
}

// Above the drawing: what the model reads, what it is asked for, and how well it guesses.

function drawTop() {
  const numbers = D.arrays.reduce((sum, array) => sum + array.size, 0);
  const { n_layer, n_head, n_embd } = D.config;
  document.getElementById("lead").append(
    `A GPT small enough to be shown whole (${counted(n_layer, "block")}, ${counted(n_head, "head")}, ${n_embd}
     channels) has been trained for ${counted(D.update.step - 1, "step")} and takes one more. It reads
     ${counted(text.length, "character")} and guesses at each the one that follows; how wrong it is, is the loss.
     Backward finds for each number how the loss would change with it, its gradient, and by its gradient each parameter
     moves a little. All ${numbers.toLocaleString("en")} numbers are here: choose any to see its line of code, what it
     was made from, what it goes into, and its gradient, found in three ways.`);
  document.getElementById("text").append(textTable(), lossLine());
  document.getElementById("ways").append(
    make("a", { class: "button first", href: "#tour-1" }, "Take the tour"),
    ...(D.lessons.length ? [lessonList()] : []));
  document.getElementById("foot").append(make("p", { class: "small quiet" },
    `Recorded by tinygpt ${D.version} from a step on ${quoted([...D.text].slice(0, 60))}. `,
    "This page is one file and asks for nothing from anywhere."));
  if (D.mine) drawMine();
}

function textTable() {
  const cells = (row) => row.map((cell) => make("td", {}, cell));
  const logits = arrayAt("head", "logits", "out");
  const guess = (token, place) => make("a", { href: `#${logits.key}[${place},${token}]`, class: "guess",
    title: "the score that it comes from" }, percent(probabilityOf(logits, place, token)));
  const line = (name, row) => make("tr", {}, make("th", { scope: "row" }, name), cells(row));
  return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "the text of this step" },
    make("table", {}, line("reads", text.map(seen)),
      line("is asked for", D.targets.map((token) => seen(D.chars[token] ?? ""))),
      logits && line("gives it", D.targets.map(guess))));
}

function probabilityOf(logits, place, token) {
  const width = logits.shape.at(-1);
  const row = logits.v.slice(place * width, (place + 1) * width);
  const largest = Math.max(...row);
  const exps = row.map((logit) => Math.exp(logit - largest));
  return exps[token] / exps.reduce((sum, exp) => sum + exp, 0);
}

function lossLine() {
  const loss = (name, value, kind) => make("div", { class: kind }, make("dt", {}, name),
    make("dd", { class: "mono" }, shown(value)));
  return make("dl", { id: "losses" }, loss("loss before", D.loss), loss("after the step", D.after, "after"));
}

function drawMine() {
  const first = D.first && arrayCalled(D.first);
  document.getElementById("notices").append(make("div", { class: `notice${first ? " wrong" : ""}`, id: "mine" },
    make("p", {}, make("strong", {}, "Your layers. "), D.mine.says),
    first && make("p", {}, make("a", { href: `#${addressOf(first, worstOf(first))}` }, "The first difference: ",
      make("span", { class: "mono" }, first.key)))));
}

// Where an array is most wrong: of a gradient, against the nudge; the first number where there is nothing to tell.
function worstOf(array) {
  const right = array.gradientOf[0]?.fd;
  if (!right) return 0;
  const wrong = Array.from(array.v, (value, index) => Math.abs(value - right[index]));
  return wrong.indexOf(Math.max(...wrong));
}

// Lessons, from the page and to it.

function lessonList() {
  return make("details", { id: "lessons" }, make("summary", { class: "button" }, "From a lesson?"),
    make("ul", {}, D.lessons.map((lesson) => make("li", {},
      make("strong", {}, lessonLink(lesson, `Lesson ${lesson.number}, ${lesson.title}`)),
      make("span", { class: "quiet small" }, ` ${lesson.minutes} minutes`),
      make("div", { class: "small" }, lesson.keys.map((key) => arrayCalled(key)).filter(Boolean).map((array, k) => [
        k ? ", " : "", arrayLink(array)])),
      lesson.page ? null : commandLine(lesson.command)))));
}

function lessonsOf(array) {
  const speaking = D.lessons.filter((lesson) => lesson.keys.some((key) => arrayCalled(key) === array));
  return speaking.map((lesson) => make("div", { class: "lesson small" },
    lesson.page
      ? ["Spoken of in ", lessonLink(lesson, `lesson ${lesson.number}, ${lesson.title}`)]
      : [`Lesson ${lesson.number}, ${lesson.title}, speaks of it: `, commandLine(lesson.command)]));
}

// A lesson's name; where its page lies beside this one, a link to it.
function lessonLink(lesson, words) {
  return lesson.page ? make("a", { href: lesson.page }, words) : words;
}

function commandLine(command) {
  const code = make("code", {}, command);
  const button = make("button", { class: "link small", "aria-label": `Copy ${command}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  } }, "Copy");
  return make("span", { class: "command" }, code, " ", button);
}
