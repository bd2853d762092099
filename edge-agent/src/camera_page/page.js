// Shows one pipeline of this node: its frames as they come, its numbers four times a second.
// One request for a frame is under way at a time, and it waits at the node: no frame is asked for twice.

const FRAME_WAIT_MS = 4000;
const ANSWER_WAIT_MS = 3000;
const FRAME_EVERY_MS = 80;
const STATE_EVERY_MS = 250;
const LIST_EVERY_MS = 5000;
const RETRY_MS = 1000;
const OLD_MS = 5000;
const RESULTS_SHOWN = 12;

const at = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const path = (name, what) => `/pipelines/${encodeURIComponent(name)}/${what}`;

let names = [];
let shown = "";
let frozen = false;
let notLive = "";
let best = 0;
let tag = null;
let picture = null;
let asking = new AbortController();

// An agent that hangs is told from one that has nothing new.
const ask = (url) => fetch(url, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WAIT_MS) });

function choose() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const next = names.includes(wanted) ? wanted : names[0] ?? "";
  if (next === shown) return;
  shown = next;
  asking.abort();
  best = 0;
  tag = null;
  notLive = "";
  freeze(false);
  showPicture(null);
  document.title = shown ? `${shown} on this node` : "Pipelines of this node";
  for (const link of at("names").children) {
    if (link.textContent === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function followList() {
  for (;;) {
    try {
      const answer = await ask("/pipelines/list.json");
      if (answer.status === 401) return location.reload();
      const list = (await answer.json()).map((pipeline) => pipeline.name);
      if (list.join() !== names.join()) {
        names = list;
        at("names").replaceChildren(...names.map((name) => {
          const link = document.createElement("a");
          link.href = `#${encodeURIComponent(name)}`;
          link.textContent = name;
          if (name === shown) link.setAttribute("aria-current", "page");
          return link;
        }));
      }
      choose();
      if (!names.length) say("No pipeline runs on this node", false);
    } catch {
      lost();
    }
    await pause(names.length ? LIST_EVERY_MS : RETRY_MS);
  }
}

async function followFrames() {
  for (;;) {
    if (!shown || frozen || document.hidden) {
      await pause(STATE_EVERY_MS);
      continue;
    }
    const name = shown;
    const begun = performance.now();
    try {
      asking = new AbortController();
      const headers = tag ? { "If-None-Match": tag } : {};
      const url = `${path(name, "frame.jpg")}?wait=${FRAME_WAIT_MS}`;
      const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(FRAME_WAIT_MS + ANSWER_WAIT_MS)]);
      const answer = await fetch(url, { headers, cache: "no-store", signal });
      if (answer.status === 200) {
        const bytes = await answer.blob();
        if (name === shown && !frozen) {
          tag = answer.headers.get("ETag");
          showPicture(bytes);
        }
      } else if (answer.status === 503) {
        at("nothing").textContent = await answer.text();
        await pause(RETRY_MS);
      } else if (answer.status >= 400) {
        await pause(RETRY_MS);
      }
    } catch {
      if (!asking.signal.aborted) await pause(RETRY_MS);
    }
    await pause(Math.max(0, FRAME_EVERY_MS - (performance.now() - begun)));
  }
}

function showPicture(bytes) {
  const image = at("frame");
  if (picture) URL.revokeObjectURL(picture);
  picture = bytes && URL.createObjectURL(bytes);
  image.hidden = !picture;
  at("nothing").hidden = Boolean(picture);
  if (picture) image.src = picture;
  else image.removeAttribute("src");
}

async function followState() {
  for (;;) {
    if (shown && !document.hidden) {
      const name = shown;
      try {
        const answer = await ask(path(name, "state.json"));
        if (answer.ok && name === shown) showState(await answer.json());
        else if (answer.status === 404) lost("This pipeline has gone");
      } catch {
        if (name === shown) lost();
      }
    }
    await pause(STATE_EVERY_MS);
  }
}

function lost(why = "The agent does not answer") {
  say(why, true);
  at("age").textContent = "unknown";
  at("age").className = "bad";
  markLive("not live");
}

// Nobody aims a camera by an old picture: it is grey, and says so.
function markLive(why) {
  notLive = why;
  at("badge").hidden = !frozen && !notLive;
  const text = frozen ? "frozen" : notLive;
  if (at("badge").textContent !== text) at("badge").textContent = text;
  at("figure").className = notLive ? "old" : "";
}

function say(text, isBad) {
  const state = at("state");
  // A screen reader speaks what changes: not the same words four times a second.
  if (state.textContent !== text) state.textContent = text;
  state.className = isBad ? "bad" : "";
}

const number = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (value) => `${number(value * 100, 0)} %`;

function span(ms) {
  if (ms < 1000) return "now";
  if (ms < 120000) return `${Math.round(ms / 1000)} s ago`;
  return `${Math.round(ms / 60000)} min ago`;
}

function showState(state) {
  say(state.state || "running", state.state !== "" && state.state !== "running");
  document.querySelector("main").classList.toggle("no-picture", !state.hasPicture);
  at("camera").hidden = !state.hasPicture;
  at("model").textContent = state.model || "–";
  at("latency").textContent = state.latencyMs === undefined ? "–" : `${number(state.latencyMs, 1)} ms`;
  const age = at("age");
  age.textContent = state.ageMs === undefined ? "none yet" : span(state.ageMs);
  age.className = state.ageMs > OLD_MS ? "bad" : "";
  markLive(state.ageMs > OLD_MS ? `not live: ${span(state.ageMs)}` : "");
  showRates(state);
  showQuality(state.quality);
  showConfidence(state.confidences);
  const lines = linesOf(state.result);
  at("result").replaceChildren(...lines.slice(0, RESULTS_SHOWN).map(line));
  if (lines.length > RESULTS_SHOWN) at("result").append(line([`and ${lines.length - RESULTS_SHOWN} more`, ""]));
  if (!frozen) describe(lines);
}

// What a person who does not see the picture is told of it.
function describe(lines) {
  const found = lines.slice(0, RESULTS_SHOWN).map(([what, how]) => `${what} ${how}`.trim());
  at("frame").alt = `Live picture of ${shown}: ${found.join(", ")}`;
}

function showRates(state) {
  const rows = [["received", "received"], ["answered", "answered"], ["dropped", "dropped"], ["failed", "failed"]];
  at("rates").replaceChildren(...rows.map(([key, words]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = words;
    const cells = [number(state.perSecond[key], 1), number(state.sinceStart[key], 0)].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    });
    if (key === "failed" && state.perSecond.failed > 0) row.className = "bad";
    row.append(head, ...cells);
    return row;
  }));
}

function showQuality(quality) {
  at("light").textContent = quality ? `${number(quality.brightness, 0)}, ${number(quality.contrast, 0)} of 255` : "–";
  if (!quality || frozen) return;
  best = Math.max(best, quality.sharpness);
  const part = best > 0 ? quality.sharpness / best : 0;
  at("sharpness-fill").setAttribute("width", String(part * 100));
  at("sharpness").setAttribute("aria-valuenow", String(Math.round(part * 100)));
  at("sharpness-value").textContent = `${number(quality.sharpness, 0)}, ${percent(part)} of best`;
}

function showConfidence(confidences) {
  const points = confidences.map((value, index) => [index, value]).filter(([, value]) => value !== null);
  const left = 120 - confidences.length;
  let last = -2;
  const steps = points.map(([index, value]) => {
    const step = `${index === last + 1 ? "L" : "M"}${left + index} ${38 - 36 * Math.min(Math.max(value, 0), 1)}h0.01`;
    last = index;
    return step;
  });
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "path");
  curve.setAttribute("d", steps.join(""));
  at("confidence").replaceChildren(curve);
  const now = points.length ? percent(points[points.length - 1][1]) : "none yet";
  at("confidence-name").textContent = `Confidence: ${now}`;
}

function linesOf(result) {
  if (!result) return [];
  const lines = [];
  if (result.score !== undefined) lines.push([result.anomaly ? "anomaly" : "ok", number(result.score, 4)]);
  for (const found of [...(result.classes ?? []), ...(result.detections ?? [])]) {
    lines.push([found.label, percent(found.score)]);
  }
  for (const value of result.values ?? []) lines.push([value.name, `${number(value.value, 4)} ${value.unit ?? ""}`]);
  for (const output of result.outputs ?? []) {
    const first = output.data.slice(0, 8).map((element) => (typeof element === "number" ? number(element, 4) : String(element)));
    lines.push([`${output.name} [${output.shape.join(", ")}]`, first.join(" ")]);
  }
  return lines.length ? lines : [["nothing found", ""]];
}

function line([what, how]) {
  const item = document.createElement("li");
  for (const text of [what, how]) {
    const part = document.createElement("span");
    part.textContent = text;
    item.append(part);
  }
  return item;
}

function freeze(wanted) {
  frozen = wanted;
  at("freeze").setAttribute("aria-pressed", String(frozen));
  markLive(notLive);
  if (frozen) asking.abort();
}

at("freeze").addEventListener("click", () => freeze(!frozen));
at("best").addEventListener("click", () => { best = 0; });
addEventListener("hashchange", choose);
addEventListener("keydown", (event) => {
  const isControl = event.target instanceof Element && event.target.closest("button, a, input");
  if (event.code !== "Space" || isControl) return;
  event.preventDefault();
  freeze(!frozen);
});
followList();
followFrames();
followState();
