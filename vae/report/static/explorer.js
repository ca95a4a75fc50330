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

/** The map, what follows the point on it, and the ways to move the point over it. Returns the map. */
function addMap(model, point, morph, decode) {
  byId("plane").hidden = false;
  const map = new LatentMap(byId("map"), model, new Places(model));
  const nearby = addNearby(model, point, map);
  const { places, view } = map;
  let ring = -1, pinned = null;

  const ends = () => morph.ends.map((end) => end.z);
  const mark = (n) => {
    ring = n;
    map.draw(point.z, ends(), ring);
    nearby.browse(n);
  };
  const goTo = (z, y) => {
    morph.stop();
    point.show(z, y);
  };
  const hold = (isPinned) => {
    map.isPinned = isPinned;
    pinned = Float32Array.from(point.z);
    byId("pin").ariaPressed = String(isPinned);
    mark(-1);
  };
  const pin = (z) => {
    const name = model.latents === 2 ? `z = (${number(z[0])}, ${number(z[1])})` : "a place picked on the map";
    const pixels = decode(z, point.y).map((value) => 255 * value);
    morph.pick({ pixels, shape: model.shape, z: Float32Array.from(z), label: point.y, name });
    hold(true);
    point.rest();
  };
  const toggle = () => (map.isPinned ? hold(false) : pin(point.z));
  const lift = (place) => {
    map.bringBack();
    return places.lift(place);
  };

  addGestures(map, {
    hover: (place) => (map.isPinned ? mark(places.nearestOnMap(place)) : goTo(lift(place))),
    leave: () => { if (ring >= 0) mark(-1); },
    slide: (place) => goTo(lift(place)),
    click(place) {
      if (map.isPinned) hold(false);
      else pin(lift(place));
    },
    tap(place, isAtPoint) {
      if (map.isPinned && isAtPoint) hold(false);
      else pin(lift(place));
    },
    walk(step) {
      map.bringBack();
      const z = places.walk(point.z, step);
      const place = places.snaps ? places.project(z) : view.within(z);
      goTo(places.snaps ? z : place);
      view.follow(place);
      map.redraw();
    },
    pin: toggle,
  });
  byId("pin").addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && map.isPinned && !document.querySelector("dialog[open], :popover-open")) hold(false);
  });
  point.views.push(() => {
    if (map.isPinned && point.z.some((value, d) => value !== pinned[d])) hold(false); // whatever has moved the point
    map.draw(point.z, ends(), ring);
    nearby.draw();
  });
  if (model.classes.length <= 20) addLegend(model.classes, map);
  const open = ({ z, y }) => {
    goTo(places.snaps ? z : view.clamp(z), y);
    view.follow(places.project(point.z));
    hold(true);
    map.redraw();
  };
  return Object.assign(map, { hold, open });
}

/** A button for each class, which shows only that class on the map while it is pressed. */
function addLegend(classes, map) {
  const chips = classes.flatMap((name, label) => {
    if (!map.places.labels.includes(label)) return [];
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
function drawer({ bank, latents, draws, conditional, classes }, point) {
  const values = unpack(draws);
  const count = bank?.draws || values.length / latents;
  let drawn = -1;
  return () => {
    for (let tries = 0; tries < count; tries++) {
      drawn = (drawn + 1) % count;
      if (!bank?.draws || !conditional || drawn % classes.length === point.y) break;
    }
    point.show(values.subarray(drawn * latents, (drawn + 1) * latents));
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

/** Connect everything; returns the map, null if there is none. */
function startExplorer(model) {
  const decode = makeDecoder(model), starts = unpackStarts(model), point = new Point(model.latents);
  const morph = new Morph(point, starts, model);
  point.views.push(() => paint(byId("digit"), decode(point.z, point.y), model.shape, 255));
  const map = model.map ? addMap(model, point, morph, decode) : null;
  if (!map) point.views.push(() => describePoint(model, point));
  if (model.latents !== 2 && !model.bank) addSliders(model, point, morph, decode);
  if (model.latents !== 2 && model.bank) document.querySelector(".explorer").classList.add(map ? "fixed" : "still");
  if (model.conditional) addClasses(model.classes, point, morph);
  addStarts(model, starts, (start) => morph.pick(start));
  const random = drawer(model, point);
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
  addLinks(model, point, map?.open ?? (({ z, y }) => {
    morph.stop();
    point.show(z, y);
  }));
  window.vae = { decode, point, morph, map, drawing, show: (z, y) => point.show(z, y) }; // for the console: vae.show([0, 1])
  return map;
}

const explorerMap = data.explorer ? startExplorer(data.explorer) : null;
