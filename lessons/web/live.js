"use strict";
// A live lesson: its cells are run by the server, and what they print comes as it is printed.

const SHORT = 700; // milliseconds that a cell may run before the foot of the window says so

class LivePage {
  constructor() {
    this.lesson = Number(document.body.dataset.lesson);
    this.asking = 0; // requests that are not answered yet
    this.stopped = false;
    this.listener = new Listener({
      hear: (message) => this.hear(message), lost: () => this.lost(), idle: () => this.idle(),
    });
    this.status = make("div", { class: "unseen", role: "status" });
    this.dock = make("div", { class: "dock", role: "region", "aria-label": "what runs", hidden: true });
    document.body.append(this.status, this.dock);
  }

  // Begin, once the server answers.
  async begin() {
    const state = await this.hello();
    banner.command = state.command ?? `python -m lessons web ${this.lesson}`;
    this.cells = [...document.querySelectorAll(".cell.code")].map((section) => new LiveCell(section, this));
    this.at = new Map(this.cells.map((cell) => [cell.index, cell]));
    this.body = this.cells.filter((cell) => !cell.answer);
    for (const cell of this.body) {
      const box = cell.section.querySelector(".derive");
      if (box) cell.derivation = new LiveDerivation(cell, box);
    }
    this.tools = new Tools(this, state);
    this.restore(state);
    addEventListener("keydown", (event) => this.key(event));
    this.listener.listen();
  }

  // What was before the page was loaded anew: what came of the cells, and what the reader wrote.
  restore(state) {
    this.restoring = true;
    for (const message of state.events) this.hear(message);
    for (const cell of this.body) {
      const text = this.kept(`text-${cell.index}`, null);
      if (text !== null && text !== cell.text) cell.showText(text);
    }
    this.restoring = false;
    this.pointOut();
  }

  // Say that the page is there; tries until somebody answers.
  async hello() {
    for (;;) {
      const tab = this.kept("tab", "");
      try {
        const state = await ask("hello", { lesson: this.lesson, tab });
        this.isNew = state.tab !== tab;
        if (this.isNew) this.forget();
        this.keep("tab", state.tab);
        Object.assign(this.listener, { tab: state.tab, seen: state.seen, busy: state.busy, failed: 0 });
        return state;
      } catch {
        this.listener.failed += 1;
        await this.listener.pause();
      }
    }
  }

  // The server ended what stood behind this page, which was left for long: it gets a new process, for its texts too.
  lost() {
    this.finding ??= this.hello().then(async () => {
      if (this.isNew) {
        this.processGone("its process was ended while the page was away");
        await Promise.all(this.cells.map((cell) => cell.tellText()));
      }
      this.finding = null;
    });
    return this.finding;
  }

  // Have the server do something for this page: one thing after the other, in the order in which they were asked for.
  act(what, request) {
    this.asking += 1;
    this.order = (this.order ?? Promise.resolve()).then(() => this.send(what, request)).then(() => {
      this.asking -= 1;
      this.listener.wake();
    });
    return this.order;
  }

  async send(what, request) {
    const once = async () => {
      await this.finding; // a new process has to have the texts first
      return ask(what, { tab: this.listener.tab, ...request });
    };
    try {
      await once().catch(async (error) => {
        if (!(error instanceof Refusal)) throw error;
        await this.lost();
        await once();
      });
      this.listener.busy = true;
    } catch (error) {
      for (const cell of this.cells) {
        if (cell.state === "waiting") cell.set(cell.before, `Not run: ${error.message}.`);
        cell.derivation?.idle(null, error.message);
      }
    }
  }

  hear(message) {
    const cell = this.at.get(message.began ?? message.piece ?? message.came ?? message.asks ?? message.derive);
    if ("began" in message) {
      this.running = cell;
      cell.begin();
      this.watch();
    } else if ("piece" in message) cell.piece(message.text);
    else if ("came" in message) this.came(cell, message);
    else if ("asks" in message) cell?.asks();
    else if ("raw" in message) (this.at.get(message.cell) ?? this.running)?.pieceRaw(message.raw);
    else if ("derive" in message) cell.derivation?.hear(message);
    else if ("edited" in message) this.at.get(message.edited).hasText(message);
    else if ("stuck" in message) this.stuck();
    else if ("note" in message) this.notice = message.note;
    else if ("ended" in message) this.processGone(message.ended, this.at.get(message.cell) ?? this.running);
    this.pointOut();
  }

  came(cell, message) {
    this.running = null;
    if (message.trouble) this.failed = cell;
    cell.end(message);
    this.setStale(message.stale);
  }

  stuck() {
    this.isStuck = true;
    if (this.running) {
      this.running.stuck = true;
      this.running.show();
    }
  }

  // Nothing runs, and nothing waits: what was asked for and has not come does not come.
  idle() {
    if (this.asking) return;
    this.running = null;
    for (const cell of this.cells) {
      if (cell.state === "waiting" || cell.state === "running") cell.set(cell.before, this.whyNot(cell));
      cell.derivation?.idle(this.failed);
    }
    this.stopped = this.isStuck = false;
    this.failed = null;
    this.pointOut();
  }

  whyNot(cell) {
    if (this.stopped) return "Not run: it was stopped.";
    if (!this.failed || this.failed.index >= cell.index) return "";
    const link = make("a", { href: `#cell-${this.failed.index + 1}` }, `cell ${this.failed.index + 1}`);
    return ["Not run: ", link, " above did not come to its end. Mend it, or run this again to go on without it."];
  }

  // The variables are gone. What the cells showed stays, as of before.
  processGone(why, running) {
    this.running = null;
    for (const cell of this.cells) {
      cell.came.querySelector(".asks")?.remove();
      cell.came.style.minHeight = "";
      cell.stale = [];
      if (cell.state === "running") cell.draw();
      if (["running", "waiting", "done", "failed"].includes(cell.state)) cell.set("before");
      else if (cell.state === "new") cell.show();
      cell.derivation?.ended(why);
    }
    const sentence = `${why[0].toUpperCase()}${why.slice(1)}.`;
    const anew = "The variables are lost; running a cell begins anew, with those above it first.";
    running?.set("before", `${sentence} ${anew}`);
    this.announce(sentence);
    this.notice = running ? "" : `${sentence} What is shown is from before; running a cell begins anew.`;
    this.pointOut();
  }

  setStale(stale) {
    for (const cell of this.body) {
      cell.stale = stale[cell.index] ?? [];
      cell.show();
    }
  }

  // What the buttons and keys ask for

  run(cell) {
    if (cell.state === "waiting" || cell.state === "running") return undefined;
    this.wait(cell);
    cell.asked = cell.edited ? cell.text : null;
    this.notice = "";
    return this.act("do", { do: "run", cell: cell.index, ...(cell.edited ? { text: cell.text } : {}) });
  }

  // The lesson's own text again, which is run.
  reset(cell) {
    this.wait(cell);
    this.act("do", { do: "reset", cell: cell.index });
  }

  wait(cell) {
    cell.before = cell.state;
    cell.set("waiting");
  }

  // Run a cell, and have the next one at hand.
  runOn(cell) {
    this.run(cell);
    if (cell.editor) cell.close();
    const { index, answer } = cell;
    const next = this.cells.find((other) => other.index > index && other.answer === answer && other.visible);
    (next?.entry ?? this.tools.end).focus({ preventScroll: true });
  }

  runAll() {
    const left = this.body.filter((cell) => !cell.ran);
    if (left.length) this.run(left.at(-1));
  }

  runStale() {
    this.act("do", { do: "run_stale" });
  }

  stop() {
    this.stopped = true;
    this.act("stop", {});
  }

  endProcess() {
    this.act("end", {});
  }

  // Shift and Enter go on, wherever one is: to the next cell that was not run, by a screen at most, then they run it.
  key(event) {
    const typing = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "?" && !typing) this.tools.showKeys();
    const free = !typing && !document.querySelector("dialog[open]");
    if (event.key === "Escape" && free) this.running?.stop();
    if (event.key !== "Enter" || !event.shiftKey || typing || event.defaultPrevented) return;
    event.preventDefault();
    const cell = this.at.get(Number(event.target.closest?.(".cell.code")?.dataset.cell)) ?? this.next;
    if (!cell) return;
    const { top, bottom } = cell.place.getBoundingClientRect();
    if (top > innerHeight) scrollBy({ top: Math.min(innerHeight * 0.85, bottom + 60 - innerHeight) });
    else if (bottom < 0) cell.place.scrollIntoView({ block: "center" });
    else if (cell.derivation?.open) return cell.derivation.tries ? cell.derivation.focus() : cell.derivation.begin();
    else return this.runOn(cell);
    cell.entry.focus({ preventScroll: true });
  }

  get next() {
    return this.body.find((cell) => cell.visible && (cell.derivation?.open || !cell.ran));
  }

  // The one cell that is next says so, and the foot of the window says what runs or is stale.
  pointOut() {
    const { next } = this;
    for (const cell of this.body) {
      if (cell.next === (cell === next)) continue;
      cell.next = cell === next;
      cell.show();
    }
    this.tools?.show();
    this.showDock();
  }

  // What can be stopped: a cell, or a line of a derivation that is being tried.
  get underWay() {
    return this.running ?? this.body.find((cell) => cell.derivation?.tried);
  }

  watch() {
    clearInterval(this.watching);
    const since = Date.now();
    this.watching = setInterval(() => {
      if (!this.underWay) return clearInterval(this.watching);
      this.showDock(Date.now() - since);
    }, SHORT);
  }

  showDock(time = 0) {
    const stale = this.body.filter((cell) => cell.stale.length).length;
    const { running, underWay } = this;
    let parts = null;
    if (underWay && this.isStuck) {
      parts = ["running", "It does not stop. ", button("End its process", () => this.endProcess())];
    } else if (underWay && (time >= SHORT || (!this.dock.hidden && this.dock.dataset.says === "running"))) {
      const link = running && make("a", { href: `#${running.section.id}` }, running.name);
      const stop = button("Stop", () => (running ? running.stop() : this.stop()));
      parts = running ? ["running", link, " runs. ", stop] : ["running", "A line is tried. ", stop];
    } else if (!underWay && stale) {
      const words = `${counted(stale, "cell")} ${stale === 1 ? "is" : "are"} stale. `;
      parts = ["stale", words, button("Run what is stale", () => this.runStale())];
    } else if (this.notice) {
      parts = ["notice", this.notice];
    }
    this.dock.hidden = parts === null;
    const [says, ...rest] = parts ?? [""];
    if (rest.length && this.dock.dataset.says === says && this.dock.textContent === textOf(rest)) return;
    const held = this.dock.contains(document.activeElement);
    this.dock.dataset.says = says;
    this.dock.replaceChildren(...rest);
    if (!held) return;
    const place = this.dock.querySelector("button") ?? (running ?? this.next)?.entry ?? this.around.end;
    place.focus({ preventScroll: true });
  }

  announce(text) {
    this.status.textContent = text;
  }

  // What outlives the page's being loaded anew, for as long as its window is open

  kept(name, otherwise) {
    const text = sessionStorage.getItem(`${this.lesson} ${name}`);
    return text === null ? otherwise : JSON.parse(text);
  }

  keep(name, value) {
    if (value === null) sessionStorage.removeItem(`${this.lesson} ${name}`);
    else sessionStorage.setItem(`${this.lesson} ${name}`, JSON.stringify(value));
  }

  // A process of its own is behind the page: which functions were shown is of the one before.
  forget() {
    const told = Object.keys(sessionStorage).filter((name) => name.startsWith(`${this.lesson} told-`));
    for (const name of told) sessionStorage.removeItem(name);
  }
}

if (document.body.dataset.lesson) new LivePage().begin();
