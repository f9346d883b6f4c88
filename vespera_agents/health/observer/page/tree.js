/** The first screen: the supervision tree, to be unfolded, folded and filtered. */

import { nodeColumns, rowMark } from "./columns.js";
import { el, setText } from "./dom.js";
import { filterField, matcher } from "./filter.js";
import { plural } from "./format.js";
import { Grid } from "./grid.js";

const SHOWN_AT_FIRST = 120;
const FEW_CHILDREN = 12;

export class TreeScreen {
  constructor({ model, open }) {
    this.model = model;
    this.open = open;
    this.unfolded = new Set();
    this.matches = null;
    const columns = nodeColumns(model);
    const name = { ...columns.name, lead: (lead, node, told) => this.#lead(lead, node, told) };
    const order = ["kind", "state", "mailbox", "restarts", "context", "lived", "detail"];
    this.grid = new Grid({
      role: "treegrid",
      name: "tree",
      label: "Supervision tree",
      columns: [name, ...order.map((id) => columns[id])],
      describe: (node) => ({ level: node.level, mark: rowMark(node), expanded: this.#expanded(node) }),
      opened: (node) => open(node),
      pressed: (key, node, index) => this.#pressed(key, node, index),
    });
    this.filter = filterField("tree-filter", "Filter the tree", (text) => {
      this.test = matcher(text);
      this.draw(true);
    });
    this.counted = el("span", { class: "counted", role: "status" });
    const button = (text, onclick) => el("button", { type: "button", text, onclick });
    this.element = el(
      "div",
      { class: "screen" },
      el(
        "div",
        { class: "toolbar" },
        this.filter,
        button("Unfold all", () => this.#unfoldAll()),
        button("Fold all", () => this.#foldAll()),
        this.counted,
      ),
      this.grid.element,
    );
  }

  /** Another snapshot came: unfold what was unfolded before, found again by its path. */
  renew(paths) {
    const found = (paths ?? []).map((path) => this.model.find(path)).filter(Boolean);
    this.unfolded = new Set(found.map((node) => node.key));
    if (this.unfolded.size === 0) this.#unfoldSome();
    this.shape = -1;
  }

  /** The paths of what is unfolded now, which outlive the keys. */
  paths() {
    return [...this.unfolded].map((key) => this.model.nodes.get(key)).filter(Boolean).map((node) => this.model.path(node));
  }

  draw(isForced = false) {
    const { model } = this;
    if (isForced || this.shape !== model.shape || (this.test && this.ticks !== model.ticks)) {
      this.shape = model.shape;
      this.ticks = model.ticks;
      this.#layOut();
    }
    this.grid.draw();
  }

  #layOut() {
    const { model, test } = this;
    this.matches = null;
    let found = 0;
    if (test) {
      this.matches = new Set();
      for (const node of model.nodes.values()) {
        if (!test(node)) continue;
        found += 1;
        for (let one = node; one && !this.matches.has(one.key); one = model.nodes.get(one.parent)) this.matches.add(one.key);
      }
    }
    const shown = [];
    const pending = [...model.roots].reverse();
    while (pending.length > 0) {
      const node = pending.pop();
      if (this.matches && !this.matches.has(node.key)) continue;
      shown.push(node);
      if (!this.matches && !this.unfolded.has(node.key)) continue;
      for (let index = node.children.length - 1; index >= 0; index -= 1) pending.push(node.children[index]);
    }
    this.grid.show(shown, "Nothing in the tree matches this filter.");
    const all = plural(model.nodes.size, "node");
    setText(this.counted, test ? `${plural(found, "match", "matches")} in ${all}` : all);
  }

  #expanded(node) {
    if (node.children.length === 0) return undefined;
    return this.matches !== null || this.unfolded.has(node.key);
  }

  #lead(lead, node, told) {
    if (lead.firstChild === null) lead.append(el("span", { class: "twisty", "aria-hidden": "true" }));
    lead.style.paddingInlineStart = `calc(var(--indent) * ${node.level - 1})`;
    const marks = `twisty${told.expanded === undefined ? " leaf" : told.expanded ? " open" : ""} ${node.type}`;
    if (lead.firstChild.className !== marks) lead.firstChild.className = marks;
  }

  #pressed(key, node, index) {
    const expanded = this.#expanded(node);
    const toggle = key === "Toggle" || key === " ";
    if (expanded !== undefined && (toggle || (key === "ArrowRight" && !expanded) || (key === "ArrowLeft" && expanded))) {
      if (!this.unfolded.delete(node.key)) this.unfolded.add(node.key);
      this.draw(true);
    } else if (key === "ArrowRight" && expanded) {
      this.grid.activate(index + 1);
    } else if (key === "ArrowLeft") {
      this.grid.activate(this.grid.items.indexOf(this.model.nodes.get(node.parent)));
    } else if (key === "*") {
      const parent = this.model.nodes.get(node.parent);
      for (const one of parent ? parent.children : this.model.roots) if (one.children.length > 0) this.unfolded.add(one.key);
      this.draw(true);
    } else {
      return toggle;
    }
    return true;
  }

  #unfoldSome() {
    // From the top down, as long as it stays a page that can be looked over; crowds stay folded.
    let shown = this.model.roots.length;
    const pending = [...this.model.roots];
    while (pending.length > 0) {
      const node = pending.shift();
      const grown = shown + node.children.length;
      if (node.children.length === 0 || grown > SHOWN_AT_FIRST || (node.level > 2 && node.children.length > FEW_CHILDREN)) continue;
      shown = grown;
      this.unfolded.add(node.key);
      pending.push(...node.children);
    }
  }

  #unfoldAll() {
    for (const node of this.model.nodes.values()) if (node.children.length > 0) this.unfolded.add(node.key);
    this.draw(true);
  }

  #foldAll() {
    this.unfolded = new Set(this.model.roots.map((node) => node.key));
    this.draw(true);
  }
}
