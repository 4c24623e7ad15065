// What waits and what is reserved, as lists of buttons: Tab and arrows reach them, Enter opens.

import { byId, count, cpus, el, memory, plural, setText, short, since } from "./format.js";

const KINDS = { launch: "launch", container: "container", activation: "activation" };

class List {
  constructor(id, open) {
    this.box = byId(id);
    this.open = open;
    this.shown = "";
    this.ages = [];
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest("button.row");
      if (row !== null) open(row.dataset.id, row.dataset.kind);
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      const rows = [...this.box.querySelectorAll("button.row")];
      const next = rows[rows.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
      if (next === undefined) return;
      event.preventDefault();
      next.focus();
    });
  }

  /** Build it anew if `content` says something else than before; the row that has the focus keeps it. */
  fill(content, build) {
    const wanted = JSON.stringify(content);
    if (wanted !== this.shown) {
      this.shown = wanted;
      const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.id : null;
      const top = this.box.scrollTop;
      this.ages = [];
      this.box.replaceChildren(...build());
      this.box.scrollTop = top;
      if (focused !== null) this.box.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    }
    this.tick();
  }

  age(at) {
    const shown = el("span", { class: "age" });
    this.ages.push([shown, at]);
    return shown;
  }

  tick() {
    for (const [shown, at] of this.ages) {
      const text = since(at);
      if (shown.textContent !== text) shown.textContent = text;
    }
  }
}

export class WaitingList extends List {
  constructor(open) {
    super("waiting", open);
  }

  show(rows, matches, leftOut) {
    const order = (row) => (row.kind === "activation" ? 1 : 0);
    const all = [...rows.values()].sort((a, b) => order(a) - order(b) || a.position - b.position);
    const shown = matches === null ? all : all.filter(matches);
    this.fill([shown, leftOut, all.length], () => {
      if (all.length === 0) return [el("p", { class: "empty", text: "Nothing waits." })];
      if (shown.length === 0) return [el("p", { class: "empty", text: "Nothing that waits matches the filter." })];
      const made = [];
      let group = null;
      for (const row of shown) {
        const reason = shared(row.reason);
        if (reason !== group) made.push(el("p", { class: reason === STARTING ? "reason calm" : "reason", text: sentence(reason) }));
        group = reason;
        made.push(this.row(row));
      }
      if (leftOut > 0) made.push(el("p", { class: "empty", text: `and ${count(leftOut)} more` }));
      return made;
    });
    const total = all.length + leftOut;
    setText("waiting-count", total === 0 ? "" : count(total));
    setText("f-waiting", count(total));
    const oldest = all.reduce((first, row) => (first === null || row.since < first ? row.since : first), null);
    setText("f-waiting-more", oldest === null ? "nothing waits" : `the oldest for ${since(oldest)}`);
    byId("f-waiting").classList.toggle("warn", total > 0);
  }

  row(row) {
    return el(
      "div",
      { role: "listitem" },
      el(
        "button",
        { type: "button", class: "row", "data-id": row.id, "data-kind": row.kind },
        el("span", { class: "place", text: `${row.position + 1}` }),
        el("span", { class: "name", text: row.kind === "activation" ? row.name : row.id }),
        el("span", { class: "kind", text: KINDS[row.kind] }),
        el("span", { class: "size", text: `${cpus(row.cpus)} cpu · ${memory(row.mem)}` }),
        this.age(row.since),
      ),
    );
  }
}

export class ReservationList extends List {
  constructor(open) {
    super("reservations", open);
  }

  show(rows, matches, leftOut) {
    const all = [...rows.values()].sort((a, b) => (a.since < b.since ? -1 : 1));
    const shown = matches === null ? all : all.filter(matches);
    this.fill([shown, leftOut, all.length], () => {
      if (all.length === 0) return [el("p", { class: "empty", text: "Nothing is reserved." })];
      if (shown.length === 0) return [el("p", { class: "empty", text: "No reservation matches the filter." })];
      const made = shown.map((row) => this.row(row));
      if (leftOut > 0) made.push(el("p", { class: "empty", text: `and ${count(leftOut)} more` }));
      return made;
    });
    setText("reservations-count", all.length + leftOut === 0 ? "" : plural(all.length + leftOut, "reservation"));
  }

  row(row) {
    return el(
      "div",
      { role: "listitem" },
      el(
        "button",
        { type: "button", class: "row", "data-id": row.launch_id, "data-kind": "launch" },
        el("span", { class: `tag t-${row.kind}`, text: row.kind }),
        el("span", { class: "name", text: row.launch_id }),
        el("span", { class: "kind", text: `${row.state} · ${row.hostname}` }),
        el("span", { class: "size", text: `${cpus(row.resources.cpus)} cpu · ${memory(row.resources.mem)}` }),
        this.age(row.since),
      ),
    );
  }
}

const STARTING = "a container is starting for each of these";

/** The reason as those that follow each other have it in common. */
function shared(reason) {
  if (reason === null) return "the reason is being found out";
  return /^container \S+ is starting for it$/.test(reason) ? STARTING : reason;
}

/** A reason as a sentence of its own; the nearest miss on a line of its own. */
function sentence(reason) {
  const text = short(reason).replace("; nearest: ", ";\nnearest: ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
