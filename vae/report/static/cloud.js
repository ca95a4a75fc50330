"use strict";
// What lies on the map under its marks: a grid, the prior, a dot for each test image, the classes' names.

const NAME = 18; // letters of a class's name on a map
const MANY_NAMES = 20; // more classes than that are not named on it

class Cloud {
  #view = null;
  #side = 0;
  #colors = null;

  constructor(model, places) {
    Object.assign(this, { model, places });
    this.order = shuffled(places.labels.length); // so that no class lies on top of the others
    this.draws = model.prior === "standard" ? [] : rows(unpack(model.draws), model.latents).map((z) => places.project(z));
    this.findNames();
  }

  /**
   * @param pen of a canvas whose pixels are read.
   * @param view what part of the plane to draw.
   * @param side the canvas's side in pixels.
   * @param colors gives a custom property of the style.
   */
  draw(pen, view, side, colors) {
    [this.#view, this.#side, this.#colors] = [view, side, colors];
    pen.fillStyle = colors("--card");
    pen.fillRect(0, 0, side, side);
    this.#drawGrid(pen);
    this.#drawPrior(pen);
    this.#drawDots(pen);
    this.#labelGrid(pen);
    this.#nameCircles(pen);
    this.#nameClasses(pen);
  }

  #at(place) {
    return this.#view.share(place).map((share) => share * this.#side);
  }

  #drawGrid(pen) {
    const side = this.#side;
    pen.lineWidth = 1;
    for (const { value, at, isUpright } of this.#gridLines()) {
      pen.strokeStyle = this.#colors(value ? "--line" : "--faint");
      pen.globalAlpha = value ? 1 : 0.5;
      pen.beginPath();
      pen.moveTo(isUpright ? at : 0, isUpright ? 0 : at);
      pen.lineTo(isUpright ? at : side, isUpright ? side : at);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  #labelGrid(pen) {
    const write = this.#writer(pen, 11, "--soft"), side = this.#side;
    for (const { label, at, isUpright } of this.#gridLines()) {
      if (isUpright && at > 24 && at < side - 30) write(label, at + 3, side - 5);
      if (!isUpright && at > 30 && at < side - 24) write(label, 4, at - 3);
    }
    const [across, up] = this.model.map.titles;
    write(`↑ ${up}`, 8, 18);
    pen.textAlign = "end";
    write(`${across} →`, side - 8, side - 21);
    pen.textAlign = "start";
  }

  #gridLines() {
    return gridLines(this.#view, this.#side, Math.max(4, Math.min(9, this.#side / 75)));
  }

  /** A function that writes text of this height, with a halo to stand out from the dots. */
  #writer(pen, height, color) {
    pen.font = `${height}px ${this.#colors("--sans")}`;
    [pen.lineJoin, pen.lineWidth, pen.strokeStyle, pen.fillStyle] = ["round", 3, this.#colors("--card"), this.#colors(color)];
    return (text, x, y) => {
      pen.strokeText(text, x, y);
      pen.fillText(text, x, y);
    };
  }

  /** A standard normal's circles of 1, 2 and 3 sigma, its shadow on any plane; or draws from a prior that was learned. */
  #drawPrior(pen) {
    const scale = this.#side / this.#view.side;
    pen.strokeStyle = pen.fillStyle = this.#colors("--faint");
    pen.lineWidth = 1;
    if (this.draws.length) {
      for (const place of this.draws) {
        const [x, y] = this.#at(place);
        pen.strokeRect(x - 2.5, y - 2.5, 5, 5);
      }
      return;
    }
    const [x, y] = this.#at(this.places.project(new Float32Array(this.model.latents)));
    pen.setLineDash([2, 4]);
    for (const sigma of [1, 2, 3]) {
      pen.beginPath();
      pen.arc(x, y, sigma * scale, 0, 7);
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  #nameCircles(pen) {
    if (this.draws.length) return;
    const [x, y] = this.#at(this.places.project(new Float32Array(this.model.latents)));
    const write = this.#writer(pen, 11, "--soft");
    for (const sigma of [1, 2, 3]) {
      const reach = ((sigma * this.#side) / this.#view.side) * Math.SQRT1_2;
      write(`${sigma}σ`, x + reach + 2, y - reach - 2);
    }
  }

  #drawDots(pen) {
    const { labels, a, b, count } = this.places, { left, bottom, side, home } = this.#view, { width } = pen.canvas;
    const ratio = width / this.#side, scale = width / side;
    const closer = Math.max(0.8, Math.min(2.2, Math.sqrt(home.side / side)));
    const radius = Math.max(1.5, Math.min(3.5, 120 / Math.sqrt(labels.length))) * Math.max(0.75, this.#side / 620) * closer;
    const colors = dotColors(this.model.classes, this.#colors).map((color) => rgb(pen, color));
    const picture = pen.getImageData(0, 0, width, width), stamp = makeStamp(picture, radius * ratio);
    for (const n of this.order) {
      if (n >= count) continue;
      const alpha = this.places.has(n) ? 0.7 : 0.07;
      stamp((a[n] - left) * scale, width - (b[n] - bottom) * scale, colors[labels[n] % 10], alpha);
    }
    pen.putImageData(picture, 0, 0);
  }

  #nameClasses(pen) {
    const names = this.model.classes.flatMap((name, label) => {
      if (!this.middles[label] || (this.places.only >= 0 && label !== this.places.only)) return [];
      const shares = this.#view.share(this.middles[label]);
      const [x, y] = shares.map((share) => share * this.#side);
      return shares.every((share) => share > 0 && share < 1) ? [{ name, x, y }] : [];
    });
    writeNames(pen, names, this.#side, Math.max(13, this.#side / 38), this.#colors);
  }

  /** Find where each class's name goes: again when the places have changed. */
  findNames() {
    const { a, b, labels, count } = this.places;
    this.middles = middlesOf(this.model.classes, labels.subarray(0, count), (n) => [a[n], b[n]]);
  }
}

/** The round numbers on both axes of a square of the plane, and where their lines are in `size` pixels. */
function gridLines({ left, bottom, side }, size, most) {
  return [[left, true], [bottom, false]].flatMap(([low, isUpright]) => {
    const { values, digits } = ticks(low, low + side, most);
    return values.map((value) => {
      const at = ((value - low) / side) * size;
      return { value, label: number(value, digits), isUpright, at: isUpright ? at : size - at };
    });
  });
}

/** The colours of the labels modulo 10: one for all dots where there are no classes. */
const dotColors = (classes, colors) => Array.from({ length: 10 }, (_, i) => colors(classes.length ? `--class-${i}` : "--accent"));

/** The median place of each class's images, `placeOf(n)` each; null where there are none. None at all if classes are many. */
function middlesOf(classes, labels, placeOf) {
  if (!classes.length || classes.length > MANY_NAMES) return []; // labels are all 0 where there are no classes
  const members = classes.map(() => []);
  labels.forEach((label, n) => members[label].push(placeOf(n)));
  return members.map((own) => (own.length ? [0, 1].map((axis) => Float32Array.from(own, (place) => place[axis]).sort()[own.length >> 1]) : null));
}

/** Write classes' names, {name, x, y} each, with a halo to stand out from the dots, and off one another. */
function writeNames(pen, places, side, height, colors) {
  pen.font = `650 ${height}px ${colors("--sans")}`;
  [pen.textAlign, pen.textBaseline, pen.lineJoin, pen.lineWidth] = ["center", "middle", "round", 4.5];
  [pen.strokeStyle, pen.fillStyle] = [colors("--card"), colors("--ink")];
  const names = places.map(({ name: whole, x, y }) => {
    const name = whole.length > NAME ? `${whole.slice(0, NAME - 1).trimEnd()}…` : whole;
    return { name, x, y, width: pen.measureText(name).width + 5, height: height + 3 };
  });
  apart(names, side);
  for (const { name, x, y } of names) {
    pen.strokeText(name, x, y);
    pen.fillText(name, x, y);
  }
  [pen.textAlign, pen.textBaseline] = ["start", "alphabetic"];
}

/** Red, green and blue of a colour of the style. */
function rgb(pen, color) {
  pen.fillStyle = color; // which reads back as #rrggbb
  return [1, 3, 5].map((start) => parseInt(pen.fillStyle.slice(start, start + 2), 16));
}

/**
 * A function that blends a disc into opaque pixels, at quarters of a pixel: thousands take a few milliseconds, of which
 * a canvas's own `arc` or `drawImage` takes ten times as many.
 */
function makeStamp({ data, width, height }, radius) {
  const reach = Math.ceil(radius) + 1, size = 2 * reach + 1;
  const covers = Array.from({ length: 16 }, (_, phase) => Float32Array.from({ length: size * size }, (__, i) => {
    const [x, y] = [(i % size) - reach + 0.5 - (phase % 4) / 4 - 0.125, Math.floor(i / size) - reach + 0.5 - Math.floor(phase / 4) / 4 - 0.125];
    return Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(x, y)));
  }));
  return (x, y, [red, green, blue], alpha) => {
    const column = Math.floor(x), row = Math.floor(y);
    if (!(column >= -reach && row >= -reach && column < width + reach && row < height + reach)) return;
    const cover = covers[Math.floor(4 * (x - column)) + 4 * Math.floor(4 * (y - row))];
    const [first, last] = [Math.max(0, reach - column), Math.min(size, width + reach - column)];
    for (let i = Math.max(0, reach - row); i < Math.min(size, height + reach - row); i++) {
      for (let j = first, at = 4 * ((row + i - reach) * width + column + first - reach); j < last; j++, at += 4) {
        const part = alpha * cover[i * size + j];
        if (!part) continue;
        data[at] += part * (red - data[at]);
        data[at + 1] += part * (green - data[at + 1]);
        data[at + 2] += part * (blue - data[at + 2]);
      }
    }
  };
}

/** Push overlapping boxes apart along the shorter way, and all of them into a square of this side. */
function apart(boxes, side) {
  for (let round = 0; round < 60; round++) {
    boxes.forEach((a, i) => {
      for (const b of boxes.slice(i + 1)) {
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const across = (a.width + b.width) / 2 - Math.abs(dx), down = (a.height + b.height) / 2 - Math.abs(dy);
        if (across <= 0 || down <= 0) continue;
        const [axis, push] = across < down ? ["x", (Math.sign(dx) || 1) * across / 2] : ["y", (Math.sign(dy) || 1) * down / 2];
        a[axis] -= push;
        b[axis] += push;
      }
    });
    for (const box of boxes) {
      box.x = Math.max(box.width / 2, Math.min(side - box.width / 2, box.x));
      box.y = Math.max(box.height / 2, Math.min(side - box.height / 2, box.y));
    }
  }
}

/** 0 … count - 1, shuffled in the same way each time. */
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** The rows of a matrix of this width. */
function rows(values, width) {
  return Array.from({ length: values.length / width }, (_, n) => values.subarray(n * width, (n + 1) * width));
}
