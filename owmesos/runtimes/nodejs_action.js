// The process of the user's code, which nodejs.js starts: `main` and what it takes live here.
//
// What it is asked and answers are frames on file descriptor 3: two bytes, the number of a request in four bytes, a
// length in four bytes, all little-endian. To here the first two are a kind: BEGIN (the length is what is to be expected,
// 0 if that is not known), DATA (so many bytes of the body follow), ABANDON, INIT and RUN (the body is whole). From here
// they are a status, and so many bytes of JSON follow. LEAVING is no status: the JSON is the list of runs under way.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const Module = require('node:module');
const { Socket } = require('node:net');

const CHANNEL = 3;
const HEAD = 10;
const [BEGIN, DATA, ABANDON, INIT, RUN] = [1, 2, 3, 4, 5];
const LEAVING = 0;
const BUFFER = 256 * 1024;
const LARGE = 1024 * 1024; // bytes of code from which on no copy is made
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*$/u;

class Unusable extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// -- requests and answers

// A body as it comes, in one buffer.
class Body {
  constructor(expected) {
    this.data = Buffer.allocUnsafe(expected || BUFFER);
    this.length = 0;
  }

  add(chunk) {
    if (this.length + chunk.length > this.data.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.data.length * 2, this.length + chunk.length));
      this.data.copy(larger, 0, 0, this.length);
      this.data = larger;
    }
    this.length += chunk.copy(this.data, this.length);
  }

  whole() {
    return this.data.subarray(0, this.length);
  }
}

function serve() {
  const bodies = new Map(); // the number of a request: what has come of it
  const underWay = new Set();
  const head = Buffer.alloc(HEAD);
  let headLength = 0;
  let missing = 0; // bytes of DATA that are still to come
  let main;

  function take(chunk) {
    for (let at = 0; at < chunk.length; ) {
      if (missing > 0) {
        const part = chunk.subarray(at, at + missing);
        bodies.get(head.readUInt32LE(2)).add(part);
        missing -= part.length;
        at += part.length;
      } else {
        const copied = chunk.copy(head, headLength, at);
        at += copied;
        headLength += copied;
        if (headLength === HEAD) {
          headLength = 0;
          begin(head.readUInt16LE(0), head.readUInt32LE(2), head.readUInt32LE(6));
        }
      }
    }
  }

  function begin(kind, number, size) {
    if (kind === BEGIN) bodies.set(number, new Body(size));
    else if (kind === DATA) missing = size;
    else {
      const body = bodies.get(number);
      bodies.delete(number);
      if (kind !== ABANDON) handle(kind, number, body.whole());
    }
  }

  async function handle(kind, number, body) {
    let status = 200;
    let answer = '{"OK":true}';
    underWay.add(number);
    try {
      if (kind === INIT) main = await initialize(body);
      else answer = await run(main, body);
    } catch (error) {
      // All that is thrown to here is ours.
      status = error.status;
      answer = JSON.stringify({ error: error.message });
    }
    underWay.delete(number);
    channel.write(frame(status, number, answer));
  }

  function frame(status, number, text) {
    const size = Buffer.byteLength(text);
    const data = Buffer.allocUnsafe(HEAD + size);
    data.writeUInt16LE(status, 0);
    data.writeUInt32LE(number, 2);
    data.writeUInt32LE(size, 6);
    data.write(text, HEAD);
    return data;
  }

  const buffer = Buffer.alloc(BUFFER);
  const onread = { buffer, callback: (length) => take(buffer.subarray(0, length)) || true };
  const channel = new Socket({ fd: CHANNEL, readable: true, writable: true, onread });
  channel.on('error', () => process.exit(0));
  channel.on('close', () => process.exit(0)); // the proxy has ended
  process.on('exit', () => {
    if (channel.writableLength > 0) return; // half of an answer may be on its way
    try {
      fs.writeSync(CHANNEL, frame(LEAVING, 0, JSON.stringify([...underWay])));
    } catch {
      return; // the proxy has ended, or takes nothing: all runs count as under way
    }
  });
}

const fault = (text) => require('./nodejs_errors.js').fault(text);

// What `error` says, whatever it is.
function textOf(error) {
  try {
    return String(error);
  } catch {
    return 'an error that cannot be written as text';
  }
}

function log(...what) {
  try {
    console.error(...what);
  } catch (error) {
    console.error(`${textOf(what[0])} (it cannot be shown: ${textOf(error)})`);
  }
}

function parsed(body) {
  try {
    return JSON.parse(body.toString()) || {};
  } catch (error) {
    throw new Unusable(400, `Error unmarshaling request: ${error.message}`);
  }
}

// -- /init

async function initialize(body) {
  const { main, code, binary, env } = (withArchive(body) || parsed(body)).value || {};
  if (typeof main !== 'string' || !main || !code || (typeof code !== 'string' && !Buffer.isBuffer(code))) {
    throw new Unusable(403, 'Missing main/no code to execute.');
  }
  try {
    for (const [name, value] of Object.entries(Object(env))) {
      process.env[name] = typeof value === 'string' ? value : JSON.stringify(value);
    }
    const found = binary ? await unpacked(Buffer.from(code, 'base64'), main) : loaded(code, main);
    if (typeof found !== 'function') throw fault(`Action entrypoint '${main}' is not a function.`);
    return found;
  } catch (error) {
    log('Error during initialization:', error);
    const stack = typeof error?.stack === 'string' && error.stack;
    throw new Unusable(502, `Initialization has failed due to: ${stack || textOf(error)}`);
  }
}

// A body with a large archive, decoded where it lies; undefined for all others, which are parsed as they are.
function withArchive(body) {
  const marker = `code-${body.length}-${process.hrtime.bigint()}`;
  for (let at = 0; body.length > LARGE && (at = body.indexOf('"code"', at)) >= 0; at += 1) {
    const begin = body.indexOf('"', at + 6) + 1; // of what stands after the colon
    const end = body.indexOf('"', begin);
    if (begin === 0 || end < begin + LARGE) continue;
    const escape = body.indexOf('\\', begin);
    if (escape >= 0 && escape < end) return undefined;
    let request;
    try {
      request = JSON.parse(body.toString('utf8', 0, begin) + marker + body.toString('utf8', end));
    } catch {
      return undefined; // what is wrong with it is told of the whole
    }
    if (request?.value?.code !== marker || !request.value.binary) continue;
    request.value.code = decoded(body.subarray(begin, end));
    return request;
  }
  return undefined;
}

// Base64 becomes bytes in its own place: they are fewer, so none is overwritten before it is read.
function decoded(text) {
  let length = 0;
  for (let at = 0; at < text.length; at += BUFFER) {
    const part = Buffer.from(text.latin1Slice(at, Math.min(at + BUFFER, text.length)), 'base64');
    if (at + BUFFER < text.length && part.length !== (BUFFER / 4) * 3) {
      const rest = Buffer.from(text.latin1Slice(at), 'base64'); // it has blanks, or is padded in between
      return Buffer.concat([text.subarray(0, length), rest]);
    }
    length += part.copy(text, length);
  }
  return text.subarray(0, length);
}

// A single file: a function that it declares, or that it exports. It has a scope of its own, so that it may declare
// names such as `require` or `module` itself; OpenWhisk's own runner does that too.
function loaded(code, main) {
  if (!NAME.test(main)) throw fault(`Name of main function is not valid: '${main}'.`);
  const module = new Module(path.resolve('action.js'), null);
  module.filename = module.id;
  module.paths = Module._nodeModulePaths(process.cwd());
  const exported = main.replaceAll('.', '?.');
  module._compile(
    `module.found = (function () {${code.replace(/^#!.*/, '')}
try { return ${main} } catch (e) {
  if (e.name !== 'ReferenceError') throw e;
  return module.exports?.${exported} || exports?.${exported};
}
}).call(undefined);`,
    module.filename,
  );
  return module.found;
}

// An archive. `module.function` is of that module of the archive, else `main` is a name in what the package exports.
async function unpacked(archive, main) {
  const [, simple, module, name] = /^(?:([^.]+)|([^.]+)\.(.+))$/s.exec(main) || [];
  if (!simple && !module) throw fault(`Name of main function is not valid: '${main}'.`);
  const sandbox = process.env.MESOS_SANDBOX || require('node:os').tmpdir();
  const root = fs.realpathSync(fs.mkdtempSync(path.join(sandbox, 'action-')));
  process.on('exit', () => fs.rmSync(root, { recursive: true, force: true }));
  await require('./nodejs_archive.js').unpack(archive, root);
  process.chdir(root);
  const isPackage = fs.existsSync('package.json') || fs.existsSync('index.js');
  if (module && (!isPackage || isModule(path.join(root, module)))) return named(require(path.join(root, module)), name);
  if (isPackage) return named(require(root), main);
  throw fault('Zipped actions must contain either package.json or index.js at the root.');
}

function isModule(file) {
  try {
    return Boolean(require.resolve(file));
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    return false;
  }
}

// The function `a.b.c` in `exported`, which keeps what it was called on.
function named(exported, name) {
  const names = name.split('.');
  const last = names.pop();
  const owner = names.reduce((found, each) => found?.[each], exported);
  return typeof owner?.[last] === 'function' && names.length > 0 ? owner[last].bind(owner) : owner?.[last];
}

// -- /run

async function run(main, body) {
  const { value, ...context } = parsed(body);
  const given = value === undefined || value === null ? {} : value;
  if (typeof given !== 'object') {
    const text = `Internal system error: the argument must be a dictionary or array but has type '${typeof given}'.`;
    log('Internal system error:', text);
    throw new Unusable(403, text);
  }
  for (const [name, setting] of Object.entries(context)) {
    if (typeof setting === 'string') process.env[`__OW_${name.toUpperCase()}`] = setting;
  }
  let result;
  try {
    result = main(given);
  } catch (error) {
    log(error);
    throw new Unusable(502, `An error has occurred: ${textOf(error)}`);
  }
  try {
    result = await result;
  } catch (error) {
    // A rejection is an answer of the action's.
    result = { error: error ? require('./nodejs_errors.js').plain(error) : {} };
  }
  return written(result === undefined ? {} : result);
}

function written(result) {
  let text;
  try {
    if (typeof result === 'object') text = JSON.stringify(result);
  } catch (error) {
    log('The result cannot be written as JSON:', error);
    throw new Unusable(502, `The action's result cannot be written as JSON: ${textOf(error?.message ?? error)}`);
  }
  if (text !== undefined && (text.startsWith('{') || text.startsWith('['))) return text;
  log(`Result must be of type object but has type "${typeof result}":`, result);
  throw new Unusable(502, 'The action did not return a dictionary or array.');
}

serve();
