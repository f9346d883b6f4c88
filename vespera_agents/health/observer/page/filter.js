/**
 * What a filter field means: words that must all occur, and `kind:`, `state:`, `type:` before a word for that column.
 *
 * Also makes the field itself, with its label and what it found.
 */

import { el } from "./dom.js";

const COLUMNS = new Set(["kind", "state", "type", "supervisor"]);

/** Give a test for whatever has a `searched` text in lower case; null if the filter is empty. */
export function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return null;
  const tests = words.map((word) => {
    const colon = word.indexOf(":");
    const column = word.slice(0, colon);
    if (colon <= 0 || !COLUMNS.has(column)) return (one) => one.searched.includes(word);
    const wanted = word.slice(colon + 1);
    return (one) => String(one[column] ?? "").toLowerCase().includes(wanted);
  });
  return (one) => tests.every((test) => test(one));
}

/** A filter field that calls `changed` while it is typed into; Escape empties it. */
export function filterField(id, label, changed) {
  const input = el("input", {
    id,
    type: "search",
    class: "filter",
    placeholder: `${label}  /`,
    "aria-label": label,
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => changed(input.value),
    onkeydown: (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      if (input.value === "") input.blur();
      input.value = "";
      changed("");
    },
  });
  return input;
}
