"use strict";
// A slider for each active latent, with its KL and what its two ends decode to.

const FIRST_SLIDERS = 12;

/** Sliders from -reach to reach, so that all zeros lie above one another. */
function addSliders(model, point, morph, decode) {
  const every = Array.from({ length: model.latents }, (_, index) => ({ index, kl: 0 }));
  const units = model.units.length ? model.units : every; // a collapsed model has no active unit
  const most = Math.max(...units.map(({ kl }) => kl));
  byId("sliders").hidden = false;
  const all = units.map((unit, i) => {
    const row = slider(unit, most, model, point, morph);
    row.element.hidden = i >= FIRST_SLIDERS;
    return row;
  });
  byId("rows").append(...all.map((row) => row.element));
  showEnds(all, model, point, decode);
  const more = byId("more");
  more.hidden = all.length <= FIRST_SLIDERS;
  more.textContent = `Show all ${all.length}`;
  more.addEventListener("click", () => {
    for (const row of all) row.element.hidden = false;
    more.hidden = true;
    point.rest();
    all[FIRST_SLIDERS].input.focus();
  });
}

function slider({ index, kl }, most, { reach }, point, morph) {
  const name = `z${index + 1}`, nats = `${number(kl)} nats`;
  const input = element("input", { type: "range", id: name, min: -reach.toFixed(2), max: reach.toFixed(2), step: 0.01 });
  const value = element("output", { htmlFor: name });
  const label = element("label", { htmlFor: name, title: `KL from N(0, 1), a mean over the test images: ${nats}` });
  const bar = element("i", { className: "bar" });
  bar.style.setProperty("--share", most > 0 ? kl / most : 0);
  label.append(element("span", {}, "z", element("sub", {}, String(index + 1))), element("small", {}, number(kl), element("span", { className: "unit" }, " nats")), bar);
  const reset = element("button", { type: "button", className: "reset", title: `Set ${name} to 0` }, "↺");
  reset.ariaLabel = `Set ${name} to 0`;
  const ends = [-1, 1].map(() => element("canvas", { className: "end", ariaHidden: "true" }));
  const move = (to) => {
    morph.stop();
    point.z[index] = to;
    point.show(point.z);
  };
  input.addEventListener("input", () => move(input.valueAsNumber));
  reset.addEventListener("click", () => move(0));
  point.views.push(() => {
    fill(input, point.z[index]);
    value.textContent = number(point.z[index]);
  });
  const row = element("div", { className: "slider" }, label, ends[0], element("span", { className: "track" }, input), ends[1], value, reset);
  return { element: row, input, ends, index, reach: Number(input.max) };
}

/** Decode each visible row's two ends, the other latents as they are: once the point rests, a row at a time. */
function showEnds(all, model, point, decode) {
  let due = 0;
  point.views.push(() => clearTimeout(due));
  point.whenAtRest.push(() => {
    const waiting = all.filter((row) => !row.element.hidden);
    const next = () => {
      const row = waiting.shift();
      if (!row) return;
      row.ends.forEach((canvas, i) => {
        const z = Float32Array.from(point.z);
        z[row.index] = i ? row.reach : -row.reach;
        paint(canvas, decode(z, point.y), model.shape, 255);
      });
      due = setTimeout(next);
    };
    clearTimeout(due);
    next();
  });
}
