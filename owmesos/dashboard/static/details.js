// What is shown of one node, launch, container or activation: explain and story, as the command line has them.

import { byId, clock, count, cpus, el, memory, partsOf, PARTS, plural, short, words } from "./format.js";
import { ask, NotAllowed } from "./session.js";
import { nodeLine, nodeState } from "./nodes.js";
import { spanLine } from "./timeline.js";

const EVERY = 2000; // ms between two requests while it is open

export class Details {
  constructor(store, refused) {
    this.store = store;
    this.refused = refused;
    this.dialog = byId("details");
    this.body = byId("details-body");
    this.dialog.addEventListener("close", () => this.closed());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
      const link = event.target.closest("button.row");
      if (link !== null) this.open(link.dataset.id, link.dataset.kind);
    });
    byId("details-close").addEventListener("click", () => this.dialog.close());
  }

  closed() {
    this.request?.abort();
    clearTimeout(this.timer);
    this.subject = undefined;
  }

  begin(title, subject) {
    this.closed();
    this.subject = subject;
    byId("details-title").textContent = title;
    this.body.replaceChildren();
    this.shown = null;
    if (!this.dialog.open) this.dialog.showModal();
  }

  open(id, kind) {
    this.begin(id, { id, kind });
    this.look();
  }

  openNode(node) {
    this.begin(node.hostname, { node: `${node.agent_id} ${node.role}` });
    this.refresh();
  }

  /** The tables have changed. */
  refresh() {
    if (this.subject?.node === undefined) return;
    const node = this.store.tables.nodes.get(this.subject.node);
    this.put(node === undefined ? [el("p", { text: `The ${words.host} is not known any more.` })] : this.ofNode(node));
  }

  put(children) {
    const made = el("div", {}, ...children);
    if (this.shown?.isEqualNode(made)) return;
    this.shown = made.cloneNode(true);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.id : undefined;
    this.body.replaceChildren(...made.childNodes);
    if (focused !== undefined) this.body.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  async look() {
    const { id } = this.subject;
    this.request = new AbortController();
    const { signal } = this.request;
    const path = encodeURIComponent(id);
    const found = await Promise.allSettled([ask(`explain/${path}`, signal), ask(`story/${path}`, signal)]);
    if (signal.aborted) return;
    const refused = found.find((each) => each.reason instanceof NotAllowed);
    if (refused !== undefined) {
      this.dialog.close();
      return this.refused(refused.reason.message);
    }
    this.put(this.ofLaunch(id, found[0], found[1]));
    this.timer = setTimeout(() => this.look(), EVERY);
  }

  ofLaunch(id, explained, told) {
    const span = this.store.tables.timeline.get(id);
    const made = [];
    if (span !== undefined) made.push(el("p", { class: "quiet", text: spanLine(span) }));
    made.push(el("h3", { text: "Explain" }));
    if (explained.status === "fulfilled") made.push(...explanation(explained.value));
    else if (span?.ended_at) made.push(el("p", { text: `It has ended${span.message ? `: ${span.message}` : "."}` }));
    else made.push(el("p", { class: "bad", text: explained.reason.message }));
    if (span?.container_id) made.push(el("h3", { text: "Container" }), link(span.container_id, "container"));
    if (told.status === "fulfilled") made.push(el("h3", { text: "Story" }), story(told.value));
    return made;
  }

  ofNode(node) {
    const tables = this.store.tables;
    const roles = [...tables.nodes.values()].filter((other) => other.agent_id === node.agent_id).length > 1;
    // A node of Kubernetes has no id but its name, and takes a bounded number of pods.
    const pods = node.total === null ? "not known yet" : `${count(node.available.pods)} of ${count(node.total.pods)} available`;
    const facts = [
      node.agent_id === node.hostname ? ["Pods", pods] : ["Agent", node.agent_id],
      ["State", nodeState(node.state)],
      ["Role", node.role],
      ["Attributes", Object.entries(node.attributes).map(([name, texts]) => `${name}=${texts.join(", ")}`).join("  ") || "none"],
      ["Seen", node.observed_at === null ? "not yet" : `${clock(Date.parse(node.observed_at))} UTC`],
    ];
    if (node.unavailability) facts.push(["Maintenance", maintenance(node.unavailability)]);
    if (node.reason) facts.push(["Gets few starts", node.reason]);
    const made = [el("p", { class: "quiet", text: nodeLine(node, roles) }), table(node), el("dl", {}, ...facts.flatMap(fact))];
    const held = [...tables.reservations.values()].filter((row) => row.agent_id === node.agent_id);
    made.push(el("h3", { text: `Reserved here${held.length ? `: ${count(held.length)}` : ""}` }));
    if (held.length === 0) made.push(el("p", { class: "quiet", text: "nothing" }));
    for (const row of held) made.push(link(row.launch_id, "launch", `${row.kind}, ${row.state}, ${memory(row.resources.mem)}`));
    const here = [...tables.timeline.values()].filter((span) => span.agent_id === node.agent_id && span.ended_at === null);
    made.push(el("h3", { text: `Starting and running here${here.length ? `: ${count(here.length)}` : ""}` }));
    if (here.length === 0) made.push(el("p", { class: "quiet", text: "nothing of the last 200" }));
    for (const span of here) {
      made.push(link(span.id, span.kind, `${span.kind === "activation" ? span.name : span.kind}, ${span.state}`));
    }
    return made;
  }
}

const fact = ([name, text]) => [el("dt", { text: name }), el("dd", { text })];

function maintenance({ start, duration_s }) {
  return `from ${start === null ? "now" : start.slice(0, 16).replace("T", " ")}, ${duration_s === null ? "without end" : `for ${plural(Math.round(duration_s / 60), "minute")}`}`;
}

function link(id, kind, more = "") {
  return el(
    "button",
    { type: "button", class: "row", "data-id": id, "data-kind": kind },
    el("span", { class: "name", text: id }),
    el("span", { class: "kind", text: more }),
  );
}

function table(node) {
  const [mem, cpu] = [partsOf(node, "mem"), partsOf(node, "cpus")];
  if (mem === null) return el("p", { class: "quiet", text: `The size of this ${words.host} is not known yet.` });
  const rows = [["available", "available"], ...Object.entries(PARTS), ["total", "total"]];
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, el("th", { text: "" }), el("th", { text: "Memory", scope: "col" }), el("th", { text: "CPUs", scope: "col" }))),
    el(
      "tbody",
      {},
      ...rows.map(([name, word]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, name in PARTS ? el("i", { class: `p-${name}` }) : null, word),
          el("td", { text: memory(mem[name]) }),
          el("td", { text: cpus(cpu[name]) }),
        ),
      ),
    ),
  );
}

function explanation(document) {
  const made = [];
  const place = document.queue_position;
  const where = place === null || place === undefined ? "" : place === 0 ? ", at the head of the queue" : `, ${plural(place, "launch", "launches")} ahead of it`;
  made.push(el("p", {}, el("span", { class: "tag", text: document.state }), where));
  made.push(el("p", { class: "summary", text: short(document.summary).replace("; nearest: ", ";\nnearest: ") }));
  const failed = Object.entries(document.failed);
  if (failed.length > 0 && document.agents) {
    const funnel = failed.map(([reason, number]) => {
      const bar = el("span", { class: "bar" }, el("i", { class: "p-others" }));
      const row = el("tr", {}, el("th", { scope: "row", text: reason.replace("_", " ") }), el("td", { text: count(number) }), el("td", { class: "wide" }, bar));
      bar.firstChild.style.width = `${(100 * number) / document.agents}%`;
      return row;
    });
    made.push(el("table", { class: "funnel" }, el("caption", { text: `What keeps ${plural(document.agents, words.host)} from taking it` }), el("tbody", {}, ...funnel)));
  }
  return made;
}

function story(document) {
  return el(
    "ol",
    { class: "story" },
    ...document.story.map((line) =>
      el(
        "li",
        {},
        el("time", { text: line.at === null ? "" : line.at.slice(11, 23), title: line.at }),
        el("span", { class: `tag st-${line.state}`, text: line.state }),
        el("span", { text: short(line.text) }),
      ),
    ),
  );
}


