// Numbers, times and names as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 -> "1.5 KiB" */
export function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || count >= 100 ? 0 : 1;
  return `${count.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes in a second. */
export function rate(count) {
  return count === null ? "–" : `${bytes(count)}/s`;
}

export function count(number) {
  return number.toLocaleString("en");
}

/** 75 -> "1 min 15 s": the two largest units. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([number], place) => place === 0 || number > 0)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(" ");
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Unix time as the hour here; another day's with its date. */
export function time(unix) {
  const date = new Date(unix * 1000);
  const clock = CLOCK.format(date);
  return date.toDateString() === new Date().toDateString() ? clock : `${DAY.format(date)}, ${clock}`;
}

/** "SHA256:eFnGR3rx…": enough to tell keys apart. */
export function shortKey(fingerprint) {
  return fingerprint.length > 16 ? `${fingerprint.slice(0, 15)}…` : fingerprint;
}

/** Who a client is: the comment of its key, else the key. */
export function who(row) {
  return row.comment || shortKey(row.fingerprint ?? "") || "unknown";
}
