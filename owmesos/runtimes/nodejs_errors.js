// What of an error can be written as JSON, in the form of the package serialize-error, which OpenWhisk's own container
// uses: own properties, name, message, stack and code, errors within errors, "[Circular]". HTTP clients throw errors
// with their sockets in them, so what is written has an end.
'use strict';

const { types } = require('node:util');

const HIDDEN = ['name', 'message', 'stack', 'code', 'cause', 'errors']; // where they are not own, or not enumerable
const MAX_DEPTH = 50;
const MAX_VALUES = 20_000;

function plain(error) {
  const above = new Set();
  let left = MAX_VALUES;

  function write(value) {
    left -= 1;
    if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
    if (typeof value === 'function') return above.size === 0 ? `[Function: ${value.name || 'anonymous'}]` : undefined;
    if (typeof value !== 'object' || value === null) return value;
    if (above.has(value)) return '[Circular]';
    if (Buffer.isBuffer(value)) return '[object Buffer]';
    if (above.size > 0 && typeof value.pipe === 'function') return '[object Stream]';
    if (above.size >= MAX_DEPTH || left < 0) return '[Truncated]';
    above.add(value);
    const written = Array.isArray(value) ? value.map(attempt) : rewritten(value);
    above.delete(value);
    return written;
  }

  // A property may throw when it is read, and so may what it leads to.
  function attempt(value) {
    try {
      return write(value);
    } catch {
      return '[Unreadable]';
    }
  }

  function fields(value) {
    const names = Object.keys(value);
    if (types.isNativeError(value) || value instanceof Error) names.push(...HIDDEN.filter((name) => !names.includes(name)));
    const found = {};
    for (const name of names) {
      let field;
      try {
        field = value[name];
      } catch {
        field = '[Unreadable]';
      }
      if (field !== undefined) Object.defineProperty(found, name, { value: attempt(field), enumerable: true });
    }
    return found;
  }

  // As the object itself says that it is written, if it does.
  function rewritten(value) {
    if (typeof value.toJSON !== 'function') return fields(value);
    let own;
    try {
      own = value.toJSON();
    } catch {
      return fields(value);
    }
    return own === value ? fields(value) : write(own);
  }

  return attempt(error);
}

// What is wrong with an action: where a file of ours found it is of no use to the action's author.
function fault(text) {
  const error = new Error(text);
  error.stack = text;
  return error;
}

module.exports = { fault, plain };
