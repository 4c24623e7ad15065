// The token, requests with it, and the stream of events.
//
// The token is in a header and never in a cookie: a page of another origin cannot make the browser send it. EventSource
// sends no headers, so the stream is read by fetch.

const KEY = "owmesos-token";
const SILENT = 15000; // ms without a byte, where the process sends something every 5 s
const PAUSES = [500, 1000, 2000, 5000]; // ms before a new connection; the last repeats

export class NotAllowed extends Error {}

export function token() {
  return sessionStorage.getItem(KEY);
}

export function keepToken(text) {
  sessionStorage.setItem(KEY, text);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

/** Takes the token from `#token=…`, and takes it out of the address and the history. */
export function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return false;
  history.replaceState(null, "", location.pathname);
  keepToken(given);
  return true;
}

async function request(path, signal) {
  const given = token();
  if (given === null || !/^[\x21-\x7e]+$/.test(given)) throw new NotAllowed("a token is letters, digits and ._~+/-");
  const headers = { Authorization: `Bearer ${given}` };
  const response = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  let reason = `the process answers with ${response.status}`;
  try {
    reason = (await response.json()).error ?? reason;
  } catch {
    // it is not ours
  }
  throw response.status === 401 ? new NotAllowed(reason) : Object.assign(new Error(reason), { status: response.status });
}

/** The document at `path` below /api/v1/. Throws an Error with its reason and `status`, or NotAllowed. */
export async function ask(path, signal) {
  return (await request(`/api/v1/${path}`, signal)).json();
}

/**
 * Reads the stream until it is stopped or the token is not valid, and connects again when it breaks.
 *
 * `on.event(name, document)`, `on.open()`, `on.broken(reason)`, `on.refused(reason)`.
 */
export function follow(on) {
  const stop = new AbortController();
  (async () => {
    let attempt = 0;
    while (!stop.signal.aborted) {
      let reason = "the connection ended";
      try {
        await read(stop.signal, on, () => (attempt = 0));
      } catch (error) {
        if (stop.signal.aborted) return;
        if (error instanceof NotAllowed) return on.refused(error.message);
        reason = error.status !== undefined || error.name === "Ended" ? error.message : "the process does not answer";
      }
      if (stop.signal.aborted) return;
      on.broken(reason);
      await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(attempt++, PAUSES.length - 1)]));
    }
  })();
  return () => stop.abort();
}

async function read(stopped, on, opened) {
  const broken = new AbortController();
  const abort = () => broken.abort();
  stopped.addEventListener("abort", abort);
  let watch = setTimeout(abort, SILENT);
  try {
    const response = await request("/api/v1/events", broken.signal);
    on.open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(abort, SILENT);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) deliver(part, on, opened);
    }
  } finally {
    clearTimeout(watch);
    stopped.removeEventListener("abort", abort);
    abort();
  }
}

function deliver(part, on, opened) {
  let name = "message";
  const data = [];
  for (const line of part.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  if (data.length === 0) return on.alive();
  const document = JSON.parse(data.join("\n"));
  if (name === "end") throw Object.assign(new Error(document.error), { name: "Ended" });
  opened();
  on.event(name, document);
}
