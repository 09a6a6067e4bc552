/** The view that finds one event: by its id, by its `seq`, or the first one received at or after a time. */
import { address, json, page } from "./api.js";
import { h } from "./dom.js";
import { eventDetail } from "./detail.js";
import { localDate, localTime, number } from "./format.js";
import { StoredEvent } from "./json.js";

const KINDS = { id: "Event id", seq: "Seq", time: "Time" };

export class FindView {
  title = "Find";
  #shown = "";

  constructor(context) {
    this.context = context;
    this.kinds = Object.entries(KINDS).map(([kind, name]) =>
      h("label", null, h("input", { type: "radio", name: "kind", value: kind, onchange: () => this.#setKind(kind) }), h("span", null, name)));
    this.input = h("input", { type: "text", id: "search", required: true, autocomplete: "off", spellcheck: "false" });
    this.topic = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
    this.topicField = h("label", { hidden: true }, h("span", null, "Topic"), this.topic);
    this.label = h("span");
    this.hint = h("p.muted");
    this.result = h("div.result", { "aria-live": "polite" });
    this.element = h("section.view.find", null, h("h1", null, "Find an event"),
      h("form.card.find-form", {
        onsubmit: (event) => {
          event.preventDefault();
          this.#submit();
        },
      },
      h("div.tabs", { role: "radiogroup", "aria-label": "Find by" }, this.kinds),
      h("label", null, this.label, this.input), this.topicField,
      h("button.button.primary", null, "Find"), this.hint), this.result);
  }

  update(params) {
    this.params = params;
    const kind = Object.keys(KINDS).find((kind) => params.has(kind)) ?? "id";
    this.#setKind(kind);
    this.topic.value = params.get("topic") ?? "";
    if (!params.has(kind)) return this.input.focus();
    const text = params.get(kind);
    const date = new Date(text);
    this.input.value = kind === "time" && !Number.isNaN(date.getTime()) ? `${localDate(date)}T${localTime(date)}` : text;
    this.#find(kind, text, params.get("topic") ?? "");
  }

  close() {
    this.#shown = null;
  }

  #setKind(kind) {
    this.kind = kind;
    for (const label of this.kinds) label.firstChild.checked = label.firstChild.value === kind;
    const type = kind === "time" ? "datetime-local" : "text";
    if (this.input.type !== type) this.input.value = "";
    this.input.type = type;
    if (kind === "time") this.input.step = 1;
    this.input.inputMode = kind === "seq" ? "numeric" : "text";
    this.label.textContent = KINDS[kind];
    const { access, scope } = this.context;
    scope.then((scope) => (this.topicField.hidden = access.read !== "in part" && (this.kind !== "id" || scope !== "topic")));
    this.hint.textContent = {
      id: "The whole id, as the producer made it. Upper and lower case differ.",
      seq: "The number that the event got when it was stored.",
      time: "Finds the first event that was received at this time or later, in your time zone.",
    }[kind];
  }

  #submit() {
    const text = this.kind === "time" ? new Date(this.input.value).toISOString() : this.input.value;
    const params = this.context.own([[this.kind, text]]);
    if (!this.topicField.hidden && this.topic.value) params.set("topic", this.topic.value);
    if (String(params) === String(this.params)) this.update(params);
    else this.context.go("find", params);
  }

  async #find(kind, text, topic) {
    const asked = (this.#shown = `${kind} ${text} ${topic}`);
    this.result.replaceChildren(h("p.muted", null, "Looking…"));
    let content;
    try {
      const found = await this.#ask(kind, text, topic);
      content = found ? this.#card(found, await this.context.scope) : h("p.notice", null, await this.#notFound(kind, text));
    } catch (problem) {
      content = h("p.notice", null, problem.message);
    }
    if (asked === this.#shown) this.result.replaceChildren(content);
  }

  async #ask(kind, text, topic) {
    const { namespace } = this.context;
    const question = { id: [["event_id", text]], time: [["since", text], ["after", 0], ["limit", 1]] }[kind] ?? this.#questionOfSeq(text);
    const { texts } = await page(address(namespace, "events", [...question, ["topic", topic]]));
    return texts.length ? new StoredEvent(texts[0]) : null;
  }

  #questionOfSeq(text) {
    const digits = text.replaceAll(/[\s,._]/g, "");
    if (!/^[0-9]{1,15}$/.test(digits) || Number(digits) === 0) throw new Error("A seq is a whole number from 1 on.");
    return [["after", Number(digits) - 1], ["before", Number(digits) + 1]];
  }

  async #notFound(kind, text) {
    const { namespace } = this.context;
    if (kind === "id") return `No event with this id is stored in the namespace ${namespace}.`;
    const { unique_processed: head } = await json(address(namespace, "stats"));
    if (kind === "time") return "No event was received at this time or later.";
    return `There is no event ${text}: ${head ? `the newest is ${number(head)}` : "nothing is stored yet"}.`;
  }

  #card(event, scope) {
    return h("div.card", null, eventDetail(event, { ...this.context, scope }));
  }
}
