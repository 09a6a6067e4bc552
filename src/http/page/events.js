/** The view of the log: newest first, live, filtered by the service, as far back as one scrolls. */
import { address, page } from "./api.js";
import { bdi, h, menu, say } from "./dom.js";
import { byteLength, eventDetail } from "./detail.js";
import { download } from "./download.js";
import { Filters, filterOf } from "./filters.js";
import { bytes, counted, number, percent, time } from "./format.js";
import { Grid } from "./grid.js";
import { StoredEvent, at, leaves, shown } from "./json.js";
import { EventLog } from "./log.js";

/** No more pictures a second than one can read. */
const DRAW_INTERVAL = 100;
const CELL_CHARACTERS_MAX = 400;
/** A browser has six connections to a service, for all tabs together: one that nobody looks at gives its own back. */
const HIDDEN_MAX = 3_000;
const BASE = [
  { id: "seq", name: "Seq", width: "92px" },
  { id: "received", name: "Received", width: "112px" },
  { id: "topic", name: "Topic", width: "minmax(90px, 1fr)" },
  { id: "event_id", name: "Event id", width: "minmax(110px, 1.4fr)" },
  { id: "source", name: "Source", width: "minmax(80px, .8fr)" },
  { id: "payload", name: "Payload", width: "minmax(140px, 3fr)" },
  { id: "size", name: "Size", width: "76px", end: true },
];
/** What of the address decides which events there are; the rest is how they are shown. */
const KINDS = ["topic", "where", "q", "since", "until", "at", "ns"];

export class EventsView {
  title = "Events";
  #log = null;
  #changes = { newer: 0, older: 0, removedNewer: 0, removedOlder: 0 };
  #timer = 0;
  #drawn = 0;
  #above = 0;
  #selected = null;
  #shownDetail = null;

  constructor(context) {
    this.context = context;
    this.filters = new Filters({
      namespace: context.namespace,
      change: (change) => this.#change(change, ["at"]),
      sample: () => this.#log.events.slice(-30),
    });
    this.follow = h("button.button.follow", { type: "button", onclick: () => this.#toggle() });
    this.status = h("p.status", { role: "status" });
    this.progress = h("progress", { max: 1, value: 0, "aria-label": "How much of the log was looked through", hidden: true });
    this.look = h("button.button.small", { type: "button", hidden: true, onclick: () => this.#toggleLook() });
    this.count = h("p.count");
    this.columnList = h("div.column-list");
    this.columnMenu = menu("Columns", this.columnList, { ontoggle: () => this.#listColumns() });
    this.above = h("button.button.primary.above", { type: "button", hidden: true, onclick: () => this.#toTop() });
    this.empty = h("div.empty", { hidden: true });
    this.grid = new Grid("Events, newest first", {
      key: (index) => this.#event(index).seq,
      row: (index) => this.#cells(this.#event(index)),
      open: (index) => this.#select(this.#event(index).seq),
      move: (index) => this.#shownDetail && this.#select(this.#event(index).seq),
      end: (which) => this.#atEnd(which),
    });
    this.grid.element.addEventListener("scroll", () => this.grid.isAtTop && this.#clearAbove());
    document.addEventListener("visibilitychange", this.#turned);
    this.detail = h("aside.side-panel", { hidden: true, "aria-label": "The chosen event" });
    this.element = h("section.view.fill.events", null,
      h("h1.sr", null, "Events"),
      h("div.toolbar", null, this.follow, this.filters.element, h("div.tools", null, this.columnMenu,
        h("button.button", { type: "button", onclick: () => this.#download() }, "Download"))),
      this.filters.chips,
      h("div.statusline", null, this.status, this.progress, this.look, this.count),
      h("div.split", {
        onkeydown: (event) => event.key === "Escape" && this.#selected !== null && this.#select(null),
      }, h("div.grid-frame", null, this.grid.element, this.empty, this.above), this.detail));
  }

  update(params) {
    const before = this.params;
    this.params = params;
    this.filters.update(params);
    this.#setColumns();
    const kind = (of) => JSON.stringify(KINDS.map((name) => of.getAll(name)));
    if (!before || kind(before) !== kind(params)) this.#open();
    else if ((before.get("live") ?? "") !== (params.get("live") ?? "")) this.#followOrStop();
    this.#choose(Number(params.get("sel")) || null);
  }

  close() {
    document.removeEventListener("visibilitychange", this.#turned);
    clearTimeout(this.#hiding);
    this.#log?.close();
    this.grid.close();
    clearTimeout(this.#timer);
  }

  #hiding = 0;
  #turned = () => {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#isFollowing && this.#log.stop(), HIDDEN_MAX);
    else if (this.#wantsLive && !this.isOpening && this.#log.state === "stopped" && !this.#log.hasNewer) this.#goOn(this.#log);
  };

  /** Follows again, from where it was unless that is far behind. */
  async #goOn(log) {
    const isFarBehind = await log.isFarBehind().catch(() => false);
    if (log !== this.#log || log.state !== "stopped") return;
    if (isFarBehind) this.#open();
    else this.#followOrStop();
  }

  /** For the keyboard: what Stop and Go live do. */
  toggle() {
    this.#toggle();
  }

  #change(change, without = [], replace = false) {
    const params = new URLSearchParams(this.params);
    for (const name of without) params.delete(name);
    change(params);
    this.context.go("events", params, replace);
  }

  async #open() {
    this.#log?.close();
    const place = Number(this.params.get("at")) || null;
    const log = new EventLog(this.context.namespace, filterOf(this.params), this.params.get("q") ?? "", {
      change: (changes) => this.#changed(changes),
      restored: () => this.#open(),
    });
    this.#log = log;
    this.#above = 0;
    this.isOpening = true;
    this.grid.update(0);
    this.grid.redraw();
    this.grid.element.scrollTop = 0;
    this.#say();
    try {
      await log.open(place);
      if (log !== this.#log) return;
      this.isOpening = false;
      this.#draw();
      if (place) this.#showPlace(place);
      this.#followOrStop();
    } catch (problem) {
      if (log !== this.#log) return;
      log.problem = problem;
      this.isOpening = false;
      this.#say();
    }
  }

  #showPlace(place) {
    const { events } = this.#log;
    let index = events.findIndex(({ seq }) => seq >= place);
    if (index < 0) index = events.length - 1;
    this.grid.current = events[index]?.seq ?? null;
    this.grid.show(events.length - 1 - index, true);
  }

  get #wantsLive() {
    return this.params.get("live") !== "0" && !this.params.has("until");
  }

  #followOrStop() {
    if (this.#wantsLive && !this.#log.hasNewer) this.#log.follow();
    else if (this.#log.state !== "stopped") this.#log.stop();
    this.#say();
  }

  /** Stops everything that goes on, or takes it up again. */
  async #toggle() {
    if (this.#isFollowing) return this.#change((params) => params.set("live", "0"));
    const log = this.#log;
    const moves = this.params.has("at") || this.params.has("until");
    const mustReopen = !moves && (log.problem || log.hasNewer || await log.isFarBehind().catch(() => true));
    if (log !== this.#log) return;
    this.#change((params) => params.delete("live"), ["at", "until"], true);
    if (mustReopen) this.#open();
    else if (!moves) this.#followOrStop();
    this.#toTop();
  }

  get #isFollowing() {
    return ["connecting", "live", "away"].includes(this.#log.state);
  }

  #atEnd(which) {
    const log = this.#log;
    if (this.isOpening || log.looking || log.isPaused || log.problem) return;
    if (which === "bottom" && log.hasOlder && !(log.search && log.events.length)) log.older();
    if (which === "top" && log.hasNewer) log.newer().then(() => this.#log === log && this.#followOrStop());
  }

  #toggleLook() {
    const log = this.#log;
    if (log.looking) log.stopLooking();
    else if (log.problem && !log.events.length) this.#open();
    else log.older();
  }

  #changed(changes) {
    for (const name in changes) this.#changes[name] += changes[name];
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, Math.max(0, this.#drawn + DRAW_INTERVAL - performance.now()));
  }

  #draw() {
    this.#drawn = performance.now();
    const { newer, removedNewer } = this.#changes;
    this.#changes = { newer: 0, older: 0, removedNewer: 0, removedOlder: 0 };
    const log = this.#log;
    if (!this.grid.isAtTop && this.#isFollowing) this.#above += newer;
    this.grid.update(log.events.length, newer, removedNewer);
    if (this.grid.isAtTop) this.#above = 0;
    if (log.events.length < 50) this.#atEnd("bottom");
    this.#say();
  }

  #say() {
    const log = this.#log;
    const isFollowing = this.#isFollowing;
    say(this.follow, isFollowing ? "Stop" : "Go live");
    this.follow.dataset.state = log.state;
    say(this.status, this.#statusText());
    this.status.dataset.state = log.problem ? "refused" : log.state;
    const isLong = log.looking && (log.search || this.params.has("where") || this.isOpening);
    this.progress.hidden = !isLong;
    if (isLong) this.progress.value = log.head ? (log.head - log.low + 1) / log.head : 0;
    this.look.hidden = !(isLong || (log.problem && !isFollowing) || (!log.looking && log.hasOlder && (log.isPaused || log.search)));
    say(this.look, log.looking ? "Stop search" : log.problem ? "Try again" : "Search on");
    say(this.count, this.#countText());
    this.above.hidden = this.#above === 0;
    say(this.above, `↑ ${counted(this.#above, "new event")}`);
    this.empty.hidden = this.isOpening || log.events.length > 0 || log.looking !== null;
    if (!this.empty.hidden) this.#sayEmpty();
  }

  #statusText() {
    const log = this.#log;
    if (log.problem && log.state !== "away") return log.problem.message;
    if (log.looking && log.search) {
      const share = log.head ? (log.head - log.low + 1) / log.head : 1;
      return `Searched ${percent(Math.min(1, share))} · ${counted(log.events.length, "find")}`;
    }
    const came = log.received ? ` · ${counted(log.received, "event")} came since you opened this` : "";
    if (log.state === "live" || log.state === "connecting") return `Live${came}`;
    if (log.state === "away") return `Connecting again: ${log.problem?.message ?? ""}${came}`;
    return `${this.params.has("until") ? "A range of the past" : log.hasNewer ? "There are newer events" : "Stopped"}${came}`;
  }

  #countText() {
    const { events, head, low, hasOlder } = this.#log;
    if (this.isOpening || events.length === 0) return "";
    const isFiltered = filterOf(this.params).length > 0 || this.#log.search;
    if (!isFiltered) return `${number(events.length)} of ${number(head)} shown`;
    return `${number(events.length)} shown${hasOlder ? `, looked back to ${number(low)} of ${number(head)}` : ""}`;
  }

  #sayEmpty() {
    const isFiltered = filterOf(this.params).length > 0 || this.#log.search;
    const text = this.#log.problem ? ["The events cannot be shown.", this.#log.problem.message]
      : isFiltered ? ["No event passes these filters.", this.#isFollowing ? "New ones appear here as they come." : ""]
        : ["No events yet.", "They appear here as they come."];
    const link = isFiltered
      ? h("button.button", { type: "button", onclick: () => this.context.go("events", this.context.own()) }, "Remove all filters")
      : !this.#log.problem && h("a.button.primary", { href: this.context.link("overview") }, "Send the first one");
    this.empty.replaceChildren(h("h2", null, text[0]), h("p", null, text[1]), link || "");
  }

  #event(index) {
    const { events } = this.#log;
    return events[events.length - 1 - index];
  }

  #toTop() {
    this.grid.element.scrollTop = 0;
    this.#clearAbove();
  }

  #clearAbove() {
    this.#above = 0;
    this.above.hidden = true;
  }

  #download() {
    download(this.context.namespace, filterOf(this.params), this.params.get("q") ?? "");
  }

  // --- columns ---

  #setColumns() {
    const hidden = this.params.getAll("hide");
    const own = this.params.getAll("col").map((pointer) => ({
      id: pointer, pointer, name: pointer.replace(/^\/payload\//, ""), width: "minmax(80px, 1fr)",
    }));
    const columns = BASE.filter(({ id }) => !hidden.includes(id));
    const payload = columns.findIndex(({ id }) => id === "payload" || id === "size");
    columns.splice(payload < 0 ? columns.length : payload, 0, ...own);
    if (JSON.stringify(columns) === JSON.stringify(this.columns)) return;
    this.columns = columns;
    this.grid.columns(columns.map((column) => ({ ...column, content: bdi(column.name) })));
  }

  #cells(event) {
    return this.columns.map(({ id, pointer, end }) => {
      const cell = h(end ? "span.end" : "span", { role: "gridcell", "data-column": pointer ? "own" : id });
      if (id === "seq") cell.append(number(event.seq));
      else if (id === "received") cell.append(time(event.received_at, true));
      else if (id === "size") cell.append(bytes(event.size ??= byteLength(event.payload)));
      else cell.append(bdi(pointer ? valueAt(event, pointer) : event[id].slice(0, CELL_CHARACTERS_MAX)));
      return cell;
    });
  }

  #listColumns() {
    if (!this.columnMenu.open) return;
    const pointers = new Set(this.params.getAll("col"));
    for (const event of this.#log.events.slice(-50)) {
      if (event.payload.length > 20_000) continue;
      for (const [pointer] of leaves(event.payload, 40)) if (pointers.size < 60) pointers.add(`/payload${pointer}`);
    }
    const box = (label, isOn, change) => h("label", null,
      h("input", { type: "checkbox", checked: isOn, onchange: (event) => change(event.target.checked) }), bdi(label));
    this.columnList.replaceChildren(
      h("fieldset", null, h("legend", null, "Of the event"), BASE.map(({ id, name }) =>
        box(name, !this.params.getAll("hide").includes(id), (isOn) => this.#setColumn("hide", id, !isOn)))),
      h("fieldset", null, h("legend", null, "Of the payload"), [...pointers].map((pointer) =>
        box(pointer.replace(/^\/payload\//, ""), this.params.has("col", pointer), (isOn) => this.#setColumn("col", pointer, isOn))),
      pointers.size === 0 && h("p.muted", null, "No fields yet.")));
  }

  #setColumn(name, value, isOn) {
    const params = new URLSearchParams(this.params);
    params.delete(name, value);
    if (isOn) params.append(name, value);
    this.context.go("events", params, true);
  }

  // --- the chosen event ---

  #select(seq) {
    const params = new URLSearchParams(this.params);
    if (seq === null) params.delete("sel");
    else params.set("sel", seq);
    this.context.go("events", params, true);
    if (seq === null) this.grid.element.focus();
  }

  async #choose(seq) {
    if (seq === this.#selected) return;
    this.#selected = seq;
    this.grid.current = seq;
    if (seq === null) {
      this.#shownDetail = null;
      this.detail.hidden = true;
      return;
    }
    const event = this.#log.events.find((event) => event.seq === seq) ?? await this.#fetch(seq);
    const scope = await this.context.scope;
    if (seq !== this.#selected) return;
    this.#shownDetail = seq;
    this.detail.hidden = false;
    this.detail.replaceChildren(event instanceof StoredEvent ? this.#detail(event, scope) : h("p.notice", null, event));
  }

  async #fetch(seq) {
    try {
      const url = address(this.context.namespace, "events", [["after", seq - 1], ["before", seq + 1]]);
      const { texts } = await page(url);
      return texts.length ? new StoredEvent(texts[0]) : `There is no event ${number(seq)}.`;
    } catch (problem) {
      return problem.message;
    }
  }

  #detail(event, scope) {
    return eventDetail(event, {
      ...this.context,
      scope,
      narrow: (name, value) => this.#change((params) => params.has(name, value) || params.append(name, value), ["at"]),
      column: (pointer) => this.#setColumn("col", pointer, true),
      close: () => this.#select(null),
    });
  }
}

function valueAt(event, pointer) {
  const text = at(event.text, pointer);
  return text === undefined ? "" : shown(text).slice(0, CELL_CHARACTERS_MAX);
}
