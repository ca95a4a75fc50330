"use strict";
// The test image nearest to the point: its picture beside the decoded one, its class, and what a screen reader says.

/** A function that paints test image n of the map, once the sheet with all of them is decoded. */
function makePictures(canvas, { source, side, columns }) {
  const sheet = new Image();
  let last = -1;
  const paintFrom = (n) => {
    last = n;
    if (!sheet.complete || !sheet.naturalWidth) return;
    [canvas.width, canvas.height] = [side, side];
    canvas.getContext("2d").drawImage(sheet, (n % columns) * side, Math.floor(n / columns) * side, side, side, 0, 0, side, side);
  };
  sheet.addEventListener("load", () => { if (last >= 0) paintFrom(last); });
  sheet.src = source;
  return paintFrom;
}

/**
 * Show the test image nearest to the point, or the one under the pointer while the point is pinned.
 * @returns draw(): follow the point; browse(n): show image n, or again the nearest one with -1.
 */
function addNearby(model, point, map) {
  const picture = makePictures(byId("neighbour"), model.map.pictures);
  const where = () => `z = ${model.latents === 2 ? `(${number(point.z[0])}, ${number(point.z[1])})` : `… of length ${number(Math.hypot(...point.z))}`}`;
  const classOf = (n) => model.classes[map.places.labels[n]];
  let nearest = 0, browsed = -1;
  byId("nearby").hidden = false;

  function describe(n, kind) {
    picture(n);
    byId("near").textContent = classOf(n) === undefined ? kind : `${kind}: ${classOf(n)}`;
  }

  function draw() {
    nearest = map.places.nearest(point.z);
    byId("where").textContent = model.latents === 2 ? where() : `|z| = ${number(Math.hypot(...point.z))}`;
    if (browsed < 0) describe(nearest, "nearest test image");
  }

  function browse(n) {
    browsed = n;
    if (n < 0) describe(nearest, "nearest test image");
    else describe(n, "under the pointer");
  }

  point.whenAtRest.push(() => {
    const near = classOf(nearest) === undefined ? "" : `; nearest test image: ${classOf(nearest)}`;
    byId("digit").ariaLabel = `Decoded image at ${where()}${near}`;
    byId("say").textContent = `${map.isPinned ? "Pinned at " : ""}${where()}${near}`;
  });
  return { draw, browse };
}
