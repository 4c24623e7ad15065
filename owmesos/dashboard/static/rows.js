// What waits and what is reserved, as lists of buttons: Tab and arrows reach them, Enter opens.

import { byId, count, cpus, el, memory, plural, setText, short, since, upper } from "./format.js";

const note = (text) => el("p", { class: "empty", text });

class List {
  /** `words`: what is said where there is nothing, and where nothing matches. A list has `order`, `made` and `summarize`. */
  constructor(id, open, words) {
    this.box = byId(id);
    this.words = words;
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

  show(rows, matches, leftOut) {
    const all = [...rows.values()].sort(this.order);
    const shown = matches === null ? all : all.filter(matches);
    this.fill([shown, leftOut, all.length], () => {
      if (shown.length === 0) return [note(all.length === 0 ? this.words.nothing : this.words.noMatch)];
      const made = this.made(shown);
      if (leftOut > 0) made.push(note(`and ${count(leftOut)} more`));
      return made;
    });
    this.summarize(all, all.length + leftOut);
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

  row({ id, kind, since: at }, ...cells) {
    return el(
      "div",
      { role: "listitem" },
      el("button", { type: "button", class: "row", "data-id": id, "data-kind": kind }, ...cells, this.age(at)),
    );
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
    super("waiting", open, { nothing: "Nothing waits.", noMatch: "Nothing that waits matches the filter." });
  }

  order(a, b) {
    return (a.kind === "activation") - (b.kind === "activation") || a.position - b.position;
  }

  /** Those that follow each other and have the same reason have it above them, once. */
  made(rows) {
    const made = [];
    let group = null;
    for (const row of rows) {
      const reason = shared(row.reason);
      if (reason !== group) made.push(el("p", { class: reason === STARTING ? "reason calm" : "reason", text: sentence(reason) }));
      group = reason;
      made.push(
        this.row(
          row,
          el("span", { class: "place", text: `${row.position + 1}` }),
          el("span", { class: "name", text: row.kind === "activation" ? row.name : row.id }),
          el("span", { class: "kind", text: row.kind }),
          size(row),
        ),
      );
    }
    return made;
  }

  summarize(all, total) {
    setText("waiting-count", total === 0 ? "" : count(total));
    setText("f-waiting", count(total));
    const oldest = all.reduce((first, row) => (first === null || row.since < first ? row.since : first), null);
    setText("f-waiting-more", oldest === null ? "nothing waits" : `the oldest for ${since(oldest)}`);
    byId("f-waiting").classList.toggle("warn", total > 0);
  }
}

export class ReservationList extends List {
  constructor(open) {
    super("reservations", open, { nothing: "Nothing is reserved.", noMatch: "No reservation matches the filter." });
  }

  order(a, b) {
    return a.since < b.since ? -1 : 1;
  }

  made(rows) {
    return rows.map((row) =>
      this.row(
        { id: row.launch_id, kind: "launch", since: row.since },
        el("span", { class: `tag t-${row.kind}`, text: row.kind }),
        el("span", { class: "name", text: row.launch_id }),
        el("span", { class: "kind", text: `${row.state} · ${row.hostname}` }),
        size(row.resources),
      ),
    );
  }

  summarize(all, total) {
    setText("reservations-count", total === 0 ? "" : plural(total, "reservation"));
  }
}

const size = (amounts) => el("span", { class: "size", text: `${cpus(amounts.cpus)} cpu · ${memory(amounts.mem)}` });

const STARTING = "a container is starting for each of these";

/** The reason as those that follow each other have it in common. */
function shared(reason) {
  if (reason === null) return "the reason is being found out";
  return /^container \S+ is starting for it$/.test(reason) ? STARTING : reason;
}

/** A reason as a sentence of its own; the nearest miss on a line of its own. */
function sentence(reason) {
  const text = short(reason).replace("; nearest: ", ";\nnearest: ");
  return upper(text);
}
