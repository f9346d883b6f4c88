/** The fifth screen: the tasks of one session by status, and which waits for which. */

import { el, renew, setText } from "./dom.js";
import { count, day, duration, NONE, percent, plain, plural } from "./format.js";
import { drawGraph } from "./graph.js";
import { figure, meter } from "./pieces.js";

const ASK_SECONDS = 3;
const CARDS_MAX = 100;
const DRAWN_MAX = 400;
const COLUMNS = [
  ["Waiting", ["pending", "blocked"]],
  ["In progress", ["in_progress"]],
  ["In review", ["review"]],
  ["Completed", ["completed", "archived"]],
  ["Failed or cancelled", ["failed", "cancelled"]],
];
const DONE = new Set(["completed", "archived", "failed", "cancelled"]);

export class TasksScreen {
  constructor({ model, feed, isPaused }) {
    this.model = model;
    this.feed = feed;
    this.isPaused = isPaused;
    this.session = null;
    this.told = null;
    this.chosen = null;
    this.select = el("select", { "aria-label": "Session", onchange: () => this.choose(this.select.value) });
    this.summary = el("div", { class: "figures" });
    this.nothing = el("p", { class: "nothing", text: "No session yet. `vespera run PLAN` or a client's orchestrator_initialize_session opens one." });
    this.board = el("div", { class: "board", role: "group", tabindex: 0, "aria-label": "Tasks by status" });
    this.details = el("section", { class: "card", "aria-label": "The chosen task", hidden: true });
    this.drawing = el("div", { class: "drawing", tabindex: 0, role: "group", "aria-label": "Dependency graph" });
    this.graphTitle = el("h3", { text: "What waits for what" });
    this.element = el(
      "div",
      { class: "screen scroll", tabindex: 0 },
      el("div", { class: "toolbar" }, this.select, this.summary),
      this.nothing,
      this.board,
      this.details,
      this.graphTitle,
      this.drawing,
    );
  }

  choose(session) {
    if (session === this.session) return;
    this.session = session;
    this.told = null;
    this.chosen = null;
    this.askedAt = -Infinity;
    this.draw();
  }

  renew() {
    this.askedAt = -Infinity;
    this.mark = null;
  }

  draw() {
    const { sessions } = this.model;
    const isNone = sessions.length === 0;
    this.nothing.hidden = !isNone;
    for (const one of [this.select, this.summary, this.board, this.graphTitle, this.drawing]) one.hidden = isNone;
    if (isNone) {
      this.details.hidden = true;
      return;
    }
    this.#offer(sessions);
    const session = sessions.find((one) => one.id === this.session);
    this.#drawSummary(session);
    this.#ask(session);
    this.#drawTasks();
  }

  #offer(sessions) {
    const newest = [...sessions].sort((one, two) => String(two.created_at).localeCompare(String(one.created_at), "en", { numeric: true }));
    if (!sessions.some((one) => one.id === this.session)) {
      this.session = newest[0].id;
      this.told = null;
      this.askedAt = -Infinity;
    }
    const name = (one) => `${plain(one.name || one.id, 60)} (${one.status})`;
    renew(this.select, JSON.stringify(newest.map((one) => [one.id, name(one)])), () => newest.map((one) => el("option", { value: one.id, text: name(one) })));
    this.select.value = this.session;
  }

  #drawSummary(session) {
    const counts = session.counts ?? {};
    const all = Object.values(counts).reduce((sum, number) => sum + number, 0);
    const done = Object.entries(counts).reduce((sum, [status, number]) => sum + (DONE.has(status) ? number : 0), 0);
    renew(this.summary, JSON.stringify([counts, session.workspace]), () => [
      meter(all ? done / all : 0, `${percent(all ? done / all : 0)} done`),
      ...Object.entries(counts).filter(([, number]) => number > 0).map(([status, number]) => figure(status.replace("_", " "), count(number))),
      el("span", { class: "quiet where", text: plain(session.workspace ?? "") }),
    ]);
  }

  #ask(session) {
    const mark = JSON.stringify(session.counts);
    const isDue = performance.now() - (this.askedAt ?? -Infinity) >= ASK_SECONDS * 1000;
    if (this.asking || this.isPaused() || !(isDue || mark !== this.askedMark)) return;
    this.asking = true;
    this.askedAt = performance.now();
    this.askedMark = mark;
    this.feed
      .ask(`session?id=${encodeURIComponent(session.id)}`)
      .then((told) => {
        if (session.id === this.session) this.told = told;
      })
      .catch(() => {}) // That the server is away is told by the feed, once, for the whole page.
      .finally(() => {
        this.asking = false;
        this.draw();
      });
  }

  #drawTasks() {
    const tasks = this.told?.tasks ?? [];
    const byId = new Map(tasks.map((task) => [task.id, task]));
    const mark = JSON.stringify([this.session, this.chosen, tasks]);
    if (mark === this.mark) return;
    this.mark = mark;
    renew(this.board, mark, () => COLUMNS.map(([title, statuses]) => this.#column(title, tasks.filter((task) => statuses.includes(task.status)), byId)));
    // What only holds other tasks together is on the board; in the drawing it would hang in the air.
    const holding = new Set(tasks.map((task) => task.parent));
    const tied = new Set(tasks.flatMap((task) => task.depends_on));
    const shown = tasks.filter((task) => !holding.has(task.id) || task.depends_on.length > 0 || tied.has(task.id));
    const drawn = shown.slice(0, DRAWN_MAX);
    const ties = drawn.reduce((sum, task) => sum + task.depends_on.length, 0);
    const label = `${plural(drawn.length, "task")}, ${plural(ties, "dependency", "dependencies")}; the board above says the same in words`;
    setText(this.graphTitle, shown.length > drawn.length ? `What waits for what (the first ${DRAWN_MAX})` : "What waits for what");
    renew(this.drawing, mark, () => (drawn.length ? [drawGraph(drawn, this.chosen, label, (id) => this.#choose(id))] : [el("p", { class: "quiet", text: this.told ? "This session has no tasks yet." : "Asking…" })]));
    this.#drawDetails(byId.get(this.chosen), byId);
  }

  #column(title, tasks, byId) {
    const cards = tasks.slice(0, CARDS_MAX).map((task) => {
      const waits = task.depends_on.filter((id) => byId.has(id) && !DONE.has(byId.get(id).status)).length;
      const facts = [task.role, taken(task, this.model.now()), task.attempts > 1 ? plural(task.attempts, "attempt") : "", waits ? `waits for ${waits}` : ""];
      return el(
        "button",
        {
          type: "button",
          id: `task-${task.id}`,
          class: `task task-${task.status}`,
          "aria-pressed": this.chosen === task.id ? "true" : "false",
          onclick: () => this.#choose(task.id),
        },
        el("span", { class: "task-title", text: plain(task.title, 160) }),
        el("span", { class: "task-facts", text: `${task.status.replace("_", " ")} · ${facts.filter(Boolean).join(" · ")}` }),
      );
    });
    if (tasks.length > CARDS_MAX) cards.push(el("p", { class: "quiet", text: `and ${count(tasks.length - CARDS_MAX)} more` }));
    return el("section", { class: "column" }, el("h3", { text: title }, el("span", { class: "tally", text: ` ${count(tasks.length)}` })), ...cards);
  }

  #choose(id) {
    this.chosen = this.chosen === id ? null : id;
    this.draw();
  }

  #drawDetails(task, byId) {
    this.details.hidden = !task;
    if (!task) return;
    const usual = this.told.durations?.[task.role];
    const facts = [
      ["Status", task.status],
      ["Role", plain(task.role ?? NONE)],
      ["Attempts", count(task.attempts)],
      ["Created", day(task.created_at)],
      ["Started", day(task.started_at)],
      ["Ended", day(task.ended_at)],
      ["Took", taken(task, this.model.now()) || NONE],
      ["Usual for its role", usual ? duration(usual) : NONE],
      ["Waits for", task.depends_on.map((id) => plain(byId.get(id)?.title ?? id, 80)).join(", ") || "nothing"],
    ];
    this.details.replaceChildren(
      el("h3", { text: plain(task.title) }),
      el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })))),
    );
  }
}

function taken(task, now) {
  if (!task.started_at) return "";
  return duration(Math.max(0, (task.ended_at ?? now) - task.started_at));
}
