// An action container for nodejs:20: `node nodejs.js --port PORT [--host HOST]`.
//
// The same as owmesos.runtimes.python for the other kind: an HTTP proxy, and the user's code in a process of its own,
// so that the proxy can tell of its crash. It listens on one address only (HOST, or the variable of that name, else
// 127.0.0.1), because whoever reaches the port first decides what runs there. With `__OW_ALLOW_CONCURRENT=true` it takes
// runs at the same time. Texts and status codes are those of OpenWhisk's own container. No package is needed.
'use strict';

const childProcess = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const SENTINEL = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';

class Unusable extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// -- the proxy

function serve(host, port, concurrent) {
  const action = childProcess.fork(__filename, ['--action'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const running = new Map(); // the number of a request: what it is, and where its answer goes
  let state = 'ready'; // ready → starting → initialized or stopped
  let exited = false;
  let last = 0;

  function answer(response, status, body) {
    const data = Buffer.from(body);
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': data.length });
    response.end(data);
  }

  const refuse = (response, status, text) => answer(response, status, JSON.stringify({ error: text }));

  function handOn(kind, body, response) {
    last += 1;
    running.set(last, { kind, response });
    if (!exited) action.send({ kind, number: last, body }, () => {}); // that it has ended is told by 'exit'
  }

  function init(body, response) {
    if (state === 'initialized') refuse(response, 403, 'Cannot initialize the action more than once.');
    else if (state !== 'ready' || exited) refuse(response, 403, `System not ready, status is ${exited ? 'stopped' : state}.`);
    else {
      state = 'starting';
      handOn('init', body, response);
    }
  }

  function run(body, response) {
    if (exited) refuse(response, 403, 'System not ready, status is stopped.');
    else if (state !== 'initialized') refuse(response, 403, 'System not initialized.');
    else if (running.size > 0 && !concurrent) refuse(response, 403, 'System not ready, status is running.');
    else handOn('run', body, response);
  }

  function answered(number, status, body) {
    const { kind, response } = running.get(number);
    running.delete(number);
    if (kind === 'init') state = { 200: 'initialized', 502: 'stopped' }[status] || 'ready';
    if (kind === 'run' || state === 'stopped') writeSentinels();
    answer(response, status, body);
  }

  action.on('message', ({ number, status, body }) => answered(number, status, body));
  action.on('exit', (code, signal) => {
    exited = true;
    // It did not do that itself: for want of memory. The container ends too, so that the agent gives the reason.
    if (signal === 'SIGKILL') process.exit(137);
    for (const number of [...running.keys()]) {
      answered(number, 502, JSON.stringify({ error: 'The action exited unexpectedly: see its logs.' }));
    }
  });

  const server = require('node:http').createServer((request, response) => {
    const handle = { '/init': init, '/run': run }[request.url];
    if (request.method !== 'POST') return refuse(response, 405, 'only POST is served here');
    if (handle === undefined) return refuse(response, 404, 'only /init and /run are served here');
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => handle(Buffer.concat(chunks).toString(), response));
  });
  server.timeout = server.requestTimeout = server.headersTimeout = server.keepAliveTimeout = 0; // the invoker has its own
  server.on('error', (error) => leave(`cannot listen on ${host}:${port}: ${error.code}`));
  server.listen(port, host);
  process.on('SIGTERM', () => process.exit(0)); // the action's process sees its channel close, and ends
}

function writeSentinels() {
  for (const stream of [1, 2]) {
    try {
      fs.writeSync(stream, SENTINEL);
    } catch {
      continue; // nobody reads this stream; there is nowhere to say so
    }
  }
}

// -- the process of the user's code

function serveAction() {
  let main;
  process.on('disconnect', () => process.exit(0));
  process.on('message', ({ kind, number, body }) => {
    const work = kind === 'init' ? initialize(body).then((found) => ((main = found), '{"OK":true}')) : run(main, body);
    work
      .then(
        (answer) => ({ number, status: 200, body: answer }),
        (error) => ({ number, status: error.status || 502, body: JSON.stringify({ error: error.message }) }),
      )
      .then((answer) => flushed(() => process.send(answer)));
  });
}

// What was printed is there before the answer.
function flushed(then) {
  process.stdout.write('', () => process.stderr.write('', then));
}

function parsed(body) {
  try {
    return JSON.parse(body) || {};
  } catch (error) {
    throw new Unusable(400, `Error unmarshaling request: ${error.message}`);
  }
}

async function initialize(body) {
  const { main, code, binary, env } = parsed(body).value || {};
  if (typeof main !== 'string' || typeof code !== 'string' || !main || !code) {
    throw new Unusable(403, 'Missing main/no code to execute.');
  }
  for (const [name, value] of Object.entries(env || {})) {
    process.env[name] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  try {
    const found = binary ? unpacked(code, main) : loaded(code, main);
    if (typeof found !== 'function') throw new Error(`Action entrypoint '${main}' is not a function.`);
    return found;
  } catch (error) {
    console.error('Error during initialization:', error);
    throw new Unusable(502, `Initialization has failed due to: ${(error && error.stack) || error}`);
  }
}

// A single file: a function that it declares, or that it exports.
function loaded(code, main) {
  if (!/^[\p{ID_Start}$_][\p{ID_Continue}$.]*$/u.test(main)) throw new Error(`'${main}' is no name of a function.`);
  const found = `typeof ${main.split('.')[0]} === 'undefined' ? module.exports.${main} : ${main}`;
  const Module = require('node:module');
  const module = new Module(path.resolve('action.js'), null);
  module.filename = module.id;
  module.paths = Module._nodeModulePaths(process.cwd());
  module._compile(`${code}\n;module.exports = { found: (${found}) };`, module.filename);
  return module.exports.found;
}

// A zip archive with package.json or index.js at its root.
function unpacked(code, main) {
  const root = fs.mkdtempSync(path.join(process.env.MESOS_SANDBOX || require('node:os').tmpdir(), 'action-'));
  process.on('exit', () => fs.rmSync(root, { recursive: true, force: true }));
  for (const { name, data } of files(Buffer.from(code, 'base64'))) {
    const file = path.join(root, name);
    if (!file.startsWith(root + path.sep)) throw new Error(`the archive has a file outside of itself: ${name}`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, data);
  }
  if (!fs.existsSync(path.join(root, 'package.json')) && !fs.existsSync(path.join(root, 'index.js'))) {
    throw new Error('Zipped actions must contain either package.json or index.js at the root.');
  }
  process.chdir(root);
  return main.split('.').reduce((found, name) => found && found[name], require(root));
}

// The files of a zip archive, by its central directory (PKWARE's APPNOTE, 4.3.12): stored or deflated ones.
function* files(archive) {
  let end = archive.length - 22;
  while (end >= 0 && archive.readUInt32LE(end) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error('the code is no zip archive.');
  let at = archive.readUInt32LE(end + 16);
  for (let count = archive.readUInt16LE(end + 10); count > 0; count -= 1) {
    const method = archive.readUInt16LE(at + 10);
    const size = archive.readUInt32LE(at + 20);
    const [named, extra, comment] = [28, 30, 32].map((offset) => archive.readUInt16LE(at + offset));
    const name = archive.toString('utf8', at + 46, at + 46 + named);
    const local = archive.readUInt32LE(at + 42);
    const begin = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const data = archive.subarray(begin, begin + size);
    if (method !== 0 && method !== 8) throw new Error(`the archive's ${name} is neither stored nor deflated.`);
    if (!name.endsWith('/')) yield { name, data: method === 0 ? data : require('node:zlib').inflateRawSync(data) };
    at += 46 + named + extra + comment;
  }
}

async function run(main, body) {
  const { value = {}, ...context } = parsed(body);
  if (typeof value !== 'object') {
    throw new Unusable(403, `Internal system error: the argument must be a dictionary or array but has type '${typeof value}'.`);
  }
  for (const [name, setting] of Object.entries(context)) {
    if (typeof setting === 'string') process.env[`__OW_${name.toUpperCase()}`] = setting;
  }
  let result;
  try {
    result = main(value || {});
  } catch (error) {
    console.error(error);
    throw new Unusable(502, `An error has occurred: ${error}`);
  }
  try {
    result = await result;
  } catch (error) {
    result = { error: error ? plain(error) : {} }; // a rejection is an answer of the action's
  }
  if (result === undefined) result = {};
  if (typeof result !== 'object' || result === null) {
    console.error(`Result must be of type object but has type "${typeof result}":`, result);
    throw new Unusable(502, 'The action did not return a dictionary or array.');
  }
  try {
    return JSON.stringify(result);
  } catch (error) {
    throw new Unusable(502, `The action did not return what can be written as JSON: ${error.message}`);
  }
}

// What of an error can be written as JSON: its own properties, and those that are not shown by themselves.
function plain(error) {
  if (!(error instanceof Error)) return error;
  return { ...error, name: error.name, message: error.message, stack: error.stack };
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

if (process.argv[2] === '--action') {
  process.argv.splice(2);
  serveAction();
} else {
  serve(...address(process.argv.slice(2)), (process.env.__OW_ALLOW_CONCURRENT || '').toLowerCase() === 'true');
}
