// The walks: what a person does with the page and must then see. Each gets a page that has been opened.
//
// They look at what is shown, by role and by name where that is possible, and not at how it is made.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const SCREENS = ["tree", "actors", "node", "log", "tasks", "models", "loop"];

const shown = (page) => page.locator(".panel:not([hidden])");
const row = (page, name) =>
  shown(page).locator(".row:not([hidden])").filter({ has: page.locator(".col-name .shown", { hasText: new RegExp(`^${name}$`) }) });
const cell = (page, name, column) => row(page, name).locator(`.col-${column}`);
const names = (page) =>
  shown(page)
    .locator(".row:not([hidden])")
    .evaluateAll((rows) =>
      rows
        .sort((one, two) => one.ariaRowIndex - two.ariaRowIndex)
        .map((one) => one.querySelector(".col-name .shown").textContent),
    );
const open = (page, id) => page.locator(`#tab-${id}`).click();
const isLive = (page) => page.locator("html[data-feed=live]").waitFor();

/** Bring somebody into sight: of a long tree only a part exists. */
async function find(page, name) {
  await page.locator("#tree-filter").fill(name);
  await row(page, name).waitFor();
}

/** Press the first link that matches; rows are used again for others, so one that was found may be hidden by now. */
async function follow(link) {
  await until("a link to press", () => link.first().click({ timeout: 600 }).then(() => true, () => false));
}

/** Check that every number of a table can be read whole. */
async function readable(page) {
  const cut = (numbers) => numbers.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent);
  assert.deepEqual(await shown(page).locator(".row:not([hidden]) .number .shown").evaluateAll(cut), []);
}

/** Wait until a condition holds, which is looked at again and again. */
async function until(what, condition) {
  for (let attempt = 0; attempt < 120; attempt += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`never came: ${what}`);
}

export async function tree({ page }) {
  await row(page, "root").waitFor();
  const fills = shown(page).locator(".row:not([hidden]) .col-context .shown");
  await until("how full a context is", async () => (await fills.allTextContents()).some((text) => /^\d\.\d %$/.test(text)));
  await readable(page);
  const grid = shown(page).getByRole("treegrid");
  await grid.press("End");
  await row(page, "bob").waitFor();
  assert.equal(await row(page, "bob").getAttribute("aria-level"), "3");
  await row(page, "stage").locator(".twisty").click();
  await until("bob is folded away", async () => (await row(page, "bob").count()) === 0);
  assert.equal(await row(page, "stage").getAttribute("aria-expanded"), "false");
  await row(page, "stage").locator(".twisty").click();
  await row(page, "bob").waitFor();
  await page.getByRole("button", { name: "Fold all", exact: true }).click();
  await until("all is folded", async () => (await row(page, "bob").count()) === 0);
  await page.getByRole("searchbox", { name: "Filter the tree" }).fill("kind:player BO");
  await row(page, "bob").waitFor();
  await until("bob and those above him", async () => (await names(page)).join() === "root,stage,bob");
  assert.match(await shown(page).locator(".counted").textContent(), /^1 match in \d+ nodes$/);
  await page.getByRole("searchbox").fill("nobody is called that");
  await page.getByText("Nothing in the tree matches").waitFor();
  await page.getByRole("searchbox").press("Escape");
  await row(page, "root").waitFor();
}

export async function actors({ page, act }) {
  await act("work", "carol", 30, 25);
  await open(page, "actors");
  await until("carol has the most mail", async () => (await names(page))[0] === "carol");
  await until("how much", async () => /^2[45]$/.test(await cell(page, "carol", "mailbox").textContent()));
  await readable(page);
  const sort = (name) => page.getByRole("columnheader", { name }).getByRole("button").click();
  await sort("Name");
  await until("by name", async () => (await names(page)).slice(0, 3).join() === "alice,bob,carol");
  assert.equal(await page.getByRole("columnheader", { name: "Name" }).getAttribute("aria-sort"), "ascending");
  await sort("Name");
  await until("turned round", async () => (await names(page)).indexOf("bob") < (await names(page)).indexOf("alice"));
  await page.getByRole("searchbox", { name: "Filter actors" }).fill("alic");
  await until("filtered", async () => (await names(page)).join() === "alice");
  await page.getByRole("searchbox").fill("");
  await page.getByLabel("Kind").selectOption("Player");
  await until("one kind", async () => (await names(page)).length === 4);
  await page.getByLabel("State").selectOption("running");
  await page.getByLabel("Figures").selectOption("1");
  await act("work", "alice", 0, 30);
  await until("a rate", async () => /\/s$/.test(await cell(page, "alice", "handled").textContent()));
}

export async function oneActor({ page, act }) {
  await act("wait_for", "dave", 20);
  await act("work", "dave", 1, 3);
  await act("crash", "alice", "the lights went out");
  await find(page, "dave");
  await follow(row(page, "dave").getByRole("link"));
  await page.getByRole("heading", { name: "dave" }).waitFor();
  const waits = page.getByRole("list", { name: "What it waits for, innermost last" });
  await waits.waitFor();
  assert.match(await waits.locator(".look-here").textContent(), /stage\.py:\d+ in Player\.(work|answer)/);
  await page.getByRole("cell", { name: "Work", exact: true }).first().waitFor();
  await page.getByRole("navigation").getByRole("link", { name: "stage" }).click();
  await page.getByRole("heading", { name: "stage" }).waitFor();
  await shown(page).getByRole("link", { name: "alice" }).click();
  const traceback = page.locator(".traceback");
  await traceback.waitFor();
  assert.match(await traceback.textContent(), /RuntimeError: the lights went out/);
  await page.getByText("child crashed").first().waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "stage" }).waitFor();
}

export async function restart({ page, act }) {
  await find(page, "bob");
  const before = Number((await cell(page, "bob", "restarts").textContent()) || 0);
  await act("crash", "bob", "he forgot his words");
  await page.locator(".row.reborn").filter({ hasText: "bob" }).waitFor();
  await until("one restart more", async () => (await cell(page, "bob", "restarts").textContent()) === String(before + 1));
  await open(page, "log");
  await page.getByRole("searchbox", { name: "Filter the log" }).fill("forgot");
  const entry = shown(page).locator(".row:not([hidden])").filter({ hasText: "child crashed" }).first();
  await entry.waitFor();
  assert.match(await entry.textContent(), /bob.*stage.*he forgot his words/);
  await follow(entry);
  assert.match(await page.getByRole("complementary", { name: "The chosen entry" }).textContent(), /incarnation/);
}

export async function blockedLoop({ page, act }) {
  await open(page, "loop");
  await page.getByText("of its time busy").waitFor();
  // On a busy machine others may have blocked it, too, also since: only the newest is unfolded.
  const entry = page.locator("details").filter({ has: page.locator("summary").filter({ hasText: "carla" }) });
  assert.equal(await entry.count(), 0);
  await act("block", "carla", 1.5);
  await entry.waitFor();
  const stack = entry.getByRole("list", { name: "Where it was, innermost last", includeHidden: true });
  assert.match(await stack.locator(".look-here").textContent(), /stage\.py:\d+ in waste_the_loops_time/);
  await page.getByRole("button", { name: "Ask every actor now" }).click();
  await page.getByRole("status").filter({ hasText: /\d+ actors at \d+ lines?, looked at in/ }).waitFor();
}

export async function tasks({ page }) {
  await page.getByRole("tab", { name: "Tasks" }).click();
  await page.getByLabel("Session").waitFor();
  const card = (title) => page.getByRole("button", { name: new RegExp(`^${title}`) });
  await card("lay the table").waitFor();
  await until("the first is done", async () => /completed/.test(await card("lay the table").textContent()));
  await card("wash up").click();
  assert.match(await page.getByRole("region", { name: "The chosen task" }).textContent(), /Waits for.*eat/s);
  const graph = page.getByRole("img", { name: /\d tasks, 2 dependencies/ });
  await graph.waitFor();
  assert.equal(await graph.locator(".tie.near").count(), 1);
  await open(page, "models");
  await page.getByText("None asked").waitFor();
}

// Only keys, from the address line on.
export async function keyboard({ page }) {
  await row(page, "root").waitFor();
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const active = () => page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.querySelector(".shown")?.textContent);
  await press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the screen");
  await press("Enter", "ArrowDown");
  await until("the first row", async () => (await active()) === "root");
  await press("ArrowLeft");
  await until("folded", async () => (await names(page)).length === 1);
  await press("ArrowRight");
  await until("unfolded", async () => (await names(page)).length > 1);
  await press("End");
  await until("the last row", async () => (await active()) !== "root");
  await press("Home");
  await until("the first row again", async () => (await active()) === "root");
  await press("/");
  await page.keyboard.type("alice");
  await until("found", async () => (await names(page)).includes("alice"));
  await press("1", "Tab"); // Within the filter a digit is a digit.
  assert.equal(await page.locator("#tree-filter").inputValue(), "alice1");
  await page.locator("#tree-filter").focus();
  await press("Backspace");
  await until("found again", async () => (await names(page)).includes("alice"));
  await press("Tab", "Tab", "Tab", "End");
  await until("alice is chosen", async () => (await active()) === "alice");
  await press("Enter");
  await page.getByRole("heading", { name: "alice" }).waitFor();
  await press("2");
  await until("the actors have the focus", () => page.evaluate(() => document.activeElement.getAttribute("aria-label") === "Actors"));
  await press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.getByRole("tab", { name: "Actors" }).focus();
  await press("ArrowRight", "ArrowRight");
  await until("two tabs further", async () => (await page.getByRole("tab", { selected: true }).textContent()) === "Log");
  await press("t", "t");
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await press("p");
  await page.getByRole("button", { name: "Go on", pressed: true }).waitFor();
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none", "the focus is seen");
}

// To be understood by ear, and to be read in both themes.
export async function accessible({ page, require, options }) {
  await row(page, "root").waitFor();
  await isLive(page);
  await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  const found = [];
  const look = async (where, rules = {}) => {
    const { violations } = await page.evaluate((given) => window.axe.run(document, given), { resultTypes: ["violations"], ...rules });
    for (const one of violations) {
      if (["serious", "critical"].includes(one.impact)) found.push(`${where}: ${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join("; ").slice(0, 500)}`);
    }
  };
  for (const id of SCREENS) {
    await open(page, id);
    await until("all that is asked for", async () => !/Asking/.test(await shown(page).textContent()));
    await look(id);
    if (options.phone) continue;
    // What a dark screen can have that a light one has not is a matter of colours.
    await page.emulateMedia({ colorScheme: "dark" });
    await look(`${id}, dark`, { runOnly: ["color-contrast", "link-in-text-block"] });
    await page.emulateMedia({ colorScheme: "light" });
  }
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await look("help");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels too wide`);
  assert.deepEqual(found, []);
}

export async function hostile({ page, options }) {
  const first = (name) => name.slice(0, 12).split(/[\n\u202e]/)[0];
  await row(page, "root").waitFor();
  await page.locator("#tree-filter").fill("kind:player");
  for (const name of options.names.filter(first)) {
    await until(`${first(name)} is shown`, async () => (await names(page)).some((one) => one.startsWith(first(name))));
  }
  const all = (await names(page)).join("\n");
  assert.ok(!/[\u202e\u0000]/.test(all), "what turns or hides text is written out");
  assert.ok(all.includes("two\\nlines"), all);
  await open(page, "actors");
  await page.locator("#actors-filter").fill("kind:player <script>");
  await follow(shown(page).locator(".row:not([hidden]) a", { hasText: "<script>" }));
  await page.getByRole("heading", { name: "<script>" }).waitFor();
  await page.getByText("of 40 messages").waitFor();
  await open(page, "log");
  await shown(page).locator(".row").first().waitFor();
  await open(page, "tasks");
  await page.getByText("<b>bold</b>").first().waitFor();
  const alien = await page.evaluate(() => ({
    scripts: document.scripts.length,
    images: document.images.length,
    bold: [...document.querySelectorAll("b")].some((one) => one.textContent === "bold"),
    wide: document.documentElement.scrollWidth > window.innerWidth,
    touched: window.touched ?? null,
  }));
  assert.deepEqual(alien, { scripts: 1, images: 0, bold: false, wide: false, touched: null });
}

export async function reconnects({ page, act }) {
  await row(page, "root").waitFor();
  await shown(page).getByRole("treegrid").press("End");
  await row(page, "stage").locator(".twisty").click();
  await open(page, "actors");
  await until("actors", async () => (await names(page)).length > 0);
  const life = await page.locator("body").getAttribute("data-life");
  await act("freeze");
  await page.getByText(/^Silent since \d\d:\d\d:\d\d: connected, but nothing comes/).waitFor();
  await act("thaw");
  await isLive(page);
  assert.equal(await page.locator("body").getAttribute("data-life"), life);
  await follow(row(page, "alice").getByRole("link"));
  await page.getByRole("heading", { name: "alice", exact: true }).waitFor();
  await act("kill");
  const banner = page.getByText(/^Not connected since \d\d:\d\d:\d\d: the server does not answer/);
  await banner.waitFor();
  assert.match(await page.locator(".banner").textContent(), /What you see is .* old/);
  assert.match(await shown(page).textContent(), /Player/, "what was seen last stays");
  await act("start");
  await act("enter", "erin", "alice");
  await isLive(page);
  await banner.waitFor({ state: "hidden" });
  assert.notEqual(await page.locator("body").getAttribute("data-life"), life);
  await page.getByRole("heading", { name: "alice", exact: true }).waitFor();
  await page.locator(".node-head .state-running").waitFor();
  await page.keyboard.press("Escape");
  await until("the new actors", async () => (await names(page)).sort().join() === "alice,erin");
  await open(page, "tree");
  await shown(page).getByRole("treegrid").press("End");
  await until("what was folded stays folded", async () => (await row(page, "stage").getAttribute("aria-expanded")) === "false");
}

// Behind a front the server's address stays, and a process that relays its feed does, too.
export async function nextWorker({ page, act, options }) {
  await row(page, "root").waitFor();
  await isLive(page);
  const life = await page.locator("body").getAttribute("data-life");
  const [, worker] = /pid (\d+)/.exec(await page.locator(".front").textContent());
  await act("kill", Number(worker));
  await until("another life", async () => (await page.locator("body").getAttribute("data-life")) !== life);
  await isLive(page);
  await page.locator(".front", { hasText: options.told }).waitFor();
  await row(page, "root").waitFor();
}

export async function crowd({ page }) {
  await isLive(page);
  await page.getByRole("button", { name: "Unfold all" }).click();
  await until("all of them", async () => Number(await shown(page).locator(".grid").getAttribute("aria-rowcount")) > 10_000);
  const frames = { tree: await scrollAndCount(page) };
  await open(page, "actors");
  await page.getByLabel("How many").selectOption("0");
  await until("all actors", async () => Number(await shown(page).locator(".grid").getAttribute("aria-rowcount")) > 10_000);
  frames.actors = await scrollAndCount(page);
  const begun = Date.now();
  await page.getByRole("columnheader", { name: "Handled" }).getByRole("button").click();
  await page.locator('[aria-sort="descending"]', { hasText: "Handled" }).waitFor();
  frames.sorting_ms = Date.now() - begun;
  await page.locator("#actors-filter").fill("extra-9999");
  await until("the last of them", async () => (await names(page)).join() === "extra-9999");
  frames.elements = await page.evaluate(() => document.querySelectorAll("*").length);
  return frames;
}

/** Scroll for some time while changes come in; gives how long frames took, in milliseconds. */
async function scrollAndCount(page) {
  return shown(page)
    .locator(".grid")
    .evaluate(async (grid) => {
      const times = [];
      await new Promise((done) => {
        let last = performance.now();
        const end = last + 1500;
        const step = (now) => {
          times.push(now - last);
          last = now;
          grid.scrollTop = grid.scrollTop + grid.clientHeight >= grid.scrollHeight - 1000 ? 0 : grid.scrollTop + 700;
          if (now < end) requestAnimationFrame(step);
          else done();
        };
        requestAnimationFrame(step);
      });
      times.sort((one, two) => one - two);
      const at = (share) => Math.round(times[Math.floor((times.length - 1) * share)] * 10) / 10;
      return { frames: times.length, median_ms: at(0.5), p95_ms: at(0.95), longest_ms: at(1) };
    });
}

export async function signsIn({ page, options }) {
  await page.getByLabel("A token from the token file").fill(options.token);
  await page.getByRole("button", { name: "Open" }).click();
  await isLive(page);
  assert.match(page.url(), /\/observer\/(#.*)?$/);
}

export async function linger({ page, options }) {
  await isLive(page);
  await page.waitForTimeout(options.seconds * 1000);
}

export async function picture({ page, options }) {
  await isLive(page);
  for (const [id, path, name] of options.pictures) {
    await open(page, name ? "actors" : id);
    if (name) await follow(row(page, name).getByRole("link"));
    if (id === "loop") await page.getByRole("button", { name: "Ask every actor now" }).click();
    await page.mouse.move(0, 0);
    await page.waitForTimeout(1500);
    await page.screenshot({ path });
  }
}
