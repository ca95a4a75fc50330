"use strict";
// Strokes made into an image like the data set's, as vae/data/ink.py does it with ink on paper.
// A stroke is a list of points {x, y, width}, in pixels of the image.

const FINE = 10; // pixels of the drawing on each side of one of the image
const FAINT = 0.05 * 255; // the least that is ink: INK in vae/data/ink.py

/** Draw strokes in one colour; `scale` and `left`, `top` move their points, and leave their widths as they are. */
function drawStrokes(pen, strokes, { scale = 1, left = 0, top = 0 } = {}) {
  [pen.lineCap, pen.lineJoin] = ["round", "round"];
  const at = ({ x, y }) => [(x - left) * scale, (y - top) * scale];
  const dot = (point) => [at(point)[0] - 0.01, at(point)[1]]; // a line of no length is not drawn
  for (const stroke of strokes) {
    stroke.forEach((point, i) => {
      pen.lineWidth = point.width;
      pen.beginPath();
      pen.moveTo(...(i ? at(stroke[i - 1]) : dot(point)));
      pen.lineTo(...at(point));
      pen.stroke();
    });
  }
}

const fineCanvas = document.createElement("canvas");

/** Strokes as ink in fine pixels: {values, width, height}, 0 to 255, `side` pixels of the image on each side. */
function inkOf(strokes, side, shift) {
  fineCanvas.width = fineCanvas.height = Math.ceil(side * FINE);
  const pen = fineCanvas.getContext("2d", { willReadFrequently: true });
  pen.scale(FINE, FINE);
  drawStrokes(pen, strokes, shift);
  const { data: rgba, width, height } = pen.getImageData(0, 0, fineCanvas.width, fineCanvas.height);
  const values = new Uint8Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = rgba[4 * i + 3];
  return { values, width, height };
}

/** Strokes scaled so that their ink fills a box, their width unchanged: the drawing's size doesn't thicken them. */
function fittedInk(strokes, box, width) {
  const [xs, ys] = ["x", "y"].map((axis) => strokes.flat().map((point) => point[axis]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const extent = Math.max(Math.max(...xs) - left, Math.max(...ys) - top, width);
  const scale = (box - width) / extent, margin = width / scale;
  return cropped(inkOf(strokes, box + 2 * width, { scale, left: left - margin, top: top - margin }));
}

/** The part of the ink within its bounding box. */
function cropped({ values, width, height }) {
  let [left, right, top, bottom] = [width, 0, height, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (values[i] < FAINT) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
    }
  }
  const size = { width: right - left + 1, height: bottom - top + 1 };
  const part = new Uint8Array(size.width * size.height);
  for (let y = 0; y < size.height; y++) {
    const from = (top + y) * width + left;
    part.set(values.subarray(from, from + size.width), y * size.width);
  }
  return { values: part, ...size };
}

/** Rounded, a half to the even side, as Python does. */
function roundEven(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/** Scale lines of pixels, each `from` long and `step` apart, to a length of `to` by Lanczos's filter, as Pillow does. */
function resample({ values, width, height }, to) {
  const scale = width / to, stretch = Math.max(scale, 1), reach = 3 * stretch;
  const sinc = (x) => (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1);
  const result = new Uint8Array(height * to); // turned by 90°: two passes scale both sides
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(width, Math.trunc(centre + reach + 0.5)) - first;
    const weights = Float64Array.from({ length: count }, (_, j) => {
      const x = (first + j + 0.5 - centre) / stretch;
      return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
    });
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let row = 0; row < height; row++) {
      let sum = 0;
      for (let j = 0; j < count; j++) sum += weights[j] * values[row * width + first + j];
      result[i * height + row] = Math.max(0, Math.min(255, Math.round(sum / total)));
    }
  }
  return { values: result, width: height, height: to };
}

/** Ink scaled to fit a box and placed in the middle of an image, its mass or its box: `place` in vae/data/ink.py. */
function place(ink, { side, box, mass }) {
  const scale = box / Math.max(ink.width, ink.height);
  const [width, height] = [ink.width, ink.height].map((length) => Math.max(1, roundEven(length * scale)));
  const { values } = resample(resample(ink, width), height);
  let [total, x, y, most] = [0, 0, 0, 1];
  values.forEach((value, i) => {
    [total, most] = [total + value, Math.max(most, value)];
    [x, y] = [x + value * (i % width), y + value * Math.floor(i / width)];
  });
  const corner = (centre, length) => Math.max(0, Math.min(side - length, Math.ceil((side - 1) / 2 - centre)));
  const left = corner(mass ? x / total : (width - 1) / 2, width);
  const top = corner(mass ? y / total : (height - 1) / 2, height);
  const page = new Uint8Array(side * side);
  values.forEach((value, i) => {
    page[(top + Math.floor(i / width)) * side + left + (i % width)] = roundEven((value * 255) / most);
  });
  return page;
}

/**
 * The image of a drawing, bytes: strokes placed as the data set's images were, or left where they are on a test image.
 *
 * @param strokes the strokes; there may be none on a test image.
 * @param under a test image, bytes; null for an empty canvas.
 * @param model the explorer's part of the report's data.
 */
function imageOf(strokes, under, { drawing, shape }) {
  const side = shape[1], { box, mass, pen, light, levels } = drawing;
  let page;
  if (box && !under) page = place(fittedInk(strokes, box, pen), { side, box, mass });
  else page = resample(resample(inkOf(strokes, side), side), side).values;
  if (light) page = page.map((value) => 255 - value);
  if (under) page = page.map((value, i) => (light ? Math.min : Math.max)(value, under[i]));
  return levels ? page.map((value, i) => (value > levels[i] ? 255 : 0)) : page;
}
