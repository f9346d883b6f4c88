/** How numbers, times and names are written. Pure: nothing here knows the page or the time. */

const LETTERS_MAX = 300;
// Characters that are not seen, or that turn the text around them; the joiners within emoji may stay.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const UNSEEN_IN_TEXT =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]/g;
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const NONE = "–";

/** A name on one line: what is not seen is written out, what is too long is cut. */
export function plain(text, letters = LETTERS_MAX) {
  const cut = text.length > letters ? `${text.slice(0, letters)}…` : text;
  return cut.replace(UNSEEN, written);
}

/** A text of several lines, such as a traceback. */
export function lines(text) {
  return text.replace(UNSEEN_IN_TEXT, written);
}

function written(character) {
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  if (character === "\r") return "\\r";
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

export function count(value) {
  return value === null || value === undefined ? NONE : WHOLE.format(value);
}

/** A rate or another number of which the first digits matter. */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value >= 100_000) return `${WHOLE.format(value / 1000)}k`;
  return value >= 100 || Number.isInteger(value) ? WHOLE.format(value) : TENTHS.format(value);
}

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NONE;
  const hundredths = ratio * 100;
  return `${hundredths > 0 && hundredths < 10 ? TENTHS.format(hundredths) : WHOLE.format(hundredths)} %`;
}

/** A length of time in the unit that suits it. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0) return `-${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${WHOLE.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${seconds < 0.01 ? TENTHS.format(seconds * 1000) : WHOLE.format(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? TENTHS.format(seconds) : WHOLE.format(seconds)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** The time of day of an epoch time, as this browser's clock would say it. */
export function clock(at) {
  return at === null || at === undefined ? NONE : CLOCK.format(at * 1000);
}

export function day(at) {
  return at === null || at === undefined ? NONE : DAY.format(at * 1000);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
