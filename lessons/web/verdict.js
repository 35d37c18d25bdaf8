"use strict";
// What is said of an exercise, as elements of the page: a verdict, a hint, a difference, the engine's own file.

// What a check found. go: leads to a line of the file; step: opens the page of a training step.
function verdictShown(said, go, step) {
  const { right, short, wrong, line, excerpt, beside, printed, table, offers, next } = said;
  const typed = offers.try && [offers.try.words, " ", make("code", {}, offers.try.command)];
  return make("div", { class: `verdict ${right ? "is-right" : "is-wrong"}` },
    make("p", { class: "short" }, short),
    wrong && make(wrong.includes("\n") ? "pre" : "p", { class: "what" }, wrong), // with lines of a kernel in it
    line > 0 && make("p", { class: "small" }, button(`Go to line ${line}`, () => go(line), "link")),
    excerpt && excerptShown(excerpt),
    beside && make("pre", { tabindex: 0 }, beside),
    offers.page && make("p", {}, button(offers.page.words.replace(/:$/, ""), step)),
    printed && fold("What the file printed", make("pre", { tabindex: 0 }, printed), !right),
    table && fold("The table", make("pre", { tabindex: 0 }, table)),
    typed && make("p", { class: "small quiet" }, "In a terminal, ", typed),
    next && make("p", {}, "Next: ", ...linked(next)),
  );
}

// What the server says comes next.
function linked({ href, words, more }) {
  return [make("a", { href }, words), more];
}

function excerptShown({ line, first, lines, column }) {
  const width = String(line).length;
  const rows = lines.map((text, row) => {
    const number = first + row;
    return make("span", number === line ? { class: "marked" } : {}, `${String(number).padStart(width)}  ${text}\n`);
  });
  if (column) rows.push(make("span", {}, `${" ".repeat(width + column + 1)}^\n`));
  return make("pre", { class: "excerpt", tabindex: 0 }, rows);
}

// A hint, which the server has made HTML of.
function hintShown(hint, open) {
  const text = make("div");
  text.innerHTML = hint.html;
  return fold(`Hint ${hint.number} of ${hint.of}`, text, open);
}

// A difference by lines, of which the first character says whose they are.
function differenceShown(title, lines, same) {
  if (same) return make("p", {}, same);
  const kinds = { "-": "yours", "+": "engine", "@": "where" };
  const rows = lines.map((line) => make("span", { class: kinds[line[0]] }, `${line}\n`));
  return fold(title, make("pre", { class: "source difference", tabindex: 0 }, rows), true);
}

// The engine's file, which the server has coloured.
function solutionShown(title, html) {
  const code = make("pre", { class: "source", tabindex: 0 });
  code.innerHTML = html;
  return fold(title, code, true);
}
