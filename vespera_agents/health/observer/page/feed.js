/**
 * The connection to the server: a whole picture, then changes as they happen. When it breaks it is made again, and goes
 * on with what was missed, or with a whole picture where that is too much or the server lives another life.
 *
 * `fetch` reads the stream, not `EventSource`, which would hide why it has no connection and for how long. What is
 * told is a status, too: `connecting`, `live`, `silent` (connected, but nothing comes: a blocked loop looks like
 * that), `lost` (with the reason and the time of the next attempt).
 */

const ANSWER_SECONDS = 15;
const SILENT_SECONDS = 3;
const GIVE_UP_SECONDS = 20;
const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 5;

const now = () => Date.now() / 1000;
const api = (path) => new URL(`api/${path}`, document.baseURI);

/** What the server said instead of an answer. */
class Refused extends Error {}

export class Feed {
  /** `hear` gets `snapshot(object)`, `change(object)` and `status(object)`. */
  constructor(hear) {
    this.hear = hear;
    this.status = { state: "connecting", since: now(), why: "", nextTryAt: null };
    this.heardAt = null;
    this.begunAt = null; // the present attempt
    this.last = null; // the life and the number of the change that we had last
    this.connection = null;
    this.wake = () => {};
  }

  /** Stay connected for as long as the page lives. */
  async run() {
    window.addEventListener("online", () => this.tryNow());
    setInterval(() => this.#watchSilence(), 500);
    for (let pause = FIRST_PAUSE_SECONDS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_SECONDS)) {
      let why = "the server ended the connection";
      const before = this.heardAt;
      try {
        await this.#follow();
      } catch (error) {
        why = error instanceof Refused ? error.message : "the server does not answer";
      }
      if (this.heardAt !== before) pause = FIRST_PAUSE_SECONDS;
      this.#tell("lost", why, now() + pause);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, pause * 1000);
      });
    }
  }

  /** Do not wait for the next attempt. */
  tryNow() {
    this.wake();
  }

  /** Ask for something that is not in the feed; null where it is not there any more. */
  async ask(path) {
    const response = await fetch(api(path), { signal: AbortSignal.timeout(ANSWER_SECONDS * 1000), cache: "no-store" });
    if (response.status === 404) return null;
    await refuse(response);
    return response.json();
  }

  /** Follow one connection to its end. */
  async #follow() {
    this.connection = new AbortController();
    this.begunAt = now();
    const headers = { accept: "text/event-stream" };
    if (this.last) headers["last-event-id"] = `${this.last.life}/${this.last.seq}`;
    const response = await fetch(api("events"), { headers, signal: this.connection.signal, cache: "no-store" });
    await refuse(response);
    for await (const text of events(response.body)) {
      this.#heard();
      if (text === "") continue;
      const told = JSON.parse(text);
      if (told.tree?.columns) this.hear.snapshot(told);
      else if (told.life === this.last?.life && told.seq === this.last.seq + 1) this.hear.change(told);
      else if (told.life === this.last?.life && told.seq <= this.last.seq) continue;
      else {
        // Something is missing: a whole picture is asked for.
        this.last = null;
        return;
      }
      this.last = { life: told.life, seq: told.seq };
    }
  }

  #heard() {
    this.heardAt = now();
    if (this.status.state !== "live") this.#tell("live", "", null);
  }

  #watchSilence() {
    const silence = now() - Math.max(this.heardAt ?? 0, this.begunAt ?? now());
    if (silence > GIVE_UP_SECONDS) this.connection?.abort();
    else if (silence > SILENT_SECONDS && this.status.state === "live") this.#tell("silent", "connected, but nothing comes: its loop may be blocked", null);
  }

  #tell(state, why, nextTryAt) {
    // While it is away, "since" is when it was last heard, which is what the figures on the screen are from.
    const since = state === "live" ? now() : (this.heardAt ?? this.status.since);
    this.status = { state, since, why, nextTryAt };
    this.hear.status(this.status);
  }
}

async function refuse(response) {
  if (response.ok) return;
  if (response.status === 401 || response.status === 403) {
    throw new Refused("the server no longer knows us: load this page again to sign in, or ask `vespera observe` for its address");
  }
  throw new Refused(`the server answers with status ${response.status}`);
}

/** Read the data of server-sent events; a comment, which keeps the connection open, is an empty text. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const raw of found) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line.startsWith(":")) yield "";
      else if (line === "" && data.length > 0) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}
