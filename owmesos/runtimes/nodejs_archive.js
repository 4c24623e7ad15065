// Archives of code: zip (PKWARE's APPNOTE.TXT, 4.3, with zip64) and tar.gz (POSIX ustar and pax, GNU's long names).
//
// As `unzip` and `tar` do, which OpenWhisk's own container uses: modes and symbolic links are kept. Links are made last,
// so that no file is written through one. A file is in memory only if it is small.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');

const { fault } = require('./nodejs_errors.js');

const SMALL = 1024 * 1024;
const [TYPE, DIRECTORY, LINK] = [0o170000, 0o040000, 0o120000];
const UNIX = 3; // of the systems that an entry may have been made on
const FAT = 0;

// Unpacks `archive`, a Buffer, into the folder `root`.
async function unpack(archive, root) {
  const folder = new Folder(root);
  try {
    if (archive.length > 2 && archive[0] === 0x1f && archive[1] === 0x8b) await untar(archive, folder);
    else await unzip(archive, folder);
    folder.finish();
  } catch (error) {
    const damaged = error.code === 'ERR_OUT_OF_RANGE' || error.code === 'ERR_BUFFER_TOO_LARGE' || error.errno < 0;
    throw damaged && !error.syscall ? fault(`the archive is damaged: ${error.message}`) : error;
  }
}

class Folder {
  constructor(root) {
    this.root = root;
    this.links = [];
  }

  place(name) {
    const file = path.join(this.root, name);
    if (file !== this.root && !file.startsWith(this.root + path.sep)) {
      throw fault(`the archive has a file outside of itself: ${name}`);
    }
    return file;
  }

  directory(name) {
    fs.mkdirSync(this.place(name), { recursive: true });
  }

  // Where a file is to be written to, and with which mode. The first one of a name makes room for a later one.
  file(name, mode) {
    const file = this.place(name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.rmSync(file, { force: true });
    return [file, { mode: mode & 0o777 || 0o666 }];
  }

  symbolic(name, target) {
    this.links.push([name, (file) => fs.symlinkSync(target, file)]);
  }

  hard(name, target) {
    this.links.push([name, (file) => fs.linkSync(this.place(target), file)]);
  }

  finish() {
    for (const [name, make] of this.links) make(this.file(name, 0)[0]);
  }
}

// -- zip

async function unzip(archive, folder) {
  for (const entry of entries(archive)) {
    const { name, method, mode, size, data } = entry;
    if (entry.encrypted) throw fault(`the archive's ${name} is encrypted.`);
    if (method !== 0 && method !== 8) throw fault(`the archive's ${name} is neither stored nor deflated.`);
    if (name.endsWith('/') || (mode & TYPE) === DIRECTORY) folder.directory(name);
    else if ((mode & TYPE) === LINK) folder.symbolic(name, inflated(entry).toString());
    else {
      const [file, options] = folder.file(name, mode);
      if (method === 0 || size <= SMALL) fs.writeFileSync(file, inflated(entry), options);
      else await written([data], [zlib.createInflateRaw()], file, options);
      if (fs.statSync(file).size !== size) throw fault(`the archive's ${name} has not its ${size} bytes.`);
    }
  }
}

const inflated = ({ method, size, data }) =>
  method === 0 ? data : zlib.inflateRawSync(data, { maxOutputLength: Math.max(size, 1) });

async function written(source, through, file, options) {
  const { pipeline } = require('node:stream/promises');
  await pipeline(require('node:stream').Readable.from(source), ...through, fs.createWriteStream(file, options));
}

function* entries(archive) {
  const { count, begin, shift } = directoryOf(archive);
  let at = begin;
  for (let index = 0; index < count; index += 1) {
    if (archive.readUInt32LE(at) !== 0x02014b50) throw fault('the zip archive is damaged: its directory is not whole.');
    const [system, flags, method] = [archive[at + 5], archive.readUInt16LE(at + 8), archive.readUInt16LE(at + 10)];
    const [named, extra, comment] = [28, 30, 32].map((offset) => archive.readUInt16LE(at + offset));
    const [compressed, size, offset] = sizes(archive, at, archive.subarray(at + 46 + named, at + 46 + named + extra));
    const name = archive.toString('utf8', at + 46, at + 46 + named);
    const local = offset + shift;
    const data = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    yield {
      name: system === FAT ? name.replaceAll('\\', '/') : name,
      encrypted: (flags & 1) === 1,
      method,
      mode: system === UNIX ? archive.readUInt16LE(at + 40) : 0,
      size,
      data: archive.subarray(data, data + compressed),
    };
    at += 46 + named + extra + comment;
  }
}

// Compressed and plain size and offset: where they are all ones they are in the extra field of zip64, in that order but
// for the plain one, which comes first (4.5.3).
function sizes(archive, at, extra) {
  const short = [24, 20, 42].map((offset) => archive.readUInt32LE(at + offset));
  let begin = 0;
  while (begin + 4 <= extra.length && extra.readUInt16LE(begin) !== 1) begin += 4 + extra.readUInt16LE(begin + 2);
  let next = begin + 4;
  const [plain, compressed, offset] = short.map((value) => {
    if (value !== 0xffffffff || next + 8 > extra.length) return value;
    next += 8;
    return Number(extra.readBigUInt64LE(next - 8));
  });
  return [compressed, plain, offset];
}

// Where the directory begins, how many entries it has, and how many bytes stand before the archive.
function directoryOf(archive) {
  let end = archive.length - 22;
  const least = Math.max(0, end - 0xffff);
  while (end >= least && archive.readUInt32LE(end) !== 0x06054b50) end -= 1;
  if (end < least) throw fault('the code is not a zip or tar.gz archive.');
  let last = end;
  let [count, size, offset] = [archive.readUInt16LE(end + 10), archive.readUInt32LE(end + 12), archive.readUInt32LE(end + 16)];
  if (end >= 20 && archive.readUInt32LE(end - 20) === 0x07064b50) {
    last = Number(archive.readBigUInt64LE(end - 12));
    if (archive.readUInt32LE(last) !== 0x06064b50) throw fault('the zip archive is damaged: its end is not whole.');
    [count, size, offset] = [32, 40, 48].map((field) => Number(archive.readBigUInt64LE(last + field)));
  }
  const begin = last - size;
  return { count, begin, shift: begin - offset };
}

// -- tar

async function untar(archive, folder) {
  const unpacking = zlib.createGunzip();
  unpacking.end(archive);
  const reader = new Reader(unpacking);
  let more = {}; // what the entry before said of the next one
  for (let head = await reader.take(512); head !== undefined && head[0] !== 0; head = await reader.take(512)) {
    const entry = tarEntry(head, more);
    if ('xgLK'.includes(entry.type)) {
      const text = (await reader.padded(entry.size)).toString();
      if (entry.type === 'x') more = { ...more, ...records(text) };
      else if (entry.type !== 'g') more = { ...more, [entry.type === 'L' ? 'path' : 'linkpath']: text.split('\0')[0] };
      continue;
    }
    more = {};
    await untarOne(entry, reader, folder);
  }
}

async function untarOne({ type, name, target, mode, size }, reader, folder) {
  if (type === '5' || name.endsWith('/')) folder.directory(name);
  else if (type === '2') folder.symbolic(name, target);
  else if (type === '1') folder.hard(name, target);
  else if ('0\x007'.includes(type)) {
    const [file, options] = folder.file(name, mode);
    if (size <= SMALL) fs.writeFileSync(file, await reader.padded(size), options);
    else await written(reader.parts(size), [], file, options);
  } else throw fault(`the archive's ${name} is neither a file nor a folder nor a link.`);
}

function tarEntry(head, more) {
  const text = (begin, length) => head.toString('utf8', begin, begin + length).split('\0')[0];
  const number = (begin, length) => parseInt(text(begin, length).trim() || '0', 8);
  const sum = head.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0);
  if (sum !== number(148, 8)) throw fault('the archive is not a tar.gz, or it is damaged.');
  const prefix = text(257, 6) === 'ustar' ? text(345, 155) : '';
  return {
    type: String.fromCharCode(head[156]),
    name: more.path ?? (prefix ? `${prefix}/${text(0, 100)}` : text(0, 100)),
    target: more.linkpath ?? text(157, 100),
    mode: number(100, 8),
    size: more.size === undefined ? number(124, 12) : Number(more.size),
  };
}

// The records of a pax header: "LENGTH KEY=VALUE\n".
const records = (text) => Object.fromEntries([...text.matchAll(/^\d+ ([^=\n]+)=(.*)$/gm)].map(([, key, value]) => [key, value]));

// So many bytes of a stream at a time.
class Reader {
  constructor(stream) {
    this.chunks = stream[Symbol.asyncIterator]();
    this.rest = Buffer.alloc(0);
  }

  async next() {
    const { value, done } = await this.chunks.next();
    return done ? undefined : value;
  }

  // undefined at the end.
  async take(size) {
    const parts = [];
    for await (const part of this.some(size)) parts.push(part);
    if (size > 0 && parts.length === 0) return undefined;
    return Buffer.concat(parts);
  }

  async padded(size) {
    const data = await this.take(size);
    if (data === undefined || data.length < size) throw fault('the tar archive ends too early.');
    await this.take((512 - (size % 512)) % 512);
    return data;
  }

  async *parts(size) {
    let length = 0;
    for await (const part of this.some(size)) {
      length += part.length;
      yield part;
    }
    if (length < size) throw fault('the tar archive ends too early.');
    await this.take((512 - (size % 512)) % 512);
  }

  async *some(size) {
    for (let left = size; left > 0; ) {
      if (this.rest.length === 0) this.rest = await this.next();
      if (this.rest === undefined) {
        this.rest = Buffer.alloc(0);
        return;
      }
      const part = this.rest.subarray(0, left);
      this.rest = this.rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }
}

module.exports = { unpack };
