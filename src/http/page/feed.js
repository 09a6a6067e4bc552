/** Follows a namespace over `GET /stream`: each event behind a place, once and in order, through interruptions of any kind. */
import { Problem, address, request } from "./api.js";
import { StoredEvent } from "./json.js";

/** The stream says something every 10 s; a connection that is silent for so long is dead. */
const SILENCE_MAX = 25_000;
/** Where the service named no time after which to come back. */
const PAUSE = 1_000;

export class Feed {
  #stopping = new AbortController();
  #place;
  #pause = PAUSE;

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
        await this.#read(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Problem)) console.error(error);
        if (error.isFinal) return this.on.state("refused", error);
        this.on.state("away", error);
        await pause(this.#pause, signal);
      }
    }
  }

  /** Reads one stream to its end, which is a Problem. */
  async #read(signal) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MAX);
    try {
      // What was served already: a database that ends earlier was restored, and says so.
      const url = address(this.namespace, "stream", [...this.filter, ["last_event_id", this.#place]]);
      const response = await request(url, {
        headers: { accept: "text/event-stream" }, signal: AbortSignal.any([signal, silence.signal]), timeout: 2 ** 31 - 1,
      });
      this.on.state("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const blocks = new Blocks();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MAX);
        if (!signal.aborted) this.#take(blocks.take(value));
      }
    } catch (error) {
      if (signal.aborted || error instanceof Problem) throw error;
      throw new Problem(0, "The stream was cut off.");
    } finally {
      clearTimeout(timer);
    }
    throw new Problem(0, "The service ended the stream.");
  }

  /** Events have no name, notices have one. */
  #take(blocks) {
    const events = [];
    let place = this.#place;
    let unavailable = null;
    for (const { event, id, retry, data } of blocks) {
      if (retry) this.#pause = Number(retry);
      if (event === "restored") return this.on.restored();
      if (event === "unavailable") unavailable = new Problem(503, JSON.parse(data).detail);
      if (id) place = Number(id);
      if (!event) events.push(new StoredEvent(data));
    }
    if (place !== this.#place || events.length) {
      this.#place = place;
      this.on.events(events, place);
    }
    if (unavailable) throw unavailable;
  }
}

/** Cuts a stream into its blocks. A line may come in many pieces, and each is looked at once. */
class Blocks {
  #line = [];
  #block = {};

  take(text) {
    const found = [];
    const lines = text.split("\n");
    const rest = lines.pop();
    for (const end of lines) {
      this.#line.push(end);
      const line = this.#line.join("");
      this.#line = [];
      const colon = line.indexOf(":");
      if (colon > 0) this.#block[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
      // What begins with a colon is a sign of life, and an empty line the end of a block.
      if (line !== "") continue;
      if (this.#block.data !== undefined) found.push(this.#block);
      this.#block = {};
    }
    if (rest) this.#line.push(rest);
    return found;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => (clearTimeout(timer), signal.removeEventListener("abort", end), resolve());
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
