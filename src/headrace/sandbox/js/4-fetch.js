// fetch with Headers, Response, FormData-free bodies and AbortController. The request itself is made outside.
class Headers {
  #pairs = new Map();
  constructor(from = {}) {
    const entries = typeof from?.[Symbol.iterator] === "function" ? from : Object.entries(from ?? {});
    for (const [name, value] of entries) this.append(name, value);
  }
  append(name, value) {
    const old = this.get(name);
    this.#pairs.set(String(name).toLowerCase(), old === null ? String(value).trim() : `${old}, ${String(value).trim()}`);
  }
  set(name, value) {
    this.#pairs.set(String(name).toLowerCase(), String(value).trim());
  }
  get(name) {
    return this.#pairs.get(String(name).toLowerCase()) ?? null;
  }
  has(name) {
    return this.#pairs.has(String(name).toLowerCase());
  }
  delete(name) {
    this.#pairs.delete(String(name).toLowerCase());
  }
  forEach(callback) {
    for (const [name, value] of this) callback(value, name, this);
  }
  keys() {
    return [...this].map(([name]) => name).values();
  }
  values() {
    return [...this].map(([, value]) => value).values();
  }
  entries() {
    return [...this.#pairs].sort(([one], [two]) => (one < two ? -1 : 1)).values();
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  raw() {
    return Object.fromEntries([...this].map(([name, value]) => [name, [value]]));
  }
}
class AbortSignal {
  #listeners = [];
  aborted = false;
  reason = undefined;
  onabort = null;
  addEventListener(_, listener) {
    this.#listeners.push(listener);
  }
  removeEventListener(_, listener) {
    this.#listeners = this.#listeners.filter((one) => one !== listener);
  }
  throwIfAborted() {
    if (this.aborted) throw this.reason;
  }
  static make() {
    const signal = new AbortSignal();
    const abort = (reason = new DOMException("This operation was aborted", "AbortError")) => {
      if (signal.aborted) return;
      Object.assign(signal, { aborted: true, reason });
      for (const listener of [...signal.#listeners, signal.onabort]) listener?.({ type: "abort", target: signal });
    };
    return [signal, abort];
  }
  static timeout(pause) {
    const [signal, abort] = AbortSignal.make();
    setTimer(false)(() => abort(new DOMException("The operation was aborted due to timeout", "TimeoutError")), pause);
    return signal;
  }
  static abort(reason) {
    const [signal, abort] = AbortSignal.make();
    abort(reason);
    return signal;
  }
}
class AbortController {
  constructor() {
    const [signal, abort] = AbortSignal.make();
    Object.assign(this, { signal, abort });
  }
}
const STATUS = "200 OK,201 Created,202 Accepted,204 No Content,301 Moved Permanently,302 Found,304 Not Modified,400 Bad Request,401 Unauthorized,403 Forbidden,404 Not Found,405 Method Not Allowed,409 Conflict,410 Gone,413 Payload Too Large,415 Unsupported Media Type,422 Unprocessable Entity,429 Too Many Requests,500 Internal Server Error,502 Bad Gateway,503 Service Unavailable,504 Gateway Timeout";
const statusTexts = new Map(STATUS.split(",").map((one) => [Number(one.slice(0, 3)), one.slice(4)]));
class Response {
  #body;
  #used = false;
  constructor(body = "", { status = 200, statusText, headers, url = "" } = {}) {
    this.#body = body;
    this.status = status;
    this.statusText = statusText ?? statusTexts.get(status) ?? "";
    this.ok = status >= 200 && status < 300;
    this.headers = new Headers(headers);
    this.url = url;
    this.redirected = false;
  }
  get bodyUsed() {
    return this.#used;
  }
  #take() {
    if (this.#used) throw new TypeError("Body is unusable: Body has already been read");
    this.#used = true;
    return this.#body ?? "";
  }
  async text() {
    const body = this.#take();
    return typeof body === "string" ? body : fromUtf8(body).replace(/^\ufeff/, "");
  }
  async json() {
    return parse(await this.text());
  }
  async arrayBuffer() {
    const body = this.#take();
    return (typeof body === "string" ? utf8(body) : body.slice()).buffer;
  }
  async bytes() {
    return new Uint8Array(await this.arrayBuffer());
  }
  async buffer() {
    return Buffer.from(await this.arrayBuffer());
  }
  clone() {
    return new Response(this.#body, this);
  }
}
const sent = (body, headers) => {
  if (body === undefined || body === null) return "";
  if (body instanceof URLSearchParams && !headers.has("content-type"))
    headers.set("content-type", "application/x-www-form-urlencoded;charset=UTF-8");
  if (typeof body === "string" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=UTF-8");
  return base64Of(body instanceof ArrayBuffer || ArrayBuffer.isView(body) ? viewed(body) : utf8(String(body)));
};
const aborted = (signal) =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason));
  });
const request = async (url, { method = "GET", headers, body, signal, timeout } = {}) => {
  const sending = new Headers(headers);
  const encoded = sent(body, sending);
  const asked = { method: String(method).toUpperCase(), url: String(url), headers: [...sending], body: encoded };
  signal?.throwIfAborted();
  const going = call(timeout > 0 ? { ...asked, timeout: timeout / 1000 } : asked);
  const reply = await (signal ? Promise.race([going, aborted(signal)]) : going);
  const content = reply.text ?? fromBase64(reply.base64);
  return new Response(content, { status: reply.status, headers: reply.headers, url: reply.url });
};
const fetch = async (input, options) => {
  if (!(input instanceof Request)) return request(input instanceof URL ? input.href : input, options);
  return request(input.url, { ...input.options, ...options });
};
class Request {
  constructor(input, options = {}) {
    this.url = String(input?.url ?? input);
    this.options = { ...input?.options, ...options };
    this.method = String(this.options.method ?? "GET").toUpperCase();
    this.headers = new Headers(this.options.headers);
  }
}
globals({ fetch, Headers, Request, Response, AbortController, AbortSignal });
