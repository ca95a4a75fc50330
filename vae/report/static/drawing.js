"use strict";
// A canvas to draw on: each drawing is encoded, decoded and scored as it comes about.

const PAUSE = 120; // milliseconds without a change before a drawing is scored
const MANY_CLASSES = 20; // more than that are not tried one by one

/**
 * Let mouse, touch and pen draw, and show what the model makes of it.
 *
 * @param map the map to mark the posterior on; null if there is none.
 * @returns for the console and the tests: draw(strokes), clear(), and the last `result`.
 */
function addDrawing(model, decode, point, morph, map) {
  const { drawing, shape } = model, side = shape[1];
  drawing.levels &&= unpack(drawing.levels);
  const { encode, score } = makeInference(model, decode.logits);
  const examples = unpack(drawing.examples), pixels = side * side;
  const canvas = byId("paper");
  const self = { draw, clear, result: null };
  let strokes = [], under = null, last = -1, due = 0, rest = 0;

  function redraw() {
    canvas.width = canvas.height = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    const pen = canvas.getContext("2d");
    pen.fillStyle = drawing.light ? "#fff" : "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    if (!under && !strokes.length) invite(pen);
    if (under) {
      const picture = document.createElement("canvas");
      paint(picture, under, shape, 1);
      pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    }
    pen.scale(canvas.width / side, canvas.height / side);
    pen.strokeStyle = drawing.light ? "#000" : "#fff";
    drawStrokes(pen, strokes);
  }

  function invite(pen) {
    pen.fillStyle = drawing.light ? "#666" : "#999";
    pen.font = `${canvas.width / 15}px ${getComputedStyle(canvas).fontFamily}`;
    pen.textAlign = "center";
    pen.fillText("draw here", canvas.width / 2, canvas.height / 2);
  }

  /** After a change: draw, encode and decode with the next frame; score when the hand rests. */
  function changed() {
    due ||= requestAnimationFrame(() => {
      due = 0;
      redraw();
      infer();
    });
  }

  function infer() {
    clearTimeout(rest);
    const empty = !strokes.length && !under;
    for (const id of ["undo", "clear", "adopt"]) byId(id).disabled = empty;
    byId("undo").disabled = !strokes.length;
    if (empty) return forget();
    const began = performance.now();
    const image = imageOf(strokes, under, model);
    const x = Float32Array.from(image, (value) => value / 255), y = point.y;
    const posterior = encode(x, y), { mu } = posterior;
    const sigma = posterior.logvar.map((value) => Math.exp(0.5 * value));
    const mean = decode(mu, y);
    const milliseconds = performance.now() - began;
    paint(byId("seen"), image, shape, 1);
    paint(byId("rebuilt"), mean, shape, 255);
    self.result = { image, y, mu, sigma, mean, milliseconds };
    map?.setEllipse?.({ mu, sigma });
    point.show(mu);
    rest = setTimeout(() => tell(x, posterior), PAUSE);
    return undefined;
  }

  function forget() {
    self.result = null;
    for (const id of ["seen", "rebuilt"]) paint(byId(id), new Uint8Array(pixels).fill(drawing.light ? 255 : 0), shape, 1);
    for (const id of ["drawn", "unusual", "likeliest"]) byId(id).replaceChildren();
    map?.setEllipse?.(null);
  }

  function tell(x, posterior) {
    const { recon, kl } = score(x, self.result.y, posterior), share = 100 * shareBelow(drawing.quantiles, recon + kl);
    Object.assign(self.result, { recon, kl, share });
    const terms = ` nats = ${number(recon, 1)} reconstruction + ${number(kl, 1)} KL`;
    byId("drawn").replaceChildren(element("b", {}, `−ELBO ${number(recon + kl, 1)}`), terms);
    byId("unusual").textContent = standing(share);
    if (model.conditional && model.classes.length <= MANY_CLASSES) guess(x);
  }

  /** Say with which class minus the ELBO is lowest: Bayes' rule, if all classes are as frequent. */
  async function guess(x) {
    const own = self.result, losses = [];
    for (let y = 0; y < model.classes.length; y++) {
      const { recon, kl } = score(x, y, encode(x, y));
      losses.push(recon + kl);
      await new Promise((resolve) => { setTimeout(resolve); }); // the page stays responsive
      if (self.result !== own) return;
    }
    own.likeliest = losses.indexOf(Math.min(...losses));
    const [given, likeliest] = [own.y, own.likeliest].map((y) => `given class ${model.classes[y]}`);
    byId("likeliest").textContent = `${given}; lowest ${likeliest}: ${number(losses[own.likeliest], 1)}`;
  }

  function draw(more) {
    strokes.push(...more);
    changed();
  }

  function clear() {
    [strokes, under] = [[], null];
    changed();
  }

  /** Where a pointer is, in pixels of the image; a pen's pressure widens its stroke. */
  function at(event) {
    const box = canvas.getBoundingClientRect();
    const within = (value) => Math.max(0, Math.min(side, value * side));
    const force = event.pointerType === "pen" && event.pressure ? 0.5 + event.pressure : 1;
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(within);
    return { x, y, width: drawing.pen * force };
  }

  let stroke = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    morph.stop();
    stroke = [at(event)];
    draw([stroke]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    stroke.push(...(events.length ? events : [event]).map(at));
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { stroke = null; });

  byId("undo").addEventListener("click", () => {
    strokes.pop();
    changed();
  });
  byId("clear").addEventListener("click", clear);
  byId("stamp").addEventListener("click", () => {
    morph.stop();
    last = (last + 1) % drawing.labels.length;
    [strokes, under] = [[], examples.subarray(last * pixels, (last + 1) * pixels)];
    changed();
  });
  byId("adopt").addEventListener("click", () => {
    const { image, mu, y } = self.result;
    morph.pick({ pixels: image, shape, z: mu, label: y, name: "your drawing" });
  });
  byId("classes").addEventListener("change", changed);
  new ResizeObserver(redraw).observe(canvas);
  forget();
  return self;
}

/** Words for the percentage of test images whose minus ELBO is lower: whole, except close to 0 and 100. */
function standing(share) {
  if (share < 0.05) return `lower than that of ${share ? "almost " : ""}every test image`;
  if (share >= 99.95) return `higher than that of ${share < 100 ? "almost " : ""}every test image`;
  return `higher than that of ${number(share, share < 1 || share > 99 ? 1 : 0)} % of the test images`;
}

/** The share of values below this one, from their 101 quantiles. */
function shareBelow(quantiles, value) {
  const above = quantiles.findIndex((quantile) => quantile > value);
  if (above <= 0) return above ? 1 : 0;
  const [low, high] = [quantiles[above - 1], quantiles[above]];
  return (above - 1 + (value - low) / (high - low)) / (quantiles.length - 1);
}
