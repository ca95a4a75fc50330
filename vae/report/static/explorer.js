"use strict";
// The latent explorer: what follows the point z, and every way to move it.

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

function addStarts(model, starts, pick) {
  const columns = model.classes.length && model.classes.length <= 12 ? new Set(starts.map((s) => s.label)).size : 0;
  const buttons = starts.map((start, i) => {
    const name = model.classes[start.label] ?? "unlabelled";
    const picture = element("canvas", {});
    paint(picture, start.pixels, starts.shape, 1);
    const button = element("button", { type: "button", className: "thumb", tabIndex: i ? -1 : 0, title: name }, picture);
    button.ariaLabel = `Start from test image ${i + 1}, class ${name}`;
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

function addMap(model, point, morph) {
  byId("plane").hidden = false;
  const map = makeMap(byId("map"), model, (z) => {
    morph.stop();
    point.show(z);
  });
  point.views.push(() => {
    map.draw(point.z, morph.ends.map((end) => end.z));
    const label = map.nearest(point.z);
    const near = label < 0 ? "" : `nearest test image: ${model.classes[label]}`;
    byId("where").textContent = `z = (${number(point.z[0])}, ${number(point.z[1])})`;
    byId("near").textContent = near;
    byId("digit").ariaLabel = `Decoded image at ${byId("where").textContent}; ${near}`;
  });
  if (model.classes.length <= 20) addLegend(model.classes, map);
  return map;
}

/** A button for each class, which shows only that class on the map while it is pressed. */
function addLegend(classes, map) {
  const chips = classes.map((name, label) => {
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

function describePoint({ latents }, point) {
  const length = Math.hypot(...point.z);
  byId("where").textContent = latents === 1 ? `z = ${number(point.z[0])}` : `|z| = ${number(length)}`;
  byId("near").textContent = latents > 1 ? `${latents} latents` : "";
  byId("digit").ariaLabel = `Decoded image; the latents have length ${number(length)}`;
}

function addClasses(classes, point, morph) {
  byId("classes").hidden = byId("halves").hidden = false;
  byId("classes").style.setProperty("--letters", Math.max(...classes.map((name) => Math.min(14, name.length))));
  const inputs = classes.map((name, label) => {
    const input = element("input", { type: "radio", name: "class", id: `class-${label}`, value: label });
    input.addEventListener("change", () => {
      morph.stop();
      point.show(point.z, label);
    });
    byId("classes").append(element("span", {}, input, element("label", { htmlFor: input.id }, name)));
    return input;
  });
  point.views.push(() => { inputs[point.y].checked = true; });
}

/** A function that goes to the next draw from the prior: the next one decoded beforehand where there is no decoder. */
function drawer(model, point, starts) {
  const limited = model.bank && !model.map; // which holds the images to start from first
  const draws = unpack(limited ? model.bank.z : model.draws);
  const labels = limited && model.conditional ? unpack(model.bank.y) : null;
  const count = draws.length / model.latents;
  let drawn = limited ? starts - 1 : -1;
  return () => {
    for (let tries = 0; tries < count; tries++) {
      drawn = (drawn + 1) % count;
      if (!labels || labels[drawn] === point.y) break;
    }
    point.show(draws.subarray(drawn * model.latents, (drawn + 1) * model.latents));
  };
}

/** Milliseconds that a decode takes in this browser, averaged over at least a dozen. */
function timeDecode(decode, point) {
  let count = 0;
  const began = performance.now();
  do decode(point.z, point.y);
  while (++count < 12 || performance.now() - began < 12);
  return (performance.now() - began) / count;
}

function startExplorer(model) {
  const decode = makeDecoder(model), starts = unpackStarts(model), point = new Point(model.latents);
  const morph = new Morph(point, starts, model);
  point.views.push(() => paint(byId("digit"), decode(point.z, point.y), model.shape, 255));
  const map = model.map && addMap(model, point, morph);
  if (!model.map) point.views.push(() => describePoint(model, point));
  if (!model.map && !model.bank) addSliders(model, point, morph);
  if (!model.map && model.bank) document.querySelector(".explorer").classList.add("still");
  if (model.conditional) addClasses(model.classes, point, morph);
  addStarts(model, starts, (start) => morph.pick(start));
  const random = drawer(model, point, starts.length);
  byId("random").addEventListener("click", () => {
    morph.stop();
    random();
  });
  byId("origin").addEventListener("click", () => {
    morph.stop();
    point.show(new Float32Array(model.latents));
  });
  if (!model.bank) {
    timeDecode(decode, point); // once untimed, so that the browser compiles the loop
    const milliseconds = timeDecode(decode, point);
    byId("timing").textContent = `decoded here in ${milliseconds.toPrecision(2)} ms`;
    byId("timing").dataset.milliseconds = milliseconds;
  }
  const drawing = model.drawing.encoder && addDrawing(model, decode, point, morph, map);
  window.vae = { decode, point, drawing, show: (z, y) => point.show(z, y) }; // for the console: vae.show([0, 1])
}

if (data.explorer) startExplorer(data.explorer);
