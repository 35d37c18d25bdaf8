"use strict";
// What a live lesson has besides its cells: what runs all, the way back to where the reader was, the end, the keys.

const KEYS = [
  [["Shift", "Enter"], "go on: to the next cell that was not run, then run it; in a cell, run it and go to the next"],
  [["Ctrl", "Enter"], "in an editor: run the cell, and stay"],
  [["Tab"], "in an editor: indent; with Shift, back"],
  [["Escape"], "stop what runs; in an editor: Escape, then Tab leaves it"],
  [["?"], "this list"],
];

class Tools {
  // state: what the server said of the page as it was opened.
  constructor(page, state) {
    this.page = page;
    this.ended = false;
    this.placeTools(state.waits);
    this.placeEnd();
    if (state.place && !state.events.some((event) => "came" in event)) this.placeBack(state.place);
  }

  placeTools(waits) {
    const { body } = this.page;
    this.all = button("Run all", () => this.page.runAll());
    this.flow = make("input", { type: "checkbox", id: "flow", onchange: () => this.setFlow(this.flow.checked) });
    const bar = make("div", { class: "tools" },
      make("p", {}, "The code runs here, on this machine. Before you run a cell, say what it will show."),
      this.all,
      make("label", { for: "flow" }, this.flow, " Run cells as they come into view"),
      button("Keys", () => this.showKeys()));
    body[0]?.section.before(bar);
    this.seeing = new IntersectionObserver((entries) => this.saw(entries), { threshold: 0 });
    this.flow.checked = !waits;
    if (!waits) this.look();
  }

  setFlow(flows) {
    ask("waits", { waits: !flows }).catch(() => {});
    this.seeing.disconnect();
    if (flows) this.look();
  }

  look() {
    for (const cell of this.page.body) this.seeing.observe(cell.section);
  }

  saw(entries) {
    const seen = new Set(entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target));
    for (const cell of this.page.body) {
      if (seen.has(cell.section) && cell.state === "new" && !cell.derivation?.open && !cell.edited) this.page.run(cell);
    }
  }

  // The reader was here before, maybe in a terminal.
  placeBack(place) {
    const near = this.page.cells.find((cell) => cell.index >= place && cell.visible) ?? this.page.body.at(-1);
    const go = () => {
      const section = document.getElementById(`cell-${place + 1}`);
      (section?.offsetParent ? section : near.section).scrollIntoView({ block: "start" });
      near.entry.focus({ preventScroll: true });
      line.remove();
    };
    const line = make("div", { class: "back-to" }, `You were at cell ${place + 1}: `,
      button("go on there", go, "link"),
      ". What is above it is run with the first cell that you run.");
    document.querySelector("main > .cell").prepend(line);
  }

  // Below the last cell: what comes next, once all code was run; before that what was not.
  placeEnd() {
    const last = [...document.querySelectorAll("main > .cell")].at(-1);
    this.end = make("div", { class: "lesson-end", tabindex: -1 });
    last.after(this.end);
    new IntersectionObserver((entries) => {
      this.inView = entries.at(-1).isIntersecting;
      this.tell();
    }).observe(this.end);
    this.show();
  }

  show() {
    const left = this.page.body.filter((cell) => !cell.ran);
    this.all.disabled = left.length === 0;
    if (this.ended) return;
    if (left.length === 0) return this.tell();
    const covered = left.some((cell) => cell.derivation?.open);
    const text = `${counted(left.length, "cell")} of this lesson ${left.length === 1 ? "was" : "were"} not run yet`;
    const run = button("run all", () => this.page.runAll(), "link");
    if (this.end.textContent.startsWith(text)) return;
    const after = covered ? ". What is to be derived can be derived after it." : ".";
    this.end.replaceChildren(make("p", { class: "quiet" }, `${text}: `, run, after));
  }

  // The end is there once all code was run and the reader has come down to it.
  async tell() {
    if (this.ended || !this.inView || this.page.body.some((cell) => !cell.ran)) return;
    this.ended = true;
    try {
      const { ended, next } = await ask("ended", { tab: this.page.listener.tab });
      this.ended = ended;
      const words = make("strong", {}, `The end of lesson ${this.page.lesson}. `);
      if (ended) this.end.replaceChildren(make("p", {}, words, "Next: ", ...linked(next)));
    } catch {
      this.ended = false;
    }
  }

  showKeys() {
    if (!this.dialog) {
      const rows = KEYS.map(([keys, what]) => [
        make("dt", {}, keys.flatMap((key, at) => [at ? " " : "", make("kbd", {}, key)])), make("dd", {}, what)]);
      this.dialog = make("dialog", { class: "keys", "aria-labelledby": "keys-title" },
        make("h2", { id: "keys-title" }, "Keys"), make("dl", {}, rows),
        make("form", { method: "dialog" }, make("button", { class: "button first" }, "Close")));
      document.body.append(this.dialog);
    }
    if (!this.dialog.open) this.dialog.showModal();
  }
}
