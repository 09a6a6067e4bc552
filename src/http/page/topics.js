/** The view of all topics. They are read page by page; sorting and filtering happen here. */
import { address, page } from "./api.js";
import { bdi, h, say } from "./dom.js";
import { ago, counted, number, percent } from "./format.js";
import { Grid } from "./grid.js";

const INTERVAL = 5_000;
const PAGE = 1_000;
const TOPICS_MAX = 50_000;
const COLUMNS = [
  { id: "topic", name: "Topic", width: "minmax(150px, 3fr)", value: (topic) => topic.topic, text: true },
  { id: "unique", name: "Events", width: "minmax(90px, 1fr)", value: (topic) => topic.unique, end: true },
  { id: "duplicates", name: "Duplicates", width: "minmax(90px, 1fr)", value: (topic) => topic.duplicates, end: true },
  { id: "share", name: "Share of duplicates", width: "minmax(150px, 1.3fr)", value: (topic) => share(topic), end: true },
  { id: "first", name: "First event", width: "minmax(90px, 1fr)", value: (topic) => topic.first_seq ?? 0, end: true },
  { id: "last", name: "Last event", width: "minmax(90px, 1fr)", value: (topic) => topic.last_seq ?? 0, end: true },
  { id: "received", name: "Last received", width: "minmax(120px, 1fr)", value: (topic) => topic.last_received_at ?? "", end: true },
];

const share = ({ unique, duplicates }) => (unique + duplicates ? duplicates / (unique + duplicates) : 0);

export class TopicsView {
  title = "Topics";
  #all = [];
  #shown = [];
  #stop = new AbortController();
  #timer = 0;

  constructor(context) {
    this.context = context;
    this.input = h("input", { type: "search", id: "search", placeholder: "part of a name", "aria-label": "Filter the topics", autocomplete: "off", spellcheck: "false",
      oninput: () => this.#change((params) => (this.input.value ? params.set("q", this.input.value) : params.delete("q"))) });
    this.count = h("p.count", { role: "status" });
    this.empty = h("div.empty", { hidden: true });
    this.grid = new Grid("Topics", {
      key: (index) => this.#shown[index].topic,
      row: (index) => this.#cells(this.#shown[index]),
      open: (index) => context.go("events", context.own([["topic", this.#shown[index].topic]])),
    });
    this.element = h("section.view.fill.topics", null, h("h1", null, "Topics"),
      h("div.toolbar", null, h("label.field", null, h("span", { "aria-hidden": "true" }, "Filter"), this.input), this.count),
      h("div.split", null, h("div.grid-frame", null, this.grid.element, this.empty)));
    this.#load();
  }

  update(params) {
    this.params = params;
    const text = params.get("q") ?? "";
    if (document.activeElement !== this.input) this.input.value = text;
    this.#sortAndFilter();
  }

  close() {
    this.#stop.abort();
    this.grid.close();
    clearTimeout(this.#timer);
  }

  #change(change) {
    const params = new URLSearchParams(this.params);
    change(params);
    this.context.go("topics", params, true);
  }

  async #load() {
    const begun = performance.now();
    try {
      const all = [];
      for (let after = ""; after !== null && all.length < TOPICS_MAX;) {
        const found = await page(address(this.context.namespace, "topics", [["limit", PAGE], ["after", after]]), { signal: this.#stop.signal });
        for (const text of found.texts) all.push(JSON.parse(text));
        after = found.next ? found.next.get("after") : null;
        // The first time they appear as they come.
        if (all.length > this.#all.length) this.#take(all, after !== null);
      }
      this.#take(all, all.length >= TOPICS_MAX);
    } catch (problem) {
      if (this.#stop.signal.aborted) return;
      say(this.count, problem.message);
      if (problem.isDenied) return;
    }
    const pause = Math.max(INTERVAL, (performance.now() - begun) * 20) * (document.hidden ? 6 : 1);
    this.#timer = setTimeout(() => this.#load(), pause);
  }

  #take(all, hasMore) {
    this.#all = all.slice();
    this.hasMore = hasMore;
    this.#sortAndFilter();
  }

  #sortAndFilter() {
    if (!this.params) return;
    const needle = (this.params.get("q") ?? "").toLowerCase();
    const [id, order] = (this.params.get("sort") ?? "unique.desc").split(".");
    const column = COLUMNS.find((column) => column.id === id) ?? COLUMNS[1];
    const sign = order === "asc" ? 1 : -1;
    const found = needle ? this.#all.filter(({ topic }) => topic.toLowerCase().includes(needle)) : this.#all.slice();
    const keys = new Map(found.map((topic) => [topic, column.value(topic)]));
    found.sort((a, b) => {
      const [left, right] = [keys.get(a), keys.get(b)];
      return left < right ? -sign : left > right ? sign : a.topic < b.topic ? -1 : 1;
    });
    this.#shown = found;
    this.#head(column.id, order);
    this.grid.update(found.length);
    this.grid.redraw();
    const of = needle ? `${number(found.length)} of ${counted(this.#all.length, "topic")}` : counted(this.#all.length, "topic");
    say(this.count, this.hasMore ? `${of}, and more` : of);
    this.#sayEmpty(needle);
  }

  #sayEmpty(needle) {
    this.empty.hidden = this.#shown.length > 0 || this.hasMore === undefined;
    if (this.empty.hidden) return;
    this.empty.replaceChildren(h("h2", null, needle ? "No topic has this in its name." : "No topics yet."),
      h("p", null, needle ? "" : "Each topic appears here with its first event."));
  }

  #head(sorted, order) {
    const key = `${sorted}.${order}`;
    if (key === this.headKey) return;
    this.headKey = key;
    this.grid.columns(COLUMNS.map((column) => {
      const isSorted = column.id === sorted;
      const next = isSorted ? (order === "asc" ? "desc" : "asc") : column.text ? "asc" : "desc";
      return {
        ...column,
        sort: isSorted ? (order === "asc" ? "ascending" : "descending") : null,
        content: h("button.sort", { type: "button", onclick: () => this.#change((params) => params.set("sort", `${column.id}.${next}`)) },
          column.name, h("i", { "aria-hidden": "true" }, isSorted ? (order === "asc" ? "↑" : "↓") : "")),
      };
    }));
  }

  #cells(topic) {
    const bar = h("i.share", { "aria-hidden": "true" }, h("i"));
    bar.firstChild.style.width = `${share(topic) * 100}%`;
    const place = (seq) => (seq ? h("a", { tabindex: -1, href: this.context.link("events", [["at", seq], ["sel", seq]]) }, number(seq)) : "–");
    const contents = [bdi(topic.topic), number(topic.unique), number(topic.duplicates), [bar, percent(share(topic))],
      place(topic.first_seq), place(topic.last_seq), topic.last_received_at ? ago(topic.last_received_at) : "–"];
    return contents.map((content, index) =>
      h(COLUMNS[index].end ? "span.end" : "span", { role: "gridcell", "data-column": COLUMNS[index].id }, content));
  }
}
