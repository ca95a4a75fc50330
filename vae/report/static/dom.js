"use strict";
// What every page's scripts begin with: its elements and its data.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

/** A new element with these properties, and children or text within. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A number with this many decimals and a true minus sign. */
const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

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
