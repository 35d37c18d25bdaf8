"use strict";
// An exercise in a lesson: the learner's file in an editor, with what the terminal has for it. The file on the disk is
// what counts; the page saves into it, and takes over what is written there elsewhere.

const TYPED = 800; // milliseconds after the last key until the text is saved
const AGAIN = 3000; // until another try, where it could not be

class LiveExercise {
  constructor(section) {
    this.name = section.dataset.exercise;
    this.section = section;
    this.saved = ""; // the text as it was last on the disk, and what tells whether it still is
    this.digest = "";
    this.begun = false;
    this.writes = 0; // grows with all that is written from here
    this.running = false;
    this.judged = ""; // the verdict that is shown
    this.other = null; // what is on the disk, where it was changed both there and here
    this.build();
    addEventListener("beforeunload", (event) => this.isUnsaved && event.preventDefault());
    addEventListener("focus", () => this.look());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.save() : this.look()));
    this.look();
  }

  build() {
    const file = this.section.dataset.file;
    this.how = make("span", { class: "how" });
    this.where = make("code", { class: "where" }, file);
    this.beginning = make("div", { hidden: true }, button("Begin", () => this.start(), "button first"));
    const textarea = make("textarea", { "aria-label": file, "data-indent": file.endsWith(".cu") ? 2 : 4 });
    this.notice = make("div", { class: "notice", role: "alert" });
    this.checks = button("Check", () => (this.running ? this.stop() : this.check()), "button first");
    this.status = make("span", { class: "status", role: "status" });
    this.said = make("div", { class: "said", role: "status" });
    this.hints = make("div", { class: "hints" });
    this.shown = make("div", { class: "shown" });
    this.work = make("div", { hidden: true }, this.notice, textarea,
      make("div", { class: "does" }, this.checks, button("Hint", () => this.hint()),
        button("Difference", () => this.show("diff")), button("Solution", () => this.show("solution")),
        button("Reset", () => this.reset()), this.status));
    const title = make("h3", { id: `${this.section.id}-name` }, this.name);
    this.section.setAttribute("aria-labelledby", title.id);
    this.section.classList.add("is-live");
    const head = make("div", { class: "head" }, title, this.where, this.how);
    this.section.replaceChildren(head, this.beginning, this.work, this.said, this.hints, this.shown);
    this.editor = editable(textarea, { "Ctrl+Enter": () => this.check(), "Ctrl+s": () => this.save() });
    this.editor.says.append(" Ctrl+Enter checks.");
    textarea.addEventListener("input", () => this.typed());
  }

  get text() {
    return this.editor.textarea.value;
  }

  get isUnsaved() {
    return this.begun && this.text !== this.saved;
  }

  // Ask the server for something, and take in what it says of the file. Rejects with a sentence.
  async ask(what, more = {}) {
    const { writes } = this;
    const answer = await ask("exercise", { do: what, name: this.name, ...more });
    this.learn(answer, writes === this.writes);
    return answer;
  }

  // The same, with what goes wrong said here.
  async try(what, more = {}) {
    try {
      return await this.ask(what, more);
    } catch (error) {
      this.say(error.message);
      return null;
    }
  }

  // isNew: whether nothing was written from here since it was said.
  learn(state, isNew) {
    const tried = state.attempts ? `, ${counted(state.attempts, "attempt")}` : "";
    this.how.textContent = { "": "not begun", begun: `begun${tried}`, done: "right" }[state.state];
    this.section.classList.toggle("is-done", state.state === "done");
    this.where.textContent = state.file;
    this.beginning.hidden = state.begun || this.begun;
    this.work.hidden = !this.beginning.hidden;
    this.showHints(state.hints);
    if (this.isTrouble && !this.running) this.said.replaceChildren();
    this.isTrouble = false;
    if (isNew && state.digest !== (this.other ?? this).digest) this.changed(state);
    if (state.last && !this.running && state.digest === this.digest) this.verdict(state.last);
    if (state.running && !this.running) this.awaitOther();
  }

  // The file is another than the page has.
  changed(state) {
    if (state.digest === this.digest) this.settle();
    else if (this.begun && (this.isUnsaved || !state.begun) && state.text !== this.text) this.choose(state);
    else this.take(state);
  }

  take(state) {
    const isOther = this.begun && state.text !== this.text;
    ({ text: this.saved, digest: this.digest, begun: this.begun } = state);
    this.settle();
    this.editor.set(state.text);
    this.editor.mark();
    this.said.replaceChildren();
    this.judged = "";
    this.status.textContent = isOther ? "Taken over as it is on the disk." : "";
  }

  settle() {
    this.other = null;
    this.notice.replaceChildren();
  }

  // Both texts are offered; until one is chosen nothing is written.
  choose(state) {
    this.other = state;
    const why = state.begun ? "was changed elsewhere, and here too. Which one is to stay?" : "is gone from the disk.";
    this.notice.replaceChildren(
      make("p", {}, `${state.file} ${why}`),
      make("p", { class: "does" }, button(state.begun ? "This one" : "Write it again", () => this.keepMine()),
        state.begun ? button("The other one", () => this.takeOther()) : button("Begin anew", () => this.startAnew())),
      state.begun ? fold("The other one", make("pre", { class: "source", tabindex: 0 }, state.text)) : "",
    );
    this.status.textContent = "Not saved.";
  }

  async keepMine() {
    await this.write(true);
    this.editor.textarea.focus();
  }

  async takeOther() {
    const answer = await this.try("take", { text: this.text });
    if (!answer) return;
    this.take(answer);
    this.status.textContent = answer.says;
    this.editor.textarea.focus();
  }

  async startAnew() {
    const { text } = this;
    const answer = (await this.try("take", { text })) && (await this.try("start"));
    if (answer) this.take(answer);
    this.editor.textarea.focus();
  }

  // Look whether the file was changed elsewhere.
  look() {
    if (document.hidden || this.saving || this.running) return;
    this.ask("read").catch((error) => this.begun || this.say(error.message));
  }

  async start() {
    const answer = await this.try("start");
    if (!answer) return;
    this.status.textContent = answer.says;
    const line = this.text.split("\n").findIndex((text) => text.includes("NotImplementedError"));
    this.editor.go(line + 1 || 1);
  }

  // Saving

  typed() {
    clearTimeout(this.timer);
    this.status.textContent = "";
    this.timer = setTimeout(() => this.save(), TYPED);
  }

  // Save what is not saved yet; whether all is.
  save() {
    clearTimeout(this.timer);
    this.saving ??= this.saveAll().finally(() => (this.saving = null));
    return this.saving;
  }

  async saveAll() {
    while (this.isUnsaved || this.other) {
      if (this.other || !(await this.write())) return false;
    }
    return true;
  }

  // The same, for who has asked for something that needs it, and should see why it is not.
  async isSaved() {
    const isSaved = await this.save();
    if (this.other) this.notice.scrollIntoView({ block: "center" });
    return isSaved;
  }

  async write(over = false) {
    const { text, digest } = this;
    this.writes += 1;
    let answer;
    try {
      answer = await ask("exercise", { do: "save", name: this.name, text, digest, over });
    } catch (error) {
      this.status.textContent = `Not saved: ${error.message}. The text stays here.`;
      this.timer = setTimeout(() => this.save(), AGAIN);
      return false;
    } finally {
      this.writes += 1;
    }
    if (!answer.saved) {
      this.choose(answer);
      return false;
    }
    ({ digest: this.digest } = answer);
    this.saved = text;
    this.settle();
    this.status.textContent = answer.says ?? "Saved.";
    return true;
  }

  // Checking

  async check() {
    if (this.running || !(await this.isSaved())) return;
    this.shown.replaceChildren();
    this.editor.mark();
    const answer = await this.run("Checking", () => this.try("check"));
    if (answer) this.verdict(answer.last);
  }

  async step() {
    if (this.running) return;
    const tab = open("", "_blank"); // now, since later a browser would not let us
    const says = "A training step is being recorded with your layers, which takes some seconds";
    if (tab) tab.document.body.textContent = `${says}.`;
    const { judged } = this;
    const before = [...this.said.childNodes];
    let answer = null;
    const trouble = await this.run(says, async () => {
      try {
        if (await this.isSaved()) answer = await this.ask("step");
      } catch (error) {
        return error.message;
      }
      return answer?.says;
    });
    this.said.replaceChildren(...before); // the verdict stands
    this.judged = judged;
    if (!answer?.address) {
      tab?.close();
      this.shown.replaceChildren(make("p", { class: "what" }, trouble ?? ""));
      return;
    }
    const address = new URL(`/${answer.address}`, location.href).href;
    if (tab) tab.location = address;
    this.shown.replaceChildren(
      make("p", {}, answer.says), answer.remarks.map((remark) => make("p", { class: "quiet small" }, remark)),
      make("p", {}, make("a", { href: address, target: "_blank" }, "The training step, number by number")),
    );
  }

  // Have the server run the file, with a button to stop that; resolves to what came of it.
  async run(what, asks) {
    this.running = true;
    this.checks.textContent = "Stop";
    this.status.textContent = this.judged = "";
    this.said.replaceChildren(make("p", { class: "quiet" }, make("span", { class: "runs" }), `${what} …`));
    const answer = await asks();
    this.said.querySelector(".runs")?.parentElement.remove();
    this.checks.textContent = "Check";
    this.running = false;
    return answer;
  }

  stop() {
    return ask("exercise", { do: "stop", name: this.name }).catch((error) => (this.status.textContent = error.message));
  }

  // A check that was begun before the page was loaded anew, or in another tab.
  async awaitOther() {
    const state = await this.run("Checking", async () => {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const state = await this.try("read");
        if (!state?.running) return state;
      }
    });
    if (state?.last) this.verdict(state.last);
  }

  verdict(said) {
    const now = JSON.stringify(said);
    if (this.judged === now) return;
    this.judged = now;
    this.said.replaceChildren(verdictShown(said, (line) => this.editor.go(line), () => this.step()));
    const isOfThis = said.digest === this.digest && !this.isUnsaved;
    this.editor.mark(isOfThis ? said.line : 0);
  }

  say(words) {
    this.judged = "";
    this.isTrouble = true;
    this.said.replaceChildren(make("p", { class: "what" }, words));
  }

  // What helps

  showHints(hints) {
    const there = this.hints.children.length;
    hints.slice(there).forEach((hint) => this.hints.append(hintShown(hint, false)));
  }

  async hint() {
    const answer = await this.try("hint");
    if (!answer) return;
    const shown = this.hints.children[answer.hint.number - 1];
    shown.open = true;
    shown.querySelector("summary").focus();
    this.status.textContent = answer.hint.again ? "That was the last hint; here it is again." : "";
  }

  // The difference or the solution; sure: although it gives the answer away.
  async show(what, sure = false) {
    if (!(await this.isSaved())) return;
    const answer = await this.try(what, { sure });
    if (!answer) return this.shown.replaceChildren();
    if (answer.ask) this.sure(answer.ask, "Show it all the same", () => this.show(what, true));
    else if (what === "diff") this.shown.replaceChildren(differenceShown(answer.title, answer.difference, answer.same));
    else this.shown.replaceChildren(solutionShown(answer.title, answer.html));
    if (!answer.ask) this.shown.querySelector("summary")?.focus();
  }

  async reset() {
    this.sure("The file is written anew, blank; what you wrote is kept beside it.", "Begin anew", async () => {
      if (!(await this.isSaved())) return;
      const answer = await this.try("reset");
      this.shown.replaceChildren();
      if (answer) this.status.textContent = answer.says;
      this.checks.focus();
    });
  }

  // Ask once more. yes: the button's words; does: what it then does.
  sure(words, yes, does) {
    this.shown.replaceChildren(make("p", {}, words), make("p", { class: "does" },
      button(yes, does), button("Leave it", () => {
        this.shown.replaceChildren();
        this.checks.focus();
      })));
    this.shown.querySelector("button").focus();
  }
}

addEventListener("DOMContentLoaded", () => {
  if (!document.body.dataset.lesson) return;
  for (const section of document.querySelectorAll(".exercise")) new LiveExercise(section);
});
