/**
 * The third screen: one actor, or one other node of the tree: its mail, its events, its last crash, what it waits for.
 *
 * What is not in the feed is asked for while the screen is looked at. After a restart of the server the node is found
 * again by its path, because keys do not outlive that.
 */

import { mailboxFill, stateMark } from "./columns.js";
import { el, renew, setText } from "./dom.js";
import { clock, count, day, duration, lines, NONE, percent, plain, plural, rate } from "./format.js";
import { meter, stackList } from "./pieces.js";

const ASK_SECONDS = 2;
const CHILDREN_MAX = 200;

export class NodeScreen {
  constructor({ model, feed, isPaused }) {
    this.model = model;
    this.feed = feed;
    this.isPaused = isPaused;
    this.key = null;
    this.path = [];
    this.told = null;
    this.trail = el("nav", { class: "trail", "aria-label": "Where it is in the tree" });
    this.title = el("h2", { class: "node-title", id: "node-title" });
    this.badge = el("span", {});
    this.facts = el("dl", { class: "facts" });
    this.mail = section("Mailbox");
    this.stack = section("Waits here");
    this.events = section("Last events");
    this.crash = section("Last crash");
    this.context = section("Context");
    this.below = section("Below it");
    this.element = el(
      "div",
      { class: "screen scroll", tabindex: 0 },
      this.trail,
      el("div", { class: "node-head" }, this.title, this.badge),
      this.facts,
      el(
        "div",
        { class: "cards two" },
        el("div", {}, ...[this.mail, this.context, this.events, this.below].map((one) => one.element)),
        el("div", {}, ...[this.stack, this.crash].map((one) => one.element)),
      ),
    );
  }

  /** Turn to a node. */
  choose(key) {
    this.key = key;
    this.told = null;
    this.askedAt = -Infinity;
    const node = this.model.nodes.get(key);
    this.path = node ? this.model.path(node) : [];
    this.draw();
  }

  /** Another snapshot came: find the node again. */
  renew() {
    const node = this.path.length > 0 ? this.model.find(this.path) : this.model.nodes.get(this.key);
    if (node && this.path.length === 0) this.path = this.model.path(node);
    // Its number may be another one's by now.
    this.key = node ? node.key : null;
    this.last = null;
    this.told = null;
    this.askedAt = -Infinity;
  }

  draw() {
    const { model } = this;
    if (this.key === null && this.path.length > 0) this.key = model.find(this.path)?.key ?? null;
    const node = model.nodes.get(this.key);
    if (node) this.last = node;
    const shown = node ?? (this.key !== null && this.last?.key === this.key ? this.last : null);
    if (!shown) {
      setText(this.title, this.path.length > 0 ? `${plain(this.path.at(-1), 80)} is not in the tree now` : "There is no such node");
      setText(this.badge, "");
      for (const one of [this.trail, this.facts]) renew(one, "none", () => []);
      for (const one of this.#sections()) one.element.hidden = true;
      return;
    }
    setText(this.title, plain(shown.name));
    setText(this.badge, node ? shown.state : "ended");
    this.badge.className = node ? stateMark(shown.state) : "state state-other";
    this.#drawTrail(shown);
    this.#drawFacts(shown);
    this.#drawTold(shown);
    this.#drawBelow(shown);
    if (node) this.#ask(node);
  }

  #sections() {
    return [this.mail, this.context, this.stack, this.events, this.crash, this.below];
  }

  #ask(node) {
    const soon = performance.now() - (this.askedAt ?? -Infinity) >= ASK_SECONDS * 1000;
    const reborn = node.incarnation !== this.askedIncarnation;
    if (node.parent === null || this.asking || this.isPaused() || !(soon || reborn)) return;
    this.asking = true;
    this.askedAt = performance.now();
    this.askedIncarnation = node.incarnation;
    const { key } = this;
    this.feed
      .ask(`actor?key=${encodeURIComponent(key)}`)
      .then((told) => {
        if (told !== null && key === this.key) this.told = told;
      })
      .catch(() => {}) // That the server is away is told by the feed, once, for the whole page.
      .finally(() => {
        this.asking = false;
        if (this.key === key) this.draw();
      });
  }

  #drawTrail(node) {
    const above = [];
    for (let one = this.model.nodes.get(node.parent); one; one = this.model.nodes.get(one.parent)) above.unshift(one);
    renew(this.trail, above.map((one) => one.key).join(), () =>
      above.flatMap((one) => [
        el("a", { href: `#/node/${one.key}`, text: plain(one.name, 60) }),
        el("span", { "aria-hidden": "true", text: " › " }),
      ]),
    );
  }

  #drawFacts(node) {
    const { model } = this;
    const perSecond = model.grown(node, "handled");
    const facts = [["Kind", plain(node.kind || node.type)]];
    if (node.kind) {
      facts.push(["Mailbox", node.capacity ? `${count(node.mailbox)} of ${count(node.capacity)}` : count(node.mailbox)]);
      facts.push(["Handled", `${count(node.handled)}${perSecond === null ? "" : ` · ${rate(perSecond)}/s`}`]);
      facts.push(["Busy for", node.busy_seconds ? duration(model.busy(node)) : "idle"]);
    } else {
      facts.push(["Children", count(node.children.length)]);
    }
    facts.push(["Restarts", count(node.restarts)], ["Incarnation", count(node.incarnation)], ["Alive for", duration(model.lived(node))]);
    if (node.detail) facts.push(["Says of itself", plain(node.detail, 2000)]);
    if (this.facts.children.length !== facts.length) {
      this.facts.replaceChildren(...facts.map(() => el("div", {}, el("dt"), el("dd"))));
    }
    facts.forEach(([name, value], index) => {
      setText(this.facts.children[index].children[0], name);
      setText(this.facts.children[index].children[1], value);
    });
  }

  #drawTold(node) {
    const { told } = this;
    for (const one of [this.mail, this.stack]) one.element.hidden = !node.kind;
    // What a supervisor did is in the log; what was done to a child is asked for, because names are not unique.
    const did = node.type === "supervisor" ? this.model.log.filter((entry) => entry.supervisor === node.name) : [];
    this.#drawEvents(did.length > 0 ? did : (told?.events ?? []));
    this.#drawCrash(told);
    this.#drawContext(told?.context ?? null);
    if (!node.kind) return;
    this.#drawMail(node);
    const waits = told ? told.await_stack : [];
    renew(this.stack.body, JSON.stringify(told && waits), () => {
      if (!told) return [el("p", { class: "quiet", text: "Asking…" })];
      if (waits.length === 0) return [el("p", { class: "quiet", text: "It has no task that waits now." })];
      return [stackList(waits.map((frame) => `${frame.file}:${frame.line} in ${frame.function}`), "What it waits for, innermost last")];
    });
  }

  #drawCrash(told) {
    this.crash.element.hidden = false;
    renew(this.crash.body, JSON.stringify(told && told.crash), () => {
      if (!told?.crash) return [el("p", { class: "quiet", text: "No crash is known." })];
      const { at, reason, traceback } = told.crash;
      return [
        el("p", {}, el("time", { text: day(at) }), ` · ${plain(reason ?? "", 1000)}`),
        el("pre", { class: "traceback", tabindex: 0, "aria-label": "Traceback", text: lines(traceback ?? "") }),
      ];
    });
  }

  #drawContext(context) {
    this.context.element.hidden = context === null;
    if (context === null) return;
    renew(this.context.body, JSON.stringify(context), () => [
      meter(context.fill_ratio, `${percent(context.fill_ratio)} of its context`),
      el("p", { class: "quiet", text: `${count(context.used_tokens)} of ${count(context.limit_tokens)} tokens` }),
    ]);
  }

  #drawMail(node) {
    const box = this.told?.mailbox;
    const peek = box?.peek ?? [];
    renew(this.mail.body, JSON.stringify([box, node.mailbox, node.capacity]), () => {
      const fill = mailboxFill(node);
      const made = [meter(fill, fill === null ? `${plural(node.mailbox ?? 0, "message")}, no limit` : `${count(node.mailbox)} of ${count(node.capacity)} messages`)];
      if (peek.length === 0) return [...made, el("p", { class: "quiet", text: this.told ? "Nothing waits." : "Asking…" })];
      const rows = peek.map((one) =>
        el(
          "tr",
          {},
          el("td", { text: plain(one.type) }),
          el("td", { class: "number", text: duration(one.age_seconds) }),
          el("td", { text: plain(one.from ?? NONE) }),
        ),
      );
      const heads = ["Message", "Waits", "From"].map((text) => el("th", { scope: "col", class: text === "Waits" ? "number" : null, text }));
      return [
        ...made,
        el("table", {}, el("caption", { text: "First in line: types only, contents are never shown" }), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)),
      ];
    });
  }

  #drawEvents(events) {
    this.events.element.hidden = false;
    renew(this.events.body, events.map((entry) => entry.seq).join(), () => {
      if (events.length === 0) return [el("p", { class: "quiet", text: "Supervision has said nothing of it lately." })];
      const told = events.slice(-30).reverse();
      return [
        el(
          "ol",
          { class: "events" },
          ...told.map((entry) =>
            el("li", {}, el("time", { text: clock(entry.at) }), el("b", { text: plain(entry.kind.replaceAll("_", " ")) }), el("span", { text: plain(entry.reason ?? "", 500) })),
          ),
        ),
      ];
    });
  }

  #drawBelow(node) {
    this.below.element.hidden = node.children.length === 0;
    const shown = node.children.slice(0, CHILDREN_MAX);
    renew(this.below.body, `${shown.map((one) => `${one.key}${one.state}`).join()} ${node.children.length}`, () => [
      el(
        "ul",
        { class: "below" },
        ...shown.map((one) =>
          el("li", {}, el("a", { href: `#/node/${one.key}`, text: plain(one.name, 80) }), el("span", { class: stateMark(one.state), text: one.state })),
        ),
      ),
      node.children.length > shown.length ? el("p", { class: "quiet", text: `and ${count(node.children.length - shown.length)} more; filter the tree for them` }) : "",
    ]);
  }
}

function section(title) {
  const body = el("div");
  return { body, element: el("section", { class: "card" }, el("h3", { text: title }), body) };
}
