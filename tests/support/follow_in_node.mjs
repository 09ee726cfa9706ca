// Runs follow.js where there is no browser, and prints a line of JSON an event.
//
//   node follow_in_node.mjs MODULE OPTIONS
//
// OPTIONS are JSON: {"url", "operation", "key" or "ticket", "after"?, "most"?, "how"?}. It gets
// tickets by the key, as a page's own server would, or has just the one. After `most` events it
// has enough.
// how: "stream" (the default), "poll" where there is no EventSource, "mute" where none gets
// through, "expired" where a ticket in use becomes too old.

const [module, text] = process.argv.slice(2);
const { follow } = await import(module);
const { url, operation, key, ticket, after, most, how = "stream" } = JSON.parse(text);

/** As much of an EventSource as WHATWG HTML, 9.2, wants of one that never reconnects. */
class StandIn {
  onerror = () => {};
  #listeners = {};
  #ended = new AbortController();

  constructor(address) {
    this.#read(address).catch(() => {}).then(() => this.#ended.signal.aborted || this.onerror());
  }

  addEventListener(name, listener) {
    this.#listeners[name] = listener;
  }

  close() {
    this.#ended.abort();
  }

  async #read(address) {
    const answer = await fetch(address, { signal: this.#ended.signal });
    if (answer.status !== 200) return;
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of answer.body) {
      const messages = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
      rest = messages.pop();
      for (const message of messages) this.#say(message.split("\n"));
    }
  }

  #say(lines) {
    const field = (name) =>
      lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
    const data = field("data").join("\n");
    if (data) this.#listeners[field("event")[0] ?? "message"]?.({ data });
  }
}

class Mute {
  constructor() {
    setTimeout(() => this.onerror());
  }

  addEventListener() {}

  close() {}
}

let tickets = 0;
async function getTicket() {
  if (ticket) return ticket;
  const answer = await fetch(`${url}/v1/stream-tickets`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ operationId: operation }),
  });
  if (!answer.ok) throw new Error(`No ticket: ${answer.status}`);
  const made = await answer.json();
  tickets += 1;
  return made.ticket;
}

if (how === "expired") {
  const { fetch } = globalThis;
  let left = 2; // the second question that comes with a ticket
  globalThis.fetch = (address, init) => {
    left -= address.includes("ticket=");
    return fetch(left ? address : address.replace(/ticket=[^&]+/, "ticket=tk_old"), init);
  };
}

const EventSource = { stream: StandIn, poll: null, mute: Mute, expired: StandIn }[how];
const enough = new AbortController();
const { signal } = enough;
let count = 0;
for await (const event of follow({ url, operation, getTicket, after, EventSource, signal })) {
  console.log(JSON.stringify(event));
  count += 1;
  if (count === most) setTimeout(() => enough.abort()); // while it waits for the next one
}
console.log(JSON.stringify({ tickets }));
