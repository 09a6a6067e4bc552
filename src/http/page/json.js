/**
 * JSON as it was written. JSON.parse would round long numbers, and what is stored is shown with every digit; so texts
 * are cut, not parsed. All of them come from the service, which has checked them.
 */

const BRACKETS_AND_QUOTES = /["{}[\]]/g;
const SPACE = /\s*/y;
const SCALAR = /[^\s,\]}]+/y;

/** The place behind the string that begins at `at`. */
function endOfString(text, at) {
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text[before] === "\\") before -= 1;
    if ((end - before) % 2 === 1) return end + 1;
  }
  throw new SyntaxError("a string without an end");
}

/** The place behind the value that begins at `at`. */
function endOfValue(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if (text[at] !== "{" && text[at] !== "[") {
    SCALAR.lastIndex = at;
    return SCALAR.test(text) ? SCALAR.lastIndex : text.length;
  }
  let depth = 0;
  BRACKETS_AND_QUOTES.lastIndex = at;
  for (let found = BRACKETS_AND_QUOTES.exec(text); found; found = BRACKETS_AND_QUOTES.exec(text)) {
    if (found[0] === '"') BRACKETS_AND_QUOTES.lastIndex = endOfString(text, found.index);
    else {
      depth += found[0] === "{" || found[0] === "[" ? 1 : -1;
      if (depth === 0) return found.index + 1;
    }
  }
  throw new SyntaxError("brackets without an end");
}

function skipSpace(text, at) {
  SPACE.lastIndex = at;
  SPACE.test(text);
  return SPACE.lastIndex;
}

/** What an object or array holds: pairs of a key, or a place, and the text of the value. */
export function* members(text) {
  const isObject = text[skipSpace(text, 0)] === "{";
  let at = skipSpace(text, skipSpace(text, 0) + 1);
  for (let index = 0; at < text.length && text[at] !== "}" && text[at] !== "]"; index += 1) {
    let key = String(index);
    if (isObject) {
      const end = endOfString(text, at);
      key = JSON.parse(text.slice(at, end));
      at = skipSpace(text, skipSpace(text, end) + 1);
    }
    const end = endOfValue(text, at);
    yield [key, text.slice(at, end)];
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
}

/** The texts of the values in an array. */
export function elements(text) {
  return Array.from(members(text), ([, value]) => value);
}

export const isNested = (text) => text[0] === "{" || text[0] === "[";

/** How a value reads: a string by its content, anything else by its JSON text. */
export function shown(text) {
  return text[0] === '"' ? JSON.parse(text) : text;
}

/** The text of the value that a JSON pointer (RFC 6901) leads to, or undefined. */
export function at(text, pointer) {
  for (const part of pointer.split("/").slice(1)) {
    if (text === undefined || !isNested(text)) return undefined;
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    let found;
    for (const [name, value] of members(text)) if (name === key) found = value;
    text = found;
  }
  return text;
}

export const pointerTo = (pointer, key) => `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;

/** Pairs of a pointer and a text for each value that holds no others, at most `max` of them. */
export function leaves(text, max, pointer = "", found = []) {
  for (const [key, value] of members(text)) {
    if (found.length >= max) break;
    if (isNested(value)) leaves(value, max, pointerTo(pointer, key), found);
    else found.push([pointerTo(pointer, key), value]);
  }
  return found;
}

/** Pieces of the text with line breaks and indents, each with its kind: key, string, number, word or mark. */
export function* pieces(text, indent = "") {
  if (!isNested(text)) {
    yield [text[0] === '"' ? "string" : /[-0-9]/.test(text[0]) ? "number" : "word", text];
    return;
  }
  const [open, close] = text[0] === "{" ? "{}" : "[]";
  const inner = `${indent}  `;
  let separator = open;
  for (const [key, value] of members(text)) {
    yield ["mark", `${separator}\n${inner}`];
    if (open === "{") {
      yield ["key", JSON.stringify(key)];
      yield ["mark", ": "];
    }
    yield* pieces(value, inner);
    separator = ",";
  }
  yield ["mark", separator === open ? open + close : `\n${indent}${close}`];
}

/** JSON on one line: white space between its parts may hold line breaks, its strings cannot. */
export const onOneLine = (text) => text.replace(/[\r\n]+/g, " ");

/** An event as the page needs it; `text` and `payload` are as they were sent. */
export class StoredEvent {
  constructor(text) {
    this.text = text;
    for (const [key, value] of members(text)) {
      if (key === "payload") this.payload = value;
      else if (key === "seq") this.seq = Number(value);
      else if (value[0] === '"') this[key] = JSON.parse(value);
    }
  }

  /** Whether a text, which is in lower case, stands anywhere in it. */
  holds(needle) {
    for (const name of [this.topic, this.event_id, this.source]) {
      if (name.toLowerCase().includes(needle)) return true;
    }
    const escaped = JSON.stringify(needle).slice(1, -1);
    const payloads = [this.payload];
    // A backslash: some characters may stand there in another form.
    if (this.payload.includes("\\")) payloads.push(JSON.stringify(JSON.parse(this.payload)));
    return payloads.some((payload) => {
      const text = payload.toLowerCase();
      return text.includes(needle) || text.includes(escaped);
    });
  }
}
