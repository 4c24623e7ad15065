// Puts the parts together: the login, the tables that follow the stream, and what is drawn of them.

import { Details } from "./details.js";
import { byId, clock, count, duration, now, setManager, setProcessTime, setText, upper, words } from "./format.js";
import { figures, nodeKey, Nodes, nodeState } from "./nodes.js";
import { ReservationList, WaitingList } from "./rows.js";
import { follow, forgetToken, keepToken, takeTokenFromAddress, token } from "./session.js";
import { Starts } from "./starts.js";
import { Timeline } from "./timeline.js";

const KEYS = {
  nodes: nodeKey,
  reservations: (row) => row.launch_id,
  waiting: (row) => row.id,
  timeline: (row) => row.id,
  starts: (row) => row.at,
};
const empty = () => Object.fromEntries(Object.keys(KEYS).map((name) => [name, new Map()]));

const store = { tables: empty(), header: {}, complete: false };
let coming = null; // the tables of a snapshot that is not complete
let stop = null; // ends the stream
let changed = new Set(); // tables to be drawn
let drawing = false;

const details = new Details(store, logOut);
const nodes = new Nodes((node) => details.openNode(node));
const open = (id, kind) => details.open(id, kind);
const waiting = new WaitingList(open);
const reservations = new ReservationList(open);
const timeline = new Timeline(open);
const starts = new Starts();

// -- what comes

function apply(tables, document) {
  for (const name of Object.keys(KEYS)) {
    for (const row of document[name] ?? []) tables[name].set(KEYS[name](row), row);
    for (const key of document.gone?.[name] ?? []) tables[name].delete(key);
    if (document[name] !== undefined || document.gone?.[name] !== undefined) changed.add(name);
  }
  for (const name of ["left_out", "status"]) if (name in document) store.header[name] = document[name];
}

const on = {
  open() {
    coming = null;
  },
  alive() {
    draw();
  },
  event(name, document) {
    setProcessTime(document.at);
    if (name === "snapshot") {
      coming ??= empty();
      apply(coming, document);
      if (document.rest > 0) return;
      store.tables = coming;
      store.complete = true;
      coming = null;
      changed = new Set(Object.keys(KEYS));
      show("main");
    } else {
      apply(store.tables, document);
    }
    draw();
  },
  broken(reason) {
    say("broken", "reconnecting", store.complete ? `${upper(reason)}. What is shown is of ${clock(now())} UTC. Trying again…` : `${upper(reason)}. Trying again…`);
  },
  refused: logOut,
};

// -- what is drawn

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const begun = performance.now();
    paint();
    performance.clearMeasures("update");
    performance.measure("update", { start: begun });
  });
}

function paint() {
  const { tables } = store;
  const left = store.header.left_out ?? {};
  const status = store.header.status;
  if (status === undefined) return;
  setManager(status.cluster.manager);
  for (const id of ["f-nodes-title", "nodes-title"]) setText(id, upper(`${words.host}s`));
  setText("filter-name", `Filter ${words.host}s, launches and activations`);
  setText("framework", [status.name, status.framework_id].filter(Boolean).join("  "));
  byId("framework").title = `owmesos ${status.version}, roles ${status.roles.join(", ")}, started ${minute(status.started_at)}`;
  const { connected, silent_since: silent } = status.cluster;
  const word = connected ? (silent ? `silent ${words.server}` : "live") : `no ${words.server}`;
  say(word === "live" ? "live" : "away", word, troubles(status).join("\n"));
  const all = changed;
  changed = new Set();
  if (all.has("nodes") || all.has("filter")) {
    nodes.show(tables.nodes, matcher(ofNode));
    figures(tables.nodes);
    setText("f-nodes-more", nodes.states().map(([state, number]) => `${count(number)} ${nodeState(state)}`).join(" · "));
  }
  waiting.show(tables.waiting, matcher(ofRow), left.waiting ?? 0);
  reservations.show(tables.reservations, matcher(ofRow), left.reservations ?? 0);
  timeline.show(tables.timeline, matcher(ofRow));
  starts.show(tables.starts);
  details.refresh();
}

const minute = (at) => (at === null ? "" : `${at.slice(0, 16).replace("T", " ")} UTC`);

const REFUSES = {
  starting: "it has not started reading",
  stopping: "it is stopping",
  stopped: "it has stopped",
  disabled: "it is disabled",
  pressure: "there is no room for containers",
  kafka: "Kafka is unavailable",
};

/** What an operator has to know before all else, a line each. */
function troubles({ cluster, invoker, unreadable, state_trouble: away }) {
  const lines = [];
  if (!cluster.connected) {
    const since = cluster.since === null ? "" : ` since ${minute(cluster.since)}`;
    lines.push(`Not connected to ${words.some} at ${cluster.address}${since}${cluster.reason ? `: ${cluster.reason}` : ""}`);
  } else if (cluster.silent_since) {
    const silent = duration(now() - Date.parse(cluster.silent_since));
    lines.push(`The ${words.server} at ${cluster.address} has been silent for ${silent}: its heartbeats are overdue, nothing is offered.`);
  }
  if (away) lines.push(`The state has not been writable since ${minute(away.since)}; nothing new is launched or ended: ${away.reason}`);
  for (const [name, server] of [["Kafka", invoker?.kafka], ["CouchDB", invoker?.couchdb]]) {
    if (server?.state !== "down") continue;
    lines.push([`${name} at ${server.address} is down since ${minute(server.since)}`, server.reason, server.advice].filter(Boolean).join(": "));
  }
  if (invoker?.refuses) lines.push(`The invoker takes no activations: ${REFUSES[invoker.refuses] ?? invoker.refuses}`);
  if (unreadable > 0) lines.push(`${count(unreadable)} stored launches cannot be read and are set aside: see owmesos launches --unreadable`);
  return lines;
}

const texts = (...parts) => parts.filter((part) => part).join("\n").toLowerCase();
const ofNode = (node) =>
  texts(node.hostname, node.agent_id, nodeState(node.state), node.role, node.reason, ...Object.entries(node.attributes).map(([name, values]) => `${name}=${values.join(",")}`));
const ofRow = (row) => texts(row.id, row.launch_id, row.name, row.kind, row.state, row.start, row.hostname, row.agent_id, row.container_id, row.reason, row.message);

/** Whether a row is looked for; null without a filter. */
function matcher(text) {
  const wanted = byId("filter").value.trim().toLowerCase();
  return wanted === "" ? null : (row) => text(row).includes(wanted);
}

// -- what the process is

function say(kind, word, notice) {
  const live = byId("live");
  live.className = `pill l-${kind}`;
  setText("live", word);
  setText("notice", notice);
  byId("notice").hidden = notice === "";
  document.body.classList.toggle("old", kind === "broken");
}

// -- login

function show(part) {
  for (const id of ["main", "filter-box", "leave"]) byId(id).hidden = part !== "main";
  byId("login").hidden = part !== "login";
}

function logIn() {
  stop?.();
  byId("login").hidden = true;
  say("connecting", "connecting", "");
  stop = follow(on);
}

function logOut(reason) {
  stop?.();
  stop = null;
  forgetToken();
  Object.assign(store, { tables: empty(), header: {}, complete: false });
  byId("details").close();
  say("out", "", "");
  setText("framework", "");
  setText("login-error", reason ? upper(reason) : "");
  byId("login-error").hidden = !reason;
  byId("token").value = "";
  show("login");
  byId("token").focus();
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value.trim());
  byId("token").value = "";
  logIn();
});
byId("leave").addEventListener("click", () => logOut(""));

// -- keyboard, theme, time

const filter = byId("filter");
function filtered() {
  changed.add("filter");
  draw();
}
filter.addEventListener("input", filtered);
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio], [type=checkbox]), textarea") !== null;
  if (event.key === "/" && !typing && !byId("details").open && !byId("filter-box").hidden) {
    event.preventDefault();
    filter.focus();
    filter.select();
  } else if (event.key === "Escape" && event.target === filter) {
    filter.value = "";
    filter.blur();
    filtered();
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const part of [nodes, timeline, starts]) part.repaint();
});
window.addEventListener("hashchange", () => takeTokenFromAddress() && logIn());

takeTokenFromAddress();
if (token() === null) logOut("");
else logIn();

