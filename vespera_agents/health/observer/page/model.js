/**
 * What the page knows of the server: the last snapshot with all changes since, and what follows from them.
 *
 * Nodes of the tree are kept as objects with their children; per-interval figures come from comparing two moments.
 * Nothing here knows the page: screens read it, `feed` fills it.
 */

const LOG_MAX = 1000;
const HISTORY_SECONDS = 300;
const STALLS_MAX = 100;
const NAME_SEARCHED_MAX = 300;

/** A list with what is newer than its last entry. */
function grown(list, more, when) {
  const last = list.length > 0 ? when(list.at(-1)) : -Infinity;
  return [...list, ...more.filter((entry) => when(entry) > last)];
}

export class Model {
  constructor() {
    this.ready = false;
    this.intervalSeconds = 5;
    this.#empty();
  }

  #empty() {
    this.life = null;
    this.at = 0;
    this.nodes = new Map();
    this.roots = [];
    this.shape = 0; // grows whenever nodes come, go or move, so that screens know when to look at all of them
    this.ticks = 0; // grows with every change of any node
    this.columns = [];
    this.server = null;
    this.health = { grade: "healthy", reasons: [] };
    this.loop = {};
    this.stalls = [];
    this.wedged = [];
    this.log = [];
    this.sessions = [];
    this.context = [];
    this.models = [];
    this.fills = new Map();
    this.history = { columns: [], rows: [] };
    this.rates = new Map();
    this.ratesSeconds = 0;
    this.baseline = null;
  }

  /** Begin again with a snapshot; true if it tells of another life of the server than the one before. */
  load(snapshot) {
    const reborn = this.life !== null && this.life !== snapshot.life;
    const { shape, ticks } = this;
    this.#empty();
    this.shape = shape + 1;
    this.ticks = ticks + 1;
    this.ready = true;
    this.columns = snapshot.tree.columns;
    this.#take(snapshot);
    this.log = [...snapshot.log];
    this.stalls = [...snapshot.stalls];
    this.history = { columns: snapshot.history.columns, rows: [...snapshot.history.rows] };
    this.#update(snapshot.tree.rows, snapshot.at, false);
    this.#measure();
    return reborn;
  }

  /** Carry out a change: what it names is replaced, what only grows is added to. */
  change(change) {
    this.#take(change);
    // The first change after a snapshot may tell again what that has told.
    if (change.log) this.log = grown(this.log, change.log, (entry) => entry.seq).slice(-LOG_MAX);
    if (change.stalls) this.stalls = grown(this.stalls, change.stalls, (stall) => stall.at).slice(-STALLS_MAX);
    if (change.history) {
      const rows = grown(this.history.rows, change.history.rows, (row) => row[0]);
      const oldest = (rows.at(-1)?.[0] ?? 0) - HISTORY_SECONDS;
      this.history = { columns: this.history.columns, rows: rows.filter((row) => row[0] >= oldest) };
    }
    if (change.tree) {
      this.#remove(change.tree.gone ?? []);
      this.#update(change.tree.rows ?? [], change.at, true);
    }
    this.#measure();
  }

  /** The server's time, as far as we know it. */
  now() {
    return this.at + (performance.now() - this.heard) / 1000;
  }

  /** How long a node has lived. The feed does not say every second what time alone has changed. */
  lived(node) {
    return node.parent === null && this.server ? this.now() - this.server.started_at : node.lived_seconds + this.#since(node);
  }

  /** How long an actor has been at its present message; 0 if at none. */
  busy(node) {
    return node.busy_seconds ? node.busy_seconds + this.#since(node) : 0;
  }

  /** How long the first message of an actor has waited; 0 if none waits. */
  oldest(node) {
    return node.mailbox ? (node.oldest_seconds ?? 0) + this.#since(node) : 0;
  }

  #since(node) {
    return Math.max(0, this.now() - node.toldAt);
  }

  /** Names from the top down to a node: what a node is known by across restarts of the server. */
  path(node) {
    const names = [];
    for (let one = node; one; one = this.nodes.get(one.parent)) names.unshift(one.name);
    return names;
  }

  /** The node at a path, if there is one. */
  find(path) {
    let found = null;
    let among = this.roots;
    for (const name of path) {
      found = among.find((node) => node.name === name) ?? null;
      if (found === null) return null;
      among = found.children;
    }
    return found;
  }

  actors() {
    return [...this.nodes.values()].filter((node) => node.kind);
  }

  /** How full an actor's context is, 0 to 1; null where it has none. */
  fill(node) {
    return this.fills.get(node.name) ?? null;
  }

  /** Values of one column of the history, oldest first. */
  series(name) {
    const column = this.history.columns.indexOf(name);
    return column < 0 ? [] : this.history.rows.map((row) => row[column]);
  }

  /** How much a column of an actor grew per second in the last whole interval; null before there was one. */
  grown(node, column) {
    if (this.ratesSeconds === 0) return null;
    return this.rates.get(node.key)?.[column] ?? 0;
  }

  setInterval(seconds) {
    this.intervalSeconds = seconds;
    this.baseline = null;
    this.rates = new Map();
    this.ratesSeconds = 0;
    this.#measure();
  }

  #take(told) {
    this.life = told.life;
    this.at = told.at;
    this.heard = performance.now();
    for (const name of ["server", "health", "loop", "wedged", "sessions", "context", "models"]) {
      if (name in told) this[name] = told[name];
    }
    if (told.context) this.fills = new Map(told.context.map((one) => [one.actor, one.fill_ratio]));
  }

  #update(rows, at, isChange) {
    const { columns, nodes } = this;
    if (rows.length > 0) this.ticks += 1;
    for (const row of rows) {
      let node = nodes.get(row[0]);
      const isNew = node === undefined;
      const [parent, incarnation] = isNew ? [null, 0] : [node.parent, node.incarnation];
      if (isNew) node = { children: [], changedAt: -Infinity };
      for (let column = 0; column < columns.length; column += 1) node[columns[column]] = row[column];
      node.toldAt = at;
      if (isNew) {
        node.searched = `${node.name.slice(0, NAME_SEARCHED_MAX)} ${node.kind}`.toLowerCase();
        nodes.set(node.key, node);
        this.#hang(node);
      } else if (parent !== node.parent) {
        this.#unhang(node, parent);
        this.#hang(node);
      }
      if (isChange && !isNew && node.incarnation > incarnation) node.changedAt = performance.now();
    }
  }

  #hang(node) {
    this.shape += 1;
    const parent = node.parent === null ? null : this.nodes.get(node.parent);
    if (parent) {
      node.level = parent.level + 1;
      parent.children.push(node);
    } else {
      node.level = 1;
      this.roots.push(node);
    }
  }

  #unhang(node, parent) {
    const among = this.nodes.get(parent)?.children ?? this.roots;
    const place = among.indexOf(node);
    if (place >= 0) among.splice(place, 1);
  }

  #remove(keys) {
    if (keys.length === 0) return;
    this.shape += 1;
    const thinned = new Set();
    for (const key of keys) {
      const node = this.nodes.get(key);
      if (!node) continue;
      this.nodes.delete(key);
      thinned.add(node.parent);
    }
    // Thousands of siblings may go at once: their parent's list is gone through once, not for each.
    const living = (node) => this.nodes.get(node.key) === node;
    for (const key of thinned) {
      const parent = this.nodes.get(key);
      if (parent) parent.children = parent.children.filter(living);
    }
    this.roots = this.roots.filter(living);
  }

  #measure() {
    if (this.baseline && this.at - this.baseline.at < this.intervalSeconds) return;
    const figures = new Map();
    for (const node of this.nodes.values()) {
      if (node.kind) figures.set(node.key, [node.handled ?? 0, node.mailbox ?? 0, node.restarts]);
    }
    const before = this.baseline;
    this.baseline = { at: this.at, figures };
    if (!before) return;
    const seconds = this.at - before.at;
    this.rates = new Map();
    this.ratesSeconds = seconds;
    for (const [key, [handled, mailbox, restarts]] of figures) {
      const old = before.figures.get(key);
      if (!old || (old[0] === handled && old[1] === mailbox && old[2] === restarts)) continue;
      this.rates.set(key, {
        handled: (handled - old[0]) / seconds,
        mailbox: (mailbox - old[1]) / seconds,
        restarts: (restarts - old[2]) / seconds,
      });
    }
  }
}
