// A link's secret stands behind "#", where no server and no log sees it. It is taken out of the
// address first, so that it stays in no history, and then sent as a form.
//
// A link opens the portal once. So where a page elsewhere embeds this one, it is looked first whether
// browsers would show the portal there: whether they show, in a frame of ours, an empty page that the
// same pages may embed. Only they know what stands around us, and nothing they are told is believed.

const SILENCE = 15000; // ms after which an answer is not waited for
const STATES = ["opens", "unfit", "silent"];

const secret = location.hash.slice(1);
const form = document.getElementById("enter");
const frame = document.querySelector("iframe");

/** Shows one of the things that the page can say. */
function say(state) {
  clearTimeout(waiting);
  for (const each of STATES) document.getElementById(each).hidden = each !== state;
}

function open() {
  form.action = form.dataset.home + "/enter";
  form.removeAttribute("target");
  form.submit();
}

let waiting = 0;
function look() {
  say("opens");
  waiting = setTimeout(() => say("silent"), SILENCE);
  form.action = form.dataset.look;
  form.target = frame.name;
  form.submit();
}

/** Says whose pages are around us, as far as the browser tells. */
function nameOrigins() {
  const near = document.referrer ? [new URL(document.referrer).origin] : [];
  const origins = [...new Set(location.ancestorOrigins ?? near)].filter((each) => each !== location.origin);
  const line = document.getElementById("around");
  line.querySelector("b").textContent = origins.join(", ");
  line.hidden = origins.length === 0;
}

async function blocked() {
  try {
    await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
  } catch {
    say("silent");
    return;
  }
  nameOrigins();
  say("unfit");
}

frame.addEventListener("load", () => {
  const page = frame.contentDocument;
  if (page === null) {
    blocked();
  } else if (page.getElementById("fits")) {
    open();
  } else if (page.URL !== "about:blank") { // what is said instead: by the service, or by a proxy
    const told = page.getElementById("main");
    if (told === null) {
      say("silent");
      return;
    }
    clearTimeout(waiting);
    document.title = page.title;
    document.getElementById("main").replaceWith(document.adoptNode(told));
  }
});
for (const each of document.querySelectorAll(".again")) each.addEventListener("click", look);

try {
  history.replaceState(null, "", location.pathname);
} catch { // some browsers refuse that in a frame; the form below leads on all the same
}
if (!secret) {
  location.replace(form.dataset.home);
} else {
  form.elements.link.value = secret;
  if (self === top) open();
  else look();
}
