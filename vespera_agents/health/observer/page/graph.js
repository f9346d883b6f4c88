/**
 * Draws which task waits for which: layers from left to right, each task as far left as what it waits for allows.
 *
 * `layers` is pure. Within a layer tasks are put near those that they wait for (the barycentre, twice each way), which
 * is enough for plans; it is no solver.
 */

import { svg } from "./dom.js";
import { plain } from "./format.js";

const WIDTH = 168;
const HEIGHT = 34;
const ACROSS = 64;
const BETWEEN = 14;
const MARGIN = 12;
const LETTERS = 22;
const SWEEPS = 4;

/** Put tasks into layers; one that waits for itself in a circle, which the server refuses, goes where it is met. */
export function layers(tasks) {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const depths = new Map();
  const rows = [];
  for (const first of tasks) {
    const pending = [first];
    while (pending.length > 0) {
      const task = pending.at(-1);
      if (depths.get(task.id) >= 0) {
        pending.pop();
        continue;
      }
      const needed = task.depends_on.map((id) => byId.get(id)).filter(Boolean);
      const open = needed.filter((one) => !depths.has(one.id));
      if (open.length > 0 && !depths.has(task.id)) {
        depths.set(task.id, -1);
        pending.push(...open);
        continue;
      }
      const depth = Math.max(-1, ...needed.map((one) => depths.get(one.id) ?? -1)) + 1;
      depths.set(task.id, depth);
      pending.pop();
    }
  }
  for (const task of tasks) (rows[depths.get(task.id)] ??= []).push(task);
  const found = [...rows].map((row) => row ?? []);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) straighten(found, sweep % 2 === 1);
  return found;
}

function straighten(found, isBackwards) {
  const places = new Map();
  const settle = (row) => row.forEach((task, index) => places.set(task.id, index - row.length / 2));
  for (const row of found) settle(row);
  const after = new Map();
  for (const task of found.flat()) for (const id of task.depends_on) (after.get(id) ?? after.set(id, []).get(id)).push(task.id);
  const order = isBackwards ? [...found].reverse() : found;
  for (const row of order) {
    const weights = new Map(
      row.map((task) => {
        const near = (isBackwards ? (after.get(task.id) ?? []) : task.depends_on).map((id) => places.get(id)).filter((one) => one !== undefined);
        return [task.id, near.length ? near.reduce((sum, one) => sum + one, 0) / near.length : places.get(task.id)];
      }),
    );
    row.sort((one, two) => weights.get(one.id) - weights.get(two.id));
    settle(row);
  }
}

/** Draw the graph; `chosen` is the id of the task whose ties stand out. */
export function drawGraph(tasks, chosen, label, choose) {
  const found = layers(tasks);
  const tallest = Math.max(1, ...found.map((row) => row.length));
  const height = tallest * (HEIGHT + BETWEEN) - BETWEEN + 2 * MARGIN;
  const width = found.length * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN;
  const places = new Map();
  found.forEach((row, layer) => {
    const top = (height - row.length * (HEIGHT + BETWEEN) + BETWEEN) / 2;
    row.forEach((task, index) => places.set(task.id, [MARGIN + layer * (WIDTH + ACROSS), top + index * (HEIGHT + BETWEEN)]));
  });
  const ties = [];
  for (const task of tasks) {
    const [toX, toY] = places.get(task.id);
    for (const id of task.depends_on) {
      if (!places.has(id)) continue;
      const [fromX, fromY] = places.get(id);
      const [x1, y1, x2, y2] = [fromX + WIDTH, fromY + HEIGHT / 2, toX, toY + HEIGHT / 2];
      const bend = Math.max(24, (x2 - x1) / 2);
      const isNear = chosen === id || chosen === task.id;
      ties.push(svg("path", { class: `tie${isNear ? " near" : ""}`, d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2 - 3},${y2}` }));
    }
  }
  const boxes = tasks.map((task) => {
    const [x, y] = places.get(task.id);
    return svg(
      "g",
      { class: `task-box task-${task.status}${chosen === task.id ? " chosen" : ""}`, transform: `translate(${x},${y})`, onclick: () => choose(task.id) },
      svg("title", { text: `${plain(task.title)} (${task.status})` }),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: 7 }),
      svg("circle", { cx: 15, cy: HEIGHT / 2, r: 4.5 }),
      svg("text", { x: 28, y: HEIGHT / 2 + 4, text: plain(task.title, LETTERS) }),
    );
  });
  return svg("svg", { class: "graph", role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` }, ...ties, ...boxes);
}
