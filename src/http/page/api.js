/** Requests to the service, over the same public API that every client has. */
import { elements } from "./json.js";

const KEY = "sekali-key";
const REQUEST_TIMEOUT = 15_000;

/** Tells the shell when a key is needed: `unauthorized`. */
export const service = new EventTarget();

/** The key of this tab. It is forgotten with the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Why a request failed. Status 0: there was no answer. */
export class Problem extends Error {
  constructor(status, detail, document = {}) {
    super(detail);
    this.status = status;
    this.document = document;
  }

  /** Whether the key is wrong, or is missing, or does not allow it. */
  get isDenied() {
    return this.status === 401 || this.status === 403;
  }

  /** Whether asking the same again can never help. */
  get isFinal() {
    return this.status >= 400 && this.status < 500 && this.status !== 408 && this.status !== 429;
  }
}

/** The address of something in a namespace; parameters are pairs, and empty ones are left out. */
export function address(namespace, path, parameters = []) {
  const base = namespace === "default" ? "" : `namespaces/${encodeURIComponent(namespace)}/`;
  const url = new URL(base + path, document.baseURI);
  for (const [name, value] of parameters) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.append(name, value);
  }
  return url;
}

/** The address of one event; what URLs would take for a path that leads upwards stands in the query. */
export function addressOfEvent(namespace, eventId, topic) {
  if (eventId === "." || eventId === "..") {
    return address(namespace, "events", [["event_id", eventId], ["topic", topic]]);
  }
  return address(namespace, `events/${encodeURIComponent(eventId)}`, [["topic", topic]]);
}

/** Sends a request; resolves to its response where that is a success, and throws a Problem otherwise. */
export async function request(url, { method = "GET", json, body, headers = {}, signal, timeout = REQUEST_TIMEOUT } = {}) {
  const limit = AbortSignal.timeout(timeout);
  const all = { accept: "application/json", ...headers };
  if (key.get()) all.authorization = `Bearer ${key.get()}`;
  if (json !== undefined) body = JSON.stringify(json);
  if (body !== undefined) all["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method, body, headers: all, cache: "no-store", signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, limit.aborted ? `There was no answer within ${timeout / 1000} s.` : "The service does not answer.");
  }
  if (response.ok) return response;
  throw await problemOf(response);
}

async function problemOf(response) {
  let document = {};
  try {
    document = await response.json();
  } catch {
    // A proxy in between writes what it likes.
  }
  const detail = document.detail || document.title || `The answer was ${response.status} ${response.statusText}.`;
  const problem = new Problem(response.status, detail, document);
  if (response.status === 401) service.dispatchEvent(new CustomEvent("unauthorized", { detail: problem }));
  return problem;
}

/** What a part of the answer was cut off in is no answer. */
async function whole(read, signal) {
  try {
    return await read;
  } catch (error) {
    throw signal?.aborted ? error : new Problem(0, "The answer was cut off.");
  }
}

export async function json(url, options = {}) {
  const response = await request(url, options);
  return response.status === 204 ? null : whole(response.json(), options.signal);
}

/** One page of an array: the texts of its elements, the head at that time, and the parameters that lead on. */
export async function page(url, options = {}) {
  const response = await request(url, options);
  const text = await whole(response.text(), options.signal);
  const head = response.headers.get("sekali-head");
  return { texts: elements(text), head: head === null ? null : Number(head), next: nextOf(response) };
}

function nextOf(response) {
  const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "");
  return link && new URL(link[1], document.baseURI).searchParams;
}

/** The command that does the same from a shell. */
export function curl(url, { method = "GET", body } = {}, quoted) {
  const parts = ["curl"];
  if (method !== "GET") parts.push(`-X ${method}`);
  if (key.get()) parts.push('-H "Authorization: Bearer $SEKALI_KEY"');
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  parts.push(quoted(String(url)));
  return parts.join(" ");
}
