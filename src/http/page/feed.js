/**
 * Follows a namespace: each event behind a place, once and in order, through interruptions of any kind. It reads
 * `GET /stream`, or, from a service without it, waits at `GET /events`.
 */
import { Problem, address, page, request } from "./api.js";
import { StoredEvent } from "./json.js";

/** The stream says something every 10 s; a connection that is silent for so long is dead. */
const SILENCE_MAX = 25_000;
const WAIT_SECONDS = 20;
const PAGE_EVENTS = 1_000;
const POLL_MIN = 1_000;
const PAUSE_MIN = 500;
const PAUSE_MAX = 5_000;

/** Services that turned out to have no stream. */
let hasStream = true;

export class Feed {
  #stopping = new AbortController();
  #place;
  #pause = PAUSE_MIN;

  /**
   * `filter`: parameters, as pairs. `on.events(events, place)` gets what came; `on.state(state, problem)` one of
   * connecting, live, away, refused; `on.restored()` is called when the database was put back to an older copy.
   */
  constructor(namespace, filter, place, on) {
    Object.assign(this, { namespace, filter, on });
    this.#place = place;
    this.#run();
  }

  stop() {
    this.#stopping.abort();
  }

  async #run() {
    const { signal } = this.#stopping;
    this.on.state("connecting");
    while (!signal.aborted) {
      try {
        await (hasStream ? this.#stream(signal) : this.#poll(signal));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.isAbsent && hasStream) {
          hasStream = false;
          continue;
        }
        if (!(error instanceof Problem)) console.error(error);
        if (error.isFinal) return this.on.state("refused", error);
        this.on.state("away", error);
        await pause(this.#pause * (0.75 + Math.random() / 2), signal);
        this.#pause = Math.min(this.#pause * 2, PAUSE_MAX);
      }
    }
  }

  /** What has come arrives at the reader, and the feed goes on behind it. */
  #deliver(events, place) {
    this.#place = place;
    this.#pause = PAUSE_MIN;
    this.on.events(events, place);
  }

  /** Waits for events, page by page. */
  async #poll(signal) {
    const url = address(this.namespace, "events", [
      ...this.filter, ["after", this.#place], ["limit", PAGE_EVENTS], ["wait", WAIT_SECONDS],
    ]);
    this.on.state("live");
    const begun = performance.now();
    const { texts, head, next } = await page(url, { signal, timeout: (WAIT_SECONDS + 15) * 1000 });
    if (head < this.#place) return this.on.restored();
    const events = texts.map((text) => new StoredEvent(text));
    // Without a next page, this one holds all that there is up to the head.
    this.#deliver(events, next ? Number(next.get("after")) : Math.max(head, events.at(-1)?.seq ?? 0));
    // A service may be set to let nobody wait.
    if (events.length === 0 && !next && performance.now() - begun < POLL_MIN) await pause(POLL_MIN, signal);
  }

  /** Reads one stream to its end. */
  async #stream(signal) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MAX);
    try {
      const response = await request(address(this.namespace, "stream", [...this.filter, ["after", this.#place]]), {
        headers: { accept: "text/event-stream" },
        signal: AbortSignal.any([signal, silence.signal]),
        timeout: 2 ** 31 - 1,
      });
      this.on.state("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MAX);
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        this.#take(blocks);
      }
    } catch (error) {
      if (signal.aborted || error instanceof Problem) throw error;
      throw new Problem(0, "The stream was cut off.");
    } finally {
      clearTimeout(timer);
    }
    // The service ended it, because it stops or because there are too many streams.
    throw new Problem(0, "The service ended the stream.");
  }

  /** Takes whole blocks of server-sent events: events have no name, messages of the stream have one. */
  #take(blocks) {
    const events = [];
    let place = this.#place;
    for (const block of blocks) {
      const fields = fieldsOf(block);
      if (fields.event === "restored") return this.on.restored();
      if (fields.event && fields.id) place = Number(fields.id);
      if (fields.event || fields.data === undefined) continue;
      events.push(new StoredEvent(fields.data));
      place = events.at(-1).seq;
    }
    if (place !== this.#place || events.length) this.#deliver(events, place);
  }
}

function fieldsOf(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  return fields;
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
