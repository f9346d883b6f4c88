/** The columns that the tree and the table of actors share: how a node's figures are shown. */

import { count, duration, percent, plain, plural } from "./format.js";

const STATES = new Set(["running", "starting", "restarting", "stopping", "stopped", "down", "new"]);
const REBORN_SECONDS = 4;

/** The class that colours a state; a state that we do not know stays grey. */
export const stateMark = (state) => `state state-${STATES.has(state) ? state : "other"}`;

/** How full a node's mailbox is, 0 to 1; null where it has none. */
export const mailboxFill = (node) => (node.capacity ? (node.mailbox ?? 0) / node.capacity : null);

/** The class of a row: one whose node was restarted just now is seen. */
export const rowMark = (node) => (performance.now() - node.changedAt < REBORN_SECONDS * 1000 ? "reborn" : "");

export const address = (node) => `#/node/${node.key}`;

/** Columns by their id; `model` gives what is not in the node itself. */
export function nodeColumns(model) {
  return {
    name: { id: "name", title: "Name", text: (node) => plain(node.name), hint: (node) => plain(node.name), link: address, mark: (node) => node.type },
    kind: { id: "kind", title: "Kind", text: (node) => plain(node.kind || node.type), hint: (node) => plain(node.kind || node.type) },
    state: { id: "state", title: "State", text: (node) => node.state, mark: (node) => stateMark(node.state) },
    mailbox: {
      id: "mailbox",
      title: "Mailbox",
      numeric: true,
      text: (node) => (node.mailbox === null ? "" : count(node.mailbox)),
      hint: (node) => (node.capacity ? `${count(node.mailbox)} of ${count(node.capacity)} messages` : null),
      ratio: mailboxFill,
    },
    oldest: {
      id: "oldest",
      title: "Oldest",
      about: "How long the first message in the mailbox has waited",
      numeric: true,
      text: (node) => (node.mailbox ? duration(model.oldest(node)) : ""),
    },
    busy: {
      id: "busy",
      title: "Busy for",
      about: "How long it has been working on its present message",
      numeric: true,
      text: (node) => (node.busy_seconds ? duration(model.busy(node)) : ""),
    },
    handled: { id: "handled", title: "Handled", numeric: true, text: (node) => (node.handled === null ? "" : count(node.handled)) },
    restarts: {
      id: "restarts",
      title: "Restarts",
      numeric: true,
      text: (node) => (node.restarts ? count(node.restarts) : ""),
      mark: (node) => (node.restarts ? "warm" : ""),
    },
    context: {
      id: "context",
      title: "Context",
      about: "How full its context is",
      numeric: true,
      text: (node) => (model.fill(node) === null ? "" : percent(model.fill(node))),
      ratio: (node) => model.fill(node),
    },
    lived: { id: "lived", title: "Alive for", numeric: true, text: (node) => duration(model.lived(node)) },
    detail: {
      id: "detail",
      title: "What it says of itself",
      text: (node) => plain(node.detail ?? "") || (node.children.length > 0 ? plural(node.children.length, "child", "children") : ""),
      hint: (node) => plain(node.detail ?? "", 2000) || null,
    },
  };
}
