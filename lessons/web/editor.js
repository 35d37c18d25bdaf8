"use strict";
// An editor for code: a textarea with line numbers, indentation and a marked line. The browser's own undo is kept, for
// whatever is changed here is typed.

let editors = 0;

// Make an editor of a textarea that stands in the page. shortcuts: what is done at keys such as "Ctrl+Enter" or
// "Ctrl+s" (Ctrl is the command key too). data-indent on the textarea: the blanks of a level. `set` takes another text,
// `mark` marks a line, counted from 1, or none, and `go` leads to one.
function editable(textarea, shortcuts = {}) {
  const numbers = make("div", { class: "numbers", "aria-hidden": "true" });
  const leave = "Tab indents; Escape, then Tab leaves the editor.";
  const says = make("p", { class: "quiet small", id: `editor-${(editors += 1)}` }, leave);
  const frame = make("div", { class: "editor" });
  textarea.replaceWith(frame);
  frame.append(numbers, textarea);
  frame.after(says);
  Object.assign(textarea, { spellcheck: false, wrap: "off", autocapitalize: "off", autocomplete: "off" });
  textarea.setAttribute("autocorrect", "off");
  textarea.setAttribute("aria-describedby", says.id);

  let marked = 0;
  let leaving = false;
  let shown = "";

  function number() {
    const count = textarea.value.split("\n").length;
    if (shown === `${count} ${marked}`) return;
    shown = `${count} ${marked}`;
    const rows = Array.from({ length: count }, (_, row) =>
      make("span", { class: row + 1 === marked && "marked" }, `${row + 1}\n`));
    numbers.replaceChildren(...rows, "\n"); // as far down as the text, which may have a scroll bar below it
    textarea.rows = count + 1;
    frame.classList.toggle("has-mark", marked > 0);
    frame.style.setProperty("--marked", marked - 1);
  }

  function mark(line = 0) {
    marked = line;
    number();
  }

  function go(line) {
    const lines = textarea.value.split("\n");
    const text = lines[line - 1] ?? "";
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1);
    textarea.focus({ preventScroll: true });
    textarea.setSelectionRange(start + /^\s*/.exec(text)[0].length, start + text.length);
    const height = parseFloat(getComputedStyle(textarea).lineHeight);
    textarea.scrollTop = (line - 1) * height - textarea.clientHeight / 2;
    textarea.scrollLeft = 0;
    const at = textarea.getBoundingClientRect().top + (line - 1) * height - textarea.scrollTop;
    if (at < innerHeight / 8 || at > innerHeight - height) scrollBy({ top: at - innerHeight / 2 });
  }

  function set(text) {
    if (text === textarea.value) return;
    const { selectionStart: start, selectionEnd: end, scrollTop } = textarea;
    textarea.value = text;
    textarea.setSelectionRange(start, end);
    textarea.scrollTop = scrollTop;
    number();
  }

  textarea.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const control = event.ctrlKey || event.metaKey;
    const name = (control ? "Ctrl+" : "") + (event.shiftKey ? "Shift+" : "") + event.key;
    if (shortcuts[name]) {
      event.preventDefault();
      shortcuts[name]();
    } else if (event.key === "Escape") {
      leaving = true;
      return;
    } else if (event.key === "Shift" && leaving) {
      return; // on the way to Shift+Tab, which leaves backwards
    } else if (!control && !event.altKey && !(leaving && event.key === "Tab") && indents[event.key]) {
      if (indents[event.key](textarea, event.shiftKey)) event.preventDefault();
    }
    leaving = false;
  });
  textarea.addEventListener("blur", () => (leaving = false));
  textarea.addEventListener("input", () => mark()); // what was marked may be what is changed
  textarea.addEventListener("scroll", () => (numbers.scrollTop = textarea.scrollTop));
  number();
  return { frame, textarea, says, set, mark, go };
}

// What keys do to indentation; each returns whether it has done what the browser then should not.
const indents = {
  Tab(textarea, back) {
    const { selectionStart: start, selectionEnd: end, value } = textarea;
    if (!back && start === end) {
      type(textarea, start, end, level(textarea).slice((start - lineStart(value, start)) % level(textarea).length));
      return true;
    }
    const first = lineStart(value, start);
    const last = end > start && value[end - 1] === "\n" ? end - 1 : end;
    const lines = value.slice(first, last).split("\n");
    const more = lines.map((line) => {
      if (!back) return line && level(textarea) + line;
      return line.slice(Math.min(level(textarea).length, /^ */.exec(line)[0].length) || Number(line.startsWith("\t")));
    });
    const text = more.join("\n");
    if (text === value.slice(first, last)) return true;
    type(textarea, first, last, text);
    const shift = more[0].length - lines[0].length;
    const grown = text.length - (last - first);
    textarea.setSelectionRange(Math.max(first, start + shift), Math.max(first, end + grown));
    return true;
  },
  Enter(textarea, shifted) {
    if (shifted) return false;
    const { selectionStart: start, selectionEnd: end, value } = textarea;
    const before = value.slice(lineStart(value, start), start);
    const opens = /[:([{]\s*((#|\/\/).*)?$/.test(before) && !/^\s*(#|\/\/)/.test(before);
    type(textarea, start, end, `\n${/^[ \t]*/.exec(before)[0]}${opens ? level(textarea) : ""}`);
    return true;
  },
  Backspace(textarea) {
    const { selectionStart: start, selectionEnd: end, value } = textarea;
    const before = value.slice(lineStart(value, start), start);
    if (start !== end || !/^ {2,}$/.test(before)) return false;
    type(textarea, start - ((before.length - 1) % level(textarea).length) - 1, end, "");
    return true;
  },
};

function level(textarea) {
  return " ".repeat(Number(textarea.dataset.indent ?? 4));
}

function lineStart(text, at) {
  return text.lastIndexOf("\n", at - 1) + 1;
}

// Put text in the place of what stands from start to end, as if it were typed, so that the browser can undo it.
function type(textarea, start, end, text) {
  textarea.focus();
  textarea.setSelectionRange(start, end);
  const done = document.execCommand(text ? "insertText" : "delete", false, text);
  if (!done) {
    textarea.setRangeText(text, start, end, "end");
    textarea.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
