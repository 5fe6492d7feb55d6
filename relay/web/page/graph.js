// Graphs of the last hour: sixty minutes of bytes, as SVG. Colours are the style sheet's.

import { element, setText } from "./dom.js";
import { rate } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function points(values, most, width, height) {
  const step = width / (values.length - 1);
  return values.map((value, place) => {
    const y = height - 1 - (value / (most || 1)) * (height - 3);
    return `${(place * step).toFixed(1)},${y.toFixed(1)}`;
  });
}

function line(values, most, width, height, kind) {
  return shape("polyline", {
    class: `line ${kind}`,
    points: points(values, most, width, height).join(" "),
  });
}

function area(values, most, width, height, kind) {
  const top = points(values, most, width, height).join(" ");
  return shape("polygon", { class: `area ${kind}`, points: `0,${height} ${top} ${width},${height}` });
}

/** Bytes of a minute, there and back, as bytes in a second. */
function perSecond(minutes) {
  return {
    there: minutes.map(([there]) => there / 60),
    back: minutes.map(([, back]) => back / 60),
    both: minutes.map(([there, back]) => (there + back) / 60),
  };
}

/** A picture of one service in a row of a table. */
export function sparkline(minutes) {
  const { both } = perSecond(minutes);
  const most = Math.max(...both);
  const text = most ? `at most ${rate(most)} in the last hour` : "nothing in the last hour";
  const svg = shape("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": text });
  const title = shape("title", {});
  title.textContent = text;
  svg.append(title);
  if (most) svg.append(area(both, most, 120, 24, "both"), line(both, most, 120, 24, "both"));
  else svg.append(shape("line", { class: "still", x1: 0, x2: 120, y1: 23, y2: 23 }));
  return svg;
}

/** The large one: all services together. Drawn anew into `figure`. */
export function chart(figure, minutes) {
  const { there, back } = perSecond(minutes);
  const most = Math.max(...there, ...back);
  const [width, height] = [600, 96];
  const text = most
    ? `Traffic of the last hour: at most ${rate(Math.max(...there))} to services and ` +
      `${rate(Math.max(...back))} from them`
    : "Traffic of the last hour: none";
  const svg = shape("svg", {
    class: "chart", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
    role: "img", "aria-label": text,
  });
  for (const part of [0.25, 0.5, 0.75]) {
    svg.append(shape("line", {
      class: "grid", x1: 0, x2: width, y1: height * part, y2: height * part,
    }));
  }
  svg.append(
    area(back, most, width, height, "back"), line(back, most, width, height, "back"),
    area(there, most, width, height, "there"), line(there, most, width, height, "there"),
  );
  figure.querySelector(".plot")?.remove();
  const scale = element("div", { class: "scale", "aria-hidden": "true" });
  scale.append(
    element("span", {}, "60 min ago"),
    element("span", {}, most ? `top: ${rate(most)}` : "nothing yet"),
    element("span", {}, "now"),
  );
  const plot = element("div", { class: "plot" }, scale);
  plot.prepend(svg);
  figure.append(plot);
}

/** Put a sparkline into a cell, unless it shows these minutes already. */
export function setSparkline(cell, minutes) {
  const key = minutes ? JSON.stringify(minutes) : "";
  if (cell.shown === key) return;
  cell.shown = key;
  if (minutes) cell.replaceChildren(sparkline(minutes));
  else setText(cell, "");
}
