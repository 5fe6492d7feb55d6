// Questions to the server.

const LONGEST_QUESTION = 8000; // Characters of a URL; it reads 16 KiB with the headers.

/** JSON of an answer. What the server says no to is an Error with `told`. */
async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(body.error ?? `the server answers ${answer.status}`);
    error.told = true;
    throw error;
  }
  return body;
}

export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return ask(text ? `${path}?${text}` : path);
}

export function post(path, body) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** Bytes there and back of the last sixty minutes: { all, services: { name: … } }. */
export async function lastHour(names) {
  let all = [];
  const services = {};
  const waiting = [...names];
  do {
    const some = [];
    const length = () => encodeURIComponent([...some, waiting[0]].join(" ")).length;
    while (waiting.length && length() < LONGEST_QUESTION) some.push(waiting.shift());
    const answer = await get("/v1/history/rates", { services: some.join(" ") });
    all = answer.all;
    for (const one of answer.services) services[one.service] = one.minutes;
  } while (waiting.length);
  return { all, services };
}
