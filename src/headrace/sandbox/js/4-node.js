// Node's modules crypto, zlib, events, assert and util, as far as a script needs them. Hashing and packing are the parent process's
// own library, asked through `host` and bounded there.
const whole = (name, module) =>
  new Proxy(module, {
    get: (all, key) => {
      if (key in all || typeof key === "symbol" || ["then", "default", "__esModule", "toJSON"].includes(key)) return all[key];
      throw new Error(`${key} of ${name} is not here; available are ${Object.keys(all).join(", ")}`);
    },
  });
const bytesFrom = (data, name) => (typeof data === "string" ? Buffer.from(data, name) : viewed(data));
const asked = (operation, values) => {
  const told = host(operation, stringify(values));
  if (told[0] === "x") throw new Error(told.slice(1));
  return Buffer.from(told.slice(1), "base64");
};
const given = (bytes, name) => (name && name !== "buffer" ? bytes.toString(name) : bytes);

const HASHES = parse(host("hashes", ""));
class Digest {
  #algorithm;
  #key;
  #parts = [];
  #done = false;
  constructor(algorithm, key, parts = []) {
    this.#algorithm = String(algorithm).toLowerCase().replace(/^rsa-/, "");
    if (!HASHES.includes(this.#algorithm)) throw new Error(`the hash '${algorithm}' is not here; available are ${HASHES.join(", ")}`);
    this.#key = key;
    this.#parts = [...parts];
  }
  update(data, name) {
    if (this.#done) throw new Error("the digest has been called already");
    this.#parts.push(Buffer.from(bytesFrom(data, name)));
    return this;
  }
  copy() {
    return new Digest(this.#algorithm, this.#key, this.#parts);
  }
  digest(name) {
    if (this.#done) throw new Error("the digest has been called already");
    this.#done = true;
    const data = base64Of(Buffer.concat(this.#parts));
    return given(asked("digest", { algorithm: this.#algorithm, data, key: this.#key === undefined ? null : base64Of(this.#key) }), name);
  }
}
const derived = (password, salt, iterations, length, algorithm) => {
  const hash = String(algorithm).toLowerCase();
  if (!HASHES.includes(hash)) throw new Error(`the hash '${algorithm}' is not here; available are ${HASHES.join(", ")}`);
  return asked("derive", { password: base64Of(bytesFrom(password)), salt: base64Of(bytesFrom(salt)), iterations, length, algorithm: hash });
};
const equalBytes = (one, two) => {
  const [a, b] = [viewed(one), viewed(two)];
  if (a.length !== b.length) throw new RangeError("Input buffers must have the same byte length");
  return a.reduce((all, byte, n) => all | (byte ^ b[n]), 0) === 0;
};
const later = (work) => (...args) => {
  const done = args.pop();
  setTimeout(() => {
    let result;
    try {
      result = work(...args);
    } catch (error) {
      return done(error);
    }
    done(null, result);
  }, 0);
};
const optional = (work) => (...args) => (typeof args[args.length - 1] === "function" ? later(work)(...args) : work(...args));
const randomInt = (least, most) => {
  const [low, high] = most === undefined ? [0, least] : [least, most];
  if (!(Number.isSafeInteger(low) && Number.isSafeInteger(high) && low < high && high - low <= 2 ** 48)) throw new RangeError("randomInt needs a range of up to 2^48");
  const size = high - low, fair = 2 ** 48 - (2 ** 48 % size);
  for (;;) {
    const found = randomBytes(6).reduce((sum, byte) => sum * 256 + byte, 0);
    if (found < fair) return low + (found % size);
  }
};
const nodeCrypto = whole("crypto", {
  createHash: (algorithm) => new Digest(algorithm),
  createHmac: (algorithm, key) => new Digest(algorithm, bytesFrom(key)),
  hash: (algorithm, data, name = "hex") => new Digest(algorithm).update(data).digest(name),
  getHashes: () => [...HASHES],
  randomBytes: optional(randomBytes),
  randomInt: optional(randomInt),
  randomUUID: () => crypto.randomUUID(),
  getRandomValues: (array) => crypto.getRandomValues(array),
  timingSafeEqual: equalBytes,
  pbkdf2Sync: derived,
  pbkdf2: later(derived),
  webcrypto: crypto,
});

const packing = (operation) => (data, options) => asked(operation, { data: base64Of(bytesFrom(data)), level: options?.level ?? -1 });
const zlib = { crc32: (data, start = 0) => parseInt(hexOf(asked("crc32", { data: base64Of(bytesFrom(data)), level: start })), 16) };
for (const operation of ["deflate", "deflateRaw", "gzip", "inflate", "inflateRaw", "gunzip", "unzip"]) {
  zlib[`${operation}Sync`] = packing(operation);
  zlib[operation] = later(packing(operation));
}
zlib.constants = { Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1 };

class EventEmitter {
  #listeners = new Map();
  #add(name, listener, called = listener, first = false) {
    if (typeof listener !== "function") throw new TypeError('The "listener" argument must be of type function');
    const list = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, first ? [[listener, called], ...list] : [...list, [listener, called]]);
    return this;
  }
  #once(name, listener, first) {
    const called = (...args) => (this.off(name, listener), listener.apply(this, args));
    return this.#add(name, listener, called, first);
  }
  on(name, listener) {
    return this.#add(name, listener);
  }
  addListener(name, listener) {
    return this.#add(name, listener);
  }
  prependListener(name, listener) {
    return this.#add(name, listener, listener, true);
  }
  once(name, listener) {
    return this.#once(name, listener, false);
  }
  prependOnceListener(name, listener) {
    return this.#once(name, listener, true);
  }
  off(name, listener) {
    const list = this.#listeners.get(name) ?? [];
    const at = list.findLastIndex(([own]) => own === listener);
    const left = list.filter((_, n) => n !== at);
    if (left.length) this.#listeners.set(name, left);
    else this.#listeners.delete(name);
    return this;
  }
  removeListener(name, listener) {
    return this.off(name, listener);
  }
  removeAllListeners(name) {
    if (name === undefined) this.#listeners.clear();
    else this.#listeners.delete(name);
    return this;
  }
  emit(name, ...args) {
    const list = this.#listeners.get(name);
    if (!list && name === "error") throw args[0] instanceof Error ? args[0] : new Error(`Unhandled error. (${shown(args[0])})`);
    for (const [, called] of list ?? []) called.apply(this, args);
    return Boolean(list);
  }
  listeners(name) {
    return (this.#listeners.get(name) ?? []).map(([listener]) => listener);
  }
  listenerCount(name) {
    return this.listeners(name).length;
  }
  eventNames() {
    return [...this.#listeners.keys()];
  }
  setMaxListeners() {
    return this;
  }
  static once(emitter, name) {
    return new Promise((resolve, reject) => {
      emitter.once(name, (...args) => resolve(args));
      if (name !== "error") emitter.once("error", reject);
    });
  }
}
EventEmitter.EventEmitter = EventEmitter.default = EventEmitter;

const alike = (one, two, strict, seen = new Map()) => {
  if (Object.is(one, two) || (!strict && one == two)) return true;
  if (typeof one !== "object" || typeof two !== "object" || !one || !two) return false;
  if (strict && Object.getPrototypeOf(one) !== Object.getPrototypeOf(two)) return false;
  if (Array.isArray(one) !== Array.isArray(two)) return false;
  if (seen.get(one) === two) return true;
  seen.set(one, two);
  if (one instanceof Date && two instanceof Date) return one.getTime() === two.getTime();
  if (one instanceof RegExp && two instanceof RegExp) return String(one) === String(two);
  if (one instanceof Error && (one.name !== two.name || one.message !== two.message)) return false;
  if (one instanceof Map && two instanceof Map) return one.size === two.size && [...one].every(([key, value]) => two.has(key) && alike(value, two.get(key), strict, seen));
  if (one instanceof Set && two instanceof Set) return one.size === two.size && [...one].every((value) => two.has(value) || [...two].some((other) => alike(value, other, strict, seen)));
  const keys = Object.keys(one);
  return keys.length === Object.keys(two).length && keys.every((key) => Object.hasOwn(two, key) && alike(one[key], two[key], strict, seen));
};
class AssertionError extends Error {
  constructor({ message, actual, expected, operator } = {}) {
    super(message ?? `${shown(actual)} ${operator} ${shown(expected)}`);
    Object.assign(this, { name: "AssertionError", code: "ERR_ASSERTION", actual, expected, operator, generatedMessage: message === undefined });
  }
}
const held = (holds, message, actual, expected, operator) => {
  if (holds) return;
  if (message instanceof Error) throw message;
  throw new AssertionError({ message, actual, expected, operator });
};
const expectedOf = (error, expected, message) => {
  if (expected === undefined || typeof expected === "string") return;
  if (expected instanceof RegExp) held(expected.test(String(error)), message, error, expected, "throws");
  else if (typeof expected === "function" && expected.prototype && error instanceof expected) return;
  else if (typeof expected === "function") held(!(expected.prototype instanceof Error) && expected !== Error && expected(error) === true, message, error, expected, "throws");
  else for (const [key, value] of Object.entries(expected)) held(value instanceof RegExp ? value.test(String(error[key])) : alike(error[key], value, true), message, error, expected, "throws");
};
const makeAssert = (strict) => {
  const assert = (value, message) => held(value, message ?? "The expression evaluated to a falsy value", value, true, "==");
  const equal = (one, two, message) => held(strict ? Object.is(one, two) : one == two || Object.is(one, two), message, one, two, strict ? "strictEqual" : "==");
  const notEqual = (one, two, message) => held(!(strict ? Object.is(one, two) : one == two), message, one, two, strict ? "notStrictEqual" : "!=");
  const deep = (exact) => (one, two, message) => held(alike(one, two, exact), message, one, two, exact ? "deepStrictEqual" : "deepEqual");
  const notDeep = (exact) => (one, two, message) => held(!alike(one, two, exact), message, one, two, exact ? "notDeepStrictEqual" : "notDeepEqual");
  return Object.assign(assert, {
    ok: assert,
    equal,
    notEqual,
    strictEqual: (one, two, message) => held(Object.is(one, two), message, one, two, "strictEqual"),
    notStrictEqual: (one, two, message) => held(!Object.is(one, two), message, one, two, "notStrictEqual"),
    deepEqual: deep(strict),
    deepStrictEqual: deep(true),
    notDeepEqual: notDeep(strict),
    notDeepStrictEqual: notDeep(true),
    match: (text, pattern, message) => held(pattern.test(text), message, text, pattern, "match"),
    doesNotMatch: (text, pattern, message) => held(!pattern.test(text), message, text, pattern, "doesNotMatch"),
    fail: (message = "Failed") => held(false, message, undefined, undefined, "fail"),
    ifError: (value) => held(value === null || value === undefined, value instanceof Error ? value : undefined, value, null, "ifError"),
    throws: (work, expected, message) => {
      try {
        work();
      } catch (error) {
        return expectedOf(error, expected, message);
      }
      held(false, typeof expected === "string" ? expected : (message ?? "Missing expected exception."), undefined, expected, "throws");
    },
    doesNotThrow: (work) => void work(),
    rejects: async (work, expected, message) => {
      try {
        await (typeof work === "function" ? work() : work);
      } catch (error) {
        return expectedOf(error, expected, message);
      }
      held(false, message ?? "Missing expected rejection.", undefined, expected, "rejects");
    },
    doesNotReject: async (work) => void (await (typeof work === "function" ? work() : work)),
    AssertionError,
  });
};
const assert = makeAssert(false);
assert.strict = Object.assign(makeAssert(true), { strict: makeAssert(true) });

const format = (first, ...more) => {
  if (typeof first !== "string") return [first, ...more].map(shown).join(" ");
  const forms = { s: (one) => (typeof one === "string" ? one : shown(one)), d: (one) => String(Number(one)), i: (one) => String(parseInt(one, 10)), f: (one) => String(parseFloat(one)), j: (one) => stringify(one) ?? "undefined", o: shown, O: shown, c: () => "" };
  const text = first.replace(/%([sdifjoOc%])/g, (sign, form) => (form === "%" ? "%" : more.length ? forms[form](more.shift()) : sign));
  return [text, ...more.map((one) => (typeof one === "string" ? one : shown(one)))].join(" ");
};
const tagged = (name) => (value) => Object.prototype.toString.call(value) === `[object ${name}]`;
const util = whole("util", {
  format,
  inspect: (value) => (typeof value === "string" ? `'${value}'` : shown(value)),
  promisify: (work) => (...args) => new Promise((resolve, reject) => work(...args, (error, value) => (error ? reject(error) : resolve(value)))),
  callbackify: (work) => (...args) => {
    const done = args.pop();
    work(...args).then((value) => done(null, value), (error) => done(error));
  },
  inherits: (child, parent) => void Object.setPrototypeOf(child.prototype, parent.prototype),
  deprecate: (work) => work,
  isDeepStrictEqual: (one, two) => alike(one, two, true),
  isArray: Array.isArray,
  toUSVString: (text) => String(text).toWellFormed(),
  types: Object.fromEntries(["Date", "RegExp", "Promise", "Map", "Set", "WeakMap", "WeakSet", "ArrayBuffer", "Uint8Array"].map((name) => [`is${name}`, tagged(name)])),
  TextEncoder,
  TextDecoder,
});
