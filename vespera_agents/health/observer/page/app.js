/**
 * Puts the page together: one feed fills one model, and what is looked at is drawn once per frame at most.
 *
 * Also the tabs, the keys that work everywhere, the theme, the pause and the help.
 */

import { ActorsScreen } from "./actors.js";
import { Charts } from "./charts.js";
import { el, perFrame, remember, remembered, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { plain } from "./format.js";
import { Header } from "./header.js";
import { LogScreen } from "./log.js";
import { LoopScreen } from "./loop.js";
import { Model } from "./model.js";
import { ModelsScreen } from "./models.js";
import { NodeScreen } from "./node.js";
import { TasksScreen } from "./tasks.js";
import { TreeScreen } from "./tree.js";

const THEMES = ["system", "light", "dark"];
const HELD_MAX = 600;
const KEYS = [
  ["/", "go to the filter"],
  ["1 … 7", "go to a screen"],
  ["↑ ↓", "go through a tree or a table; Page Up and Down, Home and End, too"],
  ["→ ←", "unfold and fold in the tree, or go to the parent"],
  ["*", "unfold everything beside the chosen row"],
  ["Enter", "open the chosen row"],
  ["Escape", "empty the filter, close this help, go back from an actor to the list"],
  ["p", "pause and go on"],
  ["t", "system colours, light, dark"],
  ["?", "this help"],
];

const model = new Model();
let isPaused = false;
let held = [];

const feed = new Feed({
  snapshot: (snapshot) => {
    held = [];
    load(snapshot);
  },
  change: (change) => {
    if (isPaused) {
      held.push(change);
      if (held.length > HELD_MAX) togglePause();
      return;
    }
    model.change(change);
    draw();
  },
  status: () => draw(),
});

const shared = { model, feed, open: (node) => go(`node/${node.key}`), isPaused: () => isPaused };
const screens = [
  ["tree", "Tree", new TreeScreen(shared)],
  ["actors", "Actors", new ActorsScreen(shared)],
  ["node", "One actor", new NodeScreen(shared)],
  ["log", "Log", new LogScreen(shared)],
  ["tasks", "Tasks", new TasksScreen(shared)],
  ["models", "Models", new ModelsScreen(shared)],
  ["loop", "Loop", new LoopScreen(shared)],
].map(([id, title, screen]) => ({ id, title, screen }));
const tree = screens[0].screen;
let current = screens[0];
let before = "tree"; // where one comes back to from an actor

const charts = new Charts(model);
const pauseButton = el("button", { type: "button", class: "quiet-button", text: "Pause", "aria-pressed": "false", onclick: togglePause });
const themeButton = el("button", { type: "button", class: "quiet-button", onclick: nextTheme });
const helpButton = el("button", { type: "button", class: "quiet-button", text: "Help", onclick: () => help.showModal() });
const header = new Header({ model, feed, buttons: [pauseButton, themeButton, helpButton] });
const news = el("div", { class: "visually-hidden", role: "status" });

const tabs = screens.map(({ id, title }, index) =>
  el("button", {
    type: "button",
    role: "tab",
    id: `tab-${id}`,
    "aria-controls": `panel-${id}`,
    "aria-keyshortcuts": String(index + 1),
    text: title,
    onclick: () => go(id),
  }),
);
const panels = screens.map(({ id, title, screen }) =>
  el("div", { role: "tabpanel", id: `panel-${id}`, class: "panel", "aria-labelledby": `tab-${id}`, tabindex: -1, hidden: true }, el("h2", { class: "visually-hidden", text: title }), screen.element),
);
const singleKeys = el("input", { type: "checkbox", id: "single-keys", onchange: () => remember("keys", singleKeys.checked ? null : "off") });
singleKeys.checked = remembered("keys") !== "off";
const help = el(
  "dialog",
  { class: "help", "aria-labelledby": "help-title" },
  el("h2", { id: "help-title", text: "Keys" }),
  el("dl", {}, ...KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })))),
  el("p", {}, singleKeys, el("label", { for: "single-keys", text: " Keys for single letters work" })),
  el("p", { class: "quiet", text: "A filter takes words that must all occur; kind:Specialist, state:running and type:supervisor look into one column." }),
  el("p", { class: "end" }, el("button", { type: "button", text: "Close", onclick: () => help.close() })),
);

const draw = perFrame(() => {
  header.draw();
  if (!model.ready) return;
  charts.draw();
  current.screen.draw();
});

function load(snapshot) {
  const paths = model.ready ? tree.paths() : null;
  const reborn = model.load(snapshot);
  tree.renew(paths);
  for (const { screen } of screens.slice(1)) screen.renew();
  if (current.id === "node" && current.screen.key === null && current.screen.path.length === 0) chooseBusiest();
  else if (current.id === "node" && current.screen.key !== null) history.replaceState(null, "", `#/node/${current.screen.key}`);
  if (reborn) setText(news, `The server has started again as ${plain(snapshot.life, 80)}.`);
  document.body.dataset.life = snapshot.life;
  draw();
}

function togglePause() {
  isPaused = !isPaused;
  setAttribute(pauseButton, "aria-pressed", String(isPaused));
  setText(pauseButton, isPaused ? "Go on" : "Pause");
  document.documentElement.classList.toggle("paused", isPaused);
  if (isPaused) return;
  for (const change of held) model.change(change);
  held = [];
  draw();
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setText(themeButton, { system: "Auto", light: "Light", dark: "Dark" }[theme]);
  setAttribute(themeButton, "title", "Colours: as the system has them, light, dark (t)");
  charts.recolour();
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(remembered("theme") ?? document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  remember("theme", theme === "system" ? null : theme);
  setTheme(theme);
}

function go(route) {
  if (location.hash !== `#/${route}`) history.pushState(null, "", `#/${route}`);
  follow();
}

/** Show what the address says. */
function follow() {
  const [id, argument] = location.hash.replace(/^#\//, "").split("/");
  const found = screens.findIndex((one) => one.id === id);
  const index = found < 0 ? 0 : found;
  if (current.id !== "node") before = current.id;
  current = screens[index];
  tabs.forEach((tab, place) => {
    setAttribute(tab, "aria-selected", String(place === index));
    setAttribute(tab, "tabindex", place === index ? "0" : "-1");
    panels[place].hidden = place !== index;
  });
  tabs[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  if (id === "node" && argument !== undefined && Number(argument) !== current.screen.key) current.screen.choose(Number(argument));
  if (id === "node" && argument === undefined && current.screen.key === null) chooseBusiest();
  draw();
}

/** Who opens the page of one actor without saying which gets the one with the most mail, or the top of the tree. */
function chooseBusiest() {
  const actors = model.actors();
  const busiest = actors.reduce((best, node) => ((node.mailbox ?? 0) > (best.mailbox ?? 0) ? node : best), actors[0] ?? model.roots[0]);
  if (busiest) go(`node/${busiest.key}`);
}

/** Put the focus where the keys of the present screen work. */
function focusScreen() {
  panels[screens.indexOf(current)].querySelector(".grid, .scroll").focus();
}

function onTabKey(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  const index = screens.indexOf(current);
  const last = screens.length - 1;
  const next = event.key === "Home" ? 0 : event.key === "End" ? last : event.key in steps ? (index + steps[event.key] + screens.length) % screens.length : null;
  if (next === null) return;
  event.preventDefault();
  go(screens[next].id);
  tabs[next].focus();
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
  if (event.key === "Escape" && current.id === "node") {
    go(before);
    focusScreen();
    return;
  }
  if (!singleKeys.checked) return;
  const number = Number(event.key);
  if (event.key === "/" && current.screen.filter) current.screen.filter.focus();
  else if (event.key === "?") help.showModal();
  else if (event.key === "p") togglePause();
  else if (event.key === "t") nextTheme();
  else if (number >= 1 && number <= screens.length) {
    go(screens[number - 1].id);
    focusScreen();
  } else return;
  event.preventDefault();
}

const main = el("main", { id: "content", tabindex: -1 }, charts.element, el("div", { class: "tabs", role: "tablist", "aria-label": "Screens", onkeydown: onTabKey }, ...tabs), ...panels);
const skip = el("a", { class: "skip", href: "#content", text: "Skip to the screen", onclick: (event) => {
  event.preventDefault();
  focusScreen();
} });
document.body.replaceChildren(skip, header.element, main, news, help);
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", follow);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.recolour());
setInterval(draw, 1000); // Ages grow while nothing else changes.
setTheme(THEMES.includes(remembered("theme")) ? remembered("theme") : "system");
follow();
feed.run();
