"use strict";
// Nets in plain JavaScript: the steps that vae/report/nets.py lists, on float32 arrays.

const KINDS = { float32: Float32Array, int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array };

/** A typed array from base64 of little-endian numbers, the byte order of every machine with a browser. */
function unpack(blob) {
  const text = atob(blob.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new KINDS[blob.dtype](bytes.buffer);
}

/** A function that returns the next n of the values at each call. */
function reader(values) {
  let used = 0;
  return (count) => values.subarray(used, (used += count));
}

/** erf to 1.5e-7: Abramowitz & Stegun 7.1.26. */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function logSumExp(terms) {
  const most = Math.max(...terms);
  return most + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - most), 0));
}

/** E[x] of a continuous Bernoulli with these logits, as in vae/model/losses.py. */
function continuousBernoulliMean(x) {
  if (Math.abs(x) < 0.1) return 0.5 + x / 12 - x ** 3 / 720;
  return 1 / (1 - Math.exp(-Math.max(-80, Math.min(80, x)))) - 1 / x;
}

/** The places of each patch's pixels in an image, in the order of vae/model/patches.py. */
function* patchPixels([channels, height, width], size) {
  for (let top = 0; top < height; top += size) {
    for (let left = 0; left < width; left += size) {
      yield Array.from({ length: channels * size * size }, (_, m) => {
        const row = top + Math.floor((m % size ** 2) / size), channel = Math.floor(m / size ** 2);
        return (channel * height + row) * width + left + (m % size);
      });
    }
  }
}

/** What a decoder says of each patch, as in vae/model/likelihoods.py: its pixels; where the logits of each component start. */
function* patches(h, shape, { components, patch }) {
  let at = 0;
  for (const index of patchPixels(shape, patch)) {
    const starts = Array.from({ length: components }, (_, k) => at + k * (index.length + 1));
    const weights = starts.map((start) => h[start + index.length]), total = logSumExp(weights);
    yield { index, starts, logWeights: weights.map((weight) => weight - total) };
    at += components * (index.length + 1);
  }
}

/** E[x|z] of mixtures of Bernoullis. */
function mixtureMean(h, shape, mixture) {
  const x = new Float32Array(shape[0] * shape[1] * shape[2]);
  for (const { index, starts, logWeights } of patches(h, shape, mixture)) {
    starts.forEach((start, k) => {
      const weight = Math.exp(logWeights[k]);
      index.forEach((pixel, m) => { x[pixel] += weight * sigmoid(h[start + m]); });
    });
  }
  return x;
}

function linear({ in: fanIn, out: fanOut }, { matrices, vectors }) {
  const rows = matrices(fanIn * fanOut); // 16 bits, to be multiplied by their row's scale
  const scale = vectors(fanOut);
  const bias = vectors(fanOut);
  const weight = Float32Array.from(rows, (value, i) => value * scale[Math.floor(i / fanIn)]);
  return (h) => {
    const result = new Float32Array(fanOut);
    for (let o = 0, at = 0; o < fanOut; o++) {
      let a = bias[o], b = 0, c = 0, d = 0, i = 0;
      for (; i + 3 < fanIn; i += 4, at += 4) { // four sums at once: a core adds them side by side
        a += weight[at] * h[i];
        b += weight[at + 1] * h[i + 1];
        c += weight[at + 2] * h[i + 2];
        d += weight[at + 3] * h[i + 3];
      }
      for (; i < fanIn; i++, at++) a += weight[at] * h[i];
      result[o] = a + b + c + d;
    }
    return result;
  };
}

function norm({ width, eps }, { vectors }) {
  const weight = vectors(width);
  const bias = vectors(width);
  return (h) => {
    let mean = 0, variance = 0;
    for (const value of h) mean += value / width;
    for (const value of h) variance += (value - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + eps);
    return h.map((value, i) => (value - mean) * scale * weight[i] + bias[i]);
  };
}

function residual({ body }, weights) {
  const inner = chain(body, weights);
  return (h) => {
    const change = inner(h);
    return h.map((value, i) => value + change[i]);
  };
}

/** The same steps for each of so many rows. */
function each({ count, body }, weights) {
  const run = chain(body, weights);
  return (h) => {
    const fanIn = h.length / count;
    const rows = Array.from({ length: count }, (_, n) => run(h.subarray(n * fanIn, (n + 1) * fanIn)));
    const result = new Float32Array(count * rows[0].length);
    rows.forEach((row, n) => result.set(row, n * row.length));
    return result;
  };
}

function transpose({ rows, columns }) {
  return (h) => h.map((_, i) => h[(i % rows) * columns + Math.floor(i / rows)]);
}

function add({ size }, { vectors }) {
  const terms = vectors(size);
  return (h) => h.map((value, i) => value + terms[i]);
}

/** Rows of a patch's pixels as an image. */
function toImages({ shape, size }) {
  const index = [...patchPixels(shape, size)].flat();
  return (h) => {
    const x = new Float32Array(h.length);
    index.forEach((pixel, i) => { x[pixel] = h[i]; });
    return x;
  };
}

function gate() {
  return (h) => h.slice(0, h.length / 2).map((value, i) => value * sigmoid(h[h.length / 2 + i]));
}

/** The standard normal's log density at z. */
const logNormal = (z) => z.reduce((sum, value) => sum - 0.5 * (value * value + Math.log(2 * Math.PI)), 0);

/** log p(z) of a mixture of Gaussians with diagonal covariances. */
function mixture({ components, latents }, { vectors }) {
  const mu = vectors(components * latents), logvar = vectors(components * latents);
  return (z) => {
    const densities = Array.from({ length: components }, (_, k) => {
      const own = (values) => values.subarray(k * latents, (k + 1) * latents);
      return logGaussian(z, own(mu), own(logvar));
    });
    return [logSumExp(densities) - Math.log(components)];
  };
}

/** log N(z; mu, exp(logvar)). */
function logGaussian(z, mu, logvar) {
  let sum = 0;
  for (let d = 0; d < z.length; d++) {
    sum -= 0.5 * ((z[d] - mu[d]) ** 2 * Math.exp(-logvar[d]) + logvar[d] + Math.log(2 * Math.PI));
  }
  return sum;
}

/** log p(z) of a RealNVP: the change of variables, as in vae/model/priors.py. */
function flow({ couplings }, weights) {
  const parts = couplings.map(({ body, ...coupling }) => ({ ...coupling, run: chain(body, weights) }));
  return (z) => {
    let h = z, logDet = 0;
    for (const { moves_first: movesFirst, cut, limit, run } of parts) {
      const dealt = [...h.filter((_, d) => d % 2 === 0), ...h.filter((_, d) => d % 2)];
      const halves = [dealt.slice(0, cut), dealt.slice(cut)];
      if (movesFirst) halves.reverse();
      const [kept, moving] = halves;
      const out = run(kept); // shifts, then logs of scales, of the moving half
      const moved = moving.map((value, d) => {
        const logScale = limit * Math.tanh(out[moving.length + d] / limit);
        logDet -= logScale;
        return (value - out[d]) * Math.exp(-logScale);
      });
      h = movesFirst ? [...moved, ...kept] : [...kept, ...moved];
    }
    return [logNormal(h) + logDet];
  };
}

const elementwise = (f) => () => (h) => h.map(f);

const STEPS = {
  linear,
  norm,
  residual,
  each,
  transpose,
  add,
  to_images: toImages,
  gate,
  relu: elementwise((x) => (x > 0 ? x : 0)),
  leaky_relu: ({ slope }) => (h) => h.map((x) => (x > 0 ? x : slope * x)),
  elu: ({ alpha }) => (h) => h.map((x) => (x > 0 ? x : alpha * Math.expm1(x))),
  silu: elementwise((x) => x * sigmoid(x)),
  gelu: elementwise((x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2))),
  tanh: elementwise(Math.tanh),
  normal: () => (z) => [logNormal(z)],
  mixture,
  flow,
};

/** One function from a list of steps, which take their weights in order. */
function chain(steps, weights) {
  const parts = steps.map((step) => STEPS[step.op](step, weights));
  return (h) => parts.reduce((value, part) => part(value), h);
}

/** A function from a net's input and, of a conditional model's, the class y, to its output. */
function makeNet({ steps, matrices, vectors }, inputs, classes = 0) {
  const run = chain(steps, { matrices: reader(unpack(matrices)), vectors: reader(unpack(vectors)) });
  const input = new Float32Array(inputs + classes);
  return (h, y) => {
    input.fill(0);
    input.set(h);
    if (classes) input[inputs + y] = 1;
    return run(input);
  };
}

/** A function from latents z and a class y to pixel means in [0, 1], C·H·W of them; its `logits` are those before. */
function makeDecoder(model) {
  if (model.bank) return fromBank(model);
  const logits = makeNet(model.program, model.latents, model.conditional ? model.classes.length : 0);
  const pixel = model.mean === "sigmoid" ? sigmoid : continuousBernoulliMean;
  const mean = model.mixture ? (h) => mixtureMean(h, model.shape, model.mixture) : (h) => h.map(pixel);
  return Object.assign((z, y) => mean(logits(z, y)), { logits });
}

/** A stand-in for the decoder: the nearest of the images that were decoded beforehand. */
function fromBank(model) {
  const { bank, latents, conditional } = model;
  const places = unpack(bank.z), labels = unpack(bank.y), images = unpack(bank.images);
  const pixels = model.shape[0] * model.shape[1] * model.shape[2];
  return (z, y) => {
    let nearest = 0, least = Infinity;
    for (let n = 0; n < labels.length; n++) {
      if (conditional && labels[n] !== y) continue;
      let distance = 0;
      for (let d = 0; d < latents; d++) distance += (places[n * latents + d] - z[d]) ** 2;
      if (distance < least) [nearest, least] = [n, distance];
    }
    return Float32Array.from(images.subarray(nearest * pixels, (nearest + 1) * pixels), (value) => value / 255);
  };
}
