// Stands before a service and does, by the contract, what this version of the service does not do by itself yet: keys
// and the stream. Everything else is the service's own answer.
import { createServer, request } from "node:http";

const problem = (answer, status, type, detail) => {
  answer.writeHead(status, { "content-type": "application/problem+json" });
  answer.end(JSON.stringify({ type: `urn:sekali:problem:${type}`, title: detail, status, detail, retryable: false }));
};

export class StandIn {
  /** `keys`: what each key allows, as `{ secret: ["read"] }`. `stream`: whether there is one. */
  static async start(service, { keys, stream = false } = {}) {
    const standIn = Object.assign(new StandIn(), { service, keys, stream, streams: new Set() });
    standIn.server = createServer((question, answer) => standIn.answer(question, answer));
    await new Promise((resolve) => standIn.server.listen(0, "127.0.0.1", resolve));
    standIn.url = `http://127.0.0.1:${standIn.server.address().port}`;
    return standIn;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Cuts all streams off. */
  cut() {
    for (const answer of this.streams) answer.destroy();
  }

  answer(question, answer) {
    const { method } = question;
    const url = new URL(question.url, this.url);
    if (this.keys && this.refused(question, url, answer)) return;
    if (this.stream && url.pathname === "/stream") return this.follow(url, answer);
    const { port } = new URL(this.service.url);
    const passed = request({ port, host: "127.0.0.1", method, path: question.url, headers: question.headers }, (from) => {
      answer.writeHead(from.statusCode, from.headers);
      from.pipe(answer);
    });
    passed.on("error", () => answer.destroy());
    question.pipe(passed);
  }

  refused(question, url, answer) {
    const isOpen = url.pathname === "/" || url.pathname.startsWith("/ui/") || url.pathname === "/readyz";
    if (isOpen) return false;
    const scopes = this.keys[question.headers.authorization?.replace("Bearer ", "")];
    const scope = url.pathname.endsWith("/publish") ? "publish" : question.method === "GET" ? "read" : "admin";
    if (!scopes) problem(answer, 401, "unauthorized", "A key is needed: Authorization: Bearer …");
    else if (!scopes.includes(scope)) problem(answer, 403, "forbidden", `This key has no scope ${scope}.`);
    return !scopes?.includes(scope);
  }

  /** Server-sent events, read from the pages of the service. */
  async follow(url, answer) {
    this.streams.add(answer);
    answer.on("close", () => this.streams.delete(answer));
    answer.writeHead(200, { "content-type": "text/event-stream" });
    let after = Number(url.searchParams.get("after"));
    url.searchParams.delete("after");
    answer.write(":\n");
    while (!answer.destroyed) {
      const page = await fetch(`${this.service.url}/events?${url.searchParams}&after=${after}&wait=1&limit=1000`).catch(() => null);
      if (!page?.ok) return answer.end();
      for (const event of await page.json()) {
        after = event.seq;
        answer.write(`id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`);
      }
    }
  }
}
