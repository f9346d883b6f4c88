/** The sixth screen: models and what they cost, and how full each actor's context is. */

import { el, renew } from "./dom.js";
import { count, percent, plain } from "./format.js";
import { meter } from "./pieces.js";

const SHOWN_MAX = 200;

function money(one) {
  const known = `$${one.cost_usd.toFixed(4)}`;
  return one.unpriced > 0 ? `${known} and ${count(one.unpriced)} unknown` : known;
}

export class ModelsScreen {
  constructor({ model }) {
    this.model = model;
    this.models = el("div");
    this.contexts = el("div");
    this.cost = el("div");
    const card = (title, body) => el("section", { class: title === "Contexts" ? "card across" : "card" }, el("h3", { text: title }), body);
    this.element = el(
      "div",
      { class: "screen scroll", tabindex: 0 },
      el("div", { class: "cards" }, card("Models", this.models), card("Budget and cost", this.cost), card("Contexts", this.contexts)),
    );
  }

  renew() {}

  draw() {
    const { models, context } = this.model;
    renew(this.models, JSON.stringify(models), () => this.#models(models));
    renew(this.cost, JSON.stringify(models), () => this.#cost(models));
    renew(this.contexts, JSON.stringify(context), () => this.#contexts(context));
  }

  #models(models) {
    if (models.length === 0) {
      return [
        el("p", { class: "big", text: "None asked" }),
        el("p", { class: "quiet", text: "No provider is configured, or nobody has wanted a model since this server began." }),
      ];
    }
    const rows = models.slice(0, SHOWN_MAX).map((one) => {
      const circuit = one.why && one.circuit !== "closed" ? `${one.circuit}: ${one.why}` : one.circuit;
      const outcomes = Object.entries(one.outcomes ?? {}).map(([name, number]) => `${count(number)} ${name}`);
      return el(
        "tr",
        {},
        el("th", { scope: "row", text: plain(`${one.provider}/${one.model}`) }),
        el("td", { text: plain(circuit) }),
        el("td", { class: "number", text: count(one.in_flight) }),
        el("td", { text: plain(outcomes.join(", ") || "not asked") }),
        el("td", { class: "number", text: `${count(one.input_tokens)} in, ${count(one.output_tokens)} out` }),
        el("td", { class: "number", text: money(one) }),
      );
    });
    const heads = ["Model", "Circuit", "In flight", "Requests", "Tokens", "Cost"].map((text) => el("th", { scope: "col", text }));
    return [el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows))];
  }

  #cost(models) {
    const spent = models.reduce((sum, one) => sum + one.cost_usd, 0);
    const unpriced = models.reduce((sum, one) => sum + one.unpriced, 0);
    const rest = unpriced > 0 ? `, and ${count(unpriced)} answers whose price is not known` : "";
    return [
      el("p", { class: "big", text: `$${spent.toFixed(4)}` }),
      el("p", { class: "quiet", text: `since this server began${rest}; \u2018vespera providers list\u2019 tells of limits` }),
    ];
  }

  #contexts(context) {
    if (context.length === 0) return [el("p", { class: "quiet", text: "No actor holds a context now." })];
    const fullest = [...context].sort((one, two) => two.fill_ratio - one.fill_ratio);
    const rows = fullest.slice(0, SHOWN_MAX).map((one) =>
      el(
        "tr",
        {},
        el("th", { scope: "row", text: plain(one.actor) }),
        el("td", { text: plain(one.role ?? "") }),
        el("td", { class: "number", text: `${count(one.used_tokens)} of ${count(one.limit_tokens)}` }),
        el("td", {}, meter(one.fill_ratio, percent(one.fill_ratio))),
      ),
    );
    const heads = ["Actor", "Role", "Tokens", "Full"].map((text) => el("th", { scope: "col", class: text === "Tokens" ? "number" : null, text }));
    const made = [el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows))];
    if (fullest.length > SHOWN_MAX) made.push(el("p", { class: "quiet", text: `and ${count(fullest.length - SHOWN_MAX)} less full ones` }));
    return made;
  }
}
