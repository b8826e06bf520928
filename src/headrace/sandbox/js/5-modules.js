// What `require` gives: axios and node-fetch over our fetch, and small parts of Node's own modules.
const plain = (value) => Object.prototype.toString.call(value) === "[object Object]" && !(value instanceof Headers);
const merged = (...many) => {
  const all = {};
  for (const one of many)
    for (const [key, value] of Object.entries(one ?? {}))
      if (value !== undefined) all[key] = plain(value) && plain(all[key]) && key !== "data" ? merged(all[key], value) : value;
  return all;
};
class AxiosError extends Error {
  constructor(message, code, config, response) {
    super(message);
    Object.assign(this, { name: "AxiosError", code, config, request: {}, isAxiosError: true });
    if (response) Object.assign(this, { response, status: response.status });
  }
  toJSON() {
    return { message: this.message, name: this.name, code: this.code, status: this.status ?? null };
  }
}
const addressed = ({ url = "", baseURL, params, paramsSerializer }) => {
  const whole = baseURL && !/^([a-z][a-z\d+.-]*:)?\/\//i.test(url) ? `${baseURL.replace(/\/+$/, "")}/${url.replace(/^\/+/, "")}` : url;
  const pairs = [];
  if (!(params instanceof URLSearchParams))
    for (const [name, value] of Object.entries(params ?? {}))
      for (const one of Array.isArray(value) ? value : [value])
        if (one !== null && one !== undefined)
          pairs.push([Array.isArray(value) ? `${name}[]` : name, one instanceof Date ? one.toISOString() : plain(one) ? stringify(one) : one]);
  const query = typeof paramsSerializer === "function" ? paramsSerializer(params) : String(params instanceof URLSearchParams ? params : new URLSearchParams(pairs));
  return query ? `${whole.replace(/#.*$/s, "")}${whole.includes("?") ? "&" : "?"}${query}` : whole;
};
const payload = (data, headers) => {
  const object = plain(data) || Array.isArray(data);
  if (object && /x-www-form-urlencoded/i.test(headers.get("content-type") ?? "")) return new URLSearchParams(data);
  if (!object && typeof data !== "number" && typeof data !== "boolean") return data;
  if (!headers.has("content-type")) headers.set("content-type", "application/json");
  return stringify(data);
};
const answered = async (response, config) => {
  if (config.responseType === "arraybuffer") return Buffer.from(await response.arrayBuffer());
  const text = await response.text();
  if (config.responseType === "text") return text;
  try {
    return text === "" ? text : parse(text);
  } catch {
    return text;
  }
};
const interceptors = () => {
  const list = [];
  return { list, use: (done, failed) => list.push([done, failed]) - 1, eject: (n) => void (list[n] = [undefined, undefined]) };
};
const send = async (config) => {
  const method = String(config.method ?? "get").toLowerCase();
  const { common, [method]: own, ...given } = config.headers ?? {};
  const headers = new Headers({ Accept: "application/json, text/plain, */*", ...(plain(common) ? common : {}), ...(plain(own) ? own : {}), ...given });
  if (config.auth) headers.set("authorization", `Basic ${base64Of(utf8(`${config.auth.username}:${config.auth.password}`))}`);
  let body = payload(config.data, headers);
  for (const change of config.transformRequest ?? []) body = change(body, headers);
  let response;
  try {
    response = await request(addressed(config), { method, headers, body, signal: config.signal, timeout: config.timeout });
  } catch (error) {
    throw new AxiosError(error.message, error.name === "AbortError" ? "ERR_CANCELED" : "ERR_NETWORK", config);
  }
  const data = await answered(response, config);
  const reply = { data, status: response.status, statusText: response.statusText, headers: axiosHeaders(response), config, request: {} };
  const valid = config.validateStatus === undefined ? response.ok : !config.validateStatus || config.validateStatus(response.status);
  if (valid) return reply;
  const code = response.status < 500 ? "ERR_BAD_REQUEST" : "ERR_BAD_RESPONSE";
  throw new AxiosError(`Request failed with status code ${response.status}`, code, config, reply);
};
const axiosHeaders = (response) => {
  const headers = Object.fromEntries(response.headers);
  return Object.defineProperty(headers, "get", { value: (name) => response.headers.get(name) });
};
const makeAxios = (defaults) => {
  const before = interceptors(), after = interceptors();
  const axios = async (first, second) => {
    const given = typeof first === "string" ? { ...second, url: first } : first;
    let going = Promise.resolve(merged(axios.defaults, given));
    for (const [done, failed] of [...before.list].reverse()) going = going.then(done, failed);
    going = going.then(send);
    for (const [done, failed] of after.list) going = going.then(done, failed);
    return going;
  };
  for (const method of ["get", "delete", "head", "options"]) axios[method] = (url, config) => axios({ ...config, method, url });
  for (const method of ["post", "put", "patch"]) axios[method] = (url, data, config) => axios({ ...config, method, url, data });
  return Object.assign(axios, {
    defaults: merged({ headers: { common: {} } }, defaults),
    request: axios,
    create: (config) => makeAxios(merged(axios.defaults, config)),
    interceptors: { request: before, response: after },
    isAxiosError: (error) => error instanceof AxiosError,
    isCancel: (error) => error?.code === "ERR_CANCELED",
    all: (list) => Promise.all(list),
    spread: (callback) => (list) => callback(...list),
    AxiosError,
  });
};
const axios = makeAxios({});
axios.default = axios.axios = axios;

const joined = (parts) => parts.filter(Boolean).join("/");
const normal = (path) => {
  const out = [];
  for (const part of path.split("/"))
    if (part === "..") out.length && out[out.length - 1] !== ".." ? out.pop() : path.startsWith("/") || out.push(part);
    else if (part && part !== ".") out.push(part);
  const text = (path.startsWith("/") ? "/" : "") + out.join("/");
  return (text && path.endsWith("/") && !text.endsWith("/") ? `${text}/` : text) || ".";
};
const path = {
  sep: "/",
  delimiter: ":",
  normalize: normal,
  join: (...parts) => normal(joined(parts) || "."),
  resolve: (...parts) => normal(parts.reduce((all, part) => (part.startsWith("/") ? part : `${all}/${part}`), "")).replace(/(.)\/$/, "$1"),
  isAbsolute: (text) => text.startsWith("/"),
  basename: (text, end = "") => {
    const name = text.replace(/\/+$/, "").split("/").pop();
    return end && name !== end && name.endsWith(end) ? name.slice(0, -end.length) : name;
  },
  dirname: (text) => /^(.*?)\/+[^/]*\/*$/s.exec(text)?.[1] || (text.startsWith("/") ? "/" : "."),
  extname: (text) => /[^/](\.[^./]*)$/.exec(text.replace(/\/+$/, ""))?.[1] ?? "",
};
path.posix = path;
const querystring = {
  escape: encodeURIComponent,
  unescape: (text) => fromUtf8(percentBytes(text)),
  parse: (text) => {
    const all = {};
    for (const [name, value] of new URLSearchParams(text)) all[name] = name in all ? [].concat(all[name], value) : value;
    return all;
  },
  stringify: (from) =>
    Object.entries(from ?? {})
      .flatMap(([name, value]) => [].concat(value).map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one ?? "")}`))
      .join("&"),
};
querystring.decode = querystring.parse;
querystring.encode = querystring.stringify;
const nodeFetch = Object.assign((...args) => fetch(...args), { Headers, Request, Response });
nodeFetch.default = nodeFetch;
// Messages as plain objects: what a script returns is JSON.
const messageOf = (type) =>
  class {
    constructor(given, more) {
      Object.assign(this, { type, content: "" }, typeof given === "string" || Array.isArray(given) ? { content: given, ...more } : given);
    }
  };
const messages = whole("@langchain/core/messages", {
  HumanMessage: messageOf("human"),
  AIMessage: messageOf("ai"),
  SystemMessage: messageOf("system"),
  ToolMessage: messageOf("tool"),
});
const MODULES = new Map(
  Object.entries({
    axios,
    "node-fetch": nodeFetch,
    "@langchain/core/messages": messages,
    url: whole("url", { URL, URLSearchParams, parse: (text) => new URL(text), format: String, resolve: (from, to) => new URL(to, from).href }),
    querystring: whole("querystring", querystring),
    buffer: whole("buffer", { Buffer, atob, btoa }),
    path: whole("path", path),
    "path/posix": whole("path", path),
    crypto: nodeCrypto,
    zlib: whole("zlib", zlib),
    events: EventEmitter,
    assert,
    "assert/strict": assert.strict,
    util,
    timers: { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate },
  }),
);
globals({
  require: (name) => {
    const found = MODULES.get(String(name).replace(/^node:/, ""));
    if (found) return found;
    const known = [...MODULES.keys()].join(", ");
    throw Object.assign(new Error(`the module '${name}' is not available to scripts; available are ${known}`), { code: "MODULE_NOT_FOUND" });
  },
});
