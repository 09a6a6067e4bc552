/** Shows openapi.json: every operation with its parameters, bodies, answers and schemas. */
import { h } from "./dom.js";

const METHODS = ["get", "put", "post", "patch", "delete"];
const NAMED = "/namespaces/{namespace}";
/** A schema in a schema is shown so deep; what is deeper is named. */
const DEPTH_MAX = 6;

const main = document.getElementById("main");
const side = document.getElementById("operations");

let description;
const resolved = (value) => {
  let it = value;
  while (it?.$ref) it = it.$ref.slice(2).split("/").reduce((inner, name) => inner[name.replaceAll("~1", "/")], description);
  return it === value ? it : { ...it, ...without(value, "$ref") };
};
const without = (value, name) => Object.fromEntries(Object.entries(value).filter(([key]) => key !== name));
const nameOf = (value) => value.$ref?.split("/").pop();
const anchor = (operation) => operation.operationId;

/** A text in which backticks mark code. */
function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", null, part) : part));
}

function typeOf(schema) {
  const it = resolved(schema);
  if (it.const !== undefined) return JSON.stringify(it.const);
  if (it.enum) return it.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (it.anyOf && !it.properties) return it.anyOf.map((one) => nameOf(one) ?? typeOf(one)).join(" | ");
  if (it.type === "array") return `array of ${nameOf(it.items) ?? typeOf(it.items)}`;
  return [it.type ?? "any"].flat().join(" | ");
}

function limitsOf(schema) {
  const it = resolved(schema);
  const said = [];
  if (it.minimum !== undefined) said.push(it.maximum <= Number.MAX_SAFE_INTEGER ? `${it.minimum} to ${it.maximum}` : `from ${it.minimum}`);
  if (it.maxLength !== undefined) said.push(`${it.minLength ?? 0} to ${it.maxLength} characters`);
  if (it.maxItems !== undefined) said.push(`at most ${it.maxItems.toLocaleString("en")}`);
  if (it.default !== undefined) said.push(`default ${JSON.stringify(it.default)}`);
  return said.join(", ");
}

/** The fields of an object, those of an array's items, or nothing where a type says it all. */
function fields(schema, depth = 0) {
  const it = resolved(schema);
  if (depth > DEPTH_MAX) return null;
  if (it.type === "array") return fields(it.items, depth);
  // The other forms are made of the first one.
  if (it.anyOf && !it.properties) return fields(it.anyOf[0], depth + 1);
  const rest = typeof it.additionalProperties === "object" ? { "any name": it.additionalProperties } : {};
  const members = Object.entries({ ...it.properties, ...rest });
  if (!members.length) return null;
  return h("ul.fields", null, members.map(([name, member]) => {
    const limits = limitsOf(member);
    const { description: text } = resolved(member);
    return h("li", null,
      h("code", null, name), " ", h("small.type", null, typeOf(member)),
      it.required?.includes(name) && h("span.required", null, " required"),
      limits && h("small.muted", null, ` ${limits}`),
      text && h("p", null, prose(text)),
      fields(member, depth + 1));
  }));
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** What is in a body: each media type with its schema and examples. */
function content(types) {
  const byShape = new Map();
  for (const [type, { schema, examples }] of Object.entries(types ?? {})) {
    const shape = JSON.stringify(schema);
    if (!byShape.has(shape)) byShape.set(shape, { types: [], schema, examples });
    byShape.get(shape).types.push(type);
  }
  return [...byShape.values()].map(({ types: names, schema, examples }) => {
    const it = resolved(schema);
    const shown = Object.entries(examples ?? {}).map(([name, example]) => [example.summary ?? name, example.value]);
    if (!examples) shown.push(...(it.examples ?? []).map((value) => ["Example", value]));
    return h("div", null,
      h("p", null, h("code", null, names.join(", ")), " ", h("span.type", null, nameOf(schema) ?? typeOf(schema))),
      it.description && h("p.muted", null, prose(it.description)),
      fields(schema),
      shown.map(([name, value]) => h("div", null, h("p.muted", null, name), h("pre", { tabindex: "0" }, pretty(value)))));
  });
}

function parameters(all) {
  if (!all.length) return null;
  return [h("h4", null, "Parameters"), h("div.scroll", null, h("table", null, h("tbody", null, all.map((given) => {
    const it = resolved(given);
    const limits = limitsOf(it.schema);
    return h("tr", null,
      h("th", { scope: "row" }, h("code", null, it.name), it.required && h("span.required", null, " required"), h("br"), h("small.muted", null, it.in)),
      h("td", null, prose(it.description ?? ""), h("br"),
        h("small.type", null, typeOf(it.schema)), limits && h("small.muted", null, ` ${limits}`),
        it.example !== undefined && h("small.muted", null, " e.g. ", h("code", null, [it.example].flat().join(", ")))));
  }))))];
}

function answers(all) {
  return [h("h4", null, "Answers"), Object.entries(all).map(([status, given]) => {
    const it = resolved(given);
    const headers = Object.keys(it.headers ?? {});
    const details = h("details", null,
      h("summary", null, h("strong", null, status), h("span.muted", null, prose(it.description))));
    // Made when it is opened: there are some hundred answers, and few are looked at.
    details.addEventListener("toggle", () => details.append(...[
      headers.length > 0 && h("p", null, "Headers: ", headers.map((name, place) => [place > 0 && ", ", h("code", { title: resolved(it.headers[name]).description }, name)])),
      ...content(it.content),
    ].filter(Boolean)), { once: true });
    return details;
  })];
}

function shown(path, method, operation, item) {
  const scopes = (operation.security ?? []).flatMap(({ key }) => key ?? []);
  const body = operation.requestBody;
  return h("section.card.operation", { id: anchor(operation), "aria-labelledby": `${anchor(operation)}-title` },
    h("h3", { id: `${anchor(operation)}-title` },
      h("span.method", { "data-method": method }, method.toUpperCase()), h("code", null, path), h("span", null, operation.summary)),
    operation.named && h("p.muted", null, "Also below a namespace: ", h("code", null, operation.named)),
    operation.description && h("p", null, prose(operation.description)),
    h("p", null, scopes.length ? ["Scope of the key: ", h("code", null, scopes.join(", "))] : "Needs no key."),
    parameters([...(operation.parameters ?? []), ...(item.parameters ?? [])]),
    body && [h("h4", null, body.required ? "Body" : "Body, which may be left out"), content(body.content)],
    answers(operation.responses));
}

/** The operations by tag. Those of a named namespace are told with those of `default`. */
function operations() {
  const all = new Map(description.tags.map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(description.paths)) {
    if (path.startsWith(`${NAMED}/`)) continue;
    for (const method of METHODS.filter((name) => item[name])) {
      const named = description.paths[NAMED + path] && NAMED + path;
      const operation = { ...item[method], named };
      all.get(operation.tags[0]).operations.push({ path, method, operation, item });
    }
  }
  return [...all.values()];
}

function show() {
  const groups = operations();
  const links = [];
  const filter = h("input", { type: "search", "aria-label": "Find an operation", placeholder: "Find", autocomplete: "off" });
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const { link, text } of links) link.hidden = !text.includes(wanted);
  });
  side.before(h("div.filter", null, filter));
  side.append(...groups.map((group) => h("section", null, h("h2", null, group.name), h("ul", null, group.operations.map((it) => {
    const link = h("li", null, h("a", { href: `#${anchor(it.operation)}` },
      h("small.method", { "data-method": it.method }, it.method.toUpperCase()), h("span", null, it.path.split(/(?=\/)/).map((part) => [h("wbr"), part]))));
    links.push({ link, text: `${it.method} ${it.path} ${it.operation.summary}`.toLowerCase() });
    return link;
  })))));
  main.replaceChildren(h("div.view", null,
    h("h1", null, `${description.info.title} ${description.info.version}`),
    description.info.description.split("\n\n").map((text) => h("p", null, prose(text))),
    h("p.muted", null, prose(description.components.securitySchemes.key.description)),
    groups.map((group) => [h("h2", null, group.name), h("p.muted", null, prose(group.description)),
      group.operations.map(({ path, method, operation, item }) => shown(path, method, operation, item))])));
  go();
}

/** The page is made after the browser looked for the place that its address names. */
function go() {
  const id = decodeURIComponent(location.hash.slice(1));
  const place = id && document.getElementById(id);
  if (!place || place === main) return;
  place.scrollIntoView();
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

addEventListener("hashchange", go);
try {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`the service answers ${answer.status}`);
  description = await answer.json();
  show();
} catch (error) {
  main.replaceChildren(h("p.notice", { role: "alert" }, `The description cannot be shown: ${error.message}`));
}
