"use strict";
// A slider for each active latent.

const FIRST_SLIDERS = 12;

function addSliders(model, point, morph) {
  const every = Array.from({ length: model.latents }, (_, index) => ({ index, low: -3, high: 3 }));
  const units = model.units.length ? model.units : every; // a collapsed model has no active unit
  byId("sliders").hidden = false;
  const rows = units.map((unit, i) => {
    const row = slider(unit, point, morph);
    row.hidden = i >= FIRST_SLIDERS;
    return row;
  });
  byId("rows").append(...rows);
  const more = byId("more");
  more.hidden = rows.length <= FIRST_SLIDERS;
  more.textContent = `Show all ${rows.length}`;
  more.addEventListener("click", () => {
    for (const row of rows) row.hidden = false;
    byId("rows").className = "many";
    more.hidden = true;
    rows[FIRST_SLIDERS].querySelector("input").focus();
  });
}

function slider({ index, low, high, variance }, point, morph) {
  const id = `z${index + 1}`;
  const input = element("input", { type: "range", id, min: low.toFixed(2), max: high.toFixed(2), step: 0.01 });
  const value = element("output", {});
  const label = element("label", { htmlFor: id }, "z", element("sub", {}, String(index + 1)));
  if (variance) label.title = `variance of its posterior mean over the test images: ${variance.toFixed(2)}`;
  input.addEventListener("input", () => {
    morph.stop();
    point.z[index] = input.valueAsNumber;
    point.show(point.z);
  });
  point.views.push(() => {
    fill(input, point.z[index]);
    value.textContent = number(point.z[index]);
  });
  return element("div", { className: "slider" }, label, input, value);
}
