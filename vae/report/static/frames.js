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
    const members = kept.classes.map((_, label) => Array.from(this.labels.keys()).filter((n) => this.labels[n] === label));
    this.middles = this.places.map((places) =>
      members.map((own) => [0, 1].map((axis) => Float32Array.from(own, (n) => places[2 * n + axis]).sort()[own.length >> 1])));
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
    const place = (a, b) => ((a + (t % 1) * (b - a)) / 65535) * size;
    const colors = Array.from({ length: 10 }, (_, i) => this.colors(this.kept.classes.length ? `--class-${i}` : "--accent"));
    const radius = Math.max(1.1, size / 260);
    pen.globalAlpha = 0.75;
    for (let n = 0; n < this.labels.length; n++) {
      pen.fillStyle = colors[this.labels[n] % 10];
      pen.beginPath();
      pen.arc(place(from[2 * n], to[2 * n]), size - place(from[2 * n + 1], to[2 * n + 1]), radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (this.kept.classes.length <= 20) this.#nameClasses(pen, size, t, place);
  }

  #drawGrid(pen, size) {
    const { left, bottom, side } = this.kept;
    pen.font = `10px ${this.colors("--sans")}`;
    for (const [low, isAcross] of [[left, true], [bottom, false]]) {
      if (!this.kept.titles[isAcross ? 0 : 1]) continue;
      const { values, digits } = ticks(low, low + side, 5);
      for (const value of values) {
        const at = ((value - low) / side) * size;
        pen.fillStyle = this.colors(value ? "--line" : "--faint");
        if (isAcross) pen.fillRect(at, 0, value ? 1 : 0.5, size);
        else pen.fillRect(0, size - at, size, value ? 1 : 0.5);
        pen.fillStyle = this.colors("--faint");
        const label = value.toFixed(digits).replace("-", "−");
        if (isAcross && at > 24 && at < size - 20) pen.fillText(label, at + 3, size - 4);
        if (!isAcross && at > 24 && at < size - 30) pen.fillText(label, 4, size - at - 3);
      }
    }
    const [across, up] = this.kept.titles;
    pen.fillStyle = this.colors("--soft");
    pen.fillText(`${across} →`, size - pen.measureText(`${across} →`).width - 5, size - 17);
    if (up) pen.fillText(`↑ ${up}`, 5, 13);
  }

  #nameClasses(pen, size, t, place) {
    pen.font = `650 ${size < 240 ? 12 : 14}px ${this.colors("--sans")}`;
    [pen.textAlign, pen.textBaseline, pen.lineJoin, pen.lineWidth] = ["center", "middle", "round", 4];
    [pen.strokeStyle, pen.fillStyle] = [this.colors("--card"), this.colors("--ink")];
    const [from, to] = [this.middles[Math.floor(t)], this.middles[Math.ceil(t)]];
    const names = this.kept.classes.flatMap((whole, label) => {
      if (from[label][0] === undefined) return [];
      const name = whole.length > 12 ? `${whole.slice(0, 11).trimEnd()}…` : whole;
      const [x, y] = [0, 1].map((axis) => place(from[label][axis], to[label][axis]));
      return [{ name, x, y: size - y, width: pen.measureText(name).width + 4, height: 16 }];
    });
    apart(names, size);
    for (const { name, x, y } of names) {
      pen.strokeText(name, x, y);
      pen.fillText(name, x, y);
    }
  }
}

/** Connect slider, button, samples and map; `curves` are the training curves. */
async function startFrames(kept, curves) {
  const { epochs } = kept, last = epochs.length - 1, slider = byId("scrubber"), button = byId("roll");
  const map = new MeansMap(byId("means"), kept);
  const sheet = element("img", { src: kept.sheet });
  await sheet.decode();
  let at = -1, playing = 0;

  /** Show epoch t: between two epochs the map is on its way, and the rest still stands at the earlier one. */
  function show(t) {
    map.draw(t);
    const now = Math.floor(t);
    if (now === at) return;
    at = now;
    fill(slider, at);
    const words = `epoch ${epochs[at]}`, loss = `test −ELBO ${kept.losses[at].toFixed(2)}`;
    byId("frame").textContent = `${words}: ${loss}`;
    slider.ariaValueText = `${words} of ${epochs[last]}: ${loss}`;
    drawSamples();
    byId("samples").ariaLabel = `Samples after ${words}, ${kept.rows} rows of ${kept.columns}`;
    byId("means").ariaLabel = `Map of ${map.labels.length} test images by their posterior means after ${words}; ${loss}`;
    window.vae?.map?.setPlaces?.(at === last ? null : map.coordinates(at), epochs[at]);
  }

  function drawSamples() {
    const { width, height } = kept, canvas = byId("samples");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(sheet, 0, at * height, width, height, 0, 0, width, height);
  }

  function goTo(i) {
    stop();
    show(i);
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
      curves.goTo(epochs[at]);
      playing = requestAnimationFrame(frame);
      return undefined;
    };
    playing = requestAnimationFrame(frame);
  }

  button.addEventListener("click", () => (playing ? goTo(at) : play()));
  slider.addEventListener("input", () => goTo(slider.valueAsNumber));
  curves.views.push((epoch) => {
    stop();
    show(nearestIndex(epochs, epoch));
  });
  goTo(last);
}

if (data.frames) startFrames(data.frames, charts[0]);
