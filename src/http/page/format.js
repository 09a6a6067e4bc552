/** Numbers, sizes and times for people. */
import { h } from "./dom.js";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const HUNDREDTHS = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const number = (value) => WHOLE.format(value);

/** A rate or a time: small ones with a fraction. */
export function measure(value) {
  return value >= 100 ? WHOLE.format(value) : value >= 10 ? TENTHS.format(value) : HUNDREDTHS.format(value);
}

export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  if (value > 99.99 && value < 100) return "> 99.99 %";
  return `${measure(value)} %`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  for (const [unit, size] of [["KiB", 1024], ["MiB", 1024 ** 2], ["GiB", 1024 ** 3]]) {
    if (count < size * 1000 || unit === "GiB") return `${measure(count / size)} ${unit}`;
  }
}

export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${number(Math.floor(seconds / 86400))} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const pad = (value, digits = 2) => String(value).padStart(digits, "0");

export function localDate(date) {
  return `${pad(date.getFullYear(), 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

export function localTime(date) {
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** A time of the service in the reader's zone, with UTC and every digit on hover. Today's date is left out if `short`. */
export function time(text, short = false) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return h("time", null, text);
  const clock = `${localTime(date)}.${pad(date.getMilliseconds(), 3)}`;
  const day = localDate(date);
  const words = short && day === localDate(new Date()) ? clock : `${day} ${clock}`;
  return h("time", { datetime: text, title: `${text.replace("T", " ").replace("Z", "")} UTC` }, words);
}

/** How long ago a time was, with the time itself on hover. */
export function ago(text) {
  const element = time(text);
  const seconds = (Date.now() - new Date(text)) / 1000;
  if (!(seconds >= 0)) return element;
  element.title = `${element.textContent} here, ${element.title}`;
  element.textContent = seconds < 2 ? "just now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
  return element;
}

/** Characters that do not show: they can make two names look alike, or turn a text around. */
const UNSEEN = /[\p{Cf}\p{Zl}\p{Zp}]|[^\S ]/gu;

/** Names the characters of a text that do not show; empty where all do. */
export function unseen(text) {
  const found = new Set(text.match(UNSEEN) ?? []);
  const names = Array.from(found, (letter) => `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return names.slice(0, 5).join(", ");
}

export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
