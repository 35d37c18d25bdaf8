"use strict";
// The search over all pages: their sections are in a script of their own, which is loaded with the first search.
{
  const MOST = 40; // results that are shown
  const AROUND = 70; // characters of a snippet on each side of the first word
  const up = document.body.dataset.up;
  const place = document.querySelector(".search");
  const columns = new Map(); // of each word that was looked for
  let sections = null; // [address, page, heading, words], and all of each in small letters
  let vocabulary = null; // the words of all sections
  let loading = false;
  let chosen = -1;

  place.innerHTML = `
    <input type="search" id="query" role="combobox" aria-label="Search the lessons and docs" placeholder="Search  /"
      aria-expanded="false" aria-controls="found" aria-autocomplete="list" autocomplete="off" spellcheck="false">
    <div id="found" role="listbox" aria-label="What was found" hidden></div>
    <p id="found-says" class="unseen" role="status"></p>`;
  place.hidden = false;
  const query = document.getElementById("query");
  const list = document.getElementById("found");
  const says = document.getElementById("found-says");

  function load() {
    if (loading) return;
    loading = true;
    const script = document.createElement("script");
    script.src = `${up}sections.js`;
    script.onerror = () => {
      loading = false;
      script.remove();
      tell("What is to be searched could not be loaded.");
    };
    document.head.append(script);
  }

  // Called by that script.
  globalThis.searchIn = (given) => {
    sections = given.map(([address, page, heading, words]) => ({
      address, page, heading, words,
      small: { page: page.toLowerCase(), heading: heading.toLowerCase(), words: words.toLowerCase() },
    }));
    show();
  };

  function wanted() {
    const words = query.value.toLowerCase().split(/\s+/).map((word) => word.replace(/^["“]+|["”?!.,;:]+$/g, ""));
    return [...new Set(words.filter(Boolean))];
  }

  // How well a section answers a word: 0 if it is nowhere in it; a heading's words before the page's, and those before
  // the text's; a whole word before a part of one.
  function points(section, word) {
    const { heading, page, words: text } = section.small;
    if (heading.includes(word)) return 100 + whole(heading, word);
    if (page.includes(word)) return section.address.includes("#") ? 20 : 60;
    return text.includes(word) ? 1 + whole(text, word) : 0;
  }

  // The points of all sections for a word, and how many have it.
  function column(word) {
    if (!columns.has(word)) {
      const each = sections.map((section) => points(section, word));
      columns.set(word, { each, count: each.filter(Boolean).length });
    }
    return columns.get(word);
  }

  // The sections that have the most of the words, the best first: a rare word tells more than a frequent one.
  function ranked(words) {
    const rows = sections.map((section, k) => {
      const had = words.map(column).filter(({ each }) => each[k]);
      const sum = had.reduce((before, { each, count }) => before + each[k] / count, 0);
      const together = words.length > 1 && section.small.words.includes(words.join(" "));
      return { section, has: had.length, sum: together ? 2 * sum : sum };
    });
    const most = Math.max(...rows.map(({ has }) => has));
    const found = rows.filter(({ has }) => has && has === most).sort((one, other) => other.sum - one.sum);
    return { found: found.map(({ section }) => section), all: most === words.length };
  }

  // A word that is there, for one that is not: with a letter more, less or other, or with two exchanged.
  function near(word) {
    if (column(word).count || word.length < 6) return word;
    vocabulary ??= new Set(sections.flatMap(({ small }) => `${small.heading} ${small.words}`.match(/\p{L}{6,}/gu) ?? []));
    const close = [...vocabulary].filter((other) => other[0] === word[0] && isNear(word, other));
    return close.sort((one, other) => column(other).count - column(one).count)[0] ?? word;
  }

  function isNear(one, other) {
    let from = 0;
    while (from < one.length && one[from] === other[from]) from += 1;
    let last = 0;
    while (last < Math.min(one.length, other.length) - from && one.at(-1 - last) === other.at(-1 - last)) last += 1;
    const [a, b] = [one, other].map((word) => word.slice(from, word.length - last));
    return (a.length < 2 && b.length < 2) || (a.length === 2 && b === a[1] + a[0]);
  }

  function whole(text, word) {
    const letter = /[\p{L}\p{N}_]/u;
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
      if (!letter.test(text[at - 1] ?? " ") && !letter.test(text[at + word.length] ?? " ")) return 10;
    }
    return 0;
  }

  // A text with the words marked.
  function marked(text, words) {
    const small = text.toLowerCase();
    const parts = [];
    let from = 0;
    while (from < text.length) {
      const next = words.map((word) => [small.indexOf(word, from), word.length]).filter(([at]) => at >= 0);
      if (!next.length) break;
      const [at, length] = next.reduce((best, one) =>
        one[0] < best[0] || (one[0] === best[0] && one[1] > best[1]) ? one : best);
      parts.push(text.slice(from, at), element("mark", "", text.slice(at, at + length)));
      from = at + length;
    }
    return [...parts, text.slice(from)];
  }

  // A piece of a section's text, around the word of the query that is the rarest there.
  function snippet(section, words) {
    const text = section.words;
    const places = words.map((word) => section.small.words.indexOf(word)).filter((at) => at >= 0);
    const at = places.length ? Math.max(...places) : 0;
    let from = Math.max(0, at - AROUND);
    if (from) from = Math.max(from, text.indexOf(" ", from) + 1 || from);
    const to = Math.min(text.length, Math.max(at, from) + 2 * AROUND);
    return [from ? "… " : "", ...marked(text.slice(from, to), words), to < text.length ? " …" : ""];
  }

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  function tell(text) {
    says.textContent = text;
  }

  function close() {
    list.hidden = true;
    list.replaceChildren();
    choose(-1);
    query.setAttribute("aria-expanded", "false");
    tell("");
  }

  function show() {
    const asked = wanted();
    if (!asked.length) return close();
    if (!sections) {
      load();
      return tell("Loading.");
    }
    const words = asked.map(near);
    const { found, all } = ranked(words);
    const options = found.slice(0, MOST).map((section, k) => option(section, words, k));
    const text = said(asked, words, found.length, all);
    list.replaceChildren(element("p", "small quiet", text), ...options);
    list.firstChild.setAttribute("role", "presentation");
    list.hidden = false;
    query.setAttribute("aria-expanded", "true");
    choose(options.length ? 0 : -1);
    tell(text);
  }

  function said(asked, words, count, all) {
    if (!count) return "Nothing was found.";
    const taken = words.map((word, k) => (word === asked[k] ? "" : `Nothing has “${asked[k]}”; “${word}” was taken. `));
    const what = !all ? "the most of these words" : words.length === 1 ? "this word" : "these words";
    const less = count > MOST ? `; the first ${MOST} are shown` : "";
    return `${taken.join("")}${count} ${count === 1 ? "section has" : "sections have"} ${what}${less}`;
  }

  function option(section, words, k) {
    const made = element("div", "option",
      element("div", "where", ...marked(section.heading || section.page, words),
        element("span", "quiet small", section.heading === section.page ? "" : section.page)),
      element("div", "snippet small", ...snippet(section, words)));
    made.id = `found-${k}`;
    made.setAttribute("role", "option");
    made.dataset.address = section.address;
    made.onclick = () => go(made);
    return made;
  }

  function choose(k) {
    const options = [...list.querySelectorAll(".option")];
    chosen = options.length ? (k + options.length) % options.length : -1;
    options.forEach((one, at) => one.setAttribute("aria-selected", String(at === chosen)));
    if (chosen < 0) return query.removeAttribute("aria-activedescendant");
    query.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  }

  function go(one) {
    const address = one.dataset.address;
    close();
    query.blur();
    location.href = up + address;
  }

  query.addEventListener("input", show);
  query.addEventListener("focus", () => {
    load();
    if (query.value && list.hidden) show();
  });
  query.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      query.value = "";
      close();
      query.blur();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      go(list.querySelectorAll(".option")[chosen]);
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select") || event.target.isContentEditable;
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    query.focus();
    query.select();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!place.contains(event.target)) close();
  });
  place.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !place.contains(event.relatedTarget)) close();
  });
}
