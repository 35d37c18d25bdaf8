"use strict";
// What every page of text has: buttons that copy, the list of its headings, folds that open for what is linked to.
{
  const WIDE = matchMedia("(min-width: 72rem)"); // as in lessons.css: room for the list of headings beside the text

  // Copy; a page that was opened from a file may have to do it in the way of old.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      document.body.append(area);
      const before = document.activeElement;
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      before?.focus({ preventScroll: true });
      return done;
    }
  }

  function addCopyButton(block) {
    const source = block.querySelector("pre.source");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy small";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy this code");
    button.onclick = async () => {
      const done = await copy(source.textContent);
      if (!done) getSelection().selectAllChildren(source);
      button.textContent = done ? "Copied" : "Selected";
      button.setAttribute("aria-label", done ? "Copied" : "Selected, to be copied by the keyboard");
      setTimeout(() => {
        button.textContent = "Copy";
        button.setAttribute("aria-label", "Copy this code");
      }, 2000);
    };
    block.append(button);
  }

  // Only what can be scrolled is a stop of the Tab key.
  function markScrolling() {
    for (const element of document.querySelectorAll("main pre, main .wide")) {
      if (element.closest("[aria-hidden]")) continue; // an editor's numbers of lines
      const { scrollWidth, clientWidth, scrollHeight, clientHeight } = element;
      if (scrollWidth > clientWidth || scrollHeight > clientHeight) element.tabIndex = 0;
      else element.removeAttribute("tabindex");
    }
  }

  // What an address leads to may be in a fold.
  function openFolds() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folds = [];
    for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) folds.push(fold);
    if (folds.every((fold) => fold.open)) return;
    for (const fold of folds) fold.open = true;
    target.scrollIntoView();
  }

  function showContents() {
    const fold = document.querySelector(".contents details");
    if (fold) fold.open = WIDE.matches;
  }

  // The heading that is being read, in the list of them.
  function followReading() {
    const links = [...document.querySelectorAll(".contents a")];
    const headings = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
    let waiting = false;
    function mark() {
      waiting = false;
      const passed = headings.findLastIndex((heading) => heading && heading.getBoundingClientRect().top < 120);
      links.forEach((link, k) => {
        if (k === passed) link.setAttribute("aria-current", "location");
        else link.removeAttribute("aria-current");
      });
    }
    addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(mark);
      waiting = true;
    }, { passive: true });
    mark();
  }

  document.querySelectorAll(".block").forEach(addCopyButton);
  document.querySelector(".contents")?.addEventListener("click", (event) => {
    if (event.target.matches("a") && !WIDE.matches) document.querySelector(".contents details").open = false;
  });
  showContents();
  followReading();
  markScrolling();
  openFolds();
  WIDE.addEventListener("change", showContents);
  addEventListener("resize", markScrolling);
  addEventListener("hashchange", openFolds);
  document.addEventListener("toggle", markScrolling, true); // what was folded has no width before
}
