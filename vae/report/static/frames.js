"use strict";
// Scrubbing through training: curves, samples and a map of the test images move together from epoch to epoch.

const PACE = 350; // milliseconds that an epoch is shown while it plays

/** A map of the test images' posterior means, with a name at the middle of each class. */
class MeansMap {
  #at = 0;

  /** Draws on a canvas; `kept` is what vae/report/frames.py describes. */
  constructor(canvas, kept) {
    Object.assign(this, { canvas, kept, labels: unpack(kept.labels) });
    const values = unpack(kept.places), images = this.labels.length;
    this.places = kept.epochs.map((_, i) => values.subarray(2 * images * i, 2 * images * (i + 1)));
    this.middles = this.places.map((places) => middlesOf(kept.classes, this.labels, (n) => [places[2 * n], places[2 * n + 1]]));
    this.colors = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();
    new ResizeObserver(() => this.draw(this.#at)).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(this.#at));
  }

  /** The places of epoch i in latent space, or on its axes, one image after the other. */
  coordinates(i) {
    const { left, bottom, side } = this.kept;
    return Float32Array.from(this.places[i], (value, n) => (n % 2 ? bottom : left) + (value / 65535) * side);
  }

  /** Draw epoch t; between two epochs each image is on the straight line between its places. */
  draw(t) {
    this.#at = t;
    const size = this.canvas.clientWidth, scale = window.devicePixelRatio || 1;
    if (!size) return;
    this.canvas.width = this.canvas.height = Math.round(size * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    this.#drawGrid(pen, size);
    const [from, to] = [this.places[Math.floor(t)], this.places[Math.ceil(t)]];
    const between = (a, b) => ((a + (t % 1) * (b - a)) / 65535) * size;
    const colors = dotColors(this.kept.classes, this.colors);
    const radius = Math.max(1.1, size / 260);
    pen.globalAlpha = 0.75;
    for (let n = 0; n < this.labels.length; n++) {
      pen.fillStyle = colors[this.labels[n] % 10];
      pen.beginPath();
      pen.arc(between(from[2 * n], to[2 * n]), size - between(from[2 * n + 1], to[2 * n + 1]), radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    const [before, after] = [this.middles[Math.floor(t)], this.middles[Math.ceil(t)]];
    const names = this.kept.classes.flatMap((name, label) => {
      if (!before[label]) return [];
      const [x, y] = [0, 1].map((axis) => between(before[label][axis], after[label][axis]));
      return [{ name, x, y: size - y }];
    });
    writeNames(pen, names, size, size < 240 ? 12 : 14, this.colors);
  }

  #drawGrid(pen, size) {
    pen.font = `10px ${this.colors("--sans")}`;
    const [across, up] = this.kept.titles;
    for (const { value, label, at, isUpright } of gridLines(this.kept, size, 5)) {
      if (!isUpright && !up) continue;
      pen.fillStyle = this.colors(value ? "--line" : "--faint");
      if (isUpright) pen.fillRect(at, 0, value ? 1 : 0.5, size);
      else pen.fillRect(0, at, size, value ? 1 : 0.5);
      pen.fillStyle = this.colors("--faint");
      if (isUpright && at > 24 && at < size - 20) pen.fillText(label, at + 3, size - 4);
      if (!isUpright && at > 30 && at < size - 24) pen.fillText(label, 4, at - 3);
    }
    pen.fillStyle = this.colors("--soft");
    pen.fillText(`${across} →`, size - pen.measureText(`${across} →`).width - 5, size - 17);
    if (up) pen.fillText(`↑ ${up}`, 5, 13);
  }
}

/** Connect slider, button, samples and a small map with the training curves, and with the explorer's map; null if there is none. */
async function startFrames(kept, curves, large) {
  const { epochs } = kept, last = epochs.length - 1, slider = byId("scrubber"), button = byId("roll");
  const small = new MeansMap(byId("means"), kept);
  const sheet = element("img", { src: kept.sheet });
  await sheet.decode();
  let at = -1, playing = 0;

  /** Show epoch t: between two epochs the map is on its way, and the rest still stands at the earlier one. */
  function show(t) {
    small.draw(t);
    const now = Math.floor(t);
    if (now === at) return;
    at = now;
    fill(slider, at);
    const words = `epoch ${epochs[at]}`, loss = `test −ELBO ${number(kept.losses[at])}`;
    byId("frame").textContent = `${words}: ${loss}`;
    slider.ariaValueText = `${words} of ${epochs[last]}: ${loss}`;
    drawSamples();
    byId("samples").ariaLabel = `Samples after ${words}, ${kept.rows} rows of ${kept.columns}`;
    byId("means").ariaLabel = `Map of ${small.labels.length} test images by their posterior means after ${words}; ${loss}`;
  }

  /** Let the explorer's map follow, which takes no notice of what only passes. */
  function lead() {
    const epoch = at === last ? null : epochs[at];
    if (large && large.epoch !== epoch) large.setPlaces(at === last ? null : small.coordinates(at), epoch);
  }

  function drawSamples() {
    const { width, height } = kept, canvas = byId("samples");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(sheet, 0, at * height, width, height, 0, 0, width, height);
  }

  function goTo(i) {
    stop();
    show(i);
    lead();
    curves.goTo(epochs[i]);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    button.ariaPressed = "false";
    button.textContent = "Play";
  }

  /** Once through to the end, from the beginning if it is there already; in steps where less motion is preferred. */
  function play() {
    const first = at === last ? 0 : at, began = performance.now();
    button.ariaPressed = "true";
    button.textContent = "Stop";
    const frame = (now) => {
      const t = first + Math.max(0, now - began) / PACE;
      if (t >= last) return goTo(last);
      show(calm.matches ? Math.floor(t) : t);
      lead();
      curves.goTo(epochs[at]);
      playing = requestAnimationFrame(frame);
      return undefined;
    };
    playing = requestAnimationFrame(frame);
  }

  button.addEventListener("click", () => (playing ? goTo(at) : play()));
  slider.addEventListener("input", () => goTo(slider.valueAsNumber));
  curves.views.push((epoch, isPassing) => {
    if (isPassing && playing) return;
    stop();
    show(nearestIndex(epochs, epoch));
    if (!isPassing) lead();
  });
  if (large) large.bringBack = () => { if (large.epoch !== null) goTo(last); };
  goTo(last);
}

if (data.frames) startFrames(data.frames, charts[0], explorerMap);
