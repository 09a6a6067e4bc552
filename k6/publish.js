// Load test: batches with real duplicates, and a proof at the end that the counts add up.
//
//   k6 run k6/publish.js                       against http://127.0.0.1:8080
//   k6 run -e BASE_URL=http://host:8080 -e EVENTS=100000 k6/publish.js
//
// `scripts/load` starts a service and runs this.
import http from 'k6/http';
import exec from 'k6/execution';
import { check, fail } from 'k6';
import { Counter } from 'k6/metrics';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const BATCH = Number(__ENV.BATCH || 50);
const REQUESTS = Math.ceil(Number(__ENV.EVENTS || 20000) / BATCH);
const REPEATS = Math.round(BATCH * Number(__ENV.DUPLICATES || 0.3));
const NEW = BATCH - REPEATS;
const TOPICS = 8;

const accepted = new Counter('events_accepted');
const unique = new Counter('events_unique');
const duplicates = new Counter('events_duplicate');

export const options = {
  scenarios: {
    publish: {
      executor: 'shared-iterations',
      vus: Number(__ENV.VUS || 10),
      iterations: REQUESTS,
      maxDuration: '10m',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    'http_req_duration{name:publish}': [`p(95)<${__ENV.P95_MS || 500}`],
  },
};

export function setup() {
  const ready = http.get(`${BASE_URL}/readyz`);
  if (ready.status !== 200) fail(`the service is not ready: ${ready.status} ${ready.body}`);
  // A name of its own, so that every run sends ids that no other run sent.
  return { run: `k6-${Date.now()}-${Math.floor(Math.random() * 1e9)}` };
}

function event(run, request, place) {
  return {
    topic: `${run}-${(request + place) % TOPICS}`,
    event_id: `${run}-${request}-${place}`,
    timestamp: new Date().toISOString(),
    source: 'k6',
    payload: { request, place, note: 'a payload of about a hundred bytes, as a small real event has it' },
  };
}

// New events, and among them repeats of this request's or earlier ones' new events.
function batch(run, request) {
  const events = [];
  for (let place = 0; place < NEW; place += 1) events.push(event(run, request, place));
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    const earlier = Math.floor(Math.random() * (request + 1));
    const at = 1 + Math.floor(Math.random() * events.length);
    events.splice(at, 0, event(run, earlier, Math.floor(Math.random() * NEW)));
  }
  return events;
}

export default function publish({ run }) {
  const body = JSON.stringify({ events: batch(run, exec.scenario.iterationInTest) });
  const params = { headers: { 'content-type': 'application/json' }, tags: { name: 'publish' } };
  const answer = http.post(`${BASE_URL}/publish`, body, params);
  const ok = check(answer, {
    'answered 200': ({ status }) => status === 200,
    'all events are accounted for': ({ status }) =>
      status === 200 && answer.json('accepted') === BATCH
        && answer.json('unique') + answer.json('duplicates') === BATCH,
  });
  if (ok) {
    accepted.add(BATCH);
    unique.add(answer.json('unique'));
    duplicates.add(answer.json('duplicates'));
  }
}

export function teardown({ run }) {
  const stats = http.get(`${BASE_URL}/stats`).json();
  const mine = Object.entries(stats.by_topic).filter(([topic]) => topic.startsWith(`${run}-`));
  const sum = (name) => mine.reduce((total, [, counts]) => total + counts[name], 0);
  const right = check(stats, {
    'received = unique + duplicate': (s) => s.received === s.unique_processed + s.duplicate_dropped,
    'every new event of the run is stored once': () => sum('unique') === REQUESTS * NEW,
    'every repeat of the run is a duplicate': () => sum('duplicates') === REQUESTS * REPEATS,
  });
  console.log(`run ${run}: ${sum('unique')} unique, ${sum('duplicates')} duplicates`);
  if (!right) fail(`the counts do not add up: ${JSON.stringify(mine)}`);
}
