"use strict";
// A cell of code in a live page: its buttons, the reader's own text in the place of the lesson's, and what it prints.

const READ_OUT = 300; // characters of what a cell prints that are read out

class LiveCell {
  // page: see live.js, which does what the buttons ask for.
  constructor(section, page) {
    Object.assign(this, { section, page, index: Number(section.dataset.cell) });
    this.own = section.querySelector(".own");
    this.came = section.querySelector(".came");
    this.came.removeAttribute("aria-live"); // what is worth it is read out once, when all is there
    this.silent = this.own.hasAttribute("data-silent");
    this.answer = section.closest(".answers") !== null; // which has a namespace of its own
    this.state = "new"; // or waiting, running, done, failed; "before" where the process of what it shows has ended
    this.stale = [];
    const code = this.own.querySelector(".source.whole") ?? this.own.querySelector(".source");
    this.lessons = code.textContent.replace(/\n$/, ""); // what it does is done by all of it, with what is folded
    this.text = null; // the reader's own, once there is one
    this.ranText = null; // the one of theirs that was run last
    this.build();
  }

  build() {
    const act = (name, words, does) =>
      button(words, does, `button ${name}`, { "aria-label": `${words}, cell ${this.index + 1}` });
    this.buttons = {
      run: act("run", "Run", () => this.page.run(this)),
      stop: act("stop", "Stop", () => this.stop()),
      edit: act("edit", "Edit", () => this.edit()),
      close: act("close", "Close", () => this.close()),
      reset: act("reset", "Reset", () => this.reset()),
      back: act("back", "Bring back my text", () => this.bringBack()),
      again: act("derive-again", "Derive again", () => this.derivation.again()),
    };
    this.says = make("span", { class: "says" });
    this.acts = make("div", { class: "acts" }, Object.values(this.buttons), this.says);
    this.own.after(this.acts);
    this.show();
  }

  get name() {
    return `Cell ${this.index + 1}`;
  }

  // Whether the reader can see it: not where a derivation that is open hides it.
  get visible() {
    return this.section.offsetParent !== null;
  }

  // Whether all that it prints is there, from the process that runs now.
  get ran() {
    return this.state === "done" || this.state === "failed";
  }

  get edited() {
    return this.text !== null && this.text !== this.lessons;
  }

  show() {
    const busy = this.state === "running" || this.state === "waiting";
    const { run, stop, edit, close, reset, back, again } = this.buttons;
    this.section.dataset.state = this.state;
    this.section.classList.toggle("is-stale", this.stale.length > 0);
    const held = document.activeElement === (busy ? run : stop); // the one takes the other's place, and the focus
    run.hidden = busy;
    run.textContent = this.ran || this.state === "before" ? "Run again" : "Run";
    run.setAttribute("aria-label", `${run.textContent}, cell ${this.index + 1}`);
    stop.hidden = !busy;
    if (held) (busy ? stop : run).focus({ preventScroll: true });
    edit.hidden = Boolean(this.editor);
    close.hidden = !this.editor;
    reset.hidden = !this.edited;
    back.hidden = this.aside === undefined || this.edited;
    again.hidden = !this.derivation || this.derivation.open || busy;
    const mark = this.edited ? [make("span", { class: "mark" }, "edited"), " "] : [];
    this.says.replaceChildren(...mark, ...this.words());
  }

  words() {
    if (this.state === "waiting") return ["Waits for what runs before it."];
    if (this.state === "running") return this.runningWords();
    if (this.note) return [this.note].flat();
    if (this.ran && this.edited && this.ranText !== this.text) {
      return ["What is below came from another text; run it again."];
    }
    if (this.stale.length) return this.staleWords();
    if (this.state === "before") return ["From before."];
    if (this.state === "failed") return ["It did not come to its end; the cells below can be run without it."];
    if (this.state === "done" && !this.came.firstChild) return ["Was run; it shows nothing."];
    if (this.state === "new" && this.next && !this.silent) return ["What will it show? Say it, then run it."];
    return [];
  }

  runningWords() {
    if (this.stuck) {
      const end = button("End its process", () => this.page.endProcess(), "link");
      return ["It does not stop. ", end, ": the variables are lost, the texts stay."];
    }
    return [make("span", { class: "runs" }), this.stopped ? "Is being stopped." : "Runs."];
  }

  staleWords() {
    const names = this.stale.flatMap((name, at) => [at ? ", " : "", make("code", {}, name)]);
    const was = this.stale.length === 1 ? "was" : "were";
    const run = button("Run all that is stale", () => this.page.runStale(), "link");
    return ["Stale: ", ...names, ` ${was} changed since it ran. `, run];
  }

  set(state, note = "") {
    Object.assign(this, { state, note });
    this.show();
  }

  // What it prints

  begin() {
    this.stopped = this.stuck = false;
    this.printed = this.written = "";
    this.raw = null;
    if (this.asked !== undefined) this.ranText = this.asked;
    this.asked = undefined;
    this.came.style.minHeight = `${this.came.offsetHeight}px`; // what stands below stays where it is
    this.pre = make("pre", { class: "out", tabindex: 0, "aria-label": `what ${this.name} prints` });
    this.came.replaceChildren();
    this.set("running");
  }

  piece(text) {
    this.printed += text;
    if (text.includes("\r")) this.printed = overwritten(this.printed);
    this.drawn ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.drawn = undefined;
    if (this.state !== "running" || !this.printed) return;
    const { pre } = this;
    const atEnd = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 30;
    const last = pre.lastChild;
    if (last && this.printed.startsWith(this.written)) last.appendData(this.printed.slice(this.written.length));
    else pre.replaceChildren(this.printed);
    this.written = this.printed;
    if (!pre.isConnected) this.came.prepend(pre);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }

  // What was printed past Python, which no cell's own output holds.
  pieceRaw(text) {
    this.raw ??= make("pre", { class: "out raw", tabindex: 0, "aria-label": `what ${this.name} printed past Python` });
    this.raw.append(text);
    this.came.append(this.raw);
  }

  end({ html, trouble }) {
    const held = this.came.contains(document.activeElement);
    const top = this.pre?.scrollTop ?? 0;
    this.pre = null;
    this.came.innerHTML = html;
    if (this.raw) this.came.append(this.raw);
    this.came.style.minHeight = "";
    const out = this.came.querySelector(".out");
    if (out) out.scrollTop = top;
    this.set(trouble ? "failed" : "done");
    if (held) this.buttons.run.focus({ preventScroll: true });
    const text = this.came.textContent.trim();
    if (this.page.restoring) return;
    if (trouble) this.page.announce(`${this.name} did not come to its end: ${text.slice(-READ_OUT)}`);
    else this.page.announce(`${this.name}: ${text.length > READ_OUT ? "done, with much to read" : text || "done"}`);
  }

  // The process asks for a line on the cell's behalf.
  asks() {
    this.draw();
    const input = make("input", { type: "text", id: `asked-${this.index}`, autocomplete: "off", spellcheck: "false" });
    const form = make("form", { class: "asks" },
      make("label", { for: input.id }, "It asks for a line:"), input, make("button", { class: "button" }, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      form.remove();
      this.piece(`${input.value}\n`);
      this.page.act("do", { do: "typed", text: input.value });
      this.buttons.stop.focus({ preventScroll: true });
    });
    this.came.querySelector(".asks")?.remove();
    this.came.append(form);
    if (!document.activeElement.matches("input, textarea") && !this.page.restoring) input.focus();
    this.page.announce(`${this.name} asks for a line.`);
  }

  stop() {
    this.stopped = true;
    this.page.stop();
    this.show();
  }

  // The reader's own text

  edit() {
    const area = make("textarea", { "aria-label": `The code of cell ${this.index + 1}` });
    area.value = this.text ?? this.lessons;
    this.drop();
    this.own.hidden = true;
    this.own.before(area);
    this.editor = editable(area, {
      "Shift+Enter": () => this.page.runOn(this),
      "Ctrl+Enter": () => this.page.run(this),
    });
    area.addEventListener("input", () => this.keep(area.value));
    this.show();
    area.focus();
    area.setSelectionRange(0, 0);
  }

  keep(text) {
    this.text = text;
    this.page.keep(`text-${this.index}`, this.edited ? text : null);
    this.show();
  }

  // The editor is left: the reader's text as code, or the lesson's own.
  close() {
    const held = this.editor?.frame.contains(document.activeElement) || document.activeElement === this.buttons.close;
    this.showText(this.text);
    if (held) this.buttons.edit.focus();
  }

  showText(text, highlight = null) {
    this.drop();
    this.text = text === this.lessons ? null : text;
    this.own.hidden = this.text !== null;
    if (this.text !== null) {
      const code = make("code", {}, text);
      if (highlight) code.innerHTML = highlight;
      const label = `Your code of cell ${this.index + 1}`;
      this.shownText = make("pre", { class: "source", tabindex: 0, "aria-label": label }, code);
      this.own.before(this.shownText);
    }
    this.show();
  }

  drop() {
    this.shownText?.remove();
    this.editor?.says.remove();
    this.editor?.frame.remove();
    this.editor = this.shownText = null;
  }

  // A new process gets the text that the one before had.
  async tellText() {
    const { ranText: text } = this;
    this.ranText = null;
    if (text === null) return;
    const { tab } = this.page.listener;
    await ask("do", { tab, do: "edit", cell: this.index, text }).catch(() => {}); // hasText is called where it came
  }

  // The process has this text from here on; what is being written is left alone.
  hasText({ text, highlight, own }) {
    this.ranText = own ? null : text;
    if (this.editor || (this.edited && this.text !== text)) return;
    this.showText(own ? null : text, highlight);
  }

  reset() {
    this.aside = this.text;
    this.page.keep(`text-${this.index}`, null);
    this.showText(null);
    if (this.ranText !== null) this.page.reset(this);
    (this.buttons.run.hidden ? this.buttons.stop : this.buttons.run).focus();
  }

  bringBack() {
    this.keep(this.aside);
    this.aside = undefined;
    this.edit();
  }

  // Where the keyboard comes in, and what is looked at before it is run.
  get entry() {
    if (this.derivation?.open) return this.derivation.entry;
    return this.buttons.run.hidden ? this.buttons.stop : this.buttons.run;
  }

  get place() {
    return this.derivation?.open ? this.derivation.box : this.acts;
  }
}

// Text as a terminal shows it where a counter runs on one line.
function overwritten(text) {
  const lines = text.split("\n").map((line) => line.slice(line.lastIndexOf("\r", line.length - 2) + 1));
  return lines.join("\n");
}
