/** Runs as they were: read whole, and played again at the speed they happened. */

import { client } from "./api.js";

const STEP = 50; // milliseconds of waiting after which the clock is told
const AT_ONCE = 100; // from this speed on nothing is waited for
const BREATH = 500; // events after which the page gets its turn

/** A run's frames with their times, and its events by number; waits for the end of one that goes on. */
export async function recorded(run, signal) {
  const frames = [];
  const events = new Map();
  const stream = client((frame) => frame.seq && frames.push(frame)).resume(run, { signal });
  for await (const event of stream) events.set(Number(stream.lastEventId.split(":").at(-1)), event);
  return { frames, events };
}

/** Gives each frame and its event when its time has come; `speed` is asked for at each step, `clock` is told it. */
export async function played({ frames, events }, { speed, clock, take, signal }) {
  let now = 0; // milliseconds into the run
  for (const [place, frame] of frames.entries()) {
    while (frame.at > now) {
      const factor = speed();
      const step = Math.min(frame.at - now, STEP * factor);
      if (factor < AT_ONCE) await pause(step / factor, signal);
      now += step;
      clock(now, frames.at(-1).at);
    }
    if (place % BREATH === BREATH - 1) await pause(0, signal);
    take(frame, events.get(frame.seq));
  }
}

/** Waits. Rejects when the signal is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop, { once: true });
    setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
  });
}
