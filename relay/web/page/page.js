// The page of a relay-server: what is published, who is connected, what is open, and what happened.
//
//   live.js     server-sent events: the totals each second, and whether the server is there
//   table.js    a table that the server pages, sorts and searches
//   tables.js   the five tables
//   graph.js    pictures of the last hour
//   kick.js     the question before something is ended
//
// What is on the page comes from /v1/…, which is for programs too (/openapi.json describes it).

import { chart } from "./graph.js";
import { byId, later, setText } from "./dom.js";
import { age, count, rate, time } from "./format.js";
import { follow } from "./live.js";
import { lastHour } from "./server.js";
import { makeTables } from "./tables.js";
import { beginTheme } from "./theme.js";

const REFRESH = 2000; // Milliseconds between two looks at the table that is shown.
const MINUTE = 60_000;

const tables = makeTables();
let shown = "";
let before = null; // The totals a second ago.
let lastLook = 0;

// -- which table is shown

function show() {
  const wanted = location.hash.slice(1);
  shown = Object.hasOwn(tables, wanted) ? wanted : "services";
  for (const name of Object.keys(tables)) byId(name).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  look();
}

/** Ask for what is shown. While the server is away there is nothing to ask. */
async function look() {
  lastLook = performance.now();
  try {
    await tables[shown].refresh();
  } catch (error) {
    if (error.told) setText(byId("notice"), error.message);
  }
}

async function drawHour() {
  try {
    chart(byId("hour"), (await lastHour([])).all);
  } catch (error) {
    if (!error.told) return;
    setText(byId("notice"), error.message);
  }
}

// -- what the server tells each second

function totals(now) {
  setText(byId("total-services"), count(now.services));
  setText(byId("total-legs"), count(now.legs));
  setText(byId("total-streams"), count(now.streams));
  setText(byId("uptime"), `up ${age(now.uptime)}, release ${now.release}`);
  const seconds = before && before.pid === now.pid ? now.time - before.time : 0;
  const per = (field) => (seconds > 0 ? Math.max(0, now[field] - before[field]) / seconds : null);
  setText(byId("rate-there"), rate(per("bytes_there")));
  setText(byId("rate-back"), rate(per("bytes_back")));
  before = now;
  if (performance.now() - lastLook >= REFRESH && !document.hidden) look();
}

// -- whether it is there

let lostAt = 0;

function isBack() {
  const state = byId("state");
  state.dataset.state = "live";
  setText(state, "live");
  document.body.classList.remove("stale");
  if (lostAt) {
    setText(byId("notice"), `The server is back since ${time(Date.now() / 1000)}.`);
    setText(byId("banner"), "");
  }
  byId("banner").hidden = true;
  lostAt = 0;
  before = null;
  look();
  drawHour();
}

function isLost(why) {
  if (lostAt) return;
  lostAt = Date.now() / 1000;
  const state = byId("state");
  state.dataset.state = "lost";
  setText(state, "not connected");
  document.body.classList.add("stale");
  const banner = byId("banner");
  banner.hidden = false;
  setText(
    banner,
    `The server is lost since ${time(lostAt)} (${why}). What you see is from then; trying again …`,
  );
  setText(byId("notice"), "");
}

function begin() {
  beginTheme(byId("theme"));
  setText(byId("host"), location.host);
  document.title = `relay-server ${location.host}`;
  addEventListener("hashchange", show);
  document.addEventListener("visibilitychange", () => document.hidden || look());
  const happened = later(300, () => (shown === "events" ? look() : undefined));
  follow({ totals, happened, isBack, isLost });
  setInterval(drawHour, MINUTE);
  show();
}

begin();
