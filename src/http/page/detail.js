/** One event, with all that is known of it, and what one may want to do with it. */
import { address, addressOfEvent, curl } from "./api.js";
import { bdi, copy, h } from "./dom.js";
import { bytes, counted, number, quoted, time, unseen } from "./format.js";
import { isNested, leaves, onOneLine, pieces, shown } from "./json.js";

/** So many characters of a payload are shown before one asks for the rest, and so many of one text in it. */
const SHOWN_MAX = 20_000;
const TEXT_MAX = 2_000;
const LEAVES_MAX = 200;
/** Linux takes no longer argument of a command. */
const ARGUMENT_MAX = 120_000;

let format = "formatted";

export const byteLength = (text) => new TextEncoder().encode(text).length;

/** `context`: namespace, scope, `narrow(name, value)`, `column(pointer)`, `link(view, params)`, `close()` or nothing. */
export function eventDetail(event, context) {
  const payload = h("div.payload");
  const show = (kind) => {
    format = kind;
    payload.replaceChildren(payloadAs(kind, event, context));
  };
  show(format);
  return h("article.detail", { "aria-label": `Event ${event.seq}` },
    h("header", null, h("h2", null, `Event ${number(event.seq)}`),
      context.close && h("button.icon", { type: "button", "aria-label": "Close", onclick: context.close }, "✕")),
    facts(event, context),
    actions(event, context),
    h("div.payload-head", null, h("h3", null, "Payload"), h("small", null, bytes(byteLength(event.payload))),
      h("div.tabs", { role: "radiogroup", "aria-label": "Show the payload as" },
        ["formatted", "raw", "fields"].map((kind) => h("label", null,
          h("input", { type: "radio", name: "format", checked: kind === format, onchange: () => show(kind) }),
          h("span", null, kind))))),
    payload);
}

function facts(event, context) {
  const name = (label, value, parameter) => {
    const hidden = unseen(value);
    return [h("dt", null, label), h("dd", null, bdi(value),
      hidden && h("small.warning", null, `holds characters that do not show: ${hidden}`),
      parameter && context.narrow && h("button.link", {
        type: "button", "aria-label": `Only events with this ${label.toLowerCase()}`,
        onclick: () => (parameter === "topic" ? context.narrow("topic", value) : context.narrow("where", `/${parameter}=${value}`)),
      }, "only these"))];
  };
  return h("dl.facts", null,
    name("Topic", event.topic, "topic"), name("Event id", event.event_id), name("Source", event.source, "source"),
    h("dt", null, "Timestamp"), h("dd", null, time(event.timestamp)),
    h("dt", null, "Received"), h("dd", null, time(event.received_at)));
}

function actions(event, context) {
  const topic = context.scope === "topic" ? event.topic : "";
  const read = addressOfEvent(context.namespace, event.event_id, topic);
  const { event_id, timestamp, source } = event;
  const sent = `${JSON.stringify({ topic: event.topic, event_id, timestamp, source }).slice(0, -1)},"payload":${onOneLine(event.payload)}}`;
  const publish = address(context.namespace, "publish");
  const here = context.link("events", [["at", event.seq], ["sel", event.seq]]);
  return h("div.actions", null,
    h("button.button", { type: "button", onclick: () => copy(event.text, "the event as JSON") }, "Copy JSON"),
    h("button.button", { type: "button", onclick: () => copy(curl(read, {}, quoted), "a command that reads it") }, "Copy curl"),
    sent.length < ARGUMENT_MAX && h("button.button", {
      type: "button", title: "A command that publishes this event again. It will be a duplicate.",
      onclick: () => copy(curl(publish, { method: "POST", body: sent }, quoted), "a command that sends it again"),
    }, "Copy curl to resend"),
    h("a.button", { href: here, title: "All events around this one, without filters" }, "In context"));
}

function payloadAs(kind, event, context) {
  if (kind === "raw") return plain(event.payload);
  if (kind === "fields") return fields(event, context);
  return formatted(event.payload);
}

function plain(text) {
  const element = h("pre", { tabindex: 0, "aria-label": "Payload as it was sent" }, text.slice(0, SHOWN_MAX));
  if (text.length <= SHOWN_MAX) return element;
  return h("div", null, element, more(text.length, () => element.replaceChildren(text)));
}

function formatted(text, max = SHOWN_MAX) {
  const element = h("pre", { tabindex: 0, "aria-label": "Payload, formatted" });
  let left = max;
  let isWhole = true;
  for (const [kind, piece] of pieces(text)) {
    const part = max === SHOWN_MAX && piece.length > TEXT_MAX ? `${piece.slice(0, TEXT_MAX)}…` : piece;
    isWhole &&= part === piece;
    element.append(kind === "mark" ? part : h("span", { class: `json-${kind}` }, part));
    left -= part.length;
    if (left < 0) {
      isWhole = false;
      break;
    }
  }
  if (isWhole || max !== SHOWN_MAX) return element;
  const box = h("div", null, element, more(text.length, () => box.replaceWith(formatted(text, Infinity))));
  return box;
}

function more(length, show) {
  const button = h("button.button", {
    type: "button",
    onclick: () => {
      show();
      button.remove();
    },
  }, `Show all ${counted(length, "character")}`);
  return button;
}

function fields(event, context) {
  const found = leaves(event.payload, LEAVES_MAX + 1);
  const rows = found.slice(0, LEAVES_MAX).map(([pointer, text]) => {
    const value = shown(text);
    const path = `/payload${pointer}`;
    return h("tr", null, h("th", { scope: "row" }, bdi(pointer)), h("td", null, bdi(value.slice(0, 200))), h("td", null,
      context.narrow && value.length <= 200 && h("button.link", {
        type: "button", "aria-label": `Only events with ${pointer} ${value}`, onclick: () => context.narrow("where", `${path}=${value}`),
      }, "only these"),
      context.column && h("button.link", {
        type: "button", "aria-label": `Show ${pointer} as a column`, onclick: () => context.column(path),
      }, "column")));
  });
  if (rows.length === 0) return h("p.muted", null, isNested(event.payload) ? "The payload has no fields." : "");
  return h("div.fields-list", null, h("table", null, h("tbody", null, rows)),
    found.length > LEAVES_MAX && h("p.muted", null, `The first ${LEAVES_MAX} fields are shown.`));
}
