"use strict";
// The training curves: three panels that share one cursor over the epochs.

const SIZE = { width: 340, height: 190, left: 40, right: 10, top: 8, bottom: 24 };

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Round numbers, at most `most` of them, from low to high. */
function ticks(low, high, most, whole) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  if (whole) step = Math.max(1, Math.round(step));
  const values = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) values.push(n * step);
  return { values, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

function startCurves({ epochs, panels }) {
  const { width, height, left, right, top, bottom } = SIZE;
  const first = epochs[0], last = epochs.at(-1);
  const toX = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - right) * (last > first ? 1 : 0);
  const group = byId("curves");
  let at = epochs.length - 1;

  /** One panel; returns a function that moves its cursor to the epoch at `at`. */
  function draw({ title, lines }) {
    const late = Object.values(lines).flatMap((line) => line.slice(Math.floor(epochs.length / 10)));
    const low = Math.min(...late), high = Math.max(...late);
    const margin = 0.07 * (high - low) || 1;
    const toY = (value) => top + (1 - (value - low + margin) / (high - low + 2 * margin)) * (height - top - bottom);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const vertical = ticks(low - margin, high + margin, 4);
    for (const value of vertical.values) {
      picture.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: toY(value), y2: toY(value) }));
      picture.append(svg("text", { x: left - 7, y: toY(value) + 4, "text-anchor": "end" }, value.toFixed(vertical.digits)));
    }
    for (const epoch of ticks(first, last, 5, true).values) {
      picture.append(svg("text", { x: toX(epoch), y: height - 6, "text-anchor": "middle" }, String(epoch)));
    }
    const clip = `clip-${title.length}-${panels.findIndex((panel) => panel.title === title)}`;
    picture.append(svg("clipPath", { id: clip }, svg("rect", { x: left - 4, y: top - 4, width: width - left - right + 8, height: height - top - bottom + 8 })));
    const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom });
    picture.append(cursor);
    const readings = element("p", { className: "readings" });
    const dots = Object.entries(lines).map(([split, line]) => {
      const path = line.map((value, i) => `${i ? "L" : "M"}${toX(epochs[i]).toFixed(1)} ${toY(value).toFixed(1)}`).join("");
      picture.append(svg("path", { class: split, d: path, "clip-path": `url(#${clip})` }));
      const dot = svg("circle", { class: split, r: 3.5, "clip-path": `url(#${clip})` });
      picture.append(dot);
      const value = element("b", {});
      readings.append(element("span", { className: split }, element("i", {}), `${split} `, value));
      return () => {
        dot.setAttribute("cx", toX(epochs[at]));
        dot.setAttribute("cy", toY(line[at]));
        value.textContent = line[at].toFixed(2);
      };
    });
    group.append(element("figure", { className: "panel" }, element("figcaption", {}, title), readings, picture));
    return () => {
      cursor.setAttribute("x1", toX(epochs[at]));
      cursor.setAttribute("x2", toX(epochs[at]));
      for (const dot of dots) dot();
    };
  }

  function moveTo(index) {
    at = Math.max(0, Math.min(epochs.length - 1, index));
    for (const move of movers) move();
    byId("epoch").textContent = `epoch ${epochs[at]}`;
    group.ariaValueNow = epochs[at];
    group.ariaValueText = `epoch ${epochs[at]}: ${panels
      .map(({ title, lines }) => `${title} ${Object.entries(lines).map(([split, line]) => `${split} ${line[at].toFixed(2)}`).join(", ")}`)
      .join("; ")}`;
  }

  const movers = panels.map(draw);
  group.ariaValueMin = first;
  group.ariaValueMax = last;
  moveTo(epochs.length - 1);

  function follow(event) {
    const picture = event.target.closest("svg");
    if (!picture || !group.contains(picture)) return;
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const share = (x - left) / (width - left - right);
    const target = first + share * (last - first);
    moveTo(epochs.reduce((best, epoch, i) => (Math.abs(epoch - target) < Math.abs(epochs[best] - target) ? i : best), 0));
  }
  group.addEventListener("pointermove", follow);
  group.addEventListener("pointerdown", follow);
  group.addEventListener("pointerleave", () => moveTo(epochs.length - 1));
  group.addEventListener("keydown", (event) => {
    const target = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: epochs.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    moveTo(target);
  });
}

startCurves(data.curves);
