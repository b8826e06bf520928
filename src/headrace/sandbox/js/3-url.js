// URL and URLSearchParams, for the addresses that scripts build: http, https and other schemes with a host.
const form = (text) => encodeURIComponent(String(text).toWellFormed()).replace(/[!'()~]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`).replace(/%20/g, "+");
const unform = (text) => fromUtf8(percentBytes(text.replace(/\+/g, " ")));
const percentBytes = (text) => {
  const bytes = utf8(text);
  const out = [];
  for (let i = 0; i < bytes.length; i++) {
    const pair = bytes[i] === 37 && /^[\da-f]{2}$/i.test(latin1(bytes.subarray(i + 1, i + 3)));
    out.push(pair ? parseInt(latin1(bytes.subarray(i + 1, i + 3)), 16) : bytes[i]);
    if (pair) i += 2;
  }
  return Uint8Array.from(out);
};
const escaped = (text, set) => text.toWellFormed().replace(set, (one) => encodeURIComponent(one).replace(/^[^%]$/, (plain) => `%${plain.charCodeAt(0).toString(16).toUpperCase()}`));
class URLSearchParams {
  #pairs = [];
  #changed = () => {};
  constructor(from = "", changed) {
    if (changed) this.#changed = changed;
    if (typeof from === "object" && from !== null) {
      const entries = typeof from[Symbol.iterator] === "function" ? from : Object.entries(from);
      for (const [name, value] of entries) this.#pairs.push([String(name), String(value)]);
      return;
    }
    for (const part of String(from).replace(/^\?/, "").split("&").filter(Boolean)) {
      const [name, ...rest] = part.split("=");
      this.#pairs.push([unform(name), unform(rest.join("="))]);
    }
  }
  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
    this.#changed();
  }
  delete(name) {
    this.#pairs = this.#pairs.filter(([one]) => one !== name);
    this.#changed();
  }
  get(name) {
    return this.#pairs.find(([one]) => one === name)?.[1] ?? null;
  }
  getAll(name) {
    return this.#pairs.filter(([one]) => one === name).map(([, value]) => value);
  }
  has(name) {
    return this.#pairs.some(([one]) => one === name);
  }
  set(name, value) {
    const found = this.#pairs.find(([one]) => one === name);
    if (!found) return this.append(name, value);
    found[1] = String(value);
    this.#pairs = this.#pairs.filter((pair) => pair === found || pair[0] !== name);
    this.#changed();
  }
  sort() {
    this.#pairs.sort(([one], [two]) => (one < two ? -1 : one > two ? 1 : 0));
    this.#changed();
  }
  forEach(callback) {
    for (const [name, value] of this.#pairs) callback(value, name, this);
  }
  keys() {
    return this.#pairs.map(([name]) => name).values();
  }
  values() {
    return this.#pairs.map(([, value]) => value).values();
  }
  entries() {
    return this.#pairs.map((pair) => [...pair]).values();
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  get size() {
    return this.#pairs.length;
  }
  toString() {
    return this.#pairs.map(([name, value]) => `${form(name)}=${form(value)}`).join("&");
  }
}
const PORTS = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21", "file:": "" };
const dotless = (path) => {
  const out = [];
  const parts = path.split("/").slice(1);
  parts.forEach((part, n) => {
    const plain = part.replace(/%2e/gi, ".");
    if (plain === "..") out.pop();
    else if (plain !== ".") out.push(part);
    if ((plain === ".." || plain === ".") && n === parts.length - 1) out.push("");
  });
  return `/${out.join("/")}`;
};
class URL {
  #search;
  constructor(text, base) {
    const input = String(text).trim().replace(/[\t\n\r]/g, "");
    const absolute = /^([a-z][a-z\d+.-]*):(.*)$/is.exec(input);
    if (!absolute && base === undefined) throw Object.assign(new TypeError("Invalid URL"), { code: "ERR_INVALID_URL", input });
    if (absolute) this.#read(`${absolute[1].toLowerCase()}:`, absolute[2]);
    else this.#join(new URL(base), input);
    this.#refresh();
  }
  static canParse(text, base) {
    try {
      return Boolean(new URL(text, base));
    } catch {
      return false;
    }
  }
  #read(protocol, rest) {
    this.protocol = protocol;
    const special = protocol in PORTS;
    const text = special ? rest.replace(/^[^?#]*/, (path) => path.replace(/\\/g, "/")) : rest;
    const parts = /^(?:\/\/([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(special ? text.replace(/^\/*/, "//") : text);
    this.#authority(parts[1] ?? "", special);
    this.#tail(special || parts[1] !== undefined ? dotless(parts[2] || "/") : parts[2], parts[3], parts[4]);
  }
  #authority(text, special) {
    const [, user = "", host] = /^(?:(.*)@)?(.*)$/s.exec(text);
    const [name, ...secret] = user.split(":");
    this.username = escaped(name, /[^\w.~!$&'()*+,%-]/gu);
    this.password = escaped(secret.join(":"), /[^\w.~!$&'()*+,%-]/gu);
    const found = /^(\[[\da-f:.]+\]|[^:\s<>^|[\]]*)(?::(\d*))?$/i.exec(host);
    if (!found || (special && !found[1] && this.protocol !== "file:") || Number(found[2] ?? 0) > 65535)
      throw Object.assign(new TypeError("Invalid URL"), { code: "ERR_INVALID_URL", input: text });
    this.hostname = special ? fromUtf8(percentBytes(found[1])).toLowerCase() : found[1];
    this.port = !found[2] || String(Number(found[2])) === PORTS[this.protocol] ? "" : String(Number(found[2]));
  }
  #join(base, text) {
    for (const name of ["protocol", "username", "password", "hostname", "port"]) this[name] = base[name];
    const [, path, search, hash] = /^([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(text);
    const plain = path.replace(/\\/g, "/");
    if (plain.startsWith("//")) return this.#read(base.protocol, text);
    if (!plain) return this.#tail(base.pathname, search ?? base.search, hash);
    this.#tail(dotless(plain.startsWith("/") ? plain : base.pathname.replace(/[^/]*$/, "") + plain), search, hash);
  }
  #tail(path, search, hash) {
    this.pathname = escaped(path, /[^\w.~!$&'()*+,;=:@%/|[\]\\^-]/gu);
    this.#search = search && search !== "?" ? escaped(search, /[^\w.~!$&()*+,;=:@%/?|[\]\\^`{}-]/gu) : "";
    this.hash = hash && hash !== "#" ? escaped(hash, /[\s"<>`]|[^\x00-\x7f]/gu) : "";
  }
  #refresh() {
    const params = new URLSearchParams(this.#search, () => {
      this.#search = String(params) && `?${params}`;
    });
    Object.defineProperty(this, "searchParams", { value: params, configurable: true, enumerable: true });
  }
  get search() {
    return this.#search;
  }
  set search(text) {
    this.#tail(this.pathname, String(text) && `?${String(text).replace(/^\?/, "")}`, this.hash);
    this.#refresh();
  }
  get host() {
    return this.hostname + (this.port && `:${this.port}`);
  }
  get origin() {
    return this.protocol in PORTS && this.protocol !== "file:" ? `${this.protocol}//${this.host}` : "null";
  }
  get href() {
    const user = this.username || this.password ? `${this.username}${this.password && `:${this.password}`}@` : "";
    const slashes = this.protocol in PORTS || this.hostname ? "//" : "";
    return `${this.protocol}${slashes}${user}${this.host}${this.pathname}${this.#search}${this.hash}`;
  }
  toString() {
    return this.href;
  }
  toJSON() {
    return this.href;
  }
}
globals({ URL, URLSearchParams });
