// What makes pages live. Everything on them works without it: forms and links stay as they are.

const SOON = 150; // ms: notes that come together are one refresh
const STREAM_REST = 2000; // ms after which a stream that was closed is opened again

const live = () => document.getElementById("live");
const lost = document.getElementById("lost");
const gone = document.getElementById("gone");

/** Reads the page anew and merges its live part into what is shown. */
function refresh() {
  if (live() && !document.hidden) live().dispatchEvent(new CustomEvent("refresh"));
}

let coming = 0;
function refreshSoon() {
  clearTimeout(coming);
  coming = setTimeout(refresh, SOON);
}

// The store is the truth: a stream only says that something moved, and the page is read again.
let stream = null;
let place = ""; // of the last event seen: who opens the stream again goes on there
function follow() {
  const address = live()?.dataset.stream;
  if (!address || document.hidden || (stream && stream.readyState !== EventSource.CLOSED)) return;
  stream = new EventSource(`${address}?after=${place || live().dataset.place}`);
  for (const name of ["moved", "ended"]) {
    stream.addEventListener(name, (event) => {
      place = event.lastEventId;
      if (name === "ended") stream.close();
      refreshSoon();
    });
  }
  // what became of it, reading the page tells: that the service is away, or back, or that all is over
  stream.addEventListener("open", () => { if (!lost.hidden) refreshSoon(); });
  stream.addEventListener("error", () => {
    refreshSoon();
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, STREAM_REST);
  });
}

function tick() {
  const every = Number(live()?.dataset.every ?? 0);
  if (every) refresh();
  follow();
  setTimeout(tick, every ? every * 1000 : STREAM_REST);
}

/** Says that what is shown is old, and why; or nothing. */
function warn(which) {
  for (const each of [lost, gone]) each.hidden = each !== which;
}
document.addEventListener("htmx:error", () => warn(lost));
// it comes for an answer that is an error too, with nothing swapped
document.addEventListener("htmx:after:swap", (event) => {
  const status = event.detail.ctx.response.status;
  if (status < 400) warn(null);
  else warn([403, 404, 410].includes(status) ? gone : lost);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { stream?.close(); } else { refresh(); follow(); }
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
if (done) history.replaceState(null, "", done.dataset.done);

// "/" goes to the filters, as in other consoles.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
  const field = document.querySelector(".filters input, .filters select");
  if (field) { event.preventDefault(); field.focus(); }
});

// Where the navigation is a strip, the page that is open is in sight.
document.querySelector("nav.pages [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

if (navigator.clipboard) showCopying();
setTimeout(tick, live()?.dataset.stream ? 0 : 1000);
