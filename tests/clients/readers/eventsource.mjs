// Reads a stream with npm's eventsource, which comes back by itself:  eventsource.mjs URL
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
source.onmessage = ({ data, lastEventId }) => {
  if (!data || String(JSON.parse(data).seq) !== lastEventId) throw new Error(`a message with ${lastEventId}: ${data}`);
  console.log(data);
};
source.onerror = () => {
  if (source.readyState === source.CLOSED) throw new Error("it gave up");
};
