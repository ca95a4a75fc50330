"use strict";
// The encoder and minus the ELBO of an image, as in vae/evaluation/elbo.py and vae/model/losses.py.

/** -log p(x) of a pixel x given its logit, nats. */
const bernoulli = (logit, x) => Math.max(logit, 0) - logit * x + Math.log1p(Math.exp(-Math.abs(logit)));

/** The log normaliser of a continuous Bernoulli, whose formula is 0 / 0 at a logit of 0. */
function logNormalizer(logit) {
  const size = Math.abs(logit), square = logit * logit;
  if (size < 0.1) return Math.LN2 + square / 12 - (7 * square * square) / 1440;
  return Math.log(size / Math.tanh(size / 2));
}

/** -log p(x|z) of mixtures of Bernoullis, nats. */
function mixtureRecon(h, x, shape, mixture) {
  let recon = 0;
  for (const { index, starts, logWeights } of patches(h, shape, mixture)) {
    const component = (start) => index.reduce((sum, pixel, m) => sum + bernoulli(h[start + m], x[pixel]), 0);
    recon -= logSumExp(starts.map((start, k) => logWeights[k] - component(start)));
  }
  return recon;
}

const RECON = {
  bce: bernoulli,
  mse: (logit, x) => (sigmoid(logit) - x) ** 2,
  continuous_bernoulli: (logit, x) => bernoulli(logit, x) - logNormalizer(logit),
};

/** KL(N(mu, exp(logvar)) || N(0, I)), nats. */
const gaussianKl = ({ mu, logvar }) =>
  mu.reduce((sum, value, d) => sum + 0.5 * (value * value + Math.exp(logvar[d]) - 1 - logvar[d]), 0);

/**
 * The functions that say what the model makes of an image x, floats in [0, 1], given the class y.
 *
 * @returns encode(x, y): {mu, logvar} of q(z|x); score(x, y, posterior): {recon, kl} in nats, means over the draws of z
 *     whose noise is in the page.
 */
function makeInference({ drawing, shape, latents, conditional, classes, mixture }, logits) {
  const encoder = makeNet(drawing.encoder, shape[1] * shape[2], conditional ? classes.length : 0);
  const logPrior = makeNet(drawing.prior, latents);
  const isNormal = drawing.prior.steps[0].op === "normal"; // its KL needs no draws
  const noise = unpack(drawing.noise), draws = noise.length / latents;
  const pixel = RECON[drawing.likelihood];
  const recon = mixture
    ? (h, x) => mixtureRecon(h, x, shape, mixture)
    : (h, x) => h.reduce((sum, logit, i) => sum + pixel(logit, x[i]), 0);

  function encode(x, y) {
    const out = encoder(x, y);
    return { mu: out.slice(0, latents), logvar: out.slice(latents) };
  }

  function score(x, y, { mu, logvar }) {
    const terms = { recon: 0, kl: isNormal ? gaussianKl({ mu, logvar }) : 0 };
    for (let s = 0; s < draws; s++) {
      const z = mu.map((value, d) => value + Math.exp(0.5 * logvar[d]) * noise[s * latents + d]);
      terms.recon += recon(logits(z, y), x) / draws;
      if (!isNormal) terms.kl += (logGaussian(z, mu, logvar) - logPrior(z)[0]) / draws;
    }
    return terms;
  }

  return { encode, score };
}
