// Reads a stream as lines of JSON with fetch, and comes back from where it was:  fetch.mjs URL
let last = 0;
for (;;) {
  try {
    const headers = { accept: "application/x-ndjson", "last-event-id": String(last) };
    const answer = await fetch(process.argv[2], { headers });
    let rest = "";
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") continue; // a sign of life
        last = JSON.parse(line).seq;
        console.log(line);
      }
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // of the network
  }
  await new Promise((done) => setTimeout(done, 200));
}
