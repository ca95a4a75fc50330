"use strict";
// The map of the latent space: the test images' posterior means, coloured by class, and what is marked among them.

class LatentMap {
  #picture = document.createElement("canvas"); // of everything but the marks
  #isStale = true;
  #due = 0;
  #colors = null;
  #marks = { z: [], ends: [], nearby: -1 };
  #ellipse = null;

  /**
   * @param canvas where to draw.
   * @param model the explorer's part of the report's data.
   * @param places the test images.
   */
  constructor(canvas, model, places) {
    Object.assign(this, { canvas, model, places, isPinned: false, epoch: null });
    this.views = []; // called after a change of the places, or of which of them are looked at
    this.bringBack = () => { if (this.epoch !== null) this.setPlaces(null); };
    this.name = canvas.ariaLabel;
    this.view = new View(model.map, places);
    this.cloud = new Cloud(model, places);
    new ResizeObserver(() => this.redraw()).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** Mark a point z, the line between two ends, and a test image, or none with -1. */
  draw(z, ends, nearby) {
    this.#marks = { z, ends, nearby };
    if (!this.#size || !z.length) return;
    if (this.#isStale) this.#drawCloud();
    const pen = this.#context(this.canvas);
    pen.drawImage(this.#picture, 0, 0, this.#size, this.#size);
    this.#drawPath(pen, ends.map((end) => this.at(this.places.project(end))));
    if (nearby >= 0) this.#drawRing(pen, this.at([this.places.a[nearby], this.places.b[nearby]]), 5, 1.5, "--ink");
    this.#drawPoint(pen, this.at(this.places.project(z)));
    if (this.#ellipse) this.#drawEllipse(pen, this.#ellipse); // over the point's ring, which may be larger
    if (this.epoch !== null) this.#drawEpoch(pen);
  }

  /** Draw everything again with the next frame, after a change of the view, the places, the size or the colours. */
  redraw() {
    this.#isStale = true;
    this.refresh();
  }

  /** Draw the marks again with the next frame. */
  refresh() {
    this.#due ||= requestAnimationFrame(() => {
      this.#due = 0;
      this.draw(this.#marks.z, this.#marks.ends, this.#marks.nearby);
    });
  }

  /** Show one class, or all of them with -1. */
  only(label) {
    this.places.only = label;
    this.#changed();
  }

  /** Mark a Gaussian by its mean and its one-sigma ellipse: {mu, sigma}, D values each; `null` takes it away. */
  setEllipse(gaussian) {
    this.#ellipse = gaussian;
    this.refresh();
  }

  /**
   * Put the first test images where they were at an epoch, (a, b) on the map each; `null` puts all of them back.
   * Who does so may set `bringBack`, which is called before a place on the map is decoded: as the last epoch does.
   */
  setPlaces(places, epoch = null) {
    this.places.set(places);
    this.epoch = places ? epoch : null;
    this.canvas.ariaLabel = places ? `${this.name}, after epoch ${epoch}` : this.name;
    this.cloud.findNames();
    this.#changed();
  }

  #changed() {
    for (const view of this.views) view();
    this.redraw();
  }

  /** Where a place lies, in pixels of the canvas. */
  at(place) {
    return this.view.share(place).map((share) => share * this.#size);
  }

  /** Where the point is marked, in pixels of the canvas. */
  pointAt() {
    const [x, y] = this.at(this.places.project(this.#marks.z));
    return { x, y };
  }

  /** The point's place if it is visible, else that in the middle. */
  middle() {
    const place = this.places.project(this.#marks.z);
    return this.view.share(place).every((share) => share >= 0 && share <= 1) ? place : this.view.place([0.5, 0.5]);
  }

  /** Show the whole map. */
  reset() {
    this.view.reset();
    this.redraw();
  }

  /** The place under a pointer, at the edge if it is outside. */
  under({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const within = (value) => Math.max(0, Math.min(1, value / this.#size));
    return this.view.place([within(clientX - box.left - this.canvas.clientLeft), within(clientY - box.top - this.canvas.clientTop)]);
  }

  get #size() {
    return this.canvas.clientWidth;
  }

  #context(target) {
    const scale = window.devicePixelRatio, width = Math.round(this.#size * scale);
    if (target.width !== width) target.width = target.height = width;
    const pen = target.getContext("2d", { willReadFrequently: target === this.#picture });
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, this.#size, this.#size);
    return pen;
  }

  #drawCloud() {
    const style = getComputedStyle(this.canvas);
    this.#colors = (name) => style.getPropertyValue(name).trim();
    this.cloud.draw(this.#context(this.#picture), this.view, this.#size, this.#colors);
    this.#isStale = false;
  }

  #drawPath(pen, [from, to]) {
    for (const [width, color, dash] of [[4, "--paper", []], [1.5, "--ink", [5, 4]]]) {
      pen.lineWidth = width;
      pen.strokeStyle = this.#colors(color);
      pen.setLineDash(dash);
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  #drawEllipse(pen, { mu, sigma }) {
    const { halves, angle } = this.places.spread(Array.from(sigma)), scale = this.#size / this.view.side;
    const [x, y] = this.at(this.places.project(mu));
    for (const [width, color] of [[5, "--paper"], [2, "--accent"]]) {
      pen.lineWidth = width;
      pen.strokeStyle = this.#colors(color);
      pen.beginPath();
      pen.ellipse(x, y, Math.max(3, halves[0] * scale), Math.max(3, halves[1] * scale), -angle, 0, 7);
      pen.stroke();
    }
  }

  #drawEpoch(pen) {
    pen.font = `650 14px ${this.#colors("--sans")}`;
    [pen.textAlign, pen.lineJoin, pen.lineWidth] = ["center", "round", 4];
    [pen.strokeStyle, pen.fillStyle] = [this.#colors("--card"), this.#colors("--ink")];
    const words = `after epoch ${this.epoch}`;
    pen.strokeText(words, this.#size / 2, 20);
    pen.fillText(words, this.#size / 2, 20);
  }

  #drawRing(pen, [x, y], radius, width, color) {
    for (const [wide, hue] of [[width + 3, "--paper"], [width, color]]) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.lineWidth = wide;
      pen.strokeStyle = this.#colors(hue);
      pen.stroke();
    }
  }

  /** A ring with a dot; pinned, a disc with a dot. */
  #drawPoint(pen, place) {
    const disc = (radius, color) => {
      pen.beginPath();
      pen.arc(...place, radius, 0, 7);
      pen.fillStyle = this.#colors(color);
      pen.fill();
    };
    if (this.isPinned) disc(10, "--accent");
    this.#drawRing(pen, place, 10, 2, "--ink");
    disc(this.isPinned ? 3.5 : 2.5, this.isPinned ? "--paper" : "--ink");
  }
}
