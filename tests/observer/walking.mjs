// Reads walks to go from standard input, a line each, and goes them in one headless Chromium, each in a new window.
//
// A walk fails when it says so, when the page writes an error or a warning to its console, or when its policy is broken.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import * as walks from "./walks.mjs";

const require = createRequire(`${process.env.NODE_PACKAGES}/`);
const { chromium } = require("playwright-core");
const PATIENCE_MS = 12_000;
const DESKTOP = { width: 1280, height: 720 };
const PHONE = { width: 390, height: 844 };

const tell = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

/** Have something happen to the server, and wait until it has. */
async function act(...what) {
  tell({ act: what });
  await lines.next();
}

async function go({ walk, url, options }) {
  const isPhone = options.phone ?? false;
  const context = await browser.newContext({
    viewport: options.size ?? (isPhone ? PHONE : DESKTOP),
    colorScheme: options.dark ? "dark" : "light",
    hasTouch: isPhone,
    isMobile: isPhone,
    deviceScaleFactor: options.scale ?? 1,
    reducedMotion: options.still ? "reduce" : "no-preference",
    locale: "en-GB",
    timezoneId: "UTC",
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.stack}`));
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog opened: ${dialog.message()}`);
    dialog.dismiss();
  });
  try {
    const begun = Date.now();
    if (!options.elsewhere) await page.goto(url, { waitUntil: "domcontentloaded" });
    const told = await walks[walk]({ page, act, url, options, require, context });
    const excused = complaints.filter((one) => !(options.breaks && /Failed to load resource|net::ERR/.test(one)));
    tell(excused.length > 0 ? { failed: excused.join("\n") } : { told: told ?? null, milliseconds: Date.now() - begun });
  } catch (error) {
    if (process.env.OBSERVER_PICTURE) await page.screenshot({ path: process.env.OBSERVER_PICTURE });
    tell({ failed: `${error.stack}\n${complaints.join("\n")}` });
  } finally {
    await context.close();
  }
}

for (;;) {
  const { value, done } = await lines.next();
  if (done) break;
  await go(JSON.parse(value));
}
await browser.close();
