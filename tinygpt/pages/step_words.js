// What arrays and numbers are called, in signs and in words.

// "h.0.attn/scores[0,1,3,2]": what a link says.
function addressOf(array, index) {
  return array.key + placesOf(array, index);
}

function placesOf(array, index) {
  return array.shape.length ? `[${indicesOf(array, index).join(",")}]` : "";
}

// The array's name with as much of its place as tells it from those of another layer: "attn/q", beside an array of
// the same block.
function nameBeside(array, other) {
  const block = /^h\.\d+(?=[./])/.exec(other?.key ?? "")?.[0];
  const inside = block && [".", "/"].includes(array.key.slice(block.length, block.length + 1));
  return inside && array.key.startsWith(block) ? array.key.slice(block.length + 1) : array.key;
}

function layerTitle(path) {
  return D.calls.find((call) => call.path === path)?.title ?? path;
}

// The name that tells it from others of its layer: scores, then scores~2. A parameter's is its whole key.
function nameOf(array) {
  return array.key.slice(array.key.lastIndexOf("/") + 1);
}

// Queries down, keys across: both are characters.
function isSquareOfText(array) {
  return array.axes.indexOf("time") !== array.axes.lastIndexOf("time");
}

// An element's place in words: head 1, query "t" at 3, key "a" at 1.
function inWords(array, index) {
  const pair = isSquareOfText(array);
  const words = indicesOf(array, index).map((place, axis) => {
    const kind = array.axes[axis];
    const length = array.shape[axis];
    if (kind === "one" || (kind === "batch" && length === 1)) return null;
    if (kind === "time") {
      const what = pair ? (axis === array.axes.indexOf("time") ? "query " : "key ") : "";
      return `${what}${inQuotes(text[place] ?? "?")} at ${place}`;
    }
    if (kind === "token") return `token ${inQuotes(D.chars[place])}`;
    if (kind === "") return stacked(array, place, length);
    return `${kind} ${place}`;
  });
  return words.filter(Boolean).join(", ");
}

// Three arrays in one are queries, keys and values; other axes without a name have numbers.
function stacked(array, place, length) {
  return length === 3 && /qkv/.test(array.name) ? ["queries", "keys", "values"][place] : `row ${place}`;
}

function axesInWords(array) {
  const pair = isSquareOfText(array);
  const words = array.axes.map((kind, axis) => {
    if (kind === "time") return pair ? (axis === array.axes.indexOf("time") ? "query" : "key") : "character";
    return kind || "part";
  });
  return words.join(", ");
}

function shapeOf(array) {
  return array.shape.length ? array.shape.join(" × ") : "one number";
}

// The letters along an axis of a heat map: characters of the text, tokens, or numbers.
function lettersOf(array, axis) {
  const kind = array.axes[axis];
  return Array.from({ length: array.shape[axis] }, (_, place) => {
    if (kind === "time") return seen(text[place] ?? "");
    if (kind === "token") return seen(D.chars[place] ?? "");
    return kind === "one" ? "" : String(place);
  });
}

// After a letter that is read from right to left a mark, without which a number that follows would go before it.
function inQuotes(character) {
  const isRightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
  return `“${seen(character)}”${isRightToLeft.test(character) ? "\u200e" : ""}`;
}

function quoted(characters) {
  return `“${characters.map(seen).join("")}”`;
}

// A number that someone chose, such as 0.1, without the traces of its binary form.
function plain(x) {
  return String(Number(x.toPrecision(6)));
}

// A probability; 0% and 100% are for what is so.
function percent(part) {
  if (part > 0 && part < 0.005) return "<1%";
  if (part < 1 && part >= 0.995) return ">99%";
  return `${Math.round(100 * part)}%`;
}

function placeInFile(array) {
  return array.file ? `${array.file}:${array.line}` : "";
}

// One sentence about a number, for who listens.
function sentenceOf(array, index) {
  const place = inWords(array, index);
  const answers = gradientOf(array);
  const gradient = answers ? `, gradient ${shown(answers.values[index])}` : "";
  const where = array.pass === "param" ? "a parameter" : layerTitle(array.path);
  return `${nameOf(array)}, ${where}${place ? `, ${place}` : ""}: ${shown(array.v[index])}${gradient}`;
}
