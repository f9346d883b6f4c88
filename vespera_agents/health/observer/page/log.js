/** The fourth screen: what supervisors have reported, newest first, with the reasons. */

import { el, renew, setText } from "./dom.js";
import { filterField, matcher } from "./filter.js";
import { clock, day, lines, NONE, plain, plural } from "./format.js";
import { Grid } from "./grid.js";

const TROUBLE = /crash|fail|error|hung|fence|zombies_left|exceed|escalat/;

export class LogScreen {
  constructor({ model }) {
    this.model = model;
    this.grid = new Grid({
      name: "log",
      label: "Supervision log",
      key: (entry) => entry.seq,
      columns: [
        { id: "time", title: "Time", text: (entry) => clock(entry.at), hint: (entry) => day(entry.at) },
        { id: "event", title: "Event", text: (entry) => plain(entry.kind.replaceAll("_", " ")), mark: (entry) => (TROUBLE.test(entry.kind) ? "hot" : "") },
        { id: "child", title: "Child", text: (entry) => plain(entry.offender?.id ?? NONE), hint: (entry) => plain(entry.offender?.id ?? "") || null },
        { id: "supervisor", title: "Supervisor", text: (entry) => plain(entry.supervisor ?? NONE), hint: (entry) => plain(entry.supervisor ?? "") || null },
        { id: "reason", title: "Reason", text: (entry) => plain(entry.reason ?? ""), hint: (entry) => plain(entry.reason ?? "", 1000) || null },
      ],
      opened: () => this.details.focus(),
    });
    this.grid.clicked = () => this.#drawDetails();
    this.grid.scroller.addEventListener("keyup", () => this.#drawDetails());
    this.filter = filterField("log-filter", "Filter the log", (text) => {
      this.test = matcher(text);
      this.draw(true);
    });
    this.counted = el("span", { class: "counted", role: "status" });
    this.details = el("aside", { class: "details", tabindex: 0, "aria-label": "The chosen entry", hidden: true });
    this.element = el("div", { class: "screen" }, el("div", { class: "toolbar" }, this.filter, this.counted), this.grid.element, this.details);
  }

  renew() {
    this.log = null;
  }

  draw(isForced = false) {
    const { log } = this.model;
    if (isForced || this.log !== log) {
      this.log = log;
      for (const entry of log) {
        entry.searched ??= `${entry.kind} ${entry.supervisor ?? ""} ${entry.context ?? ""} ${entry.reason ?? ""} ${entry.offender?.id ?? ""}`
          .slice(0, 2000)
          .toLowerCase();
      }
      const shown = (this.test ? log.filter(this.test) : [...log]).reverse();
      this.grid.show(shown, log.length ? "No entry matches this filter." : "Supervision has nothing to report yet.");
      const all = plural(log.length, "entry", "entries");
      setText(this.counted, this.test ? `${plural(shown.length, "match", "matches")} in ${all}` : all);
      this.#drawDetails();
    }
    this.grid.draw();
  }

  #drawDetails() {
    const entry = this.grid.active();
    this.details.hidden = entry === null;
    if (entry === null) return;
    const { offender } = entry;
    const facts = [
      ["When", day(entry.at)],
      ["Event", plain(entry.kind)],
      ["Supervisor", plain(entry.supervisor ?? NONE)],
      ["Context", plain(entry.context ?? NONE)],
      ["Child", offender ? `${plain(offender.id)} (${plain(offender.type ?? "")}, ${plain(offender.restart ?? "")}, incarnation ${offender.incarnation})` : NONE],
    ];
    renew(this.details, String(entry.seq), () => [
      el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })))),
      el("pre", { class: "reason", text: lines((entry.reason ?? "").slice(0, 4000)) || "no reason given" }),
    ]);
  }
}
