"use strict";
// Draws what /state and /device tell, every two seconds. All that is shown is set as text, never as HTML: names, labels
// and reasons come from strangers.

const EVERY_MS = 2000, COUNT = 50, SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
let first = 0, found = 0, open = null, timer = 0;

function made(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function drawn(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const fixed = (number, digits) => number === null || number === undefined ? "" :
  number.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const whole = (number) => fixed(number, 0);
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

function age(seconds) {
  if (seconds === null || seconds === undefined) return "";
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]])
    if (seconds >= length) return `${Math.round(seconds / length)} ${unit}`;
  return `${Math.round(seconds)} s`;
}

const since = (ms) => ms === null || ms === undefined ? "" : new Date(ms).toLocaleString();
const day = (s) => s === null || s === undefined ? "" : new Date(s * 1000).toLocaleDateString();

function answer(device) {
  if (device.found) return device.found;
  if (device.label !== null) return device.score === null ? device.label : `${device.label} ${fixed(device.score, 2)}`;
  if (!device.values) return "";
  return Object.values(device.values).flat().map((value) => Number(value.toPrecision(4))).join(" ");
}

function update(told) {
  if (!told) return "";
  return [told.state, told.percent === null ? "" : `${told.percent}%`, told.reason || ""].filter(Boolean).join(" ");
}

const spool = (told) => told ? `${whole(told.frames)}${told.full ? " full" : ""}` : "";

// A column: title, what it shows of a device or cloud, and the class of its cells.
const DEVICES = [
  ["device", (each) => nameOf(each)],
  ["state", (each) => stateOf(each), "state"],
  ["last result", answer],
  ["ago", (each) => age(each.answered_s_ago), "number"],
  ["fps", (each) => fixed(each.fps, 1), "number"],
  ["p50 ms", (each) => fixed(each.latency_ms.p50, 1), "number"],
  ["head", (each) => fixed(each.parts_ms.head, 1), "number"],
  ["wire", (each) => fixed(each.parts_ms.wire, 1), "number"],
  ["tail", (each) => fixed(each.parts_ms.tail, 1), "number"],
  ["cut", (each) => each.cut, "id"],
  ["drops", (each) => each.drops === null && !sum(each.refused) ? "" : whole(sum(each.drops || {}) + sum(each.refused)), "number"],
  ["spool", (each) => spool(each.spool), "number"],
  ["runs on", (each) => each.runs_on],
  ["model", (each) => each.model],
  ["problem", (each) => each.problem, "problem"],
];
const CLOUDS = [
  ["cloud", (each) => each.cloud],
  ["state", (each) => stateOf(each), "state"],
  ["fps", (each) => fixed(each.fps, 1), "number"],
  ["held", (each) => whole(each.held), "number"],
  ["waiting", (each) => whole(each.waiting), "number"],
  ["workers", (each) => whole(each.workers), "number"],
  ["queue p95 ms", (each) => fixed(each.queue_ms.p95, 1), "number"],
  ["tail p50 ms", (each) => fixed(each.tail_ms.p50, 1), "number"],
  ["models", (each) => each.packages.map((one) => one.model).join(", ")],
  ["problem", (each) => each.problem, "problem"],
];

const WORKERS = [
  ["worker", (each) => each.worker],
  ["state", (each) => stateOf(each), "state"],
  ["share", (each) => each.share],
  ["fps", (each) => fixed(each.fps, 1), "number"],
  ["frames", (each) => whole(each.frames), "number"],
  ["speed", (each) => fixed(each.speed, 2), "number"],
  ["epoch", (each) => whole(each.epoch), "number"],
  ["problem", (each) => each.problem, "problem"],
];

function nameOf(device) {
  const button = made("button", device.device, "name");
  button.type = "button";
  button.addEventListener("click", () => { open = device.device; refresh(true); });
  return button;
}

function stateOf(each) {
  const span = made("span"), kind = each.problem ? "bad" : each.state === "online" ? "good" : "";
  span.append(made("i", "", `dot ${kind}`), each.state);
  return span;
}

function fill(table, columns, rows) {
  const head = table.tHead, body = table.tBodies[0], focused = document.activeElement;
  const kept = focused && body.contains(focused) ? focused.textContent : null;
  if (!head.rows.length) {
    const row = head.insertRow();
    for (const [title, , kind] of columns) row.append(made("th", title, kind === "number" ? kind : ""));
  }
  body.replaceChildren(...rows.map((each) => {
    const row = made("tr");
    for (const [title, shown, kind] of columns) {
      const content = shown(each), cell = made("td", undefined, kind);
      cell.dataset.title = title;
      cell.append(content === null || content === undefined ? "" : content);
      if (cell.textContent === "") cell.classList.add("empty");
      row.append(cell);
    }
    return row;
  }));
  if (kept !== null) [...body.querySelectorAll("button")].find((each) => each.textContent === kept)?.focus();
}

// The last hour as a line, or as much of it as is known: `hour` has the means of steps of ten seconds, the oldest first;
// null is where nothing came.
function chart(title, hour, unit) {
  const began = Math.min(hour.findIndex((value) => value !== null), hour.length - 30), values = hour.slice(Math.max(0, began));
  const ago = values.length === hour.length ? "an hour ago" : `${Math.ceil(values.length / 6)} min ago`;
  const known = values.filter((value) => value !== null), most = Math.max(0, ...known), top = most || 1;
  const figure = made("figure", undefined, "chart"), width = values.length;
  const last = known.length ? `now ${fixed(known[known.length - 1], 1)}, most ${fixed(most, 1)} ${unit}` : "nothing yet";
  const svg = drawn("svg", {viewBox: `0 0 ${width} 100`, preserveAspectRatio: "none", class: "chart", role: "img",
    "aria-label": `${title}, from ${ago} to now: ${last}`});
  svg.append(drawn("line", {x1: 0, y1: 99.5, x2: width, y2: 99.5, class: "rule"}));
  let points = [];
  const end = () => {
    if (points.length) {
      const line = points.map(([x, y]) => `${x},${y.toFixed(1)}`).join(" ");
      const edge = points.length > 1 ? points : [points[0], [points[0][0] + 1, points[0][1]]];
      svg.append(drawn("polygon", {class: "area", points: `${edge[0][0]},100 ${line} ${edge[edge.length - 1][0]},100`}),
        drawn("polyline", {class: "line", points: edge.map(([x, y]) => `${x},${y.toFixed(1)}`).join(" ")}));
    }
    points = [];
  };
  values.forEach((value, place) => value === null ? end() : points.push([place, 98 - 92 * value / top]));
  end();
  const caption = made("div", undefined, "scale"), times = made("div", undefined, "scale");
  caption.append(made("span", title), made("span", last));
  times.append(made("span", ago), made("span", "now"));
  figure.append(caption, svg, times);
  return figure;
}

function totals(told) {
  const entry = (value, words, isBad) => {
    const item = made("li", undefined, isBad ? "bad" : "");
    item.append(made("b", value), made("span", words));
    return item;
  };
  byId("totals").replaceChildren(
    entry(`${whole(told.online)} / ${whole(told.devices)}`, "devices online"),
    entry(whole(told.problems), "with a problem", told.problems > 0),
    entry(`${whole(told.clouds_online)} / ${whole(told.clouds)}`, "clouds online", told.clouds_online < 1),
    entry(fixed(told.fps, 1), "results a second"));
}

// The last picture with the boxes of the last result, if there are any: both are fractions of the picture.
function shared(device) {
  const frame = made("div", undefined, "shared"), image = made("img");
  image.alt = `The last picture of ${device.device}, ${age(device.picture.s_ago)} old: ${answer(device)}`;
  image.src = `picture?name=${encodeURIComponent(device.device)}&at=${device.picture.captured_ms}`;
  frame.append(image);
  if (device.objects && device.objects.length) {
    const svg = drawn("svg", {viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true"});
    for (const {box: [x, y, width, height]} of device.objects) svg.append(drawn("rect", {x, y, width, height}));
    frame.append(svg, ...device.objects.map(tag));
  }
  return frame;
}

// The label of an object, at the upper left of its box.
function tag({label, score, box: [x, y]}) {
  const words = made("span", `${label} ${fixed(score, 2)}`, "tag");
  words.style.left = `${100 * Math.min(Math.max(x, 0), 1)}%`;
  words.style.top = `${100 * Math.min(Math.max(y, 0), 1)}%`;
  return words;
}

function detail(device) {
  const header = made("header"), close = made("button", "close"), facts = made("dl"), charts = made("div", undefined, "charts");
  close.type = "button";
  close.addEventListener("click", () => { open = null; byId("detail").hidden = true; });
  header.append(made("h2", device.device), close);
  charts.append(chart("results a second", device.fps_hour, ""), chart("median latency", device.latency_hour, "ms"));
  const parts = Object.entries(device.parts_ms).map(([part, ms]) => `${part} ${fixed(ms, 1)}`).join(" · ");
  const link = device.link, counts = (found) => Object.entries(found).map(([why, count]) => `${why} ${whole(count)}`).join(", ");
  const quantiles = Object.entries(device.latency_ms).filter(([, ms]) => ms !== null).map(([name, ms]) => `${name} ${fixed(ms, 1)}`);
  for (const [title, shown] of [
    ["problem", device.problem], ["state", [device.state, device.reason].filter(Boolean).join(", ")],
    ["since", device.state === "online" ? since(device.since_ms) : ""], ["last result", answer(device)],
    ["bit-exact", device.exact === null ? "" : device.exact ? "yes" : "no"], ["latency, ms", quantiles.join(" · ")],
    ["parts, ms", parts], ["model", device.model], ["package", device.package],
    ["cut", [device.cut, device.layer ? `after ${device.layer}` : "", device.adapts ? "moves" : ""].filter(Boolean).join(", ")],
    ["moved", device.moved ? `${device.moved.before} → ${device.moved.after}: ${device.moved.reason}` : ""],
    ["payload", device.payload_bytes === null ? "" : `${whole(device.payload_bytes)} B`], ["delivery", device.delivery],
    ["accelerator", device.accelerator && device.runs_on !== device.accelerator ? `${device.accelerator}, runs on ${device.runs_on || "nothing"}` : device.runs_on],
    ["drops", counts(device.drops || {})], ["refused", counts(device.refused)], ["sent again", whole(device.resent)],
    ["spool", device.spool ? `${spool(device.spool)} frames, ${whole(device.spool.bytes)} of ${whole(device.spool.limit_bytes)} B` : ""],
    ["link", link.bits_per_second === null ? "" : `${fixed(link.bits_per_second / 1e6, 2)} Mbit/s, ${fixed(link.round_trip_s * 1e3, 1)} ms`],
    ["reconnects", whole(link.reconnects)], ["temperature", device.temperature_c === null ? "" : `${fixed(device.temperature_c, 0)} °C`],
    ["update", update(device.update)], ["version", device.version], ["certificate ends", day(device.certificate_ends_s)],
    ["telemetry", device.telemetry_s_ago === null ? "none: run the edge with --telemetry 10s" : `${age(device.telemetry_s_ago)} ago`],
  ]) if (shown) facts.append(made("dt", title), made("dd", shown, title === "problem" ? "problem" : ""));
  byId("detail").replaceChildren(header, ...(device.picture ? [shared(device)] : []), charts, facts);
  byId("detail").hidden = false;
}

async function ask(path) {
  const reply = await fetch(path, {cache: "no-store", credentials: "same-origin"});
  if (reply.status === 404) return null;
  if (!reply.ok) throw new Error((await reply.text()).trim());
  return reply.json();
}

function trouble(words) {
  byId("trouble").hidden = !words;
  byId("trouble").textContent = words;
}

async function refresh(scrolls) {
  clearTimeout(timer);
  try {
    const find = encodeURIComponent(byId("find").value);
    const told = await ask(`state?from=${first}&count=${COUNT}&find=${find}`);
    found = told.found;
    byId("deployment").textContent = told.deployment;
    document.title = `${told.problems ? `(${told.problems}) ` : ""}${told.deployment} · tflsplit watch`;
    totals(told);
    byId("rates").replaceChildren(chart("results a second, all devices", told.rates, ""));
    fill(document.querySelector("table.devices"), DEVICES, told.of_devices);
    fill(document.querySelector("table.clouds"), CLOUDS, told.of_clouds);
    fill(document.querySelector("table.workers"), WORKERS, told.of_workers);
    byId("sharing").hidden = !told.of_workers.length;
    const end = Math.min(first + COUNT, found);
    byId("place").textContent = found ? `${whole(first + 1)} to ${whole(end)} of ${whole(found)}` : "none";
    byId("before").disabled = first === 0;
    byId("after").disabled = end >= found;
    trouble(told.link ? `The broker is not there: ${told.link}` : told.left_out || told.lost ?
      `Not all is shown: ${whole(told.left_out + told.lost)} messages were too many.` : "");
    const device = open === null ? null : await ask(`device?name=${encodeURIComponent(open)}`);
    if (device !== null) detail(device);
    if (scrolls) byId("detail").scrollIntoView({block: "nearest"});
  } catch (problem) {
    trouble(`tflsplit watch does not answer: ${problem.message}`);
  }
  timer = setTimeout(refresh, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

byId("before").addEventListener("click", () => { first = Math.max(0, first - COUNT); refresh(); });
byId("after").addEventListener("click", () => { if (first + COUNT < found) first += COUNT; refresh(); });
byId("find").addEventListener("input", () => { first = 0; clearTimeout(timer); timer = setTimeout(refresh, 250); });
refresh();
