/**
 * Follow an operation to its end: every event once and in order, whatever happens on the way.
 *
 *   import { follow } from "./follow.js";
 *   for await (const event of follow({ url, operation, getTicket })) show(event);
 *
 * A page must not have an API key, and an EventSource cannot send one. So `getTicket` asks your own
 * server, which knows who its user is and answers with a ticket that it gets itself by
 * `POST /v1/stream-tickets {"operationId": ...}`. A ticket is good for reconnects for an hour;
 * after that `getTicket` is asked again. The page's origin has to be in RINGBACK_CORS_ORIGINS,
 * unless Ringback is served from the same one.
 */

const ENDS = new Set(["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]);
const NAMES = ["status-update", "completed", "failed", "cancelled", "event"];
const PAUSE = 200; // milliseconds before coming again: the first time, and at most
const LONGEST_PAUSE = 30_000;
const SILENCE = 60_000; // milliseconds without an event, after which the log is looked at
const MUTE = 3; // streams in a row that gave no event, after which the log is polled instead
const WAIT = 25; // seconds that a poll waits for an event

/** To ask again would not help: there is no such operation, or no right to see it. */
export class Refused extends Error {
  name = "Refused";
}

/**
 * @param {object} options
 * @param {string} options.url where Ringback is: "https://ringback.example.com"
 * @param {string} options.operation the operation's id
 * @param {() => Promise<string>} options.getTicket gives a new ticket
 * @param {number} [options.after] the last sequence seen: go on behind it
 * @param {AbortSignal} [options.signal] ends it before its end
 * @param {typeof EventSource} [options.EventSource] where there is none, the log is polled
 */
export async function* follow(options) {
  const { url, operation, getTicket, signal, EventSource = globalThis.EventSource } = options;
  let { after = 0 } = options;
  const log = new Log(`${url}/v1/operations/${operation}`, getTicket, signal);
  let failures = 0; // in a row, without any event
  let mute = 0; // streams in a row that gave none
  while (true) {
    const streams = EventSource && mute < MUTE;
    const onLive = () => {
      mute = 0;
    };
    const coming = streams ? stream(log, EventSource, after, onLive) : poll(log, after);
    try {
      for await (const event of coming) {
        // 3. Merge by sequence: it counts 1, 2, 3, ...; what is not above the last one is known.
        if (event.sequence > after) {
          after = event.sequence;
          failures = 0;
          yield event;
        }
        // 4. Stop at the terminal event: none comes after it.
        if (ENDS.has(event.status)) return;
      }
      return; // it had ended before, and everything was seen
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (signal?.aborted) return;
      mute = streams ? mute + 1 : 0;
    }
    // 5. Come again, later each time: not all at the same moment after a restart.
    const pause = Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE) * (0.5 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, pause));
    failures += 1;
  }
}

/** The past, then what comes, until the stream breaks. */
async function* stream(log, EventSource, after, onLive) {
  const now = await log.operation();
  if (ENDS.has(now.status)) {
    yield* log.between(after, now.sequence);
    return;
  }
  // 1. Subscribe from now on. What comes meanwhile waits in the inbox: the buffer.
  const inbox = new Inbox(new EventSource(log.address("/stream", { after: now.sequence })));
  const stop = () => inbox.break();
  log.signal?.addEventListener("abort", stop);
  try {
    // 2. Fetch the past, then take what came and comes.
    yield* log.between(after, now.sequence);
    after = now.sequence;
    while (true) {
      while (inbox.events.length) {
        const event = inbox.events.shift();
        after = event.sequence;
        onLive();
        yield event;
      }
      if (inbox.isBroken) throw new Error("The stream was cut off.");
      if (await inbox.hasNews(SILENCE)) continue;
      const { sequence } = await log.operation();
      yield* log.between(after, sequence);
      if (sequence > after && !inbox.events.length) inbox.break(); // something holds events back
    }
  } finally {
    inbox.close();
    log.signal?.removeEventListener("abort", stop);
  }
}

/** What an EventSource said, until somebody takes it. */
class Inbox {
  events = [];
  isBroken = false;
  #source;
  #wake = () => {};

  constructor(source) {
    this.#source = source;
    for (const name of NAMES) {
      source.addEventListener(name, (message) => {
        this.events.push(JSON.parse(message.data));
        this.#wake(true);
      });
    }
    // it would come again by itself, but neither with a new ticket nor ever more slowly
    source.onerror = () => this.break();
  }

  break() {
    this.isBroken = true;
    this.#wake(true);
  }

  close() {
    this.#source.close();
  }

  /** Whether there is anything new, waiting so many milliseconds for it. */
  async hasNews(milliseconds) {
    if (this.isBroken || this.events.length) return true;
    let alarm;
    const news = new Promise((resolve) => {
      this.#wake = resolve;
      alarm = setTimeout(resolve, milliseconds, false);
    });
    const isNews = await news;
    clearTimeout(alarm);
    return isNews;
  }
}

/** Where streams do not get through: the log, which answers as soon as there is something. */
async function* poll(log, after) {
  while (true) {
    const events = await log.page(after, { wait: WAIT });
    for (const event of events) {
      after = event.sequence;
      yield event;
    }
    if (events.length) continue;
    const now = await log.operation();
    if (ENDS.has(now.status) && now.sequence <= after) return;
  }
}

/** What is asked for by ordinary requests. */
class Log {
  constructor(path, getTicket, signal) {
    this.signal = signal;
    this.path = path;
    this.getTicket = getTicket;
  }

  address(path, query) {
    return `${this.path}${path}?${new URLSearchParams({ ...query, ticket: this.ticket })}`;
  }

  operation() {
    return this.get("", { redirect: false });
  }

  async page(after, query) {
    return (await this.get("/events", { after, limit: 200, ...query })).data;
  }

  /** What happened between two sequences, page by page. */
  async *between(after, until) {
    while (after < until) {
      const events = await this.page(after);
      if (!events.length) return; // retention has taken them
      yield* events;
      after = events.at(-1).sequence;
    }
  }

  async get(path, query) {
    const had = this.ticket;
    this.ticket ??= await this.getTicket();
    const answer = await fetch(this.address(path, query), { signal: this.signal });
    if (answer.ok) return answer.json();
    if (answer.status === 401 && had) {
      this.ticket = undefined; // it is too old: once more with a new one
      return this.get(path, query);
    }
    const isFinal = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
    throw new (isFinal ? Refused : Error)(`${answer.status} ${await answer.text()}`);
  }
}
