"use strict";
// Stop and derive: in the place of a cell's code the reader writes its function, line by line, before it is shown.

class LiveDerivation {
  // cell: the LiveCell whose function it is. box: the place for it, which says the call.
  constructor(cell, box) {
    Object.assign(this, { cell, box, page: cell.page, call: box.dataset.call });
    this.kept = this.page.kept(`derive-${cell.index}`, []); // the lines that stood before the page was loaded anew
    this.lines = [];
    this.rest = following(cell.section);
    const covered = !box.hidden && !this.page.kept(`told-${cell.index}`, false);
    if (covered) this.cover();
    else this.uncover();
  }

  // The box alone, and nothing of what gives the answer away.
  cover() {
    this.open = true;
    this.box.hidden = false;
    this.cell.section.classList.add("is-derived");
    for (const element of this.rest.elements) element.classList.add("untold");
    this.showBegin();
  }

  uncover() {
    this.open = false;
    this.cell.own.hidden = Boolean(this.cell.editor ?? this.cell.shownText);
    this.cell.section.classList.remove("is-derived");
    for (const element of this.rest.elements) element.classList.remove("untold");
    this.box.hidden = this.lines.length === 0;
    if (!this.box.hidden) this.showDone();
  }

  again() {
    this.kept = [];
    this.lines = [];
    this.page.keep(`told-${this.cell.index}`, null);
    this.keepLines();
    this.cover();
    this.begin();
  }

  head(...more) {
    const words = this.open ? "Write it before you read it: " : "Your lines of ";
    return make("p", { class: "derive-head" }, make("strong", {}, words), make("code", {}, this.call), more);
  }

  hidden() {
    const { until } = this.rest;
    const where = until ? [" up to ", make("q", {}, until)] : [" to the end"];
    if (!this.rest.elements.length) return null;
    const why = " gives the answer away, and is hidden till then.";
    return make("p", { class: "quiet small" }, "What follows", where, why);
  }

  showBegin(note = "") {
    this.tries = null;
    this.unbegun = make("div", {}, this.head(),
      make("p", {}, "One line at a time, each compared as you write it."),
      note && make("p", { class: "note" }, note),
      make("div", { class: "acts" },
        button(this.kept.length ? `Go on: ${counted(this.kept.length, "line")} stood` : "Begin", () => this.begin(),
          "button first begin"),
        this.skipping()),
      this.hidden());
    this.box.replaceChildren(this.unbegun);
  }

  skipping() {
    return make("span", { class: "skipping" }, button("Skip", () => this.askToSkip(), "button skip-it"));
  }

  askToSkip() {
    const place = this.box.querySelector(".skipping");
    const yes = button("Show it", () => this.finish());
    const no = button("Go on writing", () => {
      place.replaceWith(this.skipping());
      this.entry.focus();
    });
    place.replaceChildren("Show the lesson's own? ", yes, " ", no);
    yes.focus();
  }

  // Where the next line is written, in view.
  focus() {
    this.input.focus({ preventScroll: true });
    this.form.scrollIntoView({ block: "nearest" });
  }

  get entry() {
    return this.input ?? this.box.querySelector("button");
  }

  begin() {
    if (this.wants) return;
    this.wants = true;
    this.toJudge = this.kept;
    this.lines = [];
    this.box.querySelector(".note")?.remove();
    this.box.setAttribute("aria-busy", "true");
    for (const button of this.box.querySelectorAll("button")) button.disabled = true;
    this.page.act("do", { do: "derive", cell: this.cell.index });
  }

  // Nothing is under way any more; if this was asked for and has not come, a cell above has failed.
  idle(failed, why = "") {
    if (this.wants) {
      this.wants = false;
      const where = failed ? `cell ${failed.index + 1} above did not come to its end` : why || "it was stopped";
      this.showBegin(`It cannot be derived yet: ${where}.`);
    }
    if (this.tried) this.answered(false, `It was not judged${why && `: ${why}`}.`);
  }

  // The process is gone, and with it what stood; the lines are there to be judged again.
  ended(why) {
    const { wants } = this;
    this.wants = this.tried = false;
    if (wants) return this.showBegin(`It cannot be derived yet: ${why}.`);
    if (!this.open || !this.tries) return;
    this.kept = this.lines;
    this.lines = [];
    this.showBegin("The process has ended. The lines that stood are judged again as you go on.");
  }

  hear(said) {
    this.wants = false;
    this.box.removeAttribute("aria-busy");
    if (said.broken) return this.showBegin(said.broken);
    if (!this.open) return;
    if (!this.tries) this.showTries();
    for (const { line, revealed } of this.toJudge ?? []) {
      this.page.act("do", { do: revealed ? "reveal" : "line", cell: this.cell.index, ...(revealed ? {} : { line }) });
    }
    this.toJudge = null;
    this.showState(said);
    if ("line" in said) this.answered(said.revealed ? true : said.stands, said.text ?? "", said.line, said.revealed);
    if (said.done) this.done(said.total);
  }

  showTries() {
    this.kept = [];
    this.count = make("span", { class: "count" });
    this.there = make("dd");
    this.wanted = make("dd");
    this.tries = make("ol", { class: "tries", "aria-label": "lines so far" });
    const id = `derive-${this.cell.index}`;
    this.input = make("input", { id, type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
      "aria-describedby": `${id}-said`, onkeydown: (event) => this.recall(event) });
    this.said = make("p", { class: "said", id: `${id}-said`, role: "status" });
    this.form = make("form", { class: "derive-line", onsubmit: (event) => (event.preventDefault(), this.enter()) },
      make("label", { for: id }, "Next line"), this.input, make("button", { class: "button first" }, "Compare"));
    const acts = make("div", { class: "acts" },
      button("The lesson's next line", () => this.reveal()),
      this.skipping());
    this.box.replaceChildren(
      this.head(this.count),
      this.tries,
      make("dl", {}, make("dt", {}, "there"), this.there, make("dt", {}, "wanted"), this.wanted), // beside the line
      this.form, this.said, acts,
      make("p", { class: "quiet small" }, "Any other expression is shown, such as ", make("code", {}, "dout.shape"),
        ". Up and down bring back what was typed; ", make("code", {}, "!"), " gives the lesson's next line."),
      this.hidden());
    if (!this.page.restoring) this.focus();
  }

  showState({ there, wanted, count, total }) {
    this.names = new Set(Object.keys(there));
    this.count.textContent = `${count} of ${total} stand${count === 1 ? "s" : ""}`;
    const names = Object.entries(there).flatMap(([name, size]) =>
      [make("span", {}, make("code", {}, name), ` ${size}`), " "]);
    this.there.replaceChildren(...names);
    const parts = Object.entries(wanted).flatMap(([name, number]) =>
      [make("span", {}, make("code", {}, name), number > 1 ? ` in ${number} parts` : ""), " "]);
    this.wanted.replaceChildren(...parts);
  }

  enter() {
    const line = this.input.value.trim();
    if (this.tried) return;
    if (line === "") return this.askToSkip();
    this.typed = [...(this.typed ?? []), line];
    this.at = this.typed.length;
    if (line === "!") return this.reveal();
    if (line === "?" || (line === "s" && !this.names.has("s"))) {
      this.input.value = "";
      if (line === "s") this.askToSkip();
      else this.said.textContent = "What is there and what is wanted stands above.";
      return;
    }
    this.tried = true;
    this.page.watch();
    this.input.setAttribute("aria-busy", "true");
    this.page.act("do", { do: "line", cell: this.cell.index, line });
  }

  recall(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !this.typed) return;
    event.preventDefault();
    this.at = Math.max(0, Math.min(this.typed.length, this.at + step));
    this.input.value = this.typed[this.at] ?? "";
  }

  reveal() {
    if (this.tried) return;
    this.tried = true;
    this.page.act("do", { do: "reveal", cell: this.cell.index });
    this.input.focus();
  }

  // What comes of a line: it stands (true), does not (false), or was only looked at (null), and is worth its row.
  answered(stands, text, line = this.input.value, revealed = false) {
    this.tried = false;
    this.input.removeAttribute("aria-busy");
    const kind = revealed ? "revealed" : stands === null ? "looked" : stands ? "stands" : "falls";
    const words = revealed ? "the lesson's own" : text;
    const isAligned = words.includes("\n"); // as what points to a place in the line above it
    const judged = words && make("span", { class: isAligned ? "judged aligned" : "judged" }, words);
    this.tries.append(make("li", { class: kind }, make("code", {}, line), judged));
    this.said.textContent = "";
    if (!this.page.restoring) this.page.announce(revealed ? `The lesson's own line: ${line}` : `${line}: ${text}`);
    if (stands) {
      this.lines.push({ line, revealed });
      this.keepLines();
    }
    if (this.page.restoring) return;
    if (stands !== false) this.input.value = "";
    else this.input.select();
    this.form.scrollIntoView({ block: "nearest" });
  }

  keepLines() {
    this.page.keep(`derive-${this.cell.index}`, this.lines.length ? this.lines : null);
  }

  done(total) {
    this.page.announce(total > 1 ? `All ${total} stand.` : "It stands.");
    this.finish();
  }

  // The lesson's own is shown and run, and what follows is there.
  finish() {
    this.tries = null;
    this.input = null;
    this.tried = this.wants = false;
    this.page.keep(`told-${this.cell.index}`, true);
    this.uncover();
    if (this.page.restoring) return;
    this.page.run(this.cell);
    this.cell.entry.focus({ preventScroll: true });
    (this.lines.length ? this.box : this.cell.section).scrollIntoView({ block: "nearest" }); // it is shorter now
  }

  showDone() {
    const rows = this.lines.map(({ line, revealed }) =>
      make("li", { class: revealed ? "revealed" : "stands" }, make("code", {}, line),
        revealed && make("span", { class: "judged" }, "the lesson's own")));
    this.box.replaceChildren(this.head(), make("ol", { class: "tries" }, rows),
      make("p", { class: "derive-own" }, "The lesson's own:"));
  }
}

// What comes after a cell up to the next heading of a part, and the words of that heading.
function following(section) {
  const elements = [];
  for (let next = section.nextElementSibling; next?.matches(".cell"); next = next.nextElementSibling) {
    const heading = next.querySelector("h2");
    if (!heading) {
      elements.push(next);
      continue;
    }
    for (let before = heading; (before = before.previousElementSibling); ) elements.push(before);
    const words = heading.cloneNode(true);
    for (const link of words.querySelectorAll("a")) link.remove(); // the mark that leads to it
    return { elements, until: words.textContent.trim() };
  }
  return { elements, until: "" };
}
