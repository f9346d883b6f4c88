/** The top of the page: which server this is, how it is, since when it is there, and whether we hear it at all. */

import { el, renew, setAttribute, setText } from "./dom.js";
import { clock, count, duration, plain, plural } from "./format.js";

const REASONS_MAX = 20;
const CRASHES_MAX = 5;

export class Header {
  constructor({ model, feed, buttons }) {
    this.model = model;
    this.feed = feed;
    this.where = el("span", { class: "where" });
    this.front = el("span", { class: "front quiet" });
    this.grade = el("button", {
      type: "button",
      class: "grade",
      "aria-expanded": "false",
      "aria-controls": "reasons",
      onclick: () => this.#toggle(),
    });
    this.live = el("span", { class: "live" }, el("span", { class: "live-dot", "aria-hidden": "true" }), el("span", { class: "live-words" }));
    this.reasons = el("section", { id: "reasons", class: "reasons", "aria-label": "Why it is graded like this", hidden: true });
    this.banner = el("div", { class: "banner", role: "status", hidden: true });
    this.bannerWords = el("span");
    this.bannerTime = el("span", { "aria-hidden": "true" });
    this.banner.append(this.bannerWords, this.bannerTime, el("button", { type: "button", text: "Try now", onclick: () => feed.tryNow() }));
    this.element = el(
      "header",
      { class: "top" },
      el(
        "div",
        { class: "top-line" },
        el("h1", {}, el("span", { class: "brand", text: "Vespera" }), el("span", { class: "visually-hidden", text: " observer" })),
        this.where,
        this.grade,
        this.front,
        this.live,
        ...buttons,
      ),
      this.banner,
      this.reasons,
    );
  }

  draw() {
    this.#drawStatus();
    const { server, health, ready } = this.model;
    if (!ready) return;
    const { grade, reasons } = health;
    const first = reasons[0] ? `${plain(reasons[0].component, 60)}: ${plain(reasons[0].what, 120)}` : "";
    setText(this.grade, grade === "healthy" ? "healthy" : `${grade} · ${first}${reasons.length > 1 ? ` (+${reasons.length - 1})` : ""}`);
    this.grade.className = `grade grade-${grade}`;
    renew(this.reasons, JSON.stringify([grade, reasons, server.front]), () => this.#why(grade, reasons, server.front));
    const directories = server.workspaces ?? [];
    const names = directories.map((one) => one.split("/").filter(Boolean).at(-1) ?? one);
    setText(this.where, plain(names.join(", ") || server.id, 80));
    setAttribute(this.where, "title", `${directories.map((one) => plain(one)).join("\n")}\nserver ${plain(server.id)}`);
    const since = duration(Math.max(0, this.model.now() - server.started_at));
    const crashed = server.front?.crashes?.length ?? 0;
    const worker = server.front ? `worker ${count(server.generation)}${crashed ? `, ${plural(crashed, "crash", "crashes")}` : ""} · ` : "";
    const change = server.front?.restarting ? "restarting · " : "";
    setText(this.front, `${change}${worker}up ${since} · ${server.version === "unknown" ? "" : `${plain(server.version, 40)} · `}pid ${server.pid}`);
    document.title = `${grade === "healthy" ? "" : "⚠ "}${plain(names[0] ?? "Vespera", 60)} · Vespera observer`;
  }

  #toggle() {
    this.reasons.hidden = !this.reasons.hidden;
    setAttribute(this.grade, "aria-expanded", String(!this.reasons.hidden));
  }

  #why(grade, reasons, front) {
    const shown = reasons.slice(0, REASONS_MAX).map((one) =>
      el("li", {}, el("b", { class: `word-${one.grade}`, text: one.grade }), el("b", { text: plain(one.component) }), el("span", { text: plain(one.what, 1000) })),
    );
    const made = [shown.length ? el("ul", {}, ...shown) : el("p", { text: grade === "healthy" ? "Every check passes." : "No reason was given." })];
    const crashes = front?.crashes ?? [];
    if (crashes.length > 0) {
      const last = crashes.slice(-CRASHES_MAX).reverse();
      made.push(
        el("h2", { text: "Workers that died, newest first; the front replaced each" }),
        el("ul", {}, ...last.map((one) => el("li", {}, el("time", { text: clock(one.at) }), el("span", { text: `generation ${one.generation}, pid ${one.pid}, ${plain(String(one.status))}` })))),
      );
    }
    return made;
  }

  #drawStatus() {
    const { state, since, why, nextTryAt } = this.feed.status;
    const now = Date.now() / 1000;
    const words = { connecting: "connecting", live: "live", silent: "silent", lost: "not connected" };
    setText(this.live.lastChild, words[state]);
    this.live.className = `live live-${state}`;
    document.documentElement.dataset.feed = state;
    this.banner.hidden = state === "live" || state === "connecting";
    if (this.banner.hidden) return;
    // Read aloud once; the seconds are for the eye.
    setText(this.bannerWords, state === "lost" ? `Not connected since ${clock(since)}: ${why}.` : `Silent since ${clock(since)}: ${why}.`);
    const next = nextTryAt && nextTryAt > now ? ` Next attempt in ${Math.ceil(nextTryAt - now)} s.` : "";
    setText(this.bannerTime, ` What you see is ${duration(Math.floor(now - since))} old.${next} `);
    this.banner.lastChild.hidden = state !== "lost";
  }
}
