// When launches, containers and activations waited, started and ran: one line each, the newest first.
//
// The canvas is as large as what is seen of it, and stays there while its box scrolls.

import { byId, clock, colour, duration, fitted, now, prepared, short } from "./format.js";

const ROW = 18;
const AXIS = 18;
const TICKS = { 60: 10, 300: 60, 900: 180 };

export const spanLine = (span) => {
  const parts = [span.kind === "activation" ? `${span.name} (${span.id})` : span.id, `${span.kind}, ${span.state}`];
  if (span.start !== null) parts.push(span.start);
  const [waiting, starting, running, ended] = ["waiting_at", "starting_at", "running_at", "ended_at"].map((name) =>
    span[name] === null ? null : Date.parse(span[name]),
  );
  const end = ended ?? now();
  const waited = (starting ?? running ?? end) - waiting;
  if (waited >= 1) parts.push(`waited ${duration(waited)}`);
  if (starting !== null) parts.push(`started in ${duration((running ?? end) - starting)}`);
  if (running !== null) parts.push(`${ended === null ? "runs for" : "ran"} ${duration(end - running)}`);
  if (span.hostname ?? span.agent_id) parts.push(`on ${span.hostname ?? short(span.agent_id)}`);
  if (span.message) parts.push(span.message);
  return parts.join(" · ");
};

export class Timeline {
  constructor(open) {
    this.canvas = byId("timeline");
    this.scroller = byId("timeline-scroller");
    this.space = byId("timeline-space");
    this.line = byId("timeline-line");
    this.open = open;
    this.rows = [];
    this.all = new Map();
    this.matches = null;
    this.seconds = 60;
    this.selected = null; // an id
    this.hovered = -1; // an index
    this.kinds = new Set(["launch", "container", "activation"]);
    for (const radio of document.getElementsByName("span")) {
      radio.addEventListener("change", () => {
        this.seconds = Number(radio.value);
        this.arrange();
      });
    }
    for (const box of document.getElementsByName("kind")) {
      box.addEventListener("change", () => {
        if (box.checked) this.kinds.add(box.value);
        else this.kinds.delete(box.value);
        this.arrange();
      });
    }
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.canvas.addEventListener("mousemove", (event) => this.hover(this.at(event)));
    this.canvas.addEventListener("mouseleave", () => this.hover(-1));
    this.canvas.addEventListener("click", (event) => this.choose(this.at(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.select(Math.max(0, this.index())));
    this.canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  show(spans, matches) {
    this.all = spans;
    this.matches = matches;
    this.arrange();
  }

  arrange() {
    const from = now() - this.seconds * 1000;
    this.rows = [...this.all.values()].filter(
      (span) =>
        this.kinds.has(span.kind) &&
        (this.matches === null || this.matches(span)) &&
        (span.ended_at === null || Date.parse(span.ended_at) >= from),
    );
    this.rows.sort((a, b) => (a.waiting_at === b.waiting_at ? (a.id < b.id ? -1 : 1) : a.waiting_at < b.waiting_at ? 1 : -1));
    this.space.style.height = `${Math.max(3, this.rows.length) * ROW + AXIS}px`;
    this.canvas.setAttribute(
      "aria-label",
      `${this.rows.length} launches, containers and activations. Arrow keys move, Enter shows one.`,
    );
    this.draw();
    if (document.activeElement === this.canvas && this.hovered < 0) this.follow();
  }

  /** The selected row may have changed, or be gone. */
  follow() {
    const index = this.index();
    if (index < 0) this.select(0);
    else this.line.textContent = spanLine(this.rows[index]);
  }

  index() {
    return this.rows.findIndex((span) => span.id === this.selected);
  }

  repaint() {
    this.colours = undefined;
    this.draw();
  }

  draw() {
    const [width, height] = [this.scroller.clientWidth, this.scroller.clientHeight];
    if (width === 0 || height === 0) return;
    const context = prepared(this.canvas, width, height);
    this.colours ??= Object.fromEntries(
      ["text", "muted", "line", "panel", "hover", "waiting", "starting", "running", "failed"].map((name) => [name, colour(name)]),
    );
    const theme = this.colours;
    const label = Math.round(Math.min(190, width * 0.34));
    const scale = (width - label - 6) / (this.seconds * 1000);
    const end = now();
    const x = (ms) => Math.max(label, width - 6 - (end - ms) * scale);
    this.axis(context, theme, { x, scale, end, height, label });
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor((top - AXIS) / ROW));
    const focused = document.activeElement === this.canvas;
    context.save();
    context.beginPath();
    context.rect(0, AXIS, width, height - AXIS);
    context.clip();
    for (let index = first; index < this.rows.length; index++) {
      const y = AXIS + index * ROW - top;
      if (y > height) break;
      const span = this.rows[index];
      if (index === this.hovered || (focused && span.id === this.selected)) {
        context.fillStyle = theme.hover;
        context.fillRect(0, y, width, ROW);
      }
      this.row(context, theme, span, { x, y, end, label });
    }
    context.restore();
    if (this.rows.length === 0) {
      context.fillStyle = theme.muted;
      context.font = "13px system-ui, sans-serif";
      context.fillText("Nothing was started in this time.", 8, AXIS + 24);
    }
  }

  axis(context, theme, { x, scale, end, height, label }) {
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    const digits = this.seconds === 60 ? 8 : 5;
    const least = context.measureText(clock(end, digits)).width + 8;
    let step = TICKS[this.seconds] * 1000;
    while (step * scale < least) step *= 2; // on a phone
    for (let tick = Math.floor(end / step) * step; tick > end - this.seconds * 1000; tick -= step) {
      const at = Math.round(x(tick)) + 0.5;
      context.strokeStyle = theme.line;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(at, AXIS - 2);
      context.lineTo(at, height);
      context.stroke();
      const text = clock(tick, digits);
      const half = context.measureText(text).width / 2;
      if (at - half > label && at + half < x(end) + 6) {
        context.fillStyle = theme.muted;
        context.fillText(text, at - half, 11);
      }
    }
    context.fillStyle = theme.muted;
    context.fillText("UTC", 8, 11);
  }

  row(context, theme, span, { x, y, end, label }) {
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = theme.text;
    const tail = span.start ?? (span.kind === "container" ? "container" : "");
    context.font = "10px system-ui, sans-serif";
    const tailWidth = tail ? context.measureText(tail).width + 6 : 0;
    context.fillStyle = theme.muted;
    if (tail) context.fillText(tail, label - tailWidth, y + 12.5);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = theme.text;
    context.fillText(fitted(context, span.kind === "activation" ? span.name : span.id, label - 16 - tailWidth), 8, y + 13);
    const parsed = (at) => (at === null ? null : Date.parse(at));
    const [waiting, starting, running] = [parsed(span.waiting_at), parsed(span.starting_at), parsed(span.running_at)];
    const ended = parsed(span.ended_at) ?? end;
    const phases = [
      [waiting, starting ?? running ?? ended, theme.waiting, 4],
      [starting, running ?? ended, theme.starting, 4],
      [running, ended, theme.running, 3],
    ];
    for (const [from, to, shade, inset] of phases) {
      if (from === null || to <= end - this.seconds * 1000 || to < from) continue;
      const left = x(from);
      context.fillStyle = shade;
      const wide = x(to) - left;
      if (wide > 0.4 || shade === theme.running) context.fillRect(left, y + inset, Math.max(1.5, wide), ROW - 2 * inset);
    }
    if (span.failed) {
      context.fillStyle = theme.failed;
      context.fillRect(x(ended) - 3, y + 3, 4, ROW - 6);
    }
  }

  at(event) {
    const y = event.clientY - this.canvas.getBoundingClientRect().top;
    if (y < AXIS) return -1;
    const index = Math.floor((y - AXIS + this.scroller.scrollTop) / ROW);
    return index < this.rows.length ? index : -1;
  }

  hover(index) {
    this.canvas.style.cursor = index < 0 ? "default" : "pointer";
    if (index === this.hovered) return;
    this.hovered = index;
    this.line.textContent = index < 0 ? "" : spanLine(this.rows[index]);
    this.draw();
  }

  select(index) {
    if (index < 0 || index >= this.rows.length) return;
    this.selected = this.rows[index].id;
    this.line.textContent = spanLine(this.rows[index]);
    const view = this.scroller;
    const top = index * ROW;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + ROW + AXIS > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW + AXIS - view.clientHeight;
    this.draw();
  }

  choose(index) {
    if (index < 0) return;
    const span = this.rows[index];
    this.selected = span.id;
    this.open(span.id, span.kind);
  }

  key(event) {
    const moves = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };
    if (event.key in moves) this.select(Math.max(0, Math.min(this.rows.length - 1, this.index() + moves[event.key])));
    else if (event.key === "Home") this.select(0);
    else if (event.key === "End") this.select(this.rows.length - 1);
    else if (event.key === "Enter") this.choose(this.index());
    else return;
    event.preventDefault();
  }
}
