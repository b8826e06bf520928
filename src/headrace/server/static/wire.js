/** Listens to the bytes of event streams on their way to the client: each frame, when it came, and how long it is. */

const KIND = /^\{"event":"([^"\\]+)"/;
const WHOLE = /^(:[^\n]*)\n|^([^:][\s\S]*?)\n\n/;
const utf8 = new TextEncoder();

/** Cuts a stream's text into frames. */
class Frames {
  #rest = "";
  #decoder = new TextDecoder();
  #tell;
  #began;

  constructor(tell, began) {
    this.#tell = tell;
    this.#began = began;
  }

  feed(bytes) {
    const at = performance.now() - this.#began;
    let text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A comment ends with its line, a frame with an empty one.
    for (let found = WHOLE.exec(text); found; found = WHOLE.exec(text)) {
      this.#tell(frameOf(found[1] ?? found[2], at));
      text = text.slice(found[0].length);
    }
    this.#rest = text;
  }
}

/** A frame: its id, number and kind, its raw text and bytes; `at` is the server's time where the frame tells it. */
export function frameOf(text, arrived) {
  const timed = text.startsWith("time:");
  const raw = timed ? text.slice(text.indexOf("\n") + 1) : text;
  const frame = {
    id: "",
    seq: 0,
    kind: "comment",
    data: "",
    raw,
    at: timed ? Number.parseInt(text.slice(5), 10) : arrived,
  };
  frame.told = timed;
  for (const line of raw.split("\n")) {
    if (line.startsWith("id:")) frame.id = line.slice(3).trim();
    else if (line.startsWith("data:")) frame.data += line.slice(5);
  }
  if (frame.data) {
    frame.kind = KIND.exec(frame.data)?.[1] ?? "event";
    frame.seq = Number(frame.id.slice(frame.id.lastIndexOf(":") + 1)) || 0;
  }
  frame.bytes = utf8.encode(raw).length + (frame.kind === "comment" ? 1 : 2);
  return frame;
}

/** A `fetch` that tells each frame before its reader gets it, and asks resumed streams for their times. */
export function listening(tell) {
  const began = performance.now();
  return async (address, options) => {
    const url = new URL(address);
    if (/\/runs\/[^/]+\/events$/.test(url.pathname)) url.searchParams.set("times", "true");
    const response = await fetch(url, { ...options, credentials: "same-origin", cache: "no-store" });
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) return response;
    const frames = new Frames(tell, began);
    const heard = new TransformStream({
      transform(bytes, controller) {
        frames.feed(bytes);
        controller.enqueue(bytes);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(heard), { status, statusText, headers });
  };
}
