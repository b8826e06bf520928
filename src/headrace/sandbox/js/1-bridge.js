// What joins a script to the process around it: jobs, timers, fetches in, one result out. Nothing here is reachable by
// name from a script; a script that bends the built-in objects harms only its own context, which lives for one call.
const host = globalThis.__host;
delete globalThis.__host;
for (const name of ["Atomics", "SharedArrayBuffer"]) delete globalThis[name]; // they could only wait
const { parse, stringify } = JSON;
const FIRST_LINE = 100000; // a script's lines begin here, so that a stack tells them from ours
const limits = parse(host("limits", ""));
const AsyncFunction = (async () => {}).constructor;
const globals = (values) => {
  for (const [name, value] of Object.entries(values))
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
};

// console
let printed = "";
let consoleLeft = limits.console;
const shown = (value) => {
  if (typeof value === "string") return value;
  try {
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (typeof value !== "object" || value === null) return typeof value === "bigint" ? `${value}n` : String(value);
    const above = [];
    return stringify(value, function (_, item) {
      while (above.length && above[above.length - 1] !== this) above.pop();
      if (above.includes(item)) return "[Circular]";
      if (typeof item === "object" && item !== null) above.push(item);
      return typeof item === "bigint" ? `${item}n` : typeof item === "function" ? "[Function]" : item;
    });
  } catch {
    return "[cannot be shown]";
  }
};
const log = (...values) => {
  if (consoleLeft <= 0) return;
  let line = values.map(shown).join(" ").toWellFormed();
  if (line.length >= consoleLeft) line = `${line.slice(0, consoleLeft)} [the console is full]`;
  consoleLeft -= line.length + 1;
  printed += `${printed && ","}${stringify(line)}`; // a text: nothing that a script bends can change it
};

// timers
const clock = performance.now.bind(performance);
let timerCount = 0;
const timers = new Map();
const setTimer = (repeat) => (callback, delay, ...args) => {
  if (typeof callback !== "function") throw new TypeError("a timer needs a function to call");
  const pause = Math.max(1, Math.min(Number(delay) || 0, 2 ** 31));
  timers.set(++timerCount, { at: clock() + pause, pause: repeat ? pause : 0, callback, args });
  return timerCount;
};
const clearTimer = (id) => void timers.delete(id);
const nextTimer = () => {
  let first = null;
  for (const [id, timer] of timers) if (first === null || timer.at < first[1].at) first = [id, timer];
  return first;
};
const fire = ([id, timer]) => {
  if (timer.pause) timer.at = clock() + timer.pause;
  else timers.delete(id);
  timer.callback(...timer.args);
};

// calls to the process around
let callCount = 0;
const calls = new Map();
const queued = [];
let open = 0;
const call = (request) =>
  new Promise((resolve, reject) => {
    calls.set(++callCount, { resolve, reject });
    queued.push(`f${stringify({ id: callCount, ...request })}`);
  });
const deliver = (text) => {
  const reply = parse(text);
  const waiting = calls.get(reply.id);
  calls.delete(reply.id);
  open -= 1;
  if (reply.error === undefined) waiting.resolve(reply);
  else waiting.reject(new TypeError(reply.error));
  return "";
};

// the script
let result;
const lineOf = (stack) => {
  for (const [, line] of String(stack).matchAll(/<input>:(\d+)/g))
    if (Number(line) > FIRST_LINE) return Number(line) - FIRST_LINE - 2;
  return null;
};
const failed = (error) => {
  let message, line = null;
  try {
    const told = error instanceof Error ? (error.name && error.name !== "Error" ? `${error.name}: ${error.message}` : error.message) : shown(error);
    message = String(told).toWellFormed().slice(0, 10000);
    line = error instanceof Error ? lineOf(error.stack) : null;
  } catch {
    message = "it threw what cannot be shown";
  }
  message = message.replace(/^ReferenceError: could not load module (.*)$/s, "import($1) is not available to scripts: use require");
  result = `x{"message":${stringify(message)},"line":${stringify(line)},"console":[${printed}]}`;
};
const succeeded = (value) => {
  try {
    const text = stringify(value);
    if (text !== undefined && text.length > limits.output) return (result = 'l"output"');
    result = `d{"console":[${printed}]${text === undefined ? "" : `,"value":${text}`}}`;
  } catch (error) {
    failed(error);
  }
};
const start = (text) => {
  const { code, values } = parse(text);
  const named = {};
  for (const [name, value] of Object.entries(values))
    Object.defineProperty(named, `$${name}`, { value, enumerable: true });
  globals(named);
  try {
    new AsyncFunction("\n".repeat(FIRST_LINE) + code)().then(succeeded, failed);
  } catch (error) {
    failed(error);
  }
  return "";
};
const step = () => {
  if (result !== undefined) return result;
  if (queued.length && open < limits.fetches) {
    open += 1;
    return queued.shift();
  }
  const timer = nextTimer();
  if (timer === null) {
    if (open === 0) failed(new Error("the script waits for something that never comes: a promise is left without an answer"));
    return open === 0 ? result : "w";
  }
  const left = timer[1].at - clock();
  if (left > 0) return `w${left}`;
  try {
    fire(timer);
  } catch (error) {
    failed(error); // as in Node, nobody else could catch it
  }
  return "j";
};
const operations = { start, step, deliver };
// The engine joins long texts lazily, and such a text cannot leave it: joining an array makes a whole one.
const join = Function.prototype.call.bind(Array.prototype.join);
const bridge = (name, text) => join([operations[name](text)], "");

globals({
  console: Object.fromEntries(["log", "info", "warn", "error", "debug", "trace", "dir", "table"].map((name) => [name, log])),
  setTimeout: setTimer(false),
  setInterval: setTimer(true),
  setImmediate: (callback, ...args) => setTimer(false)(callback, 0, ...args),
  clearTimeout: clearTimer,
  clearInterval: clearTimer,
  clearImmediate: clearTimer,
  global: globalThis,
});
