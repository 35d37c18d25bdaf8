"use strict";
// What every page shares: elements, arrays out of base64, numbers as text, the colours of a heat map.

// An element with its attributes and children; "svg:rect" makes one of SVG's. A function is what happens on an event
// (onclick), null and false leave an attribute out, and a child may be text, an element, null or a list of those.
function make(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value != null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

// The numbers that `packed` wrote: unpack(text, Float32Array), Uint16Array or Uint8Array, as the data's makers say.
function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

// A number as a person reads it: four places, or two digits and a power of ten; −∞ for what is masked.
function shown(x) {
  if (x === -Infinity) return "−∞";
  if (x == null || Number.isNaN(x)) return "not a number";
  if (x === Infinity) return "∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const power = () => size.toExponential(2).replace("e-", "e−").replace("e+", "e");
  const text = size >= 1e-3 && size < 1e4 ? size.toFixed(4) : power();
  return (x < 0 ? "−" : "") + text;
}

// How many, with its noun: 1 time, 2 times.
function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

// A character of the text, so that one sees those that show nothing, and those that need another to stand on.
function seen(character) {
  const sign = { "\n": "⏎", "\t": "⇥", "\x7f": "␡" }[character];
  if (sign) return sign;
  if (character < " " && character.length === 1) return String.fromCodePoint(0x2400 + character.codePointAt(0));
  if (/^\p{Zs}$/u.test(character)) return "␣";
  if (/^[\p{C}\p{Z}]$/u.test(character)) return "⬚";
  return /^\p{M}$/u.test(character) ? `◌${character}` : character;
}

function isDark() {
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// The colour of a number in a heat map: orange above zero, blue below, deeper towards `largest`, the largest there is.
// The root lets small numbers be told apart. Null for -Infinity, which is hatched (see `hatch`); what is not a number
// has a colour of its own.
function colour(value, largest) {
  if (value === -Infinity) return null;
  if (Number.isNaN(value)) return "rgb(192,38,211)";
  const [zero, above, below] = isDark()
    ? [[27, 31, 38], [255, 150, 64], [96, 168, 255]]
    : [[255, 255, 255], [196, 82, 0], [0, 88, 176]];
  const far = value >= 0 ? above : below;
  const part = largest > 0 ? Math.sqrt(Math.min(1, Math.abs(value) / largest)) : 0;
  return `rgb(${zero.map((from, k) => Math.round(from + (far[k] - from) * part)).join(",")})`;
}

// Diagonal lines on a square of a canvas, for a number that is masked.
function hatch(context, x, y, size) {
  context.save();
  context.beginPath();
  context.rect(x, y, size, size);
  context.clip();
  context.fillStyle = isDark() ? "#20252c" : "#efeee9";
  context.fillRect(x, y, size, size);
  context.strokeStyle = isDark() ? "#69717d" : "#9a9890";
  context.lineWidth = 1;
  context.beginPath();
  for (let shift = 0; shift < 2 * size; shift += 5) {
    context.moveTo(x + shift, y);
    context.lineTo(x + shift - size, y + size);
  }
  context.stroke();
  context.restore();
}

// The largest size of the numbers that have one.
function largestOf(values) {
  let largest = 0;
  for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  return largest;
}
