/**
 * The strip of small charts: the last five minutes of what a server does, drawn by uPlot.
 *
 * Each card says its present value in words; under the pointer it says the value and the time there instead.
 */

import { el, setText } from "./dom.js";
import { clock, duration, percent, rate } from "./format.js";
import uPlot from "./vendor/uPlot.js";

const CHARTS = [
  { column: "utilisation", title: "Loop busy", write: percent, ceiling: 1 },
  { column: "lag_seconds", title: "Loop lag, at worst", write: duration, floor: 0.002 },
  { column: "messages_per_second", title: "Messages", write: (value) => `${rate(value)}/s`, floor: 5 },
  { column: "commits_per_second", title: "Commits", write: (value) => `${rate(value)}/s`, floor: 5 },
  { column: "in_flight", title: "Requests in flight", write: rate, floor: 3 },
  { column: "restarts", title: "Restarts", write: rate, floor: 3 },
];
const HEIGHT = 34;

export class Charts {
  constructor(model) {
    this.model = model;
    this.cards = CHARTS.map((told) => this.#card(told));
    this.element = el(
      "section",
      { class: "charts", "aria-label": "The last five minutes", tabindex: 0 },
      ...this.cards.map((card) => card.element),
    );
    this.mark = null;
  }

  /** Colours come from the style sheet, so another theme means other drawings. */
  recolour() {
    for (const card of this.cards) {
      card.plot?.destroy();
      card.plot = null;
    }
    this.mark = null;
    this.draw();
  }

  draw() {
    if (this.element.offsetParent === null) return;
    const times = this.model.series("at");
    const mark = `${this.model.life} ${times.length} ${times.at(-1)}`;
    if (mark === this.mark) return;
    this.mark = mark;
    for (const card of this.cards) {
      card.values = this.model.series(card.told.column);
      card.times = times;
      this.#say(card, null);
      if (times.length < 2) continue;
      const data = [times, card.values];
      if (card.plot) card.plot.setData(data);
      else card.plot = this.#plot(card, data);
    }
  }

  #card(told) {
    const value = el("b", { class: "chart-value", text: "–" });
    const when = el("span", { class: "chart-when" });
    const place = el("div", { class: "chart-place", "aria-hidden": "true" });
    const head = el("div", { class: "chart-head" }, el("span", { text: told.title }), when);
    const card = { told, value, when, place, plot: null, values: [], times: [] };
    card.element = el("div", { class: "chart" }, head, value, place);
    new ResizeObserver(() => card.plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    return card;
  }

  #say(card, index) {
    const shown = index ?? card.values.length - 1;
    const value = card.values[shown];
    setText(card.value, value === undefined || value === null ? "–" : card.told.write(value));
    setText(card.when, index === null ? "" : clock(card.times[index]));
  }

  #plot(card, data) {
    const { told, place } = card;
    const style = getComputedStyle(card.element);
    const stroke = style.getPropertyValue("color");
    const options = {
      width: place.clientWidth || 150,
      height: HEIGHT,
      pxAlign: false,
      padding: [2, 0, 1, 0],
      legend: { show: false },
      axes: [{ show: false }, { show: false }],
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, told.ceiling ?? Math.max(told.floor, (high ?? 0) * 1.1)] } },
      series: [{}, { stroke, width: 1.5, fill: stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)"), points: { show: false } }],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      hooks: { setCursor: [(plot) => this.#say(card, plot.cursor.idx ?? null)] },
    };
    return new uPlot(options, data, place);
  }
}
