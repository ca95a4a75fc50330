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
    nearest = map.epoch === null ? map.places.nearest(point.z) : -1; // places of two epochs have no distance
    byId("where").textContent = model.latents === 2 ? where() : `|z| = ${number(Math.hypot(...point.z))}`;
    browse(browsed);
  }

  function browse(n) {
    browsed = n;
    byId("nearby").style.visibility = Math.max(n, nearest) < 0 ? "hidden" : "visible";
    if (n >= 0) describe(n, "under the pointer");
    else if (nearest >= 0) describe(nearest, "nearest test image");
    else byId("near").textContent = `the map shows epoch ${map.epoch}`;
  }

  map.views.push(draw);

  point.whenAtRest.push(() => {
    const near = map.epoch !== null ? `; the map shows epoch ${map.epoch}` : classOf(nearest) === undefined ? "" : `; nearest test image: ${classOf(nearest)}`;
    byId("digit").ariaLabel = `Decoded image at ${where()}${near}`;
    byId("say").textContent = `${map.isPinned ? "Pinned at " : ""}${where()}${near}`;
  });
  return { draw, browse };
}
