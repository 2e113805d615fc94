"use strict";
// The console polls /state twice a second and changes only what differs; nothing is loaded from elsewhere.
const $ = id => document.getElementById(id);
let token = sessionStorage.getItem("token") || location.hash.slice(1), layout = null, seats = new Map(), last = null, cells = [];
const trends = [["tokens/s", []], ["requests/s", []], ["kW", []], ["waiting", []]];

async function call(path, body) {
  const headers = { Authorization: "Bearer " + token };
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  const document = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(document.error.message), { status: answer.status });
  return document;
}

function say(text, bad) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "";
}

const number = value => value == null ? "–" : value >= 1e9 ? (value / 1e9).toFixed(2) + " G" : value >= 1e6 ? (value / 1e6).toFixed(2) + " M"
  : value >= 1e4 ? (value / 1e3).toFixed(1) + " k" : Number(value.toPrecision(4)).toString();
const time = value => value == null ? "–" : value < 1 ? (value * 1e3).toFixed(1) + " ms" : value.toFixed(2) + " s";

function element(kind, text, className) {
  const made = document.createElement(kind);
  if (text != null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function draw(state) {
  layout = state.layout;
  $("models").textContent = layout.models.join(", ");
  cells = [];
  seats = new Map();
  $("systems").replaceChildren(...layout.systems.map((system, at) => {
    const box = element("div");
    box.append(element("h3", system.name + " · " + system.chips + " chips"));
    const boards = element("div", null, "boards");
    for (let board = 0; board * system.board_chips < system.chips; board++) {
      const one = element("div", null, "board");
      one.append(element("b", "board " + board));
      const grid = element("div", null, "cells");
      for (let chip = board * system.board_chips; chip < Math.min((board + 1) * system.board_chips, system.chips); chip++) {
        const cell = element("button", null, "chip free");
        cell.dataset.index = cells.length;
        cell.tabIndex = cells.length ? -1 : 0;
        cells.push({ cell, system: at, chip });
        grid.append(cell);
      }
      one.append(grid);
      boards.append(one);
    }
    box.append(boards);
    return box;
  }));
  for (const seat of layout.seats)
    for (let chip = seat.from; chip < seat.to; chip++) seats.set(seat.system + ":" + chip, { instance: seat.instance, chips: seat.to - seat.from });
}

// A hue per job, far from those next to it.
const hue = id => (id * 137.5) % 360;
const span = seconds => seconds == null ? "–" : seconds < 90 ? seconds.toFixed(0) + " s" : seconds < 5400 ? (seconds / 60).toFixed(1) + " min" : (seconds / 3600).toFixed(1) + " h";

async function order(body) {
  try {
    const { seq, jobs } = await call("command", body);
    $("said").textContent = (jobs ? "job " + jobs.join(", ") + " submitted" : Object.keys(body)[0].replace("_", " ")) + ", entry " + seq + " of the log";
  } catch (error) { $("said").textContent = error.message; }
}

function showJobs(state) {
  const jobs = state.jobs, chips = new Map();
  $("jobs").hidden = !jobs;
  if (!jobs) return chips;
  $("queue").textContent = jobs.policy + ": " + jobs.running + " running on " + jobs.held_chips + " chips, " + jobs.waiting + " waiting, " + jobs.over + " over, " + jobs.free_chips + " chips free, " + number(jobs.power_w / 1e3) + " kW";
  for (const job of jobs.rows) for (const [from, to] of job.chips) for (let chip = from; chip < to; chip++) chips.set(jobs.system + ":" + chip, job);
  const focused = document.activeElement && document.activeElement.dataset.order;
  $("joblist").replaceChildren(...jobs.rows.slice(0, 200).map(job => {
    const row = element("tr");
    const left = job.ends_s == null || job.state !== "running" ? null : job.ends_s - state.virtual_seconds;
    const values = [job.id, job.name, job.state, job.tenant, job.priority, job.asked_chips, (job.done * 100).toFixed(0) + " %", span(job.waited_s), span(left), job.preemptions + job.failures, job.why || ""];
    for (const value of values) row.append(element("td", value));
    row.children[10].className = "why";
    if (job.chips.length) { row.children[0].className = "own"; row.children[0].style.setProperty("--hue", hue(job.id)); }
    const cell = element("td");
    const can = { running: ["preempt", "hold", "cancel"], waiting: ["hold", "cancel"], held: ["release", "cancel"] }[job.state] || [];
    for (const name of can) {
      const button = element("button", name);
      button.dataset.order = name + ":" + job.id;
      button.ariaLabel = name + " job " + job.id;
      cell.append(button, " ");
    }
    row.append(cell);
    return row;
  }));
  if (focused) { const again = document.querySelector('[data-order="' + focused + '"]'); if (again) again.focus(); }
  return chips;
}

$("joblist").addEventListener("click", event => {
  const [name, id] = (event.target.dataset.order || "").split(":");
  if (name) order({ [name + "_job"]: Number(id) });
});

$("submit").addEventListener("submit", event => {
  event.preventDefault();
  const fields = new FormData(event.target);
  let more = {};
  try { more = fields.get("more") ? JSON.parse(fields.get("more")) : {}; } catch (error) { $("said").textContent = "The further keys are no JSON: " + error.message; return; }
  order({ submit_job: { name: fields.get("name"), chips: Number(fields.get("chips")), duration: fields.get("duration"), priority: Number(fields.get("priority")), ...more } });
});

function show(state) {
  const moved = layout && state.instances.length !== show.count;
  show.count = state.instances.length;
  if (state.layout) draw(state);
  if (moved && !state.layout) show.again = true;
  const span = last ? state.virtual_seconds - last.virtual_seconds : 0;
  const rate = key => span > 0 ? (state[key] - last[key]) / span : 0;
  const waiting = state.instances.reduce((sum, one) => sum + one.waiting, 0);
  const figures = [
    ["virtual time", time(state.virtual_seconds)], ["speed", state.speed + "×"], ["in flight", number(state.in_flight)], ["waiting", number(waiting)],
    ["completed", number(state.completed)], ["refused", number(state.refused)], ["tokens/s", number(rate("output_tokens"))],
    ["TTFT p50", time(state.ttft_s.p50)], ["TTFT p99", time(state.ttft_s.p99)], ["TPOT p50", time(state.tpot_s.p50)], ["TPOT p99", time(state.tpot_s.p99)],
    ["power", number(state.power_w / 1e3) + " kW"], ["energy", number(state.energy_j / 3.6e6) + " kWh"], ["cost", state.dollars == null ? "–" : "$" + state.dollars.toFixed(2)],
  ];
  $("figures").replaceChildren(...figures.map(([name, value]) => { const box = element("div"); box.append(element("dt", name), element("dd", value)); return box; }));
  if (span > 0) {
    [rate("output_tokens"), rate("completed"), state.power_w / 1e3, waiting].forEach((value, at) => { trends[at][1].push(value); if (trends[at][1].length > 240) trends[at][1].shift(); });
    $("trends").replaceChildren(...trends.map(([name, values]) => {
      const top = Math.max(...values, 1e-9), points = values.map((value, at) => (at / 239 * 100).toFixed(2) + "," + (30 - value / top * 28).toFixed(2)).join(" ");
      const figure = element("figure");
      figure.append(element("figcaption", name + ": " + number(values.at(-1))));
      figure.insertAdjacentHTML("beforeend", '<svg viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true"><polyline points="' + points + '"/></svg>');
      return figure;
    }));
  }
  const jobs = showJobs(state);
  const dead = state.broken.map(one => new Set(one.dead)), cut = state.broken.map(one => new Set(one.cut));
  for (const { cell, system, chip } of cells) {
    const seat = seats.get(system + ":" + chip), one = seat && state.instances[seat.instance];
    const up = one && (one.state === "active" || one.state === "draining");
    const pool = one && layout.pools[one.pool];
    const over = one ? (one.power_w / seat.chips - pool.idle_w) / Math.max(pool.peak_w - pool.idle_w, 1) : 0;
    const isDead = dead[system].has(chip), isCut = cut[system].has(chip);
    const job = one ? null : jobs.get(system + ":" + chip);
    cell.className = "chip" + (isDead ? " dead" : job ? " job" : !one ? " free" : up ? "" : " down") + (isCut ? " cut" : "");
    if (job) cell.style.setProperty("--hue", hue(job.id));
    cell.style.setProperty("--heat", one && up ? Math.min(1, Math.max(0, over)).toFixed(2) : 0);
    cell.ariaLabel = "chip " + chip + (isDead ? ", dead" : isCut ? ", link down" : "") + (one ? ", instance " + seat.instance + " " + one.state : job ? ", job " + job.id + " " + job.name : ", free");
    cell.title = cell.ariaLabel;
  }
  $("instances").replaceChildren(...state.instances.map(one => {
    const row = element("tr");
    for (const value of [one.id, layout.pools[one.pool].name, one.state, one.running, one.waiting, (one.kv * 100).toFixed(0) + " %", one.power_w.toFixed(0)]) row.append(element("td", value));
    return row;
  }));
  $("hash").textContent = "decisions " + state.hash + " after " + state.events + " events";
  last = state;
}

async function toggle(cell) {
  const { system, chip } = cells[cell.dataset.index], sizes = layout.systems[system], part = $("part").value;
  const target = { system };
  target[part] = part === "board" ? Math.floor(chip / sizes.board_chips) : part === "node" ? Math.floor(chip / sizes.node_chips) : chip;
  const broken = part === "link" ? last.broken[system].cut.includes(chip) : last.broken[system].dead.includes(chip);
  try {
    const { seq } = await call("command", broken ? { heal: target } : { kill: target });
    $("tip").textContent = (broken ? "mended " : "broke ") + part + " " + target[part] + ", entry " + seq + " of the log";
  } catch (error) { $("tip").textContent = error.message; }
}

$("systems").addEventListener("click", event => { if (event.target.dataset.index) toggle(event.target); });
$("systems").addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 4, ArrowUp: -4 }[event.key], at = event.target.dataset.index;
  if (!step || at == null) return;
  event.preventDefault();
  const next = cells[Math.min(cells.length - 1, Math.max(0, Number(at) + step))].cell;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

async function poll() {
  try {
    show(await call(layout && !show.again ? "state" : "state?layout"));
    show.again = false;
    document.querySelector("main").hidden = false;
    $("login").hidden = true;
    say("up, " + last.instances.filter(one => one.state === "active").length + " of " + last.instances.filter(one => one.state !== "removed").length + " instances active");
  } catch (error) {
    if (error.status === 401) { token = ""; $("login").hidden = false; say("That is not the token.", true); return; }
    say("The server does not answer: " + error.message, true);
  }
  setTimeout(poll, 500);
}

$("login").addEventListener("submit", event => { event.preventDefault(); token = $("token").value; sessionStorage.setItem("token", token); poll(); });
if (token) poll();
