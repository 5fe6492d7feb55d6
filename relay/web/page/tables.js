// The five tables: what is asked for each, and what stands in their cells.

import { byId, element, setText } from "./dom.js";
import { age, bytes, count, rate, shortKey, time, who } from "./format.js";
import { setSparkline } from "./graph.js";
import { kickButton } from "./kick.js";
import { get, lastHour } from "./server.js";
import { Table } from "./table.js";

const MINUTE = 60_000;
const MOST_SOURCES = 200; // What the server tells of at once.

// -- cells

const text = (value) => (cell, row) => setText(cell, value(row));

/** A name, and below it what tells it from others of that name. */
function twoLines(upper, lower, title) {
  return (cell, row) => {
    if (!cell.firstChild) {
      cell.append(element("span", { class: "upper" }), element("span", { class: "lower" }));
    }
    setText(cell.firstChild, upper(row));
    setText(cell.lastChild, lower(row));
    if (title) cell.title = title(row);
  };
}

const since = {
  title: "Since", sort: "seconds", first: "-", kind: "number age desk",
  fill: text((row) => age(row.seconds)),
};

const rateNow = {
  title: "Rate", kind: "number rate",
  fill(cell, row, now) {
    setText(cell, rate(now));
    cell.classList.toggle("quiet", !now);
  },
};

function kickColumn(kind, what, name, table) {
  return {
    title: "End it", hidden: true, kind: "action",
    fill(cell, row) {
      cell.kick ??= kickButton(kind, () => table().refresh());
      if (!cell.firstChild) cell.append(cell.kick.button);
      cell.kick.mean(what(row), name(row));
    },
  };
}

/** One page of what /v1/… lists under `name`; `moved` are the bytes by which a row has its rate. */
function listed(name, moved) {
  return async (query) => {
    const body = await get(`/v1/${name}`, query);
    const rows = body[name];
    for (const row of rows) row.moved = moved(row);
    return { rows, total: body.total, next: body.next };
  };
}

const thereAndBack = (row) => row.bytes_there + row.bytes_back;

// -- services

/** The last hour of the services that are shown: asked for once a minute, and for new ones. */
function hours() {
  let known = {};
  let asked = 0;
  return {
    of: (row) => known[row.service],
    async load(rows) {
      const names = [...new Set(rows.map((row) => row.service))];
      const isNew = names.some((name) => !Object.hasOwn(known, name));
      if (!isNew && performance.now() - asked < MINUTE) return false;
      asked = performance.now();
      known = (await lastHour(names)).services;
      return true;
    },
  };
}

function services() {
  const hour = hours();
  const table = new Table({
    section: byId("services"),
    title: "Published services",
    noun: "services",
    empty: "No service is published. An agent does so: relay-agent -R name:port:host:port …",
    key: (row) => `${row.service} ${row.leg}`,
    load: listed("services", thereAndBack),
    sort: "service",
    columns: [
      { title: "Service", sort: "service", fill: health },
      { title: "Published by", sort: "comment", kind: "desk",
        fill: twoLines(who, (row) => row.peer, (row) => row.fingerprint) },
      since,
      { title: "Streams", sort: "streams", first: "-", kind: "number",
        fill: text((row) => count(row.streams)) },
      rateNow,
      { title: "Last hour", kind: "graph", fill: (cell, row) => setSparkline(cell, hour.of(row)) },
      { title: "To it", sort: "bytes_there", first: "-", kind: "number narrow",
        fill: text((row) => bytes(row.bytes_there)) },
      { title: "From it", sort: "bytes_back", first: "-", kind: "number narrow",
        fill: text((row) => bytes(row.bytes_back)) },
      kickColumn("service", (row) => row.service, (row) => row.service, () => table),
    ],
    async loaded(rows) {
      const place = table.columns.findIndex((column) => column.kind === "graph");
      if (!(await hour.load(rows))) return;
      for (const one of table.rows.values()) setSparkline(one.cells[place], hour.of(one.row));
    },
  });
  return table;
}

const STATES = { up: "available", down: "does not answer", held: "its agent is gone" };

const nameAndState = twoLines(
  (row) => row.service,
  (row) => (STATES[row.state] ?? row.state) + (row.reason ? `: ${row.reason}` : ""),
);

/** Its name, and whether it is there, or why not. */
function health(cell, row) {
  nameAndState(cell, row);
  cell.lastChild.dataset.health = row.state;
}

// -- connections

function connections() {
  const table = new Table({
    section: byId("connections"),
    title: "Connections",
    noun: "connections",
    empty: "Nobody is connected.",
    key: (row) => String(row.leg),
    load: listed("legs", (row) => row.bytes_received + row.bytes_sent),
    sort: "-seconds",
    columns: [
      { title: "Who", sort: "comment",
        fill: twoLines(who, (row) => shortKey(row.fingerprint), (row) => row.fingerprint) },
      { title: "From", sort: "peer", kind: "address desk",
        fill: twoLines((row) => row.peer, (row) => `as ${row.user}`) },
      { title: "Program", sort: "client", kind: "narrow",
        fill: twoLines((row) => row.client.replace(/^SSH-2\.0-/, ""), (row) => row.cipher) },
      since,
      { title: "Publishes", sort: "services", first: "-", kind: "number",
        fill: text((row) => count(row.services)) },
      { title: "Streams", sort: "streams", first: "-", kind: "number",
        fill: text((row) => count(row.streams)) },
      rateNow,
      { title: "Received", sort: "bytes_received", first: "-", kind: "number narrow",
        fill: text((row) => bytes(row.bytes_received)) },
      { title: "Sent", sort: "bytes_sent", first: "-", kind: "number narrow",
        fill: text((row) => bytes(row.bytes_sent)) },
      kickColumn(
        "connection", (row) => String(row.leg), (row) => `${who(row)} (${row.peer})`, () => table,
      ),
    ],
  });
  return table;
}

// -- streams

function streams() {
  const opener = (row) => row.comment || (row.opener === null ? "a client of the open port" : "unknown");
  const table = new Table({
    section: byId("streams"),
    title: "Open streams",
    noun: "streams",
    empty: "No stream is open.",
    key: (row) => row.stream,
    load: listed("streams", thereAndBack),
    sort: "-seconds",
    columns: [
      { title: "Who", sort: "comment", fill: twoLines(opener, (row) => row.peer) },
      { title: "Opened", sort: "service", fill: text((row) => row.service) },
      { ...since, title: "Age" },
      rateNow,
      { title: "To service", sort: "bytes_there", first: "-", kind: "number",
        fill: text((row) => bytes(row.bytes_there)) },
      { title: "From service", sort: "bytes_back", first: "-", kind: "number",
        fill: text((row) => bytes(row.bytes_back)) },
      kickColumn(
        "stream", (row) => row.stream, (row) => `${opener(row)} → ${row.service}`, () => table,
      ),
    ],
  });
  return table;
}

// -- what happened

function events() {
  const kind = element("select", { id: "events-kind" }, element("option", { value: "" }, "all"));
  kind.addEventListener("change", () => table.begin());
  const table = new Table({
    section: byId("events"),
    title: "Events of the last days",
    empty: "Nothing has happened yet.",
    key: (row) => String(row.id),
    tools: [element("label", { for: "events-kind" }, "Kind"), kind],
    load: async ({ limit, search, after }) => {
      const query = { limit: limit + 1, kind: kind.value, search, before: after };
      const body = await get("/v1/history/events", query);
      if (kind.length === 1) for (const one of body.kinds) kind.add(new Option(one, one));
      const rows = body.events.slice(0, limit);
      return { rows, next: body.events.length > limit ? rows.at(-1).id : null };
    },
    columns: [
      { title: "Time", kind: "time", fill: text((row) => time(row.time)) },
      { title: "Kind", fill(cell, row) {
        cell.dataset.level = row.level;
        setText(cell, row.kind);
      } },
      { title: "What happened", kind: "wide", fill: text((row) => row.text) },
      { title: "Key", kind: "narrow", fill(cell, row) {
        setText(cell, shortKey(row.key));
        cell.title = row.key;
      } },
    ],
  });
  return table;
}

// -- who did not get in

function refused() {
  const load = async ({ limit, search, after }) => {
    const body = await get("/v1/history/refused", { hours: 24, limit: MOST_SOURCES });
    const found = body.refused.filter((row) => `${row.source} ${row.reason}`.includes(search));
    const begin = Number(after);
    const next = begin + limit < found.length ? String(begin + limit) : null;
    return { rows: found.slice(begin, begin + limit), total: found.length, next };
  };
  return new Table({
    section: byId("refused"),
    title: "Refused logins by source, in the last 24 hours",
    noun: "sources",
    empty: "Nobody was refused.",
    key: (row) => row.source,
    load,
    columns: [
      { title: "Source", kind: "address", fill: text((row) => row.source) },
      { title: "Refused", kind: "number", fill: text((row) => count(row.count)) },
      { title: "Last", kind: "time", fill: text((row) => time(row.time)) },
      { title: "Why, the last time", kind: "wide", fill: text((row) => row.reason) },
    ],
  });
}

/** By the name of the section that each is in. */
export function makeTables() {
  return {
    services: services(),
    connections: connections(),
    streams: streams(),
    events: events(),
    refused: refused(),
  };
}
