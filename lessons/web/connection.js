"use strict";
// What a page says to the server behind it, and what is said in the page when there is none that answers.

const OFTEN = 1500; // milliseconds between two questions while nothing runs
const PATIENCE = 15_000; // the same where nobody looks, and once many were in vain
const LEAVING = ["bye"]; // what is said as the page goes

class Refusal extends Error {} // the server has answered that it knows the page no more

// Take the key out of the address, where it may come at any time: by a link, or typed over the one that was there.
function takeKey() {
  if (!location.hash.includes("key=")) return;
  localStorage.setItem("key", new URLSearchParams(location.hash.slice(1)).get("key"));
  history.replaceState(null, "", location.pathname + location.search);
}
takeKey();
addEventListener("hashchange", takeKey);

// Ask the server for something. Rejects with a sentence: a Refusal, or an Error where it does not do it, where nobody
// answers, or where the key is not the server's; the last two the page says in its banner.
async function ask(what, request) {
  const key = localStorage.getItem("key") ?? "";
  let answer;
  try {
    answer = await fetch(`/${what}`, {
      method: "POST",
      headers: { "X-Key": key, "Content-Type": "application/json" },
      body: JSON.stringify(request),
      keepalive: LEAVING.includes(what),
    });
  } catch {
    if (!LEAVING.includes(what)) banner.show(["The lessons' server does not answer.", ...banner.again()]);
    throw new Error("the lessons' server does not answer");
  }
  if (answer.status === 403) {
    const wrong = "The key of this page is not the server's, which was started anew since.";
    const why = key ? wrong : "This page has no key.";
    banner.show([`${why} Nothing is run here: open the address that the server printed as it was started.`]);
    throw new Error("the key is not the server's");
  }
  banner.hide();
  const text = await answer.text();
  if (answer.status === 410) throw new Refusal(sentence(text));
  if (!answer.ok) throw new Error(sentence(text));
  return JSON.parse(text);
}

function sentence(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}

// A line at the foot of the window, there while the page is alone.
const banner = {
  command: "", // what starts the server again, once it has said so
  element: null,

  again() {
    if (!this.command) return ["Nothing is run until it does."];
    const typed = make("code", {}, this.command);
    const then = " and open the address that it prints. What is on this page stays.";
    return [" If it was ended, start it again with ", typed, then];
  },

  show(parts) {
    if (this.element?.textContent === textOf(parts)) return;
    this.hide();
    this.element = make("div", { class: "banner", role: "alert" }, make("p", {}, parts));
    document.body.append(this.element);
  },

  hide() {
    this.element?.remove();
    this.element = null;
  },
};

// Hears what the server says of one page, for as long as the page is there. hear: called with each message. lost:
// called where the server knows the page no more; resolves once it does again. idle: called where nothing runs.
class Listener {
  constructor({ hear, lost, idle }) {
    Object.assign(this, { hear, lost, idle, tab: "", seen: 0, busy: false, failed: 0 });
    const shown = () => document.hidden || this.wake();
    document.addEventListener("visibilitychange", shown);
    for (const event of ["storage", "online", "hashchange"]) addEventListener(event, shown);
    addEventListener("pageshow", (event) => event.persisted && this.leave(false));
    addEventListener("pagehide", () => this.leave(true));
  }

  // The page goes, and may come back; what was said after that it goes would be taken for its being there.
  leave(goes) {
    this.goes = goes;
    if (!goes) this.wake();
    else if (this.tab) ask("bye", { tab: this.tab }).catch(() => {});
  }

  // Something was asked for: what comes of it is wanted at once.
  wake() {
    this.wanted = true;
    this.woken?.();
  }

  async listen() {
    for (;;) {
      if (!this.goes) await this.poll();
      await this.pause();
    }
  }

  async poll() {
    const { tab } = this;
    this.wanted = false;
    try {
      const answer = await ask("poll", { tab, seen: this.seen });
      if (tab !== this.tab) return; // the page has found another process meanwhile
      Object.assign(this, { failed: 0, seen: answer.seen, busy: answer.busy });
      for (const message of answer.events) this.hear(message);
      if (!this.busy && !this.wanted) this.idle(); // and nothing was asked for since
    } catch (error) {
      if (error instanceof Refusal) await this.lost();
      else this.failed += 1;
    }
  }

  // Wait until it is time to ask again: at once while something runs, slowly where nobody looks or answers.
  pause() {
    if (!this.goes && (this.wanted || (this.busy && !this.failed))) return undefined;
    const idle = document.hidden ? PATIENCE : OFTEN;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.failed ? Math.min(PATIENCE, 500 * 2 ** this.failed) : idle);
      this.woken = () => (clearTimeout(timer), resolve());
    });
  }
}
