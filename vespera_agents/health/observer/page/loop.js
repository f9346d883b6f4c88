/** The seventh screen: who blocked the event loop and where, whose mail does not move, and what everybody waits for. */

import { el, renew, setText } from "./dom.js";
import { clock, count, day, duration, percent, plain, plural } from "./format.js";
import { figure, place, stackList } from "./pieces.js";

const LINES_MAX = 60;
const NAMES_MAX = 3;
const STALLS_MAX = 50;

export class LoopScreen {
  constructor({ model, feed }) {
    this.model = model;
    this.feed = feed;
    this.figures = el("div", { class: "figures" });
    this.stalls = el("div", { class: "evidence" });
    this.wedged = el("div", { class: "evidence" });
    this.waits = el("div");
    this.waitsTold = el("span", { class: "counted", role: "status" });
    const ask = el("button", { type: "button", text: "Ask every actor now", onclick: () => this.#askAll() });
    const card = (title, ...body) => el("section", { class: "card" }, el("h3", { text: title }), ...body);
    this.element = el(
      "div",
      { class: "screen scroll", tabindex: 0 },
      this.figures,
      el(
        "div",
        { class: "cards wide" },
        card("Blocked loop", this.stalls),
        card("Wedged actors", this.wedged),
        card("Where everybody waits", el("div", { class: "toolbar" }, ask, this.waitsTold), this.waits),
      ),
    );
  }

  renew() {}

  draw() {
    const { loop, stalls, wedged } = this.model;
    const told = [
      ["of its time busy", percent(loop.utilisation)],
      ["late at worst, in 10 s", duration(loop.lag_seconds)],
      ["turns", count(loop.ticks)],
      ["times blocked", count(loop.stalls), loop.stalls ? "hot" : ""],
      ["blocked in all", duration(loop.stall_seconds)],
    ];
    renew(this.figures, JSON.stringify(told), () => told.map(([name, value, mark]) => figure(name, value, mark)));
    renew(this.stalls, `${stalls.length} ${stalls.at(-1)?.at} ${stalls.at(-1)?.seconds}`, () => {
      if (stalls.length === 0) return [el("p", { class: "quiet", text: "Nobody has blocked the loop." })];
      return [...stalls].reverse().slice(0, STALLS_MAX).map((stall, index) => blocked(stall, index === 0));
    });
    renew(this.wedged, JSON.stringify(wedged), () => {
      if (wedged.length === 0) return [el("p", { class: "quiet", text: "Every actor gets on with its mail." })];
      return wedged.map((one) => stuck(one));
    });
  }

  async #askAll() {
    setText(this.waitsTold, "Asking…");
    let told = null;
    try {
      told = await this.feed.ask("stacks");
    } catch {
      setText(this.waitsTold, "The server did not answer; try again once it is back.");
      return;
    }
    const actors = told?.actors ?? [];
    const places = new Map();
    for (const [name, line] of actors) (places.get(line) ?? places.set(line, []).get(line)).push(name);
    const sorted = [...places].sort(([, one], [, two]) => two.length - one.length);
    setText(this.waitsTold, `${plural(actors.length, "actor")} at ${plural(sorted.length, "line")}, looked at in ${duration(told?.took_seconds)}`);
    const rows = sorted.slice(0, LINES_MAX).map(([line, names]) =>
      el(
        "tr",
        {},
        el("td", { class: "number", text: count(names.length) }),
        el("th", { scope: "row" }, el("code", { title: plain(line ?? ""), text: place(plain(line ?? "does not wait")) })),
        el("td", { class: "quiet", text: names.slice(0, NAMES_MAX).map((name) => plain(name, 60)).join(", ") + (names.length > NAMES_MAX ? ", …" : "") }),
      ),
    );
    const heads = [["Actors", "number"], ["Line", ""], ["Such as", ""]].map(([text, mark]) => el("th", { scope: "col", class: mark || null, text }));
    this.waits.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
  }
}

function blocked(stall, isOpen) {
  return el(
    "details",
    { open: isOpen },
    el(
      "summary",
      {},
      el("b", { class: "hot", text: duration(stall.seconds) }),
      el("span", { text: ` by ${plain(stall.actor || stall.task || "somebody outside every task")}` }),
      el("time", { class: "quiet", title: day(stall.at), text: ` at ${clock(stall.at)}` }),
    ),
    stall.actor && stall.task && stall.task !== stall.actor ? el("p", { class: "quiet", text: `in the task ${plain(stall.task)}` }) : null,
    stackList(stall.stack, "Where it was, innermost last"),
  );
}

function stuck(one) {
  const what = one.what === "busy" ? "is busy with one message for" : "leaves its mail where it is for";
  return el(
    "details",
    { open: true },
    el(
      "summary",
      {},
      el("b", { text: plain(one.actor) }),
      el("span", { text: ` (${plain(one.kind)}) ${what} ` }),
      el("b", { class: "hot", text: duration(one.since_seconds) }),
      el("span", { class: "quiet", text: `, ${duration(one.limit_seconds)} is the limit` }),
    ),
    stackList(one.await_stack, "What it waits for, innermost last"),
  );
}
