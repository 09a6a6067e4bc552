/** Writes the events that pass a filter into a file, one JSON object a line, oldest first. */
import { address, page } from "./api.js";
import { dialog, h, say } from "./dom.js";
import { bytes, counted } from "./format.js";
import { StoredEvent, onOneLine } from "./json.js";

const PAGE_EVENTS = 1_000;
/** The browser holds the file until it is whole. */
const CHARACTERS_MAX = 512 * 1024 ** 2;

export async function download(namespace, filter, search) {
  const stop = new AbortController();
  const progress = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const text = h("p", { role: "status" }, "Reading…");
  const button = h("button.button", { type: "button", onclick: () => element.close() }, "Stop");
  const element = dialog("Download", text, progress, h("div.actions", null, button));
  element.addEventListener("close", () => stop.abort());
  try {
    const whole = await collect(namespace, filter, search, stop.signal, (share, events, characters) => {
      progress.value = share;
      say(text, `Reading… ${counted(events, "event")}, ${bytes(characters)}`);
    });
    save(new Blob(whole.lines, { type: "application/x-ndjson" }), `${namespace}-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.ndjson`);
    progress.value = 1;
    say(text, whole.isCut
      ? `The first ${counted(whole.events, "event")}, ${bytes(whole.characters)}, are saved; more is for the command line: sekali events --all.`
      : `Saved ${counted(whole.events, "event")}, ${bytes(whole.characters)}.`);
  } catch (problem) {
    if (!stop.signal.aborted) say(text, `It failed: ${problem.message}`);
  }
  say(button, "Close");
}

async function collect(namespace, filter, search, signal, report) {
  const needle = search.toLowerCase();
  const { head } = await page(address(namespace, "events", [["limit", 1]]), { signal });
  const whole = { lines: [], events: 0, characters: 0, isCut: false };
  for (let after = 0; after !== null && !whole.isCut;) {
    const range = [["after", after], ["before", head + 1], ["limit", PAGE_EVENTS]];
    const { texts, next } = await page(address(namespace, "events", [...filter, ...range]), { signal });
    const found = needle ? texts.filter((text) => new StoredEvent(text).holds(needle)) : texts;
    const lines = found.map((text) => `${onOneLine(text)}\n`).join("");
    // A Blob a page: the browser may keep it outside of its memory.
    whole.lines.push(new Blob([lines]));
    whole.events += found.length;
    whole.characters += lines.length;
    after = next ? Number(next.get("after")) : null;
    whole.isCut = after !== null && whole.characters > CHARACTERS_MAX;
    report(after === null ? 1 : after / Math.max(1, head), whole.events, whole.characters);
  }
  return whole;
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
