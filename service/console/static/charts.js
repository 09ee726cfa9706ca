// Draws what happened over time. The table below the charts says the same, and needs none of this.

/* global uPlot */

const OLD = 60_000; // ms after which points are read again although none is new: they may have grown
const DASHES = [[], [7, 4], [2, 3]]; // as the marks beside the names of lines: not by colour alone
const WHOLE = [1, 2, 5]; // counts have no halves
for (let ten = 10; ten < 1e10; ten *= 10) WHOLE.push(ten, 2 * ten, 5 * ten);
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const UNITS = {
  rate: (value) => plain(value),
  count: (value) => plain(value),
  ms: (value) => {
    if (value === 0) return "0";
    if (value < 1000) return `${trimmed(value, value < 10 ? 1 : 0)} ms`;
    if (value < 60_000) return `${trimmed(value / 1000, 1)} s`;
    if (value < 3_600_000) return `${trimmed(value / 60_000, 1)} min`;
    return value < 86_400_000 ? `${trimmed(value / 3_600_000, 1)} h` : `${trimmed(value / 86_400_000, 1)} d`;
  },
};

function trimmed(value, digits) {
  return String(Number(value.toFixed(digits)));
}

function plain(value) {
  if (value >= 1e6) return `${trimmed(value / 1e6, 1)}M`;
  return value >= 1e4 ? `${trimmed(value / 1e3, 1)}k` : trimmed(value, value < 10 ? 2 : 0);
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  const time = date.toISOString().slice(11, 16);
  return time === "00:00" ? `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}` : time;
}

/** Where a line has one value between two gaps, which no stroke shows. */
function lonely(plot, index) {
  const values = plot.data[index];
  return values.flatMap((value, n) =>
    value !== null && (values[n - 1] ?? null) === null && (values[n + 1] ?? null) === null ? [n] : []);
}

/** The values under the pointer, or the newest ones. */
function tell(plot, marks, show) {
  for (const [n, mark] of marks.entries()) {
    const values = plot.data[n + 1];
    const at = plot.cursor.idx ?? values.findLastIndex((value) => value !== null);
    const value = values[at] ?? null;
    mark.parentElement.querySelector(".value").textContent = value === null ? "—" : show(value);
  }
}

function drawn(figure, data) {
  const host = figure.querySelector(".plot");
  const marks = [...figure.querySelectorAll("[data-line]")];
  const show = UNITS[figure.dataset.unit];
  const quiet = () => getComputedStyle(figure.querySelector("figcaption")).color;
  const grid = { stroke: () => getComputedStyle(host).borderTopColor, width: 1 };
  const axis = { stroke: quiet, grid, ticks: { ...grid, size: 4 }, font: "12px system-ui, sans-serif" };
  const options = {
    width: host.clientWidth,
    height: host.clientHeight,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, sync: { key: "over-time" }, y: false },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, size: 28, values: (_, splits) => splits.map(moment) },
      { ...axis, size: 62, incrs: figure.dataset.unit === "count" ? WHOLE : undefined, values: (_, splits) => splits.map(show) },
    ],
    series: [{}, ...marks.map((mark, n) => ({
      stroke: () => getComputedStyle(mark).color,
      width: 2,
      dash: DASHES[n],
      points: { show: true, size: 5, fill: () => getComputedStyle(mark).color, filter: lonely },
    }))],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    hooks: { setCursor: [(plot) => tell(plot, marks, show)] },
  };
  const plot = new uPlot(options, lines(marks, data), host);
  new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height: host.clientHeight })).observe(host);
  tell(plot, marks, show);
  return { plot, update: (newer) => { plot.setData(lines(marks, newer)); tell(plot, marks, show); } };
}

function lines(marks, data) {
  return [data.at, ...marks.map((mark) => data.lines[mark.dataset.line])];
}

const charts = new Map(); // by figure
let latest = null;
let readAt = 0;
let newest = ""; // of the points that were read: the page says which is

/** Draws what is not drawn yet, and brings the rest up to date. */
function show() {
  if (!latest) return;
  for (const figure of charts.keys()) if (!figure.isConnected) charts.delete(figure);
  for (const figure of document.querySelectorAll(".chart")) {
    if (charts.has(figure)) charts.get(figure).update(latest);
    else charts.set(figure, drawn(figure, latest));
  }
}

/** Reads the points anew; where they cannot be had, what is drawn stays, and the page says so. */
async function read() {
  const section = document.getElementById("charts");
  if (!section) return;
  readAt = Date.now();
  newest = section.dataset.newest;
  try {
    const answer = await fetch(section.dataset.address, { redirect: "error" });
    if (answer.ok) latest = await answer.json();
  } catch {
    return;
  }
  show();
}

// The page is live, and these go with it.
document.addEventListener("htmx:after:swap", () => {
  const said = document.getElementById("charts")?.dataset.newest;
  if (said !== newest || Date.now() - readAt > OLD) read();
  else if (document.querySelectorAll(".chart").length !== charts.size) show();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const each of charts.values()) each.plot.redraw();
});
read();
