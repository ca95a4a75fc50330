"use strict";
// The point z that the explorer shows, and the morph that moves it between two test images.

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const REST = 250; // milliseconds without a move, after which the point is at rest
const LAP = 2600; // milliseconds from one end of a morph to the other

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

/** Set a slider, and colour its track between 0 and the value. */
function fill(slider, value) {
  slider.value = value;
  const share = (at) => (100 * (at - slider.min)) / (slider.max - slider.min);
  const [zero, there] = [share(0), share(slider.value)];
  slider.style.setProperty("--low", `${Math.min(zero, there)}%`);
  slider.style.setProperty("--high", `${Math.max(zero, there)}%`);
}

/** A place z in latent space, the class y that a conditional decoder is given, and the views that follow them. */
class Point {
  #due = 0;
  #rest = 0;

  constructor(latents) {
    this.z = new Float32Array(latents);
    this.y = 0;
    this.views = [];
    this.whenAtRest = []; // called once it has not moved for a while, for what takes long or would be too much at each frame
  }

  /** Go to z, and to class y; the views follow with the next frame. */
  show(z, y = this.y) {
    this.z.set(z);
    this.y = y;
    this.#due ||= requestAnimationFrame(() => {
      this.#due = 0;
      for (const view of this.views) view();
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => this.rest(), REST);
    });
  }

  rest() {
    clearTimeout(this.#rest);
    for (const settle of this.whenAtRest) settle();
  }
}

/**
 * The straight line between the two ends that were picked last; its class is that of the nearer one. An end is a test
 * image or any other place: {pixels, z, label}, and optionally a `name`, and a `shape` if it isn't that of the starts.
 */
class Morph {
  #playing = 0;

  constructor(point, starts, { conditional, classes }) {
    Object.assign(this, { point, starts, conditional, classes });
    this.ends = [starts[0], starts.find((start) => start.label !== starts[0].label) ?? starts.at(-1)];
    this.#drawEnds();
    fill(byId("morph"), 0);
    point.show(starts[0].z, this.#classOf(starts[0]));
    byId("morph").addEventListener("input", () => this.goTo(byId("morph").valueAsNumber));
    byId("from").addEventListener("click", () => this.goTo(0));
    byId("to").addEventListener("click", () => this.goTo(1));
    byId("play").addEventListener("click", () => (this.#playing ? this.stop() : this.#play()));
  }

  /** Stop playing and go to t, from 0 to 1. */
  goTo(t) {
    this.stop();
    this.#place(t);
  }

  /** Make this the end of the line and go there; the line now starts at what was its end. */
  pick(start) {
    this.stop();
    this.ends = [this.ends[1], start];
    this.#drawEnds();
    fill(byId("morph"), 1);
    this.point.show(start.z, this.#classOf(start));
  }

  stop() {
    cancelAnimationFrame(this.#playing);
    this.#playing = 0;
    byId("play").ariaPressed = "false";
    byId("play").textContent = "Play";
  }

  #place(t) {
    const [from, to] = this.ends;
    fill(byId("morph"), t);
    this.point.show(from.z.map((value, d) => value + t * (to.z[d] - value)), this.#classOf(t < 0.5 ? from : to));
  }

  #classOf(start) {
    return this.conditional ? start.label : 0;
  }

  #play() {
    const began = performance.now();
    byId("play").ariaPressed = "true";
    byId("play").textContent = "Stop";
    const frame = (now) => {
      const laps = Math.max(0, now - began) / LAP;
      if (calm.matches && laps >= 1) return this.goTo(1); // where less motion is preferred: once, in nine steps
      const there = laps % 2 < 1 ? laps % 1 : 1 - (laps % 1);
      this.#place(calm.matches ? Math.floor(there * 9) / 9 : (1 - Math.cos(Math.PI * there)) / 2);
      this.#playing = requestAnimationFrame(frame);
      return undefined;
    };
    this.#playing = requestAnimationFrame(frame);
  }

  #drawEnds() {
    ["from", "to"].forEach((id, i) => {
      const { pixels, shape = this.starts.shape, label, name } = this.ends[i];
      paint(byId(id).firstElementChild, pixels, shape, 1);
      byId(id).ariaLabel = `Go to the morph's ${i ? "end" : "start"}: ${name ?? `test image of class ${this.classes[label] ?? "unlabelled"}`}`;
    });
  }
}
