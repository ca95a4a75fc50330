"use strict";
// Curves over the epochs: panels that share one cursor. A line may end before the others, and have a band around it.

const SIZE = { width: 340, height: 190, left: 40, right: 10, top: 8, bottom: 24 };

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

let clips = 0; // made so far: each needs an id of its own
const reading = (value) => (value === null ? "–" : number(value));

/** The index of the number that is nearest to another one. */
const nearestIndex = (numbers, target) =>
  numbers.reduce((best, value, i) => (Math.abs(value - target) < Math.abs(numbers[best] - target) ? i : best), 0);

/**
 * Draw panels into an element, and let pointer and keys move their cursor.
 * @param group the element; the last output before it says the epoch.
 * @param chart epochs; panels, each a title and lines by name, with null for no value; and optionally by name `styles`,
 *     the class of a line, which is else its name; `bands` of a panel, the lower and the upper values; and `isNamed`,
 *     whether the panels name their lines.
 * A pointer that passes moves the cursor while it is there; keys and a click or tap put it elsewhere.
 * @returns goTo(epoch), which puts the cursor there; views, which are called with the epoch where pointer or keys have moved
 *     it, and with whether that is only in passing.
 */
function startCurves(group, { epochs, panels, styles = {}, isNamed = true }) {
  const { width, height, left, right, top, bottom } = SIZE;
  const first = epochs[0], last = epochs.at(-1);
  const toX = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - right) * (last > first ? 1 : 0);
  const output = group.previousElementSibling.querySelector("output");
  const styleOf = (name) => styles[name] ?? name;
  const views = [];
  let at = epochs.length - 1, home = at; // where the cursor is, and where it was put

  /** One panel; returns a function that moves its cursor to the epoch at `at`. */
  function draw({ title, lines, bands = {} }) {
    const full = Object.values(lines).map((line) => line.filter((value) => value !== null));
    const late = full.flatMap((line) => line.slice(Math.floor(line.length / 10))); // the first tenth would flatten the rest
    const low = Math.min(...late), high = Math.max(...late), highest = Math.max(...full.flat()), lowest = Math.min(...full.flat());
    const margin = 0.07 * (high - low) || 1;
    const toY = (value) => top + (1 - (value - low + margin) / (high - low + 2 * margin)) * (height - top - bottom);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const vertical = ticks(low - margin, high + margin, 4);
    for (const value of vertical.values) {
      picture.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: toY(value), y2: toY(value) }));
      picture.append(svg("text", { x: left - 7, y: toY(value) + 4, "text-anchor": "end" }, number(value, vertical.digits)));
    }
    for (const epoch of ticks(first, last, 5, true).values) {
      picture.append(svg("text", { x: toX(epoch), y: height - 6, "text-anchor": "middle" }, String(epoch)));
    }
    const clip = `clip-${clips++}`;
    picture.append(svg("clipPath", { id: clip }, svg("rect", { x: left - 4, y: top - 4, width: width - left - right + 8, height: height - top - bottom + 8 })));
    const cut = (text, y) => picture.append(svg("text", { x: left + 0.4 * (width - left), y }, text));
    if (highest > high + margin) cut(`↑ from ${number(highest, vertical.digits)}`, top + 6);
    if (lowest < low - margin) cut(`↓ from ${number(lowest, vertical.digits)}`, height - bottom - 4);
    const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom });
    picture.append(cursor);
    const readings = element("p", { className: "readings" });
    const trace = (values) => values.map((value, i) => (value === null ? null : `${toX(epochs[i]).toFixed(1)} ${toY(value).toFixed(1)}`)).filter((place) => place !== null);
    for (const [name, [lower, upper]] of Object.entries(bands)) {
      const outline = `M${[...trace(lower), ...trace(upper).reverse()].join("L")}Z`;
      picture.append(svg("path", { class: `band ${styleOf(name)}`, d: outline, "clip-path": `url(#${clip})` }));
    }
    const dots = Object.entries(lines).map(([name, line]) => {
      picture.append(svg("path", { class: `line ${styleOf(name)}`, d: `M${trace(line).join("L")}`, "clip-path": `url(#${clip})` }));
      const dot = svg("circle", { class: styleOf(name), r: 3.5, "clip-path": `url(#${clip})` });
      picture.append(dot);
      const value = element("b", {});
      readings.append(element("span", { className: styleOf(name), title: name }, element("i", {}), isNamed ? `${name} ` : "", value));
      return () => {
        const here = line[at];
        dot.setAttribute("visibility", here === null ? "hidden" : "visible");
        dot.setAttribute("cx", toX(epochs[at]));
        dot.setAttribute("cy", toY(here ?? low));
        value.textContent = reading(here);
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
    output.textContent = `epoch ${epochs[at]}`;
    group.ariaValueNow = epochs[at];
    group.ariaValueText = `epoch ${epochs[at]}: ${panels
      .map(({ title, lines }) => `${title} ${Object.entries(lines).map(([name, line]) => `${name} ${reading(line[at])}`).join(", ")}`)
      .join("; ")}`;
  }

  function lead(index, isPassing) {
    moveTo(index);
    if (!isPassing) home = at;
    for (const view of views) view(epochs[at], isPassing);
  }

  const movers = panels.map(draw);
  group.ariaValueMin = first;
  group.ariaValueMax = last;
  moveTo(epochs.length - 1);

  function follow(event, isPassing) {
    const picture = event.target.closest("svg");
    if (!picture || !group.contains(picture)) return;
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const share = (x - left) / (width - left - right);
    lead(nearestIndex(epochs, first + share * (last - first)), isPassing);
  }
  group.addEventListener("pointermove", (event) => follow(event, true));
  group.addEventListener("pointerup", (event) => { if (!event.button) follow(event, false); });
  group.addEventListener("pointerleave", () => lead(home, true)); // a touch that scrolls the page leaves without an end
  group.addEventListener("keydown", (event) => {
    const target = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: epochs.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    lead(target, false);
  });
  const goTo = (epoch) => {
    moveTo(nearestIndex(epochs, epoch));
    home = at;
  };
  return { goTo, views };
}

const groups = document.querySelectorAll(".curves");
const charts = [data.curves].flat().map((chart, i) => startCurves(groups[i], chart));
