"use strict";
// What live pages are made of, besides common.js's elements: buttons, folds, and parts of a sentence.

function button(words, onclick, kind = "button", attributes = {}) {
  return make("button", { type: "button", class: kind, onclick, ...attributes }, words);
}

function fold(title, inside, open = false) {
  return make("details", { open }, make("summary", {}, title), inside);
}

// The words of a sentence of which some parts are elements.
function textOf(parts) {
  return parts.map((part) => part.textContent ?? part).join("");
}
