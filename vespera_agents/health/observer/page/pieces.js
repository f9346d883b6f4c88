/** Small pieces that several screens show: a meter, a stack of lines, a fact beside its name. */

import { el } from "./dom.js";
import { lines, percent, plain } from "./format.js";

const NEARLY_FULL = 0.8;
const LETTERS_MAX = 1000;
const LIBRARY = /^.*\/(site-packages|lib\/python3\.\d+)\//;
const RUNTIME = /(^|\/)(vespera_agents\/actors|supervisors)\/[\w/]+\.py:/;

/** A bar with its words, which say the same as its length. */
export function meter(ratio, words) {
  const fill = el("span", { class: "meter-fill" });
  fill.style.width = `${Math.min(1, ratio ?? 0) * 100}%`;
  const level = ratio === null ? "none" : ratio >= NEARLY_FULL ? "full" : "fine";
  return el("div", { class: `meter meter-${level}` }, el("span", { class: "meter-track", "aria-hidden": "true" }, fill), el("span", { text: words ?? percent(ratio) }));
}

/** The lines of a stack, innermost last; the one to look at first, the innermost that is no library's, stands out. */
export function stackList(frames, label) {
  const own = frames.findLastIndex((frame) => !LIBRARY.test(frame) && !RUNTIME.test(frame));
  const look = own >= 0 ? own : frames.findLastIndex((frame) => !LIBRARY.test(frame));
  const first = look >= 0 ? look : frames.length - 1;
  return el(
    "ol",
    { class: "stack", "aria-label": label, tabindex: 0 },
    ...frames.map((frame, index) => {
      const line = lines(frame.slice(0, LETTERS_MAX));
      return el("li", { class: index === first ? "look-here" : null, title: line, text: place(line) });
    }),
  );
}

/** A line of a stack without the way to its file: a library's from its package on, another's with two folders. */
export function place(line) {
  if (LIBRARY.test(line)) return line.replace(LIBRARY, "");
  return line.replace(/^\/(?:[^/\n]+\/)*?([^/\n]+\/[^/\n]+\/[^/\n]+)$/, "…/$1");
}

/** A figure with its name below it. */
export function figure(name, value, mark = "") {
  return el("div", { class: `figure ${mark}` }, el("b", { text: value }), el("span", { text: plain(name) }));
}
