// An action container for nodejs:20: `node nodejs.js --port PORT [--host HOST]`.
//
// The same as owmesos.runtimes.python for the other kind: an HTTP proxy, and the user's code in a process of its own
// (nodejs_action.js), so that the proxy can tell of its crash. It listens on one address only (HOST, or the variable of
// that name, else 127.0.0.1). Where its task has a verifier, only requests with the container's secret are served (see
// owmesos.runtimes.access); else whoever reaches the port first decides what runs there. With
// `__OW_ALLOW_CONCURRENT=true` it takes runs at the same time. Texts and status codes are those of OpenWhisk's own
// container. No package is needed.
'use strict';

const fs = require('node:fs');

const VERIFIER = 'OWMESOS_CONTAINER_VERIFIER';
const HEXADECIMAL = /^[0-9a-f]{64}$/;
const MAX_STRANGERS = 64; // connections that have not shown the secret; the oldest makes room
const MAX_BODY = 128 * 1024 * 1024; // the most code is 48 MB, and JSON may need several bytes for one
const MAX_HEAD_SECONDS = 10;
const SENTINEL = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';

// Frames to the action's process: see nodejs_action.js.
const [BEGIN, DATA, ABANDON, INIT, RUN] = [1, 2, 3, 4, 5];
const LEAVING = 0; // in the place of a status
const HEAD = 10;
const GRACE = 1000; // milliseconds
const TOGETHER = 64 * 1024; // bytes

// -- the proxy

function serve(host, port, concurrent) {
  const gate = makeGate(process.env[VERIFIER]);
  delete process.env[VERIFIER]; // the action's process gets the rest
  const running = new Map(); // the number of a request: what it is, and where its answer goes
  let state = 'ready'; // ready → starting → initialized or stopped
  let exited = false;
  let last = 0;

  function answer(response, status, body) {
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
    response.end(body);
  }

  const refuse = (response, status, text) => answer(response, status, JSON.stringify({ error: text }));

  // Why a request cannot be handed on now: nothing, or the text of its 403.
  const refusals = {
    init() {
      if (state === 'initialized') return 'Cannot initialize the action more than once.';
      return state !== 'ready' || exited ? `System not ready, status is ${exited ? 'stopped' : state}.` : undefined;
    },
    run() {
      if (exited) return 'System not ready, status is stopped.';
      if (state !== 'initialized') return 'System not initialized.';
      return running.size > 0 && !concurrent ? 'System not ready, status is running.' : undefined;
    },
  };

  // The body goes on as it comes: the proxy needs no memory for it.
  function handOn(kind, request, response) {
    const number = (last = (last + 1) % 2 ** 32);
    let refusal = refusals[kind]();
    let length = 0;
    let ended = false;
    if (refusal === undefined) action.send(BEGIN, number, Number(request.headers['content-length']) || 0);
    const giveUp = () => {
      if (refusal === undefined) action.send(ABANDON, number);
      refusal = 'given up';
    };
    request.on('data', (chunk) => {
      length += chunk.length;
      if (length > MAX_BODY) {
        giveUp();
        if (!response.headersSent) tooLarge(request, response);
      } else if (refusal === undefined && !action.send(DATA, number, chunk.length, chunk)) {
        request.pause();
        action.whenTaken(() => request.resume());
      }
    });
    request.on('end', () => {
      ended = true;
      if (length > MAX_BODY) return;
      const now = refusal || refusals[kind]();
      if (now !== undefined) {
        giveUp();
        say(`Internal system error: ${now}\n`);
        refuse(response, 403, now);
        return;
      }
      if (kind === 'init') state = 'starting';
      running.set(number, { kind, response });
      action.send(kind === 'init' ? INIT : RUN, number);
    });
    request.on('close', () => ended || giveUp());
  }

  function prove(request, response) {
    const chunks = [];
    request.on('data', (chunk) => chunks.length < 64 && chunks.push(chunk));
    request.on('end', () => {
      const challenge = Buffer.concat(chunks).toString('latin1');
      if (HEXADECIMAL.test(challenge)) answer(response, 200, JSON.stringify({ proof: gate.prove(challenge) }));
      else refuse(response, 400, 'a challenge is 64 hexadecimal digits');
    });
  }

  function tooLarge(request, response) {
    response.setHeader('Connection', 'close');
    response.on('finish', () => request.socket.destroy());
    refuse(response, 413, `the body has more than ${MAX_BODY} bytes`);
  }

  function answered(number, status, body) {
    const { kind, response } = running.get(number);
    running.delete(number);
    if (kind === 'init') state = { 200: 'initialized', 502: 'stopped' }[status] || 'ready';
    if (kind === 'run' || state === 'stopped') writeSentinels();
    answer(response, status, body);
  }

  // `begun`: the runs that the user's code has seen, undefined where it could not say so.
  function ended(code, signal, begun) {
    exited = true;
    // It did not do that itself: for want of memory. The container ends too, so that the agent gives the reason.
    if (signal === 'SIGKILL') process.exit(137);
    const idle = state === 'initialized' && ![...running.keys()].some((number) => !begun || begun.includes(number));
    for (const [number, { response }] of [...running]) {
      if (!idle) answered(number, 502, JSON.stringify({ error: 'The action exited unexpectedly: see its logs.' }));
      else refuse(response, 503, 'The container ended before it took this run.');
    }
    // Nobody's run is at fault: who comes next finds no container, and gets another one.
    if (idle) leaveWhenSent([...running.values()], code || 1);
  }

  const action = startAction(answered, ended);
  const server = require('node:http').createServer((request, response) => {
    if (gate !== undefined && !gate.admits(request)) {
      response.setHeader('Connection', 'close');
      response.on('finish', () => request.socket.destroy()); // nothing of the body is kept
      return refuse(response, 401, "the Authorization header must have this container's secret");
    }
    const handOnAs = { '/init': 'init', '/run': 'run' };
    if (request.method !== 'POST') return refuse(response, 405, 'only POST is allowed');
    if (Number(request.headers['content-length']) > MAX_BODY) return tooLarge(request, response);
    if (request.url === '/prove' && gate) return prove(request, response);
    if (!Object.hasOwn(handOnAs, request.url)) return refuse(response, 404, 'the path must be /init or /run');
    return handOn(handOnAs[request.url], request, response);
  });
  server.timeout = server.requestTimeout = server.keepAliveTimeout = 0; // the invoker has its own
  server.headersTimeout = MAX_HEAD_SECONDS * 1000; // who connects sends a request
  if (gate !== undefined) server.on('connection', gate.connected);
  server.on('error', (error) => leave(`cannot listen on ${host}:${port}: ${error.code}`));
  server.listen(port, host);
  process.on('SIGTERM', () => process.exit(0)); // the action's process sees its channel close, and ends
}

// The process of the user's code. Frames on its channel are those of nodejs_action.js: a kind, the number of a request,
// a length; and what has that length, if it is data or an answer.
function startAction(answered, ended) {
  const file = require('node:path').join(__dirname, 'nodejs_action.js');
  const options = { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] };
  const child = require('node:child_process').spawn(process.execPath, [...process.execArgv, file], options);
  const channel = child.stdio[3];
  const waiting = [];
  const unsent = [];
  let unsentSize = 0;
  let begun; // the runs under way, as it said when it left
  let chunks = [];
  let have = 0;

  function take(chunk) {
    chunks.push(chunk);
    have += chunk.length;
    while (have >= HEAD) {
      if (chunks[0].length < HEAD) chunks = [Buffer.concat(chunks)];
      const size = HEAD + chunks[0].readUInt32LE(6);
      if (have < size) return;
      const data = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      const body = data.subarray(HEAD, size);
      chunks = [data.subarray(size)];
      have -= size;
      const status = data.readUInt16LE(0);
      if (status === LEAVING) begun = JSON.parse(body.toString());
      else answered(data.readUInt32LE(2), status, body);
    }
  }

  channel.on('data', take);
  channel.on('error', () => channel.destroy()); // that it has ended is told by 'close'
  channel.on('drain', () => waiting.splice(0).forEach((resume) => resume()));
  channel.on('close', () => {
    waiting.splice(0).forEach((resume) => resume());
    // It closed what it is asked by, and lives on: there is nothing that it could do.
    setTimeout(() => child.exitCode === null && child.signalCode === null && child.kill('SIGABRT'), GRACE).unref();
  });
  child.on('exit', () => setTimeout(() => channel.destroy(), GRACE).unref()); // if its children hold the other end
  child.on('close', (code, signal) => ended(code, signal, begun));
  child.on('error', (error) => leave(`cannot start the action's process: ${error.message}`));
  return {
    // Frames of a small body go together with the one that ends it. False: more is not to be sent before it is taken.
    send(kind, number, size = 0, data = undefined) {
      if (channel.destroyed) return true;
      const head = Buffer.allocUnsafe(HEAD);
      head.writeUInt16LE(kind, 0);
      head.writeUInt32LE(number, 2);
      head.writeUInt32LE(Math.min(size, MAX_BODY), 6);
      unsent.push(head);
      if (data !== undefined) unsent.push(data);
      unsentSize += HEAD + (data === undefined ? 0 : size);
      if (kind === BEGIN || (kind === DATA && unsentSize < TOGETHER)) return true;
      const frames = Buffer.concat(unsent.splice(0), unsentSize);
      unsentSize = 0;
      return channel.write(frames);
    },
    whenTaken: (resume) => (channel.destroyed ? resume() : waiting.push(resume)),
  };
}

function leaveWhenSent(requests, code) {
  const responses = requests.map(({ response }) => response).filter((response) => !response.writableFinished);
  if (responses.length === 0) process.exit(code);
  let left = responses.length;
  for (const response of responses) response.on('close', () => (left -= 1) || process.exit(code));
}

// Who may use the container, and how it shows that it is the one: see owmesos.runtimes.access.
function makeGate(verifier) {
  if (verifier === undefined) return undefined;
  if (!HEXADECIMAL.test(verifier)) leave(`${VERIFIER} must be 64 hexadecimal digits, not ${verifier.length} characters`);
  const { createHash, createHmac, timingSafeEqual } = require('node:crypto');
  const key = Buffer.from(verifier, 'hex');
  const strangers = new Set(); // the oldest first
  return {
    connected(socket) {
      strangers.add(socket);
      socket.on('close', () => strangers.delete(socket));
      if (strangers.size > MAX_STRANGERS) strangers.values().next().value.destroy();
    },
    admits({ headers, socket, url }) {
      const secret = /^bearer (.*)$/i.exec(headers.authorization || '');
      if (secret && timingSafeEqual(createHash('sha256').update(secret[1], 'latin1').digest(), key)) {
        strangers.delete(socket);
        return true;
      }
      return url === '/prove' && Number(headers['content-length']) <= 64; // a challenge needs no secret
    },
    prove: (nonce) => createHmac('sha256', key).update(nonce).digest('hex'),
  };
}

function writeSentinels() {
  for (const stream of [1, 2]) say(SENTINEL, stream);
}

function say(text, stream = 2) {
  try {
    fs.writeSync(stream, text);
  } catch {
    return; // nobody reads this stream; there is nowhere to say so
  }
}

// -- the program

function leave(text) {
  console.error(text);
  process.exit(1);
}

function address(given) {
  const usage = 'usage: node nodejs.js --port PORT [--host HOST]';
  const found = { '--host': process.env.HOST || '127.0.0.1', '--port': process.env.PORT || '' };
  for (let index = 0; index < given.length; index += 2) {
    if (!(given[index] in found) || given[index + 1] === undefined) leave(usage);
    found[given[index]] = given[index + 1];
  }
  const port = /^\d+$/.test(found['--port']) ? Number(found['--port']) : 0;
  if (port < 1 || port > 65535) leave(`the port must be a number from 1 to 65535, not '${found['--port']}'; ${usage}`);
  return [found['--host'], port];
}

serve(...address(process.argv.slice(2)), (process.env.__OW_ALLOW_CONCURRENT || '').toLowerCase() === 'true');
