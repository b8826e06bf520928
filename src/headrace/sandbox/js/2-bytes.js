// Bytes and text: TextEncoder, TextDecoder, Buffer, structuredClone, crypto.
const utf8 = (text) => {
  const binary = unescape(encodeURIComponent(String(text).toWellFormed()));
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
};
const latin1 = (bytes) => {
  const parts = [];
  for (let i = 0; i < bytes.length; i += 8192) parts.push(String.fromCharCode(...bytes.subarray(i, i + 8192)));
  return parts.join("");
};
const viewed = (data) => {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new TypeError("bytes are expected here: an ArrayBuffer, a typed array or a Buffer");
};
const sequence = (bytes, i) => {
  // Code point and length of the UTF-8 sequence at i; -1 for what is none.
  const first = bytes[i];
  const more = first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
  if (more < 0) return [-1, 1];
  let point = first & (0x3f >> more);
  for (let n = 1; n <= more; n++) {
    const low = n === 1 ? (first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80) : 0x80;
    const high = n === 1 ? (first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf) : 0xbf;
    if (!(bytes[i + n] >= low && bytes[i + n] <= high)) return [-1, n];
    point = (point << 6) | (bytes[i + n] & 0x3f);
  }
  return [point, more + 1];
};
const fromUtf8 = (bytes, fatal = false) => {
  try {
    return decodeURIComponent(escape(latin1(bytes))); // the engine's own, for all that is well-formed
  } catch {
    if (fatal) throw new TypeError("the bytes are not UTF-8");
  }
  const parts = [];
  for (let i = 0; i < bytes.length; ) {
    const [point, length] = bytes[i] < 0x80 ? [bytes[i], 1] : sequence(bytes, i);
    parts.push(point < 0 ? "\ufffd" : String.fromCodePoint(point));
    i += length;
  }
  return parts.join("");
};
class TextEncoder {
  get encoding() {
    return "utf-8";
  }
  encode(text = "") {
    return utf8(text);
  }
}
class TextDecoder {
  constructor(label = "utf-8", { fatal = false } = {}) {
    if (!/^(utf-?8|latin1|iso-8859-1|ascii)$/i.test(label)) throw new RangeError(`the encoding ${label} is not available`);
    this.encoding = /^utf/i.test(label) ? "utf-8" : "windows-1252";
    this.fatal = fatal;
  }
  decode(data = new Uint8Array()) {
    const bytes = viewed(data);
    return this.encoding === "utf-8" ? fromUtf8(bytes, this.fatal).replace(/^\ufeff/, "") : latin1(bytes);
  }
}
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from((text.match(/^([\da-f]{2})*/i)[0].match(/../g) ?? []).map((pair) => parseInt(pair, 16)));
const base64Of = (bytes) => btoa(latin1(bytes));
const fromBase64 = (text) => {
  const plain = text.replace(/-/g, "+").replace(/_/g, "/").replace(/[^A-Za-z0-9+/]/g, "");
  const binary = atob(plain.length % 4 === 1 ? plain.slice(0, -1) : plain);
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
};
const base64Url = (bytes) => base64Of(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const fromLatin1 = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0) & 255);
const ENCODINGS = {
  utf8: [utf8, fromUtf8],
  hex: [fromHex, hexOf],
  base64: [fromBase64, base64Of],
  base64url: [fromBase64, base64Url],
  latin1: [fromLatin1, latin1],
  binary: [fromLatin1, latin1],
  ascii: [fromLatin1, (bytes) => latin1(bytes.map((byte) => byte & 127))],
};
const encoding = (name = "utf8") => {
  const found = ENCODINGS[String(name).toLowerCase().replace("utf-8", "utf8")];
  if (!found) throw new TypeError(`Unknown encoding: ${name}`);
  return found;
};
class Buffer extends Uint8Array {
  static from(value, second, third) {
    if (typeof value === "string") return Buffer.from(encoding(second)[0](value).buffer);
    if (value instanceof ArrayBuffer) return new Buffer(value, second ?? 0, third ?? value.byteLength - (second ?? 0));
    if (value?.type === "Buffer") return Buffer.from(value.data);
    const bytes = new Buffer(value.length);
    bytes.set(value);
    return bytes;
  }
  static alloc(size, fill = 0) {
    return new Buffer(size).fill(fill);
  }
  static allocUnsafe(size) {
    return new Buffer(size);
  }
  static concat(list, size = list.reduce((sum, one) => sum + one.length, 0)) {
    const all = new Buffer(size);
    let at = 0;
    for (const one of list) {
      all.set(one.subarray(0, Math.max(0, size - at)), at);
      at += one.length;
    }
    return all;
  }
  static isBuffer(value) {
    return value instanceof Buffer;
  }
  static isEncoding(name) {
    return String(name).toLowerCase().replace("utf-8", "utf8") in ENCODINGS;
  }
  static byteLength(value, name) {
    return typeof value === "string" ? encoding(name)[0](value).length : value.byteLength;
  }
  static compare(one, two) {
    for (let i = 0; i < Math.min(one.length, two.length); i++) if (one[i] !== two[i]) return one[i] < two[i] ? -1 : 1;
    return Math.sign(one.length - two.length);
  }
  toString(name, from = 0, to = this.length) {
    return encoding(name)[1](new Uint8Array(this.buffer, this.byteOffset, this.byteLength).subarray(from, to));
  }
  toJSON() {
    return { type: "Buffer", data: Array.from(this) };
  }
  equals(other) {
    return Buffer.compare(this, other) === 0;
  }
  slice(from, to) {
    return this.subarray(from, to);
  }
  write(text, at = 0) {
    const bytes = utf8(text).subarray(0, this.length - at);
    this.set(bytes, at);
    return bytes.length;
  }
}
const clone = (value, seen = new Map()) => {
  if (typeof value === "function" || typeof value === "symbol")
    throw new DOMException(`${String(value)} could not be cloned.`, "DataCloneError");
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const keep = (copy) => (seen.set(value, copy), copy);
  if (value instanceof Date) return keep(new Date(value));
  if (value instanceof RegExp) return keep(new RegExp(value));
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (ArrayBuffer.isView(value)) return keep(new value.constructor(value));
  if (value instanceof Error) return keep(Object.assign(new Error(value.message), { name: value.name, stack: value.stack }));
  if (value instanceof Map) {
    const copy = keep(new Map());
    for (const [key, item] of value) copy.set(clone(key, seen), clone(item, seen));
    return copy;
  }
  if (value instanceof Set) {
    const copy = keep(new Set());
    for (const item of value) copy.add(clone(item, seen));
    return copy;
  }
  const copy = keep(Array.isArray(value) ? [] : {});
  for (const key of Object.keys(value)) copy[key] = clone(value[key], seen);
  return copy;
};
const randomBytes = (count) => {
  if (!(count >= 0 && count <= 65536)) throw new RangeError("at most 65536 random bytes at once");
  return Buffer.from(host("random", String(Math.floor(count))), "hex");
};
const crypto = {
  randomBytes,
  getRandomValues(array) {
    viewed(array).set(randomBytes(array.byteLength));
    return array;
  },
  randomUUID() {
    const bytes = randomBytes(16);
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    return hexOf(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  },
};
globals({ TextEncoder, TextDecoder, Buffer, crypto, structuredClone: (value) => clone(value) });
