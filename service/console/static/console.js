// What makes pages live. Everything on them works without it: forms and links stay as they are.

const SOON = 150; // ms: notes that come together are one refresh
const STREAM_REST = 2000; // ms after which a stream that was closed is opened again

const live = () => document.getElementById("live");
const lost = document.getElementById("lost");

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
}

function tick() {
  const every = Number(live()?.dataset.every ?? 0);
  if (every) refresh();
  follow();
  setTimeout(tick, every ? every * 1000 : STREAM_REST);
}

document.addEventListener("htmx:after:swap", () => { lost.hidden = true; });
document.addEventListener("htmx:response:error", () => { lost.hidden = false; });
document.addEventListener("htmx:error", () => { lost.hidden = false; });
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
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
});

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
