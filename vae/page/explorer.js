"use strict";
// The latent explorer: one point z, and every way to move it.

const FIRST_SLIDERS = 12;
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

/** A new element with these properties, and children or text within. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Paint pixels (C·H·W values; `scale` makes them 0 to 255) on a canvas, one each. */
function paint(canvas, pixels, [channels, height, width], scale) {
  [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height);
  const area = width * height;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = Math.round(pixels[i + (channels === 3 ? c * area : 0)] * scale);
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Set a slider; its track is coloured between 0 and there. */
function fill(slider, value) {
  slider.value = value;
  const share = (at) => (100 * (at - slider.min)) / (slider.max - slider.min);
  const [zero, there] = [share(0), share(slider.value)];
  slider.style.setProperty("--low", `${Math.min(zero, there)}%`);
  slider.style.setProperty("--high", `${Math.max(zero, there)}%`);
}

function startExplorer(model) {
  const decode = makeDecoder(model);
  const onGrid = Boolean(model.bank); // images decoded beforehand: nothing moves continuously but the map
  const state = { z: new Float32Array(model.latents), y: 0 };
  const views = [];
  let due = 0;

  const number = (value) => value.toFixed(2).replace("-", "−");
  const className = (label) => model.classes[label] ?? "unlabelled";

  /** Go to z, and to class y of a conditional model; the page follows with the next frame. */
  function show(z, y = state.y) {
    state.z.set(z);
    state.y = y;
    due ||= requestAnimationFrame(render);
  }

  function render() {
    due = 0;
    paint(byId("digit"), decode(state.z, state.y), model.shape, 255);
    for (const view of views) view();
  }

  // Morph: a straight line between the two test images picked last.
  const starts = unpackStarts(model);
  const ends = [starts[0], starts.find((start) => start.label !== starts[0].label) ?? starts.at(-1)];
  let playing = 0;

  function morphTo(t) {
    fill(byId("morph"), t);
    show(ends[0].z.map((value, d) => value + t * (ends[1].z[d] - value)));
  }

  function pick(start) {
    stop();
    ends.shift();
    ends.push(start);
    fill(byId("morph"), 1);
    drawEnds();
    show(start.z, model.conditional ? start.label : 0);
  }

  function drawEnds() {
    ["from", "to"].forEach((id, i) => {
      paint(byId(id).firstElementChild, ends[i].pixels, starts.shape, 1);
      byId(id).ariaLabel = `Go to the morph's ${i ? "end" : "start"}: test image of class ${className(ends[i].label)}`;
    });
  }

  function play() {
    if (playing) return stop();
    const began = performance.now();
    byId("play").ariaPressed = "true";
    byId("play").textContent = "Stop";
    const frame = (now) => {
      const passed = Math.max(0, now - began) / 2600;
      if (calm.matches && passed >= 1) { // once, in nine steps, where motion is to be reduced
        morphTo(1);
        return stop();
      }
      const there = passed % 2 < 1 ? passed % 1 : 1 - (passed % 1);
      morphTo(calm.matches ? Math.floor(there * 9) / 9 : (1 - Math.cos(Math.PI * there)) / 2);
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    byId("play").ariaPressed = "false";
    byId("play").textContent = "Play";
  }

  /** What every hand on the controls does first: a morph that plays would take the point away again. */
  const byHand = (action) => (...given) => {
    stop();
    action(...given);
  };

  // Random: draws from the prior, or those of them that were decoded beforehand.
  const draws = unpack(onGrid && !model.map ? model.bank.z : model.draws);
  const drawLabels = onGrid && !model.map ? unpack(model.bank.y) : null;
  let drawn = starts.length; // in the bank the images to start from come first

  function random() {
    const count = draws.length / model.latents;
    for (let tries = 0; tries < count; tries++) {
      drawn = (drawn + 1) % count;
      if (!drawLabels || !model.conditional || drawLabels[drawn] === state.y) break;
    }
    show(draws.subarray(drawn * model.latents, (drawn + 1) * model.latents));
  }

  function addStarts() {
    const columns = model.classes.length && model.classes.length <= 12 ? new Set(starts.map((s) => s.label)).size : 0;
    const buttons = starts.map((start, i) => {
      const picture = element("canvas", {});
      paint(picture, start.pixels, starts.shape, 1);
      const button = element("button", { type: "button", className: "thumb", tabIndex: i ? -1 : 0 }, picture);
      button.ariaLabel = `Start from test image ${i + 1}, class ${className(start.label)}`;
      button.title = className(start.label);
      button.addEventListener("click", () => pick(start));
      return button;
    });
    byId("starts").append(...buttons);
    if (columns) byId("starts").style.setProperty("--columns", columns);
    byId("starts").addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      const next = buttons[buttons.indexOf(event.target) + step];
      if (!step || !next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  function addMap() {
    byId("plane").hidden = false;
    const map = makeMap(byId("map"), model, byHand((z) => show(z)));
    views.push(() => {
      map.draw(state.z, ends.map((end) => end.z));
      const label = map.nearest(state.z);
      const near = label < 0 ? "" : `nearest test image: ${className(label)}`;
      byId("where").textContent = `z = (${number(state.z[0])}, ${number(state.z[1])})`;
      byId("near").textContent = near;
      byId("digit").ariaLabel = `Decoded image at ${byId("where").textContent}; ${near}`;
    });
    if (model.classes.length <= 20) addLegend(map);
  }

  function addLegend(map) {
    const chips = model.classes.map((name, label) => {
      const chip = element("button", { type: "button", className: "chip" }, element("i", {}), name);
      chip.style.setProperty("--color", `var(--class-${label % 10})`);
      chip.ariaPressed = "false";
      chip.addEventListener("click", () => {
        const on = chip.ariaPressed === "false";
        for (const other of chips) other.ariaPressed = "false";
        chip.ariaPressed = String(on);
        map.only(on ? label : -1);
      });
      return chip;
    });
    byId("legend").append(...chips);
  }

  function addSliders() {
    const units = model.units.length ? model.units : Array.from({ length: model.latents }, (_, index) => ({ index, low: -3, high: 3 }));
    byId("sliders").hidden = false;
    const rows = units.map((unit, i) => {
      const id = `z${unit.index + 1}`;
      const input = element("input", { type: "range", id, min: unit.low.toFixed(2), max: unit.high.toFixed(2), step: 0.01 });
      const value = element("output", {});
      input.addEventListener("input", byHand(() => {
        state.z[unit.index] = input.valueAsNumber;
        show(state.z);
      }));
      views.push(() => {
        fill(input, state.z[unit.index]);
        value.textContent = number(state.z[unit.index]);
      });
      const label = element("label", { htmlFor: id }, "z", element("sub", {}, String(unit.index + 1)));
      if (unit.variance) label.title = `variance of its posterior mean over the test images: ${unit.variance.toFixed(2)}`;
      return element("div", { className: "slider", hidden: i >= FIRST_SLIDERS }, label, input, value);
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

  function describePoint() {
    const length = Math.hypot(...state.z);
    byId("where").textContent = model.latents === 1 ? `z = ${number(state.z[0])}` : `|z| = ${number(length)}`;
    byId("near").textContent = model.latents > 1 ? `${model.latents} latents` : "";
    byId("digit").ariaLabel = `Decoded image; the latents have length ${number(length)}`;
  }

  function addClasses() {
    byId("classes").hidden = false;
    byId("classes").style.setProperty("--letters", Math.max(...model.classes.map((name) => Math.min(14, name.length))));
    const inputs = model.classes.map((name, label) => {
      const input = element("input", { type: "radio", name: "class", id: `class-${label}`, value: label });
      input.addEventListener("change", byHand(() => show(state.z, label)));
      byId("classes").append(element("span", {}, input, element("label", { htmlFor: input.id }, name)));
      return input;
    });
    views.push(() => { inputs[state.y].checked = true; });
  }

  /** Milliseconds that a decode takes here, over at least a dozen of them. */
  function timeDecode() {
    let count = 0;
    const began = performance.now();
    do decode(state.z, state.y);
    while (++count < 12 || performance.now() - began < 12);
    return (performance.now() - began) / count;
  }

  if (model.map) addMap();
  else views.push(describePoint);
  if (!model.map && !onGrid) addSliders();
  if (model.conditional) addClasses();
  if (onGrid && !model.map) document.querySelector(".explorer").classList.add("still");
  addStarts();
  drawEnds();
  byId("morph").addEventListener("input", byHand(() => morphTo(byId("morph").valueAsNumber)));
  byId("from").addEventListener("click", byHand(() => morphTo(0)));
  byId("to").addEventListener("click", byHand(() => morphTo(1)));
  byId("play").addEventListener("click", play);
  byId("random").addEventListener("click", byHand(random));
  byId("origin").addEventListener("click", byHand(() => show(new Float32Array(model.latents))));
  fill(byId("morph"), 0);
  show(ends[0].z, model.conditional ? ends[0].label : 0);
  if (!onGrid) {
    timeDecode(); // until the page's compiler has seen the loop
    const milliseconds = timeDecode();
    byId("timing").textContent = `decoded here in ${milliseconds.toPrecision(2)} ms`;
    byId("timing").dataset.milliseconds = milliseconds;
  }
  window.vae = { decode, show, state }; // for the console: vae.show([0, 1])
}

/** The test images to start from: {pixels, z, label} each, and the thumbnails' shape. */
function unpackStarts({ starts, latents }) {
  const images = unpack(starts.images), z = unpack(starts.z);
  const [count, ...shape] = starts.images.shape;
  const pixels = images.length / count;
  const list = starts.labels.map((label, n) => ({
    pixels: images.subarray(n * pixels, (n + 1) * pixels),
    z: z.subarray(n * latents, (n + 1) * latents),
    label,
  }));
  return Object.assign(list, { shape });
}

if (data.explorer) startExplorer(data.explorer);
