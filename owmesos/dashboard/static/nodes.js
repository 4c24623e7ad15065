// The nodes as a heat map on one canvas: a card each while there are few, a square each when there are thousands.

import { byId, colour, count, cpus, el, fillBar, fitted, memory, partsOf, plural, prepared, words } from "./format.js";

const CARDS = 60; // nodes, at most, that are shown as cards
const STATES = ["fresh", "stale", "draining", "closed", "backoff", "unknown", "gone"];
const MEANING = {
  fresh: "offered now",
  known: "as last offered",
  draining: "maintenance",
  closed: "no containers by its own account",
  backoff: "starts failed there",
  unknown: "not seen yet",
  gone: "not registered any more",
};
/** As people read it: `stale` is the normal state of an idle framework. */
export const nodeState = (state) => (state === "stale" ? "known" : state);
const STEPS = 24; // of the colour scale

export const nodeKey = (node) => `${node.agent_id} ${node.role}`;

/** The one-line summary of a node. */
export function nodeLine(node, others) {
  const memoryParts = partsOf(node, "mem");
  const cpuParts = partsOf(node, "cpus");
  const role = others ? ` for role ${node.role}` : "";
  const room =
    memoryParts === null
      ? "its size is not known"
      : `available ${memory(memoryParts.available)} of ${memory(memoryParts.total)}, ` +
        `${cpus(cpuParts.available)} of ${plural(cpuParts.total, "CPU")}`;
  return `${node.hostname}${role} · ${nodeState(node.state)} · ${room}${node.reason ? ` · ${node.reason}` : ""}`;
}

export class Nodes {
  constructor(open) {
    this.canvas = byId("nodes");
    this.line = byId("nodes-line");
    this.scroller = byId("nodes-scroller");
    this.rows = [];
    this.found = null; // those that the filter finds
    this.by = "mem";
    this.selected = -1;
    this.open = open;
    this.canvas.addEventListener("mousemove", (event) => this.hover(this.at(event)));
    this.canvas.addEventListener("mouseleave", () => this.hover(-1));
    this.canvas.addEventListener("click", (event) => this.choose(this.at(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.select(Math.max(0, this.selected)));
    this.canvas.addEventListener("blur", () => this.draw());
    for (const radio of document.getElementsByName("by")) {
      radio.addEventListener("change", () => {
        this.by = radio.value;
        this.draw();
      });
    }
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  /** `nodes`: a Map by key; `matches`: whether a node is looked for, or null. */
  show(nodes, matches) {
    if (nodes.size !== this.rows.length || this.rows.some((row) => !nodes.has(nodeKey(row)))) {
      const collator = new Intl.Collator("en", { numeric: true });
      this.rows = [...nodes.values()].sort(
        (a, b) => collator.compare(a.hostname, b.hostname) || collator.compare(nodeKey(a), nodeKey(b)),
      );
    } else {
      this.rows = this.rows.map((row) => nodes.get(nodeKey(row)));
    }
    this.roles = new Set(this.rows.map((row) => row.role)).size > 1;
    this.found = matches === null ? null : new Set(this.rows.filter(matches));
    this.canvas.setAttribute("aria-label", `${this.summary()}. Arrow keys move, Enter shows one.`);
    this.draw();
    this.legend();
  }

  states() {
    const states = {};
    for (const row of this.rows) states[row.state] = (states[row.state] ?? 0) + 1;
    return STATES.filter((state) => states[state]).map((state) => [state, states[state]]);
  }

  summary() {
    const states = this.states().map(([state, number]) => `${count(number)} ${nodeState(state)}`);
    return `${plural(this.rows.length, words.host)}${states.length ? `: ${states.join(", ")}` : ""}`;
  }

  layout() {
    const width = Math.max(120, this.scroller.clientWidth);
    const total = this.rows.length;
    if (total <= CARDS) {
      const columns = Math.max(1, Math.min(total || 1, Math.floor((width + 6) / 136)));
      const side = Math.floor((width + 6) / columns);
      return { columns, cell: side, row: 58, gap: 6, cards: true };
    }
    const side = Math.max(9, Math.min(26, Math.floor(Math.sqrt((width * 330) / total))));
    return { columns: Math.floor(width / side), cell: side, row: side, gap: side > 14 ? 2 : 1, cards: false };
  }

  draw() {
    if (this.scroller.clientWidth === 0) return;
    const layout = (this.shape = this.layout());
    const lines = Math.max(1, Math.ceil(this.rows.length / layout.columns));
    const context = prepared(this.canvas, layout.columns * layout.cell - (layout.cards ? layout.gap : 0), lines * layout.row);
    const theme = this.theme();
    const focused = document.activeElement === this.canvas;
    this.rows.forEach((node, index) => {
      const x = (index % layout.columns) * layout.cell;
      const y = Math.floor(index / layout.columns) * layout.row;
      context.globalAlpha = this.found === null || this.found.has(node) ? 1 : 0.15;
      const box = [x, y, layout.cell - layout.gap, layout.row - layout.gap];
      if (layout.cards) this.card(context, theme, node, box);
      else this.square(context, theme, node, box);
      if (index === this.hovered || (focused && index === this.selected)) {
        context.globalAlpha = 1;
        context.strokeStyle = theme.text;
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, box[2] - 2, box[3] - 2);
      }
    });
    context.globalAlpha = 1;
  }

  theme() {
    if (this.colours === undefined) {
      const of = (names) => Object.fromEntries(names.map((name) => [name, colour(name)]));
      this.colours = of(["text", "muted", "line", "panel", "track", "draining", "backoff", "used", "others", "reserved", "buffer"]);
      const [low, high] = [colour("heat-low"), colour("heat-high")];
      this.colours.heat = Array.from({ length: STEPS + 1 }, (_, step) => mixed(low, high, step / STEPS));
    }
    return this.colours;
  }

  repaint() {
    this.colours = undefined;
    this.draw();
  }

  square(context, theme, node, [x, y, w, h]) {
    const parts = node.state === "unknown" || node.state === "gone" ? null : partsOf(node, this.by);
    if (parts === null) {
      context.strokeStyle = theme.muted;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    } else {
      const taken = parts.total > 0 ? 1 - (parts.available + parts.buffer) / parts.total : 0;
      context.fillStyle = theme.heat[Math.round(Math.max(0, Math.min(1, taken)) * STEPS)];
      context.fillRect(x, y, w, h);
    }
    mark(context, theme, node, x, y, w, h, Math.max(3, w / 2.5));
  }

  card(context, theme, node, [x, y, w, h]) {
    context.fillStyle = theme.track;
    context.beginPath();
    context.roundRect(x, y, w, h, 4);
    context.fill();
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    context.fillStyle = theme.text;
    const state = node.state === "fresh" || node.state === "stale" ? "" : node.state;
    context.font = "11px system-ui, sans-serif";
    const stateWidth = state ? context.measureText(state).width + 8 : 0;
    context.fillStyle = theme[node.state] ?? theme.muted;
    if (state) context.fillText(state, x + w - stateWidth, y + 16);
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = theme.text;
    const name = this.roles ? `${node.hostname} ${node.role}` : node.hostname;
    context.fillText(fitted(context, name, w - 16 - stateWidth), x + 8, y + 16);
    ["mem", "cpus"].forEach((kind, index) => {
      const top = y + 23 + index * 13;
      const parts = node.state === "unknown" || node.state === "gone" ? null : partsOf(node, kind);
      context.font = "10px system-ui, sans-serif";
      context.fillStyle = theme.muted;
      const text = parts === null ? "–" : kind === "mem" ? memory(parts.available) : `${cpus(parts.available)} cpu`;
      context.textAlign = "right";
      context.fillText(text, x + w - 8, top + 8);
      context.textAlign = "left";
      bar(context, theme, parts, x + 8, top, Math.max(16, w - 16 - 52), 8);
    });
    mark(context, theme, node, x, y, w, h, 8);
  }

  at(event) {
    if (this.shape === undefined) return -1;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.shape.cell);
    const index = Math.floor((event.clientY - box.top) / this.shape.row) * this.shape.columns + column;
    return column < this.shape.columns && index < this.rows.length ? index : -1;
  }

  hover(index) {
    this.canvas.style.cursor = index < 0 ? "default" : "pointer";
    if (index === this.hovered) return;
    this.hovered = index;
    if (index >= 0) this.line.textContent = nodeLine(this.rows[index], this.roles);
    else this.rest();
    this.draw();
  }

  rest() {
    this.line.textContent = "";
  }

  select(index) {
    if (index < 0 || index >= this.rows.length) return;
    this.selected = index;
    this.line.textContent = nodeLine(this.rows[index], this.roles);
    this.draw();
    const top = Math.floor(index / this.shape.columns) * this.shape.row;
    const view = this.scroller;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + this.shape.row > view.scrollTop + view.clientHeight) view.scrollTop = top + this.shape.row - view.clientHeight;
  }

  choose(index) {
    if (index < 0) return;
    this.selected = index;
    this.open(this.rows[index]);
  }

  key(event) {
    const last = this.rows.length - 1;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.shape.columns, ArrowDown: this.shape.columns };
    if (event.key in moves) this.select(this.next(moves[event.key]));
    else if (event.key === "Home") this.select(0);
    else if (event.key === "End") this.select(last);
    else if (event.key === "Enter") this.choose(this.selected);
    else return;
    event.preventDefault();
  }

  /** The one that a move leads to: among those found, if there is a filter. */
  next(move) {
    let index = this.selected + move;
    const step = Math.sign(move);
    while (this.found !== null && index >= 0 && index < this.rows.length && !this.found.has(this.rows[index])) index += step;
    return index;
  }

  legend() {
    const states = this.states();
    const wanted = JSON.stringify([states, this.rows.length <= CARDS]);
    if (wanted === this.legendShown) return;
    this.legendShown = wanted;
    const items =
      this.rows.length <= CARDS
        ? ["used", "others", "reserved", "buffer"].map((name) => el("li", {}, el("i", { class: `p-${name}` }), LEGEND[name]))
        : [el("li", {}, "empty", el("i", { class: "scale" }), "full")];
    for (const [state, number] of states) {
      items.push(el("li", {}, el("i", { class: `s-${state}` }), `${count(number)} ${nodeState(state)} (${MEANING[nodeState(state)]})`));
    }
    byId("nodes-legend").replaceChildren(...items);
  }
}

const LEGEND = { used: "used by us", others: "others, or not offered", reserved: "reserved", buffer: "buffer" };

/** A corner in the colour of a state that needs attention. */
function mark(context, theme, node, x, y, w, h, size) {
  if (node.state === "gone") {
    context.strokeStyle = theme.muted;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x + 1, y + h - 1);
    context.lineTo(x + Math.min(w, h) - 1, y + 1 + Math.max(0, h - w));
    if (w === h) context.stroke();
  }
  const shade = ["draining", "closed"].includes(node.state) ? theme.draining : node.state === "backoff" ? theme.backoff : null;
  if (shade === null) return;
  context.fillStyle = shade;
  if (w > 40) {
    context.fillRect(x, y + 2, 3, h - 4);
    return;
  }
  context.beginPath();
  context.moveTo(x + w - size, y);
  context.lineTo(x + w, y);
  context.lineTo(x + w, y + size);
  context.fill();
  context.strokeStyle = shade;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
}

function bar(context, theme, parts, x, y, w, h) {
  context.fillStyle = theme.line;
  context.fillRect(x, y, w, h);
  if (parts === null || parts.total <= 0) return;
  let from = x;
  for (const name of ["used", "others", "reserved", "buffer"]) {
    const width = (w * parts[name]) / parts.total;
    context.fillStyle = theme[name];
    context.fillRect(from, y, width, h);
    from += width;
  }
}

function mixed(low, high, share) {
  const [a, b] = [low, high].map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  return `rgb(${a.map((value, index) => Math.round(value + (b[index] - value) * share)).join(",")})`;
}

/** States of nodes where nothing starts. */
const SHUT = new Set(["draining", "closed", "backoff"]);

/** The figures above: how many nodes, and what all of them have together. */
export function figures(nodes) {
  const agents = new Map();
  for (const node of nodes.values()) {
    const seen = agents.get(node.agent_id);
    agents.set(node.agent_id, seen === undefined ? [node] : [...seen, node]);
  }
  for (const kind of ["mem", "cpus"]) {
    const sum = { total: 0, used: 0, others: 0, reserved: 0, buffer: 0, available: 0 };
    for (const rows of agents.values()) {
      if (rows[0].state === "gone") continue;
      for (const node of rows.slice(0, 1)) {
        const parts = partsOf(rows.length === 1 ? node : together(rows, kind), kind);
        if (parts === null) continue;
        for (const name in sum) if (name !== "available" || !SHUT.has(node.state)) sum[name] += parts[name];
      }
    }
    const shown = kind === "mem" ? memory : cpus;
    byId(`f-${kind}`).textContent = shown(sum.available);
    byId(`f-${kind}-more`).textContent = `of ${shown(sum.total)}, ${shown(sum.buffer)} buffer`;
    fillBar(byId(`f-${kind}-bar`), ["used", "others", "reserved", "buffer"].map((name) => [`p-${name}`, sum[name]]), sum.total);
  }
  byId("f-nodes").textContent = count(agents.size);
}

/** One node's rows of several roles, as one. */
function together(rows, kind) {
  const sum = (field) => ({ [kind]: rows.reduce((value, row) => value + row[field][kind], 0) });
  return { ...rows[0], free: sum("free"), reserved: sum("reserved"), available: sum("available") };
}
