// How starts were made over the last hour: bars of each kind, one upon the other, and a line of what waited.

import { byId, clock, colour, count, el, fillBar, now, setText } from "./format.js";

const STEP = 10000; // ms of one count
const BARS = 90; // at most: thinner ones cannot be told apart
const KINDS = [
  ["warm", "warm"],
  ["prewarmed", "prewarmed"],
  ["cold", "cold"],
  ["launched", "launches"],
  ["failed", "failed"],
];
const NOTHING = Object.fromEntries(KINDS.map(([name]) => [name, 0]));
const RECENT = 600000; // ms

export class Starts {
  constructor() {
    this.box = byId("starts");
    this.rows = new Map();
    this.plot = null;
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  show(rows) {
    this.rows = rows;
    this.figures();
    const data = this.data();
    if (this.plot === null) this.build(data);
    else this.plot.setData(data);
    this.legend();
  }

  repaint() {
    this.plot?.destroy();
    this.plot = null;
    this.show(this.rows);
  }

  /** Each kind on top of those before it, in as many steps as can be seen. What did not happen is missing in the rows. */
  data() {
    const end = Math.floor(now() / STEP) * STEP + STEP;
    const known = [...this.rows.values()].map((row) => [Date.parse(row.at), row]).sort(([a], [b]) => a - b);
    const first = Math.max(end - 3600000, Math.min(end - RECENT, known[0]?.[0] ?? end));
    this.step = [1, 2, 3, 6].map((each) => each * STEP).find((step) => (end - first) / step <= BARS) ?? 6 * STEP;
    const times = [];
    this.plain = [];
    let waits = 0;
    let next = 0;
    for (let at = Math.floor(first / this.step) * this.step; at < end; at += this.step) {
      const sum = { ...NOTHING, waiting: waits };
      for (; next < known.length && known[next][0] < at + this.step; next++) {
        const row = known[next][1];
        waits = row.waiting;
        if (known[next][0] < at) continue;
        for (const [name] of KINDS) sum[name] += row[name];
        sum.waiting = Math.max(sum.waiting, waits);
      }
      times.push(at / 1000);
      this.plain.push(sum);
    }
    let below = this.plain.map(() => 0);
    const sums = KINDS.map(([name]) => (below = this.plain.map((row, index) => below[index] + row[name])));
    // The highest first: each is drawn over by those below it.
    return [times, ...sums.reverse(), this.plain.map((row) => row.waiting)];
  }

  build(data) {
    const [text, line] = [colour("muted"), colour("line")];
    const bars = uPlot.paths.bars({ size: [0.8, 24], align: 1 });
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: text, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const whole = (plot, values) => values.map((value) => (Number.isInteger(value) ? count(value) : ""));
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { setScale: false, x: false, y: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        padding: [8, 4, 0, 0],
        scales: { y: { range: (plot, low, high) => [0, Math.max(4, high * 1.1)] }, w: { range: (plot, low, high) => [0, Math.max(4, high * 1.1)] } },
        axes: [
          { ...axis, size: 26, values: (plot, ticks) => ticks.map((tick) => clock(tick * 1000, 5)), space: 60 },
          { ...axis, size: 42, values: whole },
          { ...axis, scale: "w", side: 1, size: 34, grid: { show: false }, values: whole, stroke: colour("waiting-text") },
        ],
        series: [
          {},
          ...[...KINDS].reverse().map(([name]) => ({ paths: bars, fill: colour(`c-${name}`), stroke: colour(`c-${name}`), width: 0, points: { show: false } })),
          { scale: "w", stroke: colour("waiting"), width: 1.5, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) },
        ],
        hooks: { setCursor: [() => this.legend()] },
      },
      data,
      this.box,
    );
  }

  size() {
    return { width: Math.max(200, this.box.clientWidth), height: 190 };
  }

  resize() {
    if (this.plot !== null && this.box.clientWidth > 0) this.plot.setSize(this.size());
  }

  /** What is at the pointer; without one what was in the whole time. */
  legend() {
    const index = this.plot?.cursor.idx ?? null;
    const rows = index === null ? this.plain : [this.plain[index]];
    const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
    const waits = index === null ? null : this.plain[index].waiting;
    const items = KINDS.map(([name, word]) => [name, `${word} ${count(sum(name))}`, sum(name)])
      .filter(([name, , number]) => number > 0 || this.ever(name))
      .map(([name, text]) => el("li", {}, el("i", { class: `c-${name}` }), text));
    items.push(el("li", {}, el("i", { class: "k-waiting line-mark" }), waits === null ? "waiting" : `waiting ${count(waits)}`));
    byId("starts-legend").replaceChildren(...items);
    setText("starts-at", index === null ? (this.step === 60000 ? "per minute" : `per ${this.step / 1000} s`) : `${clock(this.plot.data[0][index] * 1000)} UTC`);
    const text = KINDS.map(([name, word]) => `${word} ${count(sum(name))}`).join(", ");
    if (index === null) this.box.setAttribute("aria-label", `Starts: ${text}`);
  }

  ever(name) {
    return this.plain.some((row) => row[name] > 0);
  }

  figures() {
    const from = now() - RECENT;
    const recent = [...this.rows.values()].filter((row) => Date.parse(row.at) >= from);
    const sum = (name) => recent.reduce((total, row) => total + row[name], 0);
    const [runs, launched, failed] = [sum("warm") + sum("prewarmed") + sum("cold"), sum("launched"), sum("failed")];
    setText("f-starts", count(runs + launched));
    fillBar(byId("f-starts-bar"), KINDS.map(([name]) => [`c-${name}`, sum(name)]), runs + launched + failed);
    const share = (name) => `${Math.round((100 * sum(name)) / runs)}% ${name}`;
    const parts = runs > 0 ? ["warm", "prewarmed", "cold"].filter((name) => sum(name) > 0).map(share) : [];
    if (launched > 0) parts.push(`${count(launched)} launched`);
    if (failed > 0) parts.push(`${count(failed)} failed`);
    setText("f-starts-more", parts.join(" · ") || "nothing was started");
  }
}
