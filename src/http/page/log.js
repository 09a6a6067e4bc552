/**
 * A part of the log as it is held in memory: all events between two places that pass the filter. It grows at its newer
 * end while it follows, and at both ends as the reader asks; what is beyond the limits goes at the other end.
 */
import { address, page } from "./api.js";
import { Feed } from "./feed.js";
import { StoredEvent } from "./json.js";

/** What one log holds at most. Characters, since texts are what takes the memory. */
const EVENTS_MAX = 20_000;
const CHARACTERS_MAX = 48_000_000;
const FIRST_PAGE = 200;
const PAGE = 500;
/** A search looks through the log in pages of this size, and stops by itself after so many finds. */
const SEARCH_PAGE = 1_000;
const FINDS_MAX = 500;
/** One who comes back to a log with more news than this gets its newest page instead. */
const CATCH_UP_MAX = 10_000;

export class EventLog {
  /** Oldest first. */
  events = [];
  /** All that passes with `low` <= seq <= `high` is held. */
  low = 0;
  high = 0;
  head = 0;
  hasOlder = false;
  hasNewer = false;
  /** Whether it follows: stopped, connecting, live, away or refused. */
  state = "stopped";
  problem = null;
  /** Events that came while following, since it was opened. */
  received = 0;
  /** What it is looking for in the log: `{ towards: "older"|"newer", found }`, or null. */
  looking = null;
  /** Whether the reader ended the last look; then none begins by itself. */
  isPaused = false;

  #characters = 0;
  #feed = null;
  #stopping = new AbortController();
  #lookup = null;
  #on;

  /**
   * `filter`: parameters as pairs. `search`: a text. `on.change(changes)` is called after each change, with the number
   * of events that were added and removed at each end.
   */
  constructor(namespace, filter, search, on) {
    Object.assign(this, { namespace, filter, search: search.toLowerCase() });
    this.#on = on;
  }

  get hasUntil() {
    return this.filter.some(([name]) => name === "until");
  }

  /** Reads the newest events, or those around a place. */
  async open(place = null) {
    if (place === null) await this.#openAtHead();
    else {
      this.low = place + 1;
      this.high = place;
      this.hasOlder = this.hasNewer = true;
      await this.older(FIRST_PAGE / 2);
      await this.newer(FIRST_PAGE / 2);
    }
    if (this.search && this.hasOlder && place === null) this.older();
  }

  async #openAtHead() {
    const { events, head, next } = await this.#page([["limit", this.search ? SEARCH_PAGE : FIRST_PAGE]]);
    this.head = this.high = head;
    this.low = next ? Number(next.get("before")) : 1;
    this.hasOlder = next !== null;
    this.hasNewer = false;
    this.#add("older", events);
  }

  /** Follows the log from its newer end. */
  follow() {
    if (this.#feed || this.hasUntil) return;
    this.#feed = new Feed(this.namespace, this.filter.filter(([name]) => name !== "since"), this.high, {
      events: (events, place) => this.#take(events, place),
      state: (state, problem = null) => this.#change({ state, problem }),
      restored: () => this.#restored(),
    });
  }

  #take(events, place) {
    this.high = Math.max(this.high, place);
    this.head = Math.max(this.head, place);
    this.received += events.length;
    this.#add("newer", this.#found(events));
  }

  /** The database was put back to an older copy: what is held here may never have been. */
  async #restored() {
    this.stop();
    this.#on.restored();
  }

  stop() {
    this.#feed?.stop();
    this.#feed = null;
    this.#change({ state: "stopped", problem: null });
  }

  /** Ends everything for good. */
  close() {
    this.#on = { change() {}, restored() {} };
    this.#stopping.abort();
    this.#feed?.stop();
  }

  /** Whether so much has happened since that it is better read anew than followed. */
  async isFarBehind() {
    const { head } = await this.#page([["limit", 1]]);
    return head - this.high > CATCH_UP_MAX || head < this.high;
  }

  older(wanted = PAGE) {
    return this.#look("older", wanted);
  }

  newer(wanted = PAGE) {
    return this.#look("newer", wanted);
  }

  stopLooking() {
    this.isPaused = true;
    this.#lookup?.abort();
  }

  /** Reads on at one end until `wanted` events are found, or the log ends; one look at a time. */
  async #look(towards, wanted) {
    if (this.looking || !(towards === "older" ? this.hasOlder : this.hasNewer)) return;
    this.#lookup = new AbortController();
    const signal = AbortSignal.any([this.#lookup.signal, this.#stopping.signal]);
    const limit = this.search || this.filter.some(([name]) => name === "where") ? SEARCH_PAGE : wanted;
    let found = 0;
    this.#change({ looking: { towards, found }, problem: null, isPaused: false });
    try {
      const enough = this.search ? FINDS_MAX : wanted;
      while (found < enough && (towards === "older" ? this.hasOlder : this.hasNewer)) {
        const place = towards === "older" ? [["before", this.low]] : [["after", this.high]];
        const { events, head, next } = await this.#page([...place, ["limit", limit]], signal);
        this.head = Math.max(this.head, head);
        if (towards === "older") {
          this.low = next ? Number(next.get("before")) : 1;
          this.hasOlder = next !== null;
        } else {
          this.high = next ? Number(next.get("after")) : head;
          this.hasNewer = next !== null;
        }
        found += events.length;
        this.looking = { towards, found };
        this.#add(towards, events);
      }
    } catch (problem) {
      if (!signal.aborted) this.problem = problem;
    }
    this.#change({ looking: null });
  }

  /** A page of the events that pass, oldest first. */
  async #page(parameters, signal = this.#stopping.signal) {
    const { texts, head, next } = await page(address(this.namespace, "events", [...this.filter, ...parameters]), { signal });
    const events = this.#found(texts.map((text) => new StoredEvent(text)));
    if (events.length > 1 && events[0].seq > events[1].seq) events.reverse();
    return { events, head, next };
  }

  /** Those events that pass the search. */
  #found(events) {
    if (this.search === "") return events;
    // A text is a piece of what it came in, all of which would stay in memory for a few finds.
    return events.filter((event) => event.holds(this.search)).map(({ text }) => new StoredEvent(structuredClone(text)));
  }

  #add(towards, events) {
    for (const event of events) this.#characters += event.text.length;
    if (towards === "newer") for (const event of events) this.events.push(event);
    else this.events = events.concat(this.events);
    const changes = { newer: 0, older: 0, removedNewer: 0, removedOlder: 0, [towards]: events.length };
    this.#trim(towards, changes);
    this.#on.change(changes);
  }

  /** Removes what is beyond the limits from the other end. */
  #trim(towards, changes) {
    let excess = 0;
    while (this.#isBeyondLimits(excess)) {
      const event = towards === "newer" ? this.events[excess] : this.events[this.events.length - 1 - excess];
      this.#characters -= event.text.length;
      excess += 1;
    }
    if (excess === 0) return;
    if (towards === "newer") {
      this.events.splice(0, excess);
      this.low = this.events[0].seq;
      this.hasOlder = true;
      changes.removedOlder = excess;
    } else {
      this.events.splice(-excess);
      this.high = this.events.at(-1).seq;
      this.hasNewer = true;
      changes.removedNewer = excess;
      if (this.#feed) this.stop();
    }
  }

  #isBeyondLimits(excess) {
    const left = this.events.length - excess;
    return left > 1 && (left > EVENTS_MAX || this.#characters > CHARACTERS_MAX);
  }

  #change(fields) {
    Object.assign(this, fields);
    this.#on.change({ newer: 0, older: 0, removedNewer: 0, removedOlder: 0 });
  }
}
