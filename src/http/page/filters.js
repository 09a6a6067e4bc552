/** What narrows the events: topics and fields, which the service filters by, a text, and a range of time. */
import { address, json } from "./api.js";
import { bdi, h, menu, say } from "./dom.js";
import { localDate, localTime } from "./format.js";
import { leaves, shown } from "./json.js";

const TOPICS_MAX = 100;
const CONDITIONS_MAX = 3;
const SUGGESTIONS_MAX = 30;

/** The parameters of the page's address that the service takes for a filter, as pairs. */
export function filterOf(params) {
  return [...params].filter(([name]) => ["topic", "where", "since", "until"].includes(name));
}

/** `level=error` is short for `/payload/level=error`. */
function condition(text) {
  return text.startsWith("/") ? text : `/payload/${text}`;
}

export class Filters {
  /** `context.change(change)` is given a function that changes the parameters of the address. */
  constructor(context) {
    this.context = context;
    this.topics = h("datalist", { id: "topic-names" });
    this.fields = h("datalist", { id: "field-names" });
    this.topic = this.#input("Topic", "topic", "topic-names", (text) => this.#add("topic", text, TOPICS_MAX));
    this.topic.input.addEventListener("input", () => this.#suggestTopics());
    this.topic.input.addEventListener("focus", () => this.#suggestTopics());
    this.where = this.#input("Field", "level=error", "field-names", (text) =>
      this.#add("where", condition(text), CONDITIONS_MAX), "Field of the payload, = and its value");
    this.where.input.addEventListener("focus", () => this.#suggestFields());
    this.search = this.#input("Search", "any text", null, (text) => context.change((params) => set(params, "q", text)));
    this.search.input.type = "search";
    this.search.input.id = "search";
    this.search.input.addEventListener("search", () => this.search.submit());
    this.chips = h("ul.chips", { "aria-label": "Filters" });
    this.range = new TimeRange(context);
    this.element = h("div.filters", null, this.topic.form, this.where.form, this.search.form, this.range.element,
      this.topics, this.fields);
  }

  update(params) {
    this.search.input.value = params.get("q") ?? "";
    this.range.update(params);
    const chips = [...params].filter(([name]) => ["topic", "where", "q"].includes(name));
    this.chips.replaceChildren(...chips.map(([name, value]) => h("li.chip", null,
      h("small", null, { topic: "topic", where: "field", q: "text" }[name]), bdi(value),
      h("button.icon", {
        type: "button", "aria-label": `Remove the filter ${value}`,
        onclick: () => this.context.change((params) => params.delete(name, value)),
      }, "✕"))));
    this.chips.hidden = chips.length === 0;
  }

  #input(label, placeholder, list, take, title = label) {
    const input = h("input", { type: "text", placeholder, list, "aria-label": title, autocomplete: "off", spellcheck: "false" });
    const submit = () => {
      const text = input.value;
      if (input.type !== "search") input.value = "";
      take(text);
    };
    const form = h("form.field", {
      onsubmit: (event) => {
        event.preventDefault();
        submit();
      },
    }, h("span", { "aria-hidden": "true" }, label), input);
    return { form, input, submit };
  }

  #add(name, text, max) {
    if (text === "") return;
    this.context.change((params) => {
      if (params.getAll(name).length < max && !params.has(name, text)) params.append(name, text);
    });
  }

  async #suggestTopics() {
    const prefix = this.topic.input.value;
    try {
      const found = await json(address(this.context.namespace, "topics", [["prefix", prefix], ["limit", SUGGESTIONS_MAX]]));
      if (prefix === this.topic.input.value) {
        this.topics.replaceChildren(...found.map(({ topic }) => h("option", { value: topic })));
      }
    } catch {
      // Without suggestions one types the name.
    }
  }

  /** Values of the payloads that are in sight. */
  #suggestFields() {
    const found = new Set();
    for (const event of this.context.sample()) {
      for (const [pointer, text] of leaves(event.payload, SUGGESTIONS_MAX)) {
        const value = shown(text);
        if (value.length <= 40) found.add(`/payload${pointer}=${value}`);
      }
    }
    this.fields.replaceChildren(...[...found].slice(0, SUGGESTIONS_MAX * 2).map((value) => h("option", { value })));
  }
}

function set(params, name, value) {
  if (value) params.set(name, value);
  else params.delete(name);
}

const RANGES = [["5 min", 300], ["1 hour", 3_600], ["24 hours", 86_400], ["7 days", 604_800]];

/** When the events were received: from, inclusive, and to, exclusive. */
class TimeRange {
  constructor(context) {
    this.since = h("input", { type: "datetime-local", step: 1 });
    this.until = h("input", { type: "datetime-local", step: 1 });
    this.label = h("span", null, "All time");
    const apply = (since, until) => {
      this.element.open = false;
      context.change((params) => {
        set(params, "since", since);
        set(params, "until", until);
      });
    };
    const utc = (input) => (input.value ? new Date(input.value).toISOString() : "");
    const form = h("form.range", {
      onsubmit: (event) => {
        event.preventDefault();
        apply(utc(this.since), utc(this.until));
      },
    },
    h("div.quick", null,
      h("button.button", { type: "button", onclick: () => apply("", "") }, "All time"),
      RANGES.map(([name, seconds]) => h("button.button", {
        type: "button", onclick: () => apply(new Date(Date.now() - seconds * 1000).toISOString(), ""),
      }, `Last ${name}`))),
    h("label", null, h("span", null, "From"), this.since),
    h("label", null, h("span", null, "To, exclusive"), this.until),
    h("button.button.primary", null, "Apply"));
    this.element = menu(this.label, form);
  }

  update(params) {
    const [since, until] = ["since", "until"].map((name) => params.get(name));
    for (const [input, text] of [[this.since, since], [this.until, until]]) {
      const date = new Date(text ?? "");
      input.value = text && !Number.isNaN(date.getTime()) ? `${localDate(date)}T${localTime(date)}` : "";
    }
    const clock = (text) => text.replace(/:00$/, "").replace("T", " ");
    say(this.label, since && until ? `${clock(this.since.value)} – ${clock(this.until.value)}`
      : since ? `Since ${clock(this.since.value)}`
        : until ? `Until ${clock(this.until.value)}` : "All time");
  }
}
