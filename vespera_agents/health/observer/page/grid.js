/**
 * A table or a tree of any length, of which only the rows in sight exist.
 *
 * The whole grid is one stop of the Tab key. Its active row is named by `aria-activedescendant`, so that rows can be
 * made, moved and thrown away while it scrolls without anybody losing the focus. Columns say what they show; a screen
 * gives the items and hears which one is opened.
 */

import { el, perFrame, setAttribute, setText } from "./dom.js";

const SPARE_ROWS = 6;
let grids = 0;

/**
 * A column: `{id, title, text(item)}`, and if wanted `hint(item)`, `mark(item)` for a class of the cell, `ratio(item)`
 * for a bar behind the text, `link(item)` for an address, `sorts`, `numeric`, `lead(cell, item)` for what stands first.
 */
export class Grid {
  constructor({ role = "grid", name, label, columns, opened, key, describe, pressed, sorted }) {
    this.columns = columns;
    this.opened = opened ?? (() => {});
    this.pressed = pressed ?? (() => false);
    this.describe = describe ?? (() => ({}));
    this.keyOf = key ?? ((item) => item.key);
    this.id = `grid${(grids += 1)}`;
    this.items = [];
    this.activeKey = null;
    this.slots = [];
    this.height = 0;
    this.headers = new Map(columns.map((column) => [column.id, this.#header(column, sorted)]));
    this.body = el("div", { class: "grid-body", role: "rowgroup" });
    this.scroller = el(
      "div",
      {
        class: `grid ${name}`,
        id: `${this.id}`,
        role,
        tabindex: 0,
        "aria-label": label,
        "aria-colcount": columns.length,
        onkeydown: (event) => this.#key(event),
        onclick: (event) => this.#click(event),
        ondblclick: (event) => this.#click(event, true),
      },
      el("div", { class: "grid-head", role: "rowgroup" }, el("div", { role: "row", "aria-rowindex": 1 }, ...this.headers.values())),
      this.body,
    );
    this.nothing = el("p", { class: "nothing", hidden: true });
    this.element = el("div", { class: "grid-frame" }, this.scroller, this.nothing);
    this.draw = perFrame(() => this.#draw());
    this.scroller.addEventListener("scroll", this.draw, { passive: true });
    new ResizeObserver(() => {
      this.rowHeight = 0;
      this.draw();
    }).observe(this.scroller);
  }

  /** Show these items, now in this order. */
  show(items, nothing = "") {
    this.items = items;
    this.nothingText = nothing;
    this.draw();
  }

  /** The item that the keys work on; null if it is not among those shown. */
  active() {
    const index = this.#activeIndex();
    return index < 0 ? null : this.items[index];
  }

  /** Make an item the active one and bring it into sight. */
  activate(index) {
    if (index < 0 || index >= this.items.length) return;
    this.activeKey = this.keyOf(this.items[index]);
    this.#reveal(index);
    this.draw();
  }

  /** Say in the head which column the items are sorted by. */
  markSorted(id, descending) {
    for (const [name, header] of this.headers) {
      setAttribute(header, "aria-sort", name === id ? (descending ? "descending" : "ascending") : null);
    }
  }

  #header(column, sorted) {
    const title = column.sorts
      ? el("button", { type: "button", class: "sort", text: column.title, onclick: () => sorted(column.id) })
      : el("span", { text: column.title });
    const marks = `${column.numeric ? "number " : ""}col-${column.id}`;
    return el("div", { role: "columnheader", class: marks, title: column.about }, title);
  }

  #activeIndex() {
    if (this.activeKey === null) return -1;
    const last = this.items[this.lastActive];
    if (last !== undefined && this.keyOf(last) === this.activeKey) return this.lastActive;
    this.lastActive = this.items.findIndex((item) => this.keyOf(item) === this.activeKey);
    return this.lastActive;
  }

  #measure() {
    this.rowHeight = Number.parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 32;
    this.inSight = this.scroller.clientHeight;
  }

  #reveal(index) {
    if (!this.rowHeight) this.#measure();
    const top = index * this.rowHeight;
    const head = this.rowHeight;
    const { scrollTop } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + head + this.rowHeight > scrollTop + this.inSight) {
      this.scroller.scrollTop = top + head + this.rowHeight - this.inSight;
    }
  }

  #draw() {
    if (!this.scroller.isConnected || this.scroller.offsetParent === null) return;
    if (!this.rowHeight) this.#measure();
    const { items, rowHeight } = this;
    const height = items.length * rowHeight;
    if (height !== this.height) {
      this.height = height;
      this.body.style.height = `${height}px`;
    }
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / rowHeight) - SPARE_ROWS);
    const last = Math.min(items.length, Math.ceil((this.scroller.scrollTop + this.inSight) / rowHeight) + SPARE_ROWS);
    while (this.slots.length < last - first) this.slots.push(this.#slot());
    setAttribute(this.scroller, "aria-rowcount", items.length + 1);
    this.nothing.hidden = items.length > 0 || !this.nothingText;
    setText(this.nothing, this.nothingText ?? "");
    const active = this.#activeIndex();
    const used = new Set();
    for (let index = first; index < last; index += 1) {
      const slot = this.slots[index % this.slots.length];
      used.add(slot);
      this.#fill(slot, index, index === active);
    }
    for (const slot of this.slots) if (!used.has(slot)) slot.row.hidden = true;
    const isThere = active >= first && active < last;
    setAttribute(this.scroller, "aria-activedescendant", isThere ? this.#rowId(active) : null);
  }

  #rowId(index) {
    return `${this.id}-${index % this.slots.length}`;
  }

  #slot() {
    const slot = { index: -1 };
    slot.cells = this.columns.map((column) => {
      const shown = column.link ? el("a", { class: "shown", tabindex: -1 }) : el("span", { class: "shown" });
      const marks = `${column.numeric ? "number " : ""}col-${column.id}`;
      const cell = el("div", { role: "gridcell", class: marks });
      const bar = column.ratio ? el("span", { class: "bar", "aria-hidden": "true" }, el("span", { class: "bar-fill" })) : null;
      const lead = column.lead ? el("span", { class: "lead" }) : null;
      cell.append(...[lead, shown, bar].filter(Boolean));
      return { cell, shown, bar, lead, marks, column, ratio: undefined };
    });
    slot.row = el("div", { role: "row", class: "row", id: `${this.id}-${this.slots.length}` }, ...slot.cells.map((one) => one.cell));
    slot.row.slot_ = slot;
    this.body.append(slot.row);
    return slot;
  }

  #fill(slot, index, isActive) {
    const { row } = slot;
    const item = this.items[index];
    row.hidden = false;
    if (slot.index !== index || slot.placedFor !== this.rowHeight) {
      slot.index = index;
      slot.placedFor = this.rowHeight;
      row.style.transform = `translateY(${index * this.rowHeight}px)`;
      setAttribute(row, "aria-rowindex", index + 2);
    }
    const told = this.describe(item);
    setAttribute(row, "aria-level", told.level);
    setAttribute(row, "aria-expanded", told.expanded === undefined ? null : told.expanded ? "true" : "false");
    setAttribute(row, "aria-selected", isActive ? "true" : "false");
    const marks = `row${isActive ? " active" : ""}${told.mark ? ` ${told.mark}` : ""}`;
    if (row.className !== marks) row.className = marks;
    for (const one of slot.cells) {
      const { column, cell, shown } = one;
      setText(shown, column.text(item));
      if (column.hint) setAttribute(cell, "title", column.hint(item));
      if (column.link) setAttribute(shown, "href", column.link(item));
      if (column.lead) column.lead(one.lead, item, told);
      if (column.mark) {
        const cellMarks = `${one.marks} ${column.mark(item)}`;
        if (cell.className !== cellMarks) cell.className = cellMarks;
      }
      if (column.ratio) {
        const ratio = column.ratio(item);
        if (ratio !== one.ratio) {
          one.ratio = ratio;
          one.bar.classList.toggle("none", ratio === null);
          one.bar.firstChild.style.width = `${Math.min(1, ratio ?? 0) * 100}%`;
          one.bar.classList.toggle("full", (ratio ?? 0) >= 0.8);
        }
      }
    }
  }

  #click(event, isDouble = false) {
    const slot = event.target.closest(".row")?.slot_;
    if (!slot) return;
    const item = this.items[slot.index];
    this.activeKey = this.keyOf(item);
    this.draw();
    if (isDouble) this.opened(item);
    else if (event.target.closest(".twisty")) this.pressed("Toggle", item);
    else if (this.clicked) this.clicked(item);
  }

  #key(event) {
    if (event.target !== this.scroller || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.#activeIndex();
    const page = Math.max(1, Math.floor((this.inSight ?? 0) / (this.rowHeight || 32)) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    const last = this.items.length - 1;
    if (event.key in steps) this.activate(Math.max(0, Math.min(last, index < 0 ? 0 : index + steps[event.key])));
    else if (event.key === "Home") this.activate(0);
    else if (event.key === "End") this.activate(last);
    else if (index >= 0 && event.key === "Enter") this.opened(this.items[index]);
    else if (index < 0 || !this.pressed(event.key, this.items[index], index)) return;
    event.preventDefault();
  }
}
