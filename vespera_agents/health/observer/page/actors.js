/** The second screen: the actors that do, hold, wait or fail most, by any column, in all or per interval. */

import { nodeColumns, rowMark } from "./columns.js";
import { el, setText } from "./dom.js";
import { filterField, matcher } from "./filter.js";
import { count, NONE, plural, rate } from "./format.js";
import { Grid } from "./grid.js";

const ORDER = ["name", "kind", "state", "mailbox", "oldest", "busy", "handled", "restarts", "context", "lived"];
const NUMERIC = new Set(["mailbox", "oldest", "busy", "handled", "restarts", "context", "lived"]);
const GROWING = new Set(["mailbox", "handled", "restarts"]);
const INTERVALS = [1, 5, 30];

export class ActorsScreen {
  constructor({ model, open }) {
    this.model = model;
    this.sortedBy = "mailbox";
    this.descending = true;
    this.top = 100;
    this.interval = 0;
    const columns = nodeColumns(model);
    this.grid = new Grid({
      name: "actors",
      label: "Actors",
      columns: ORDER.map((id) => ({ ...columns[id], sorts: true, ...(GROWING.has(id) ? this.#growing(columns[id]) : {}) })),
      describe: (node) => ({ mark: rowMark(node) }),
      opened: (node) => open(node),
      sorted: (id) => this.sort(id),
    });
    this.grid.markSorted(this.sortedBy, this.descending);
    this.filter = filterField("actors-filter", "Filter actors", (text) => {
      this.test = matcher(text);
      this.draw(true);
    });
    this.counted = el("span", { class: "counted", role: "status" });
    this.kind = choice("Kind", [["", "every kind"]], () => this.draw(true));
    this.state = choice("State", [["", "every state"]], () => this.draw(true));
    const tops = [20, 100, 1000].map((top) => [String(top), `top ${count(top)}`]);
    const top = choice("How many", [...tops, ["0", "all"]], (value) => {
      this.top = Number(value);
      this.draw(true);
    });
    top.value = String(this.top);
    const intervals = INTERVALS.map((seconds) => [String(seconds), `per second, over ${seconds} s`]);
    const interval = choice("Figures", [["0", "in all"], ...intervals], (value) => {
      this.interval = Number(value);
      if (this.interval) model.setInterval(this.interval);
      this.draw(true);
    });
    this.element = el(
      "div",
      { class: "screen" },
      el("div", { class: "toolbar" }, this.filter, this.kind, this.state, top, interval, this.counted),
      this.grid.element,
    );
  }

  /** Sort by a column; by the same one again: the other way round. */
  sort(id) {
    this.descending = this.sortedBy === id ? !this.descending : NUMERIC.has(id);
    this.sortedBy = id;
    this.grid.markSorted(id, this.descending);
    this.draw(true);
  }

  renew() {
    this.ticks = -1;
  }

  draw(isForced = false) {
    const { model } = this;
    if (isForced || this.ticks !== model.ticks || this.shape !== model.shape) {
      this.ticks = model.ticks;
      this.shape = model.shape;
      this.#choose();
    }
    this.grid.draw();
  }

  #choose() {
    // One walk over all of them: with 10,000 actors this is what a change costs.
    const [kind, state] = [this.kind.value, this.state.value];
    const [kinds, states] = [new Set(), new Set()];
    const value = this.#values();
    const keyed = [];
    let all = 0;
    for (const node of this.model.nodes.values()) {
      if (!node.kind) continue;
      all += 1;
      kinds.add(node.kind);
      states.add(node.state);
      if ((kind && node.kind !== kind) || (state && node.state !== state) || (this.test && !this.test(node))) continue;
      keyed.push([value(node), node]);
    }
    offer(this.kind, kinds, "every kind");
    offer(this.state, states, "every state");
    const sign = this.descending ? -1 : 1;
    keyed.sort(([one, a], [two, b]) => (one < two ? -sign : one > two ? sign : a.key - b.key));
    const shown = this.top ? keyed.slice(0, this.top) : keyed;
    this.grid.show(
      shown.map(([, node]) => node),
      all ? "No actor matches this filter." : "There are no actors now: they live while work is carried out.",
    );
    const number = plural(all, "actor");
    setText(this.counted, shown.length === all ? number : `${count(shown.length)} of ${number}`);
  }

  #values() {
    const { model, sortedBy } = this;
    if (this.interval && GROWING.has(sortedBy)) return (node) => model.grown(node, sortedBy) ?? 0;
    const values = {
      name: (node) => node.searched,
      kind: (node) => node.kind,
      state: (node) => node.state,
      mailbox: (node) => node.mailbox ?? 0,
      oldest: (node) => model.oldest(node),
      busy: (node) => model.busy(node),
      handled: (node) => node.handled ?? 0,
      restarts: (node) => node.restarts,
      context: (node) => model.fill(node) ?? -1,
      lived: (node) => model.lived(node),
    };
    return values[sortedBy];
  }

  #growing(column) {
    return {
      text: (node) => {
        if (!this.interval) return column.text(node);
        const grown = this.model.grown(node, column.id);
        if (grown === null) return NONE;
        return grown === 0 ? "" : `${grown > 0 && column.id === "mailbox" ? "+" : ""}${rate(grown)}/s`;
      },
    };
  }
}

function choice(label, options, changed) {
  const select = el("select", { "aria-label": label, onchange: () => changed(select.value) });
  select.append(...options.map(([value, text]) => el("option", { value, text })));
  return select;
}

/** Offer the values that a column has now; the one that is chosen stays, even if nobody has it any more. */
function offer(select, found, every) {
  const values = [...found].sort();
  if (select.value && !values.includes(select.value)) values.push(select.value);
  const mark = values.join("\n");
  if (select.observerMark === mark) return;
  select.observerMark = mark;
  const { value } = select;
  select.replaceChildren(el("option", { value: "", text: every }), ...values.map((one) => el("option", { value: one, text: one.slice(0, 60) })));
  select.value = value;
}
