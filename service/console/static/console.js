// What makes pages live. Everything on them works without it: forms and links stay as they are.

const SOON = 150; // ms: notes that come together are one refresh
const STREAM_REST = 2000; // ms after which a stream that broke is opened again
const STREAM_REFUSED = 30_000; // ms after which one that was refused is asked for again
const STREAMS = 4; // of all windows of a browser
const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]]; // as the service writes them

const live = () => document.getElementById("live");
const lost = document.getElementById("lost");
const gone = document.getElementById("gone");

/** What comes of something that browsers refuse a page around which nothing may be kept; else nothing. */
function tried(what) {
  try { return what(); } catch { return undefined; }
}

/** Reads the page anew and merges its live part into what is shown. */
function refresh() {
  if (live() && !document.hidden) live().dispatchEvent(new CustomEvent("refresh"));
}

let coming = 0;
function refreshSoon() {
  clearTimeout(coming);
  coming = setTimeout(refresh, SOON);
}

/** One of the places that all windows share, as what gives it back; nothing where all are taken. */
function placed() {
  return new Promise((have) => {
    const ask = (place) => navigator.locks.request(`ringback-live-${place}`, { ifAvailable: true }, (lock) => {
      if (lock) return new Promise(have);
      return place > 1 ? ask(place - 1) : have();
    });
    // over plain HTTP, and where a page is embedded without a store of its own, nobody keeps places
    (async () => ask(STREAMS))().catch(() => have(() => {}));
  });
}

// The store is the truth: a stream only says that something moved, and the page is read again. It is
// one a page at most, and none while nobody looks: browsers have six connections for all of a site,
// and what several windows had of them for good no page could be loaded by.
let stream = null;
let leave = null;
let isComing = false;
let restingUntil = 0;
const isWanted = () => live()?.dataset.stream && !document.hidden && !stream && Date.now() >= restingUntil;
async function follow() {
  if (isComing || !isWanted()) return;
  isComing = true;
  leave = await placed();
  isComing = false;
  if (!leave) return; // the page asks by itself meanwhile
  if (isWanted()) listen(live().dataset.stream); // which says what is seen, or how far it is
  else leave();
}
function hangUp() {
  if (!stream) return;
  stream.close();
  stream = null;
  leave();
}
function listen(address) {
  const own = stream = new EventSource(address);
  let wasOpen = false;
  for (const name of ["changed", "moved", "ended"]) {
    own.addEventListener(name, () => {
      if (name === "ended") hangUp();
      refreshSoon();
    });
  }
  own.addEventListener("open", () => {
    wasOpen = true;
    if (!lost.hidden) refreshSoon();
  });
  // what became of it, reading the page tells: that the service is away, or back, or that all is over
  own.addEventListener("error", () => {
    refreshSoon();
    if (own.readyState !== EventSource.CLOSED) return; // the browser opens it again by itself
    hangUp();
    const rest = wasOpen ? STREAM_REST : STREAM_REFUSED;
    restingUntil = Date.now() + rest;
    setTimeout(follow, rest + 1);
  });
}

/** Where no stream can be had, or what it told of could not be read, the page is read every so often. */
function tick() {
  const every = Number(live()?.dataset.every ?? 0);
  if (every && (stream?.readyState !== EventSource.OPEN || !lost.hidden)) refresh();
  setTimeout(tick, every ? every * 1000 : STREAM_REST);
}

/** Times go on: how far each is from now, by the clock of the service. */
let ahead = 0; // ms
function setClock() {
  if (live()) ahead = Number(live().dataset.now) - Date.now();
}
function distance(ms) {
  const whole = Math.floor(Math.abs(ms) / 1000);
  const [size, unit] = UNITS.find(([least]) => whole >= least) ?? UNITS.at(-1);
  const text = `${Math.floor(whole / size)} ${unit}`;
  return ms <= 0 ? `${text} ago` : `in ${text}`;
}
function showDistances() {
  for (const each of document.querySelectorAll("#live time + small")) {
    const text = distance(Date.parse(each.previousElementSibling.dateTime) - Date.now() - ahead);
    if (each.textContent !== text) each.textContent = text;
  }
}

/** Says that what is shown is old, and why; or nothing. */
function warn(which) {
  for (const each of [lost, gone]) each.hidden = each !== which;
}
document.addEventListener("htmx:error", () => warn(lost));

// Who has scrolled down into what is shown goes on reading the same while things come in above: the
// browser would see to that by itself, but for parts that scroll, sideways too.
let reading = null;
document.addEventListener("htmx:before:swap", () => {
  const rows = live()?.getBoundingClientRect().top < 0 ? [...live().querySelectorAll("tr[id]")] : [];
  const row = rows.find((each) => each.getBoundingClientRect().top >= 0);
  reading = row && { id: row.id, top: row.getBoundingClientRect().top };
});
function readOn() {
  const row = reading && document.getElementById(reading.id);
  if (row) scrollBy(0, row.getBoundingClientRect().top - reading.top);
}
document.addEventListener("htmx:after:swap", readOn);
// it comes for an answer that is an error too, with nothing swapped
document.addEventListener("htmx:after:swap", (event) => {
  const status = event.detail.ctx.response.status;
  if (status < 400) { warn(null); setClock(); follow(); }
  else warn([403, 404, 410].includes(status) ? gone : lost);
});
// What comes of a form that was sent is on its way: until then no part of the page leads elsewhere.
const SENT = 30_000; // ms: then it was sent in vain
let sent = -SENT;
document.addEventListener("submit", () => { sent = performance.now(); });
document.addEventListener("htmx:before:response", (event) => {
  if (event.detail.ctx.hx.redirect && performance.now() < sent + SENT) event.preventDefault();
});
// Who signs out in one tab comes to a page without that button, and all others then read theirs again:
// they are led to where one signs in, whichever process has their streams.
tried(() => {
  const others = new BroadcastChannel("ringback");
  others.addEventListener("message", refresh);
  if (!document.querySelector('form[action$="/sign-out"]')) others.postMessage("out");
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { hangUp(); } else { refresh(); showDistances(); }
});

// Copying: the buttons are there only where they work.
function showCopying() {
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
}
document.addEventListener("htmx:after:swap", showCopying);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch { // in a frame, unless the page around it allows that; the old way is open to it
    getSelection().selectAllChildren(source);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it now";
  }
});

// A page that a form answered with: to load it again leads on, and sends the form no second time.
const done = document.querySelector("[data-done]");
if (done) tried(() => history.replaceState(null, "", done.dataset.done));

// "/" goes to the filters, as in other consoles.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
  const field = document.querySelector(".filters input, .filters select");
  if (field) { event.preventDefault(); field.focus(); }
});

// Where the navigation is a strip, the page that is open is in sight.
document.querySelector("nav.pages [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

if (tried(() => navigator.clipboard)) showCopying();
setClock();
setInterval(() => { if (!document.hidden) showDistances(); }, 1000);
follow();
setTimeout(tick, 1000);
