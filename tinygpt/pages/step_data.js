// The recording: its arrays, what each element was made from, what it goes into, and its gradients.

const D = JSON.parse(document.getElementById("data").textContent);
const arrays = new Map(D.arrays.map((array) => [array.id, array]));
const calls = new Map(D.calls.map((call) => [call.id, call]));
const byKey = new Map(D.arrays.map((array) => [array.key, array]));
const text = D.idx.map((token) => D.chars[token]);

for (const [holder, name] of [[D, "loss"], [D, "after"], ...Object.keys(D.update).map((key) => [D.update, key])]) {
  holder[name] ??= NaN; // JSON has no other word for what is not finite
}
for (const array of D.arrays) {
  array.size = array.shape.reduce((product, length) => product * length, 1);
  array.path = array.call == null ? array.key.replace(/\.[^.]*$/, "") : calls.get(array.call).path;
  array.users = []; // arrays made from it
  array.gradientOf = []; // of a backward array: whose gradient it is
  for (const name of ["v", "fd", "g", "m0", "v0", "m", "v1", "after"]) unpackWhenRead(array, name);
}
for (const array of D.arrays) {
  for (const source of array.terms?.src ?? []) arrays.get(source).users.push(array);
  if (array.grad != null) arrays.get(array.grad).gradientOf.push(array);
}

// Most arrays are never looked at, and the page opens at once if they stay packed until then.
function unpackWhenRead(array, name) {
  const packed = array[name];
  if (packed == null) return;
  let values = null;
  Object.defineProperty(array, name, { get: () => (values ??= unpack(packed, Float32Array)) });
}

// Of each element of an array its terms: [{array, index, by}], what it was made from and how much that moves it.
function termsOf(array, index) {
  const terms = unpackedTerms(array);
  if (!terms) return [];
  const found = [];
  for (let k = terms.start[index]; k < terms.start[index + 1]; k++) {
    found.push({ array: terms.sources[terms.s[k]], index: terms.i[k], by: terms.c[k] });
  }
  return found;
}

function unpackedTerms(array) {
  if (!array.terms) return null;
  if (!array.unpackedTerms) {
    const { src, n, s, i, c, wide } = array.terms;
    const counts = unpack(n, Uint16Array);
    const start = new Uint32Array(counts.length + 1);
    counts.forEach((count, k) => (start[k + 1] = start[k] + count));
    array.unpackedTerms = {
      start,
      sources: src.map((id) => arrays.get(id)),
      s: unpack(s, wide ? Uint16Array : Uint8Array),
      i: unpack(i, Uint16Array),
      c: unpack(c, Float32Array),
    };
  }
  return array.unpackedTerms;
}

// What an element goes into, in the same pass: [{array, index, by}], which number and how much it moves that.
function usesOf(array, index) {
  const found = [];
  for (const user of usersIn(array, array.pass === "backward" ? "backward" : "forward")) {
    const terms = unpackedTerms(user);
    const source = user.terms.src.indexOf(array.id);
    for (let element = 0; element < user.size; element++) {
      for (let k = terms.start[element]; k < terms.start[element + 1]; k++) {
        if (terms.s[k] !== source || terms.i[k] !== index) continue;
        found.push({ array: user, index: element, by: terms.c[k] });
      }
    }
  }
  return found;
}

function usersIn(array, pass) {
  return array.users.filter((user) => user.pass === pass);
}

// How the loss answers to an array: the backward pass's own gradient where it forms one, else what nudging gave.
function gradientOf(array) {
  if (array.grad != null) return { values: arrays.get(array.grad).v, formed: true, array: arrays.get(array.grad) };
  if (array.g) return { values: array.g, formed: true, array: null };
  return array.fd ? { values: array.fd, formed: false, array: null } : null;
}

// The three gradients of an element. engine: null where the backward pass never forms it; chain: null where nothing
// of the forward pass was made from it; nudge, and chain with it: null where the step could not be nudged.
function threeGradients(array, index) {
  const uses = usesOf(array, index);
  const formed = gradientOf(array);
  const known = uses.length > 0 && uses.every((use) => use.array.fd);
  return {
    uses,
    engine: formed?.formed ? formed.values[index] : null,
    chain: known ? uses.reduce((sum, use) => sum + passedOn(use), 0) : null,
    nudge: array.fd ? array.fd[index] : null,
    largest: array.fd ? largestOf(array.fd) : 0,
  };
}

// What comes back from one use of a number: how much it moves that, times that one's gradient.
function passedOn(use) {
  return use.by * use.array.fd[use.index];
}

// How far what is the same may differ, in parts of what it is made of; a reader's layer may be in float32.
function tolerance() {
  return D.coarse ? 1e-3 : 1e-5;
}

function agree(a, b, largest) {
  return Math.abs(a - b) <= tolerance() * Math.max(largest, 1e-5);
}

// What AdamW did with one element of a parameter, each number of its rule, and what came of it.
function updateOf(array, index) {
  const { step, lr, beta1, beta2, eps, weight_decay, scale } = D.update;
  const g = array.g[index] * scale;
  const [m, v] = [array.m[index], array.v1[index]];
  const [before, after] = [array.v[index], array.after[index]];
  const [mHat, vHat] = [m / (1 - beta1 ** step), v / (1 - beta2 ** step)];
  const moveOf = (m, v) => (lr * m) / (1 - beta1 ** step) / (Math.sqrt(v / (1 - beta2 ** step)) + eps);
  const decay = array.decayed ? lr * weight_decay * before : 0;
  const rule = moveOf(beta1 * array.m0[index] + (1 - beta1) * g, beta2 * array.v0[index] + (1 - beta2) * g * g);
  return { g, m, v, mHat, vHat, decay, move: moveOf(m, v), before, after, byRule: before - decay - rule };
}

function movedValues(array, what) {
  return Float32Array.from({ length: array.size }, (_, index) => updateOf(array, index)[what]);
}

// Of an array, "h.0.attn/scores" or any other name that it goes by there; null if there is none.
function arrayCalled(key) {
  if (byKey.has(key)) return byKey.get(key);
  const slash = key.lastIndexOf("/");
  const [path, name] = [key.slice(0, slash), key.slice(slash + 1)];
  return D.arrays.find((array) => slash > 0 && array.path === path && array.also.includes(name)) ?? null;
}

// The array of a path that goes by the first of these names that there is; null if there is none.
function arrayAt(path, ...names) {
  return names.map((name) => arrayCalled(`${path}/${name}`)).find(Boolean) ?? null;
}

function indicesOf(array, index) {
  const indices = [];
  for (let axis = array.shape.length - 1; axis >= 0; axis--) {
    indices.unshift(index % array.shape[axis]);
    index = Math.floor(index / array.shape[axis]);
  }
  return indices;
}

function indexOf(array, indices) {
  return indices.reduce((index, place, axis) => index * array.shape[axis] + place, 0);
}
