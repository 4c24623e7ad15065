// Texts and elements. What comes from the process becomes text, never markup.

/** `el("b", { class: "x", text: "…", onclick: f }, child, …)` */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function setText(id, text) {
  const found = byId(id);
  if (found.textContent !== text) found.textContent = text;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const HUNDREDTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const count = (number) => WHOLE.format(number);
export const cpus = (number) => (number >= 100 ? WHOLE : number >= 10 ? TENTHS : HUNDREDTHS).format(number);
export const plural = (number, word, many = `${word}s`) => `${count(number)} ${number === 1 ? word : many}`;
export const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What the cluster manager calls its hosts, and what of it answers the process.
const WORDS = {
  mesos: { host: "agent", server: "master", some: "a master" },
  kubernetes: { host: "node", server: "API server", some: "the API server" },
};
export let words = WORDS.kubernetes;
export function setManager(manager) {
  words = WORDS[manager] ?? words;
}

/** MB as MB, GB or TB. */
export function memory(mb) {
  const size = Math.abs(mb);
  if (size < 4096) return `${WHOLE.format(mb)} MB`;
  if (size < 2 * 1048576) return `${TENTHS.format(mb / 1024)} GB`;
  return `${TENTHS.format(mb / 1048576)} TB`;
}

/** Milliseconds as one or two units. */
export function duration(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${TENTHS.format(s)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.round(s / 86400)} days`;
}

export const clock = (ms, parts = 8) => new Date(ms).toISOString().slice(11, 11 + parts);

// The process's time, whatever this machine's clock says.
let offset = 0;
export function setProcessTime(at) {
  if (at) offset = Date.parse(at) - Date.now();
}
export const now = () => Date.now() + offset;
export const since = (at) => (at ? duration(now() - Date.parse(at)) : "");

/** The value of a custom property of the style sheet, as the canvases need it. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** A canvas of `width` × `height` CSS pixels, sharp on this screen, emptied. */
export function prepared(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** `text` cut to `width` pixels in the font that `context` has. */
export function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

/** Shares of a whole, one after the other; `parts` are [class, amount]. */
export function fillBar(bar, parts, whole) {
  while (bar.childElementCount > parts.length) bar.lastElementChild.remove();
  parts.forEach(([name, amount], index) => {
    const part = bar.children[index] ?? bar.appendChild(el("i"));
    part.className = name;
    part.style.width = `${whole > 0 ? Math.max(0, (100 * amount) / whole) : 0}%`;
  });
}

export const PARTS = { used: "used by us", others: "others, or not offered", reserved: "reserved", buffer: "buffer" };

/** What each part of a node has of `kind` (mem or cpus), and what is available; null if its total is not known. */
export function partsOf(node, kind) {
  if (node.total === null) return null;
  const total = node.total[kind];
  const used = Math.min(node.used[kind], total);
  const free = node.free[kind];
  const reserved = Math.min(node.reserved[kind], free);
  const available = node.available[kind];
  const buffer = Math.max(0, Math.min(node.buffer[kind], free - reserved - available));
  return { total, used, others: Math.max(0, total - free - used), reserved, buffer, available };
}

/** Agents' ids as their end, `S12`: what is before it is the same for all. */
export const short = (text) => text.replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:-\d{4})?-(S\d+)\b/g, "$1");
