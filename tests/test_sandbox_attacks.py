"""Scripts that want out, or want everything: each ends in a clear error or a harmless value, and harms nobody else."""

import asyncio
import os
import signal
import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_sandbox import using

from headrace.engine.ports import FetchReply, FetchRequest
from headrace.errors import ScriptError
from headrace.sandbox import child as child_module
from headrace.sandbox.child import Child, Outcome, ScriptLimits
from headrace.sandbox.sandbox import Sandbox

NOTHING = msgspec.UNSET
PROBE = """
    return [typeof process, typeof std, typeof os, Object.keys(globalThis), ({}).polluted, [].polluted,
            JSON.stringify({a: [1]}), await Promise.resolve(1), typeof __host, typeof $old, Math.max(1, 2)]
"""
CLEAN = ["undefined"] * 3 + [["performance"], None, None, '{"a":[1]}', 1, "undefined", "undefined", 2]

# What a script does, and the value that it ends with.
HARMLESS: dict[str, Any] = {
    # Ways to the host that are none
    "return typeof process + typeof module + typeof exports + typeof __dirname": "undefined" * 4,
    "return typeof std + typeof os + typeof bjson + typeof scriptArgs": "undefined" * 4,
    "return typeof Worker + typeof WebAssembly + typeof Atomics + typeof SharedArrayBuffer": "undefined" * 4,
    "return typeof Deno + typeof Bun + typeof print + typeof load + typeof gc": "undefined" * 5,
    "return typeof __host + typeof bridge + typeof host + typeof operations + typeof limits": "undefined" * 5,
    "return Function('return this')() === globalThis": True,
    "return this === undefined || this === globalThis": True,
    "return [].constructor.constructor('return typeof process')()": "undefined",
    "return (async () => {}).constructor('return typeof process + typeof require')()": "undefinedfunction",
    "return fetch.constructor.constructor('return typeof host')()": "undefined",
    "return console.log.constructor('return typeof queued')()": "undefined",
    "return new Proxy({}, {get: (t, k) => t.constructor.constructor('return typeof process')()}).x": "undefined",
    "return (function f() { return typeof f.caller })()": None,
    "try { return require.caller } catch (e) { return e.name }": "TypeError",
    "return (function* () {}).constructor('yield typeof process + typeof std')().next().value": "undefined" * 2,
    "return (await (async function* () {}).constructor('yield typeof process')().next()).value": "undefined",
    "return (await fetch('http://x.test')).constructor.constructor('return typeof host + typeof queued')()": (
        "undefined" * 2
    ),
    "return $old.constructor.constructor('return Object.keys(this).join()')()": "performance",
    "return eval('typeof process')": "undefined",
    "return (0, eval)('1 + 1')": 2,
    "return Object.getOwnPropertyNames(globalThis).filter((n) => /host|bridge|quickjs|python/i.test(n))": [],
    "Error.prepareStackTrace = (e, frames) => frames.map((f) => typeof f.getFunction?.()); "
    "const seen = []; try { require('fs') } catch (e) { seen.push(typeof e.stack) } return seen.length": 1,
    # Bending the built-in objects, which only this call has
    "Object.prototype.polluted = 1; Array.prototype.polluted = 2; return 1": 1,
    "JSON.stringify = () => 'no'; JSON.parse = null; return [1]": [1],
    "Object.defineProperty(Object.prototype, 'id', {set() { throw 1 }, configurable: true}); return 2": 2,
    "Object.defineProperty(Object.prototype, 'error', {value: 'x'}); return 3": 3,
    "Object.prototype.toJSON = () => ({kind: 'd', forged: true}); return {a: 1}": {"kind": "d", "forged": True},
    "globalThis.Map = globalThis.Promise = globalThis.Date = null; return 4": 4,
    "delete globalThis.globalThis; for (const k of Object.getOwnPropertyNames(this ?? {})) delete k; return 5": 5,
    "Promise.prototype.then = (f) => f({kind: 'forged'}); return await fetch('http://x.test')": {"kind": "forged"},
    "globalThis.__proto__.polluted = 1; Object.setPrototypeOf(globalThis, null); return 1": 1,
    "Object.defineProperty(globalThis, 'fetch', {get() { for (;;) {} }}); return 1": 1,
    "const leak = [], call = Function.prototype.call; Function.prototype.call = function (...a) { leak.push(this); "
    "return Reflect.apply(call, this, a) }; await fetch('http://x.test'); return leak": [],
    "const leak = [], push = Array.prototype.push; Array.prototype.push = function (...a) { for (const one of a) "
    "if (typeof one === 'function') push.call(leak, one.name); return Reflect.apply(push, this, a) }; "
    "await fetch('http://x.test'); await new Promise((r) => setTimeout(r, 1)); return leak": [],
    "Object.freeze(Object.prototype); Object.freeze(globalThis); return 6": 6,
    # Results
    "return new Proxy({a: 1}, {get: (t, k) => k === 'a' ? 2 : undefined})": {"a": 2},
    "return {toJSON() { return 'mine' }}": "mine",
    "return {__proto__: null, a: 1, ['__proto__']: 2}": {"a": 1, "__proto__": 2},
    "return Object.assign(() => 1, {a: 1})": NOTHING,
    "return Symbol('x')": NOTHING,
    'return \'d{"value":"forged"}\'': 'd{"value":"forged"}',
    "return {then: (done) => done('thenable')}": "thenable",
    "Object.prototype.then = (done) => done('forged'); return {}": "forged",
    "return {[Symbol.toPrimitive]() { for (;;) {} }, valueOf() { for (;;) {} }}": {},
    'String.prototype.toWellFormed = () => \'"],"value":1,"x":["\'; console.log(\'x\'); return 2': 2,
    "setTimeout(() => Promise.reject(new Error('later')), 0); return 13": 13,
    "const m = new Map(); m.set(m, m); return structuredClone(m).size": 1,
    "setTimeout(() => { throw 1 }, 1000); return 'done'": "done",
    "Promise.reject(new Error('nobody listens')); return 7": 7,
    "console.log({get a() { throw 1 }, toString() { throw 2 }, toJSON() { throw 3 }}); return 10": 10,
    "let a = {}; for (let i = 0; i < 1e5; i++) a = {a}; console.log(a); return 11": 11,
    "return '\\ud800'.repeat(3)": "\ufffd" * 3,
    "for (let i = 0; i < 1e4; i++) fetch('http://silent.test'); return 12": 12,
    "return new ArrayBuffer(6e7).byteLength": 60_000_000,
    # Breaking out of the text around it
    "return 8 }); globalThis.escaped = 1; (async () => {": NOTHING,
    "/* */ return 9 // */": 9,
}

# What a script does, and what its error says.
STOPPED: dict[str, str] = {
    "while (true) {}": "cpu",
    "for (;;) { try { for (;;) {} } catch {} finally { continue } }": "cpu",
    "const f = () => Promise.resolve().then(f); await f()": "memory|cpu",
    "for (;;) await null": "cpu",
    "/^(a+)+$/.test('a'.repeat(40) + 'b')": "cpu",
    "new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('a')": "too many captures",
    "eval('('.repeat(1e6))": "call stack",
    "eval('a' + '+a'.repeat(1e6))": "memory",
    "[...Array(1e9)]": "memory",
    "String.fromCharCode.apply(null, Array(1e7).fill(65))": "memory",
    "'x'.repeat(2e7).normalize('NFKD')": "memory",
    "new ArrayBuffer(1, {maxByteLength: 2 ** 40}).resize(2 ** 39)": "RangeError",
    "Object.defineProperty(Error.prototype, 'stack', {get() { for (;;) {} }}); throw new Error('x')": "cpu",
    "const e = new Error('round'); e.cause = e; throw e": "round",
    "'a'.repeat(5e6).indexOf('a'.repeat(1e5) + 'b')": "cpu",
    "return {get a() { for (;;) {} }}": "cpu",
    "return {toJSON() { for (;;) {} }}": "cpu",
    "return new Proxy({}, {ownKeys() { for (;;) {} }})": "cpu",
    "[2, 1].sort(() => { for (;;) {} })": "cpu",
    "setInterval(() => { for (;;) {} }, 1); await new Promise(() => {})": "cpu",
    "setInterval(() => {}, 50); await new Promise(() => {})": "wall",
    "await new Promise((r) => setTimeout(r, 2 ** 40))": "wall",
    "await new Promise(() => {})": "waits for something that never comes",
    "await fetch('http://silent.test')": "wall",
    "for (;;) await fetch('http://x.test')": "requests|cpu",
    "await Promise.all(Array.from({length: 1e5}, () => fetch('http://silent.test')))": "memory",
    "await fetch('http://x.test', {method: 'POST', body: 'x'.repeat(3e7)})": "memory",
    "const f = () => queueMicrotask(f); f(); return 1": "wall|cpu",
    "for (;;) new WeakRef({})": "cpu",
    "const r = new FinalizationRegistry(() => { for (;;) {} }); for (let i = 0; i < 1e4; i++) r.register({}, i); "
    "await null": "cpu",
    "let a = ['x']; for (let i = 0; i < 60; i++) a = [a, a]; return a": "cpu|memory|output",
    "const make = () => ({get a() { return make() }}); return make()": "call stack",
    "const f = () => f(); f()": "call stack",
    "const f = () => { try { f() } finally { f() } }; f()": "call stack|cpu",
    "let a = {}; for (let i = 0; i < 1e6; i++) a = {a}; return a": "memory|cpu",
    "let a = []; for (let i = 0; i < 300; i++) a = [a]; return a": "nested deeper than 200",
    "const a = {}; a.a = a; return a": "circular",
    "JSON.parse('['.repeat(1e6))": "call stack",
    "'x'.repeat(2 ** 30)": "invalid string length",
    "let s = 'x'; for (;;) s += s": "string too long",
    "const a = []; for (;;) a.push(new Array(1000).fill(1))": "memory",
    "const a = []; for (;;) { try { for (;;) a.push(new Uint8Array(1e6)) } catch {} }": "cpu",
    "new ArrayBuffer(2 ** 40)": "RangeError",
    "new Array(2 ** 31).fill(0)": "memory",
    "for (;;) { setTimeout(() => {}, 1e6) }": "memory|cpu",
    "const all = []; for (;;) all.push(Promise.resolve().then(() => 1))": "memory",
    "return (2n ** (2n ** 30n)).toString()": "BigInt is too large",
    "return 'x'.repeat(5e6)": "output",
    "return Array.from({length: 1e6}, () => 'xxxxxxxx')": "output",
    "return Array(1e6).fill({})": "more than 200000 values",
    "return Array(1e6).fill('')": "more than 200000 values",
    "await fetch('http://x.test', {method: 'POST', body: 'x'.repeat(1.3e7)})": "output|cpu",
    "return new Proxy([], {get: (t, k) => k === 'length' ? 2 ** 32 : 'x'.repeat(999)})": "memory|cpu",
    "return {get a() { throw new Error('getter') }}": "getter",
    "return {toJSON() { throw new Error('toJSON') }}": "toJSON",
    "return new Proxy({}, {get(t, k, me) { return me }, ownKeys: () => ['a'], "
    "getOwnPropertyDescriptor: () => ({enumerable: true, configurable: true})})": "circular",
    "const r = await fetch('http://x.test'); await r.text(); await r.text()": "already been read",
    "throw Object.assign(new Error('x'), {name: {[Symbol.toPrimitive]() { for (;;) {} }}})": "cpu",
    "String.prototype.toWellFormed = () => ({slice: () => ({length: 0})}); console.log('x')": "must not",
    "Math.max = () => Infinity; await new Promise((r) => setTimeout(r, 5))": "out of range",
    "await Promise.any(Array.from({length: 1e5}, () => Promise.reject(1)))": "memory",
    "return Buffer.concat([Buffer.alloc(10)], 5e8)": "memory",
    "Map.prototype[Symbol.iterator] = function* () { for (;;) yield [1, {at: 0, callback() {}}] }; "
    "await new Promise((r) => setTimeout(r, 1))": "cpu",
    "throw new Proxy({}, {get() { throw 1 }, getPrototypeOf() { throw 2 }})": "cannot be shown",
    "throw {toString() { throw 1 }, toJSON() { throw 2 }}": "cannot be shown",
    "throw Object.assign(new Error(), {message: {toString() { throw 1 }}})": "cannot be shown",
    "throw null": "null, which is also",
    "throw new Error('x'.repeat(1e6))": "^x{10000}( |$)",
    "return {then() { throw new Error('then') }}": "then",
    "require('fs')": "'fs' is not available",
    "require('child_process').execSync('id')": "'child_process' is not available",
    "require('constructor')": "'constructor' is not available",
    "require('../../etc/passwd')": "is not available",
    "await import('std')": "import\\('std'\\) is not available",
    "await import('/etc/passwd')": "is not available",
    "await import('data:text/javascript,1')": "is not available",
    "import os from 'os'": "SyntaxError",
    "new Worker('x')": "ReferenceError",
    "new Function('return process')().exit()": "ReferenceError",
    "await fetch('file:///etc/passwd')": "no such",
    "Array.prototype.shift = () => 'z[\"UTC\",0]'; await fetch('http://x.test')": "ended by itself",
    'Array.prototype.shift = () => \'f{"id":1,"method":"GET"}\'; await fetch(\'http://x.test\')': "must not",
    "Array.prototype.shift = () => 'qxyz'; await fetch('http://x.test')": "ended by itself",
    "Array.prototype.shift = () => 5; await fetch('http://x.test')": "ended by itself",
    "Map.prototype.get = () => ({resolve: 1}); await fetch('http://x.test')": "not a function",
    "for (let i = 0; ; i++) new Date(i * 1e6).toLocaleString('en', {timeZone: 'Asia/Tokyo'})": "zones|cpu",
    "new Date().toLocaleString('en', {timeZone: '../../../etc/passwd'})": "Invalid time zone",
    "new Date().toLocaleString('en', {timeZone: 'x'.repeat(1e6)})": "Invalid time zone",
    "crypto.randomBytes(1e9)": "65536",
}


async def web(request: FetchRequest) -> FetchReply:
    if "silent" in request.url:
        await asyncio.Event().wait()
    if request.url.startswith("file:"):
        raise ScriptError("no such scheme")
    return FetchReply(200, [], b"x", request.url)


async def attack(sandbox: Sandbox, code: str) -> Outcome | ScriptError:
    """How a script ends, while the loop goes on turning beside it; the call after it sees nothing of it."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    try:
        ended: Outcome | ScriptError = await sandbox.run(code, {"old": 1}, web)
    except ScriptError as error:
        ended = error
    ticking.cancel()
    assert ticks > 1
    if isinstance(ended, ScriptError) and "limit 'cpu'" in str(ended):
        assert ticks > 5, "the loop went on while the script computed"
    sandbox.limits = msgspec.structs.replace(sandbox.limits, wall=50)  # a new process may take its time to start
    await check(sandbox)
    return ended


async def check(sandbox: Sandbox) -> None:
    """The next script finds all as it should be."""
    assert (await sandbox.run(PROBE, {})).value == CLEAN


def ending(code: str) -> Outcome | ScriptError:
    wall = 0.5 if STOPPED.get(code, "").startswith("wall") else 50
    cpu = 0.2 if STOPPED.get(code) == "cpu" else 0.5 if "cpu" in STOPPED.get(code, "") else 5
    return using(lambda sandbox: attack(sandbox, code), cpu=cpu, wall=wall, children=1)


@pytest.fixture(scope="module")
def shared() -> Generator[tuple[asyncio.Runner, Sandbox]]:
    """A sandbox whose one process runs attack after attack."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(ScriptLimits(cpu=5, wall=50, children=1))
        yield runner, sandbox
        runner.run(sandbox.close())


@pytest.mark.parametrize("code", HARMLESS)
def test_a_script_that_wants_out_stays_inside(code: str, shared: tuple[asyncio.Runner, Sandbox]) -> None:
    runner, sandbox = shared
    ended = runner.run(sandbox.run(code, {"old": 1}, web))
    if HARMLESS[code] is not None:
        assert ended.value == HARMLESS[code]
    runner.run(check(sandbox))


@pytest.mark.parametrize("code", STOPPED)
def test_a_script_that_wants_too_much_is_stopped(code: str) -> None:
    ended = ending(code)
    assert isinstance(ended, ScriptError), ended
    with pytest.raises(ScriptError, match=STOPPED[code]):
        raise ended


def test_a_huge_console_is_cut() -> None:
    ended = ending("console.log('x'.repeat(1e7)); for (let i = 0; i < 1e5; i++) console.log(i); return 1")
    assert isinstance(ended, Outcome)
    assert ended.value == 1
    assert sum(map(len, ended.console)) < 70_000


def test_nothing_of_a_script_is_left_for_the_next_one_in_its_process() -> None:
    """Not even its memory: together they would need five times what the process may have."""
    left = """
        const seen = [typeof globalThis.count, typeof Symbol.left, typeof [].left];
        globalThis.count = 1;
        const ring = {big: new Uint8Array(2e7).fill(1)};
        ring.ring = globalThis.ring = ring;
        Symbol.for('shared').constructor.left = 1;
        setTimeout(() => { globalThis.count = 100 }, 0);
        Promise.resolve().then(() => { Array.prototype.left = 1 });
        return seen;
    """

    async def many(sandbox: Sandbox) -> tuple[list[Any], set[int]]:
        values, pids = list[Any](), set[int]()
        for _ in range(60):
            values.append((await sandbox.run(left, {})).value)
            pids.update(sandbox.pids)
        return values, pids

    values, pids = using(many, children=1)
    assert values == [["undefined"] * 3] * 60
    assert len(pids) == 1


def test_an_answer_that_a_script_did_not_wait_for_is_not_given_to_the_next_one() -> None:
    async def page(request: FetchRequest) -> FetchReply:
        return FetchReply(200, [], request.url.encode(), request.url)

    async def many(sandbox: Sandbox) -> set[Any]:
        seen: set[Any] = set()
        for _ in range(30):
            await sandbox.run("for (let n = 0; n < 5; n++) fetch('http://one.test/' + n); return 1", {}, page)
            second = await sandbox.run("return (await fetch('http://two.test/')).text()", {}, page)
            seen.add(second.value)
        return seen

    assert using(many, children=1) == {"http://two.test/"}


# A process whose engine has been taken over says what it likes

WORDS = [
    b"",
    b"q{}",
    b"d",
    b"d[]",
    b"d{",
    b'd{"console":1}',
    b"d" + b"[" * 100_000,
    b'd{"value":"\xff"}',
    b"x{}",
    b'x{"message":1}',
    b"f{}",
    b'f{"id":1,"method":"GET","url":"http://x.test","headers":[],"body":"*"}',
    b'f{"id":1,"method":"GET","url":"http://x.test","headers":[[1,2]],"body":""}',
    b'z["UTC"]',
    b"z7",
    b's{"code":"return 1","values":{}}',
    b"d]]][[[",
    b'd{"value":' + b'"' + b'\\"' * 5_000_000 + b"\\",
]


def lying(words: bytes) -> str:
    return f"import os, sys; os.read(0, 1 << 20); os.write(1, {words!r}); os.read(0, 1 << 20); os.read(0, 1 << 20)"


def said(words: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptError:
    program = tmp_path / "program.py"
    program.write_text(lying(words))
    monkeypatch.setattr(child_module, "_PROGRAM", str(program))
    with pytest.raises(ScriptError) as caught:
        using(lambda sandbox: sandbox.run("return 1", {}, web), wall=5)
    return caught.value


@pytest.mark.parametrize("words", WORDS)
def test_a_forged_frame_ends_the_process(words: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = said(struct.pack(">I", len(words)) + words, tmp_path, monkeypatch)
    assert "limit 'wall'" not in str(error)


def test_a_frame_that_claims_to_be_huge_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than fits" in str(said(struct.pack(">I", 2**32 - 1), tmp_path, monkeypatch))


def test_many_fetches_at_once_from_a_forger_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        b'f{"id":%d,"method":"GET","url":"http://silent.test","headers":[],"body":""}' % number for number in range(100)
    ]
    words = b"".join(struct.pack(">I", len(one)) + one for one in asked)
    assert "what it must not" in str(said(words, tmp_path, monkeypatch))


def test_an_engine_that_crashes_is_said() -> None:
    async def crashed(sandbox: Sandbox) -> Any:
        running = asyncio.create_task(sandbox.run("for (;;) {}", {}))
        while not sandbox.pids:
            await asyncio.sleep(0)
        os.kill(sandbox.pids[0], signal.SIGSEGV)
        with pytest.raises(ScriptError, match="ended by itself"):
            await running
        return (await sandbox.run("return 1", {})).value

    assert using(crashed) == 1


def test_a_process_is_not_used_again_after_a_violation() -> None:
    async def spent() -> bool:
        child = await Child.start(ScriptLimits(wall=0.1))
        with pytest.raises(ScriptError):
            await child.run("for (;;) {}", {}, None)
        await child.gone()
        return child.spent

    assert asyncio.run(spent())
