"""report.html: a run on one page, with its figures, pictures and configuration, and a decoder to play with."""

from __future__ import annotations

from typing import Any

from vae.report import sections

MAX_EPOCHS = 500  # in the curves and their table; of longer runs so many, evenly spaced
PANELS = {"elbo": "−ELBO = reconstruction + KL", "recon": "Reconstruction term", "kl": "KL(q(z|x) ‖ p(z))"}


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most MAX_EPOCHS of the rows, evenly spaced, the first and the last among them."""
    count = min(len(rows), MAX_EPOCHS)
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def playable(found: dict[str, Any]) -> bool:
    """Whether the page has something to explore."""
    return bool(found["program"] or found["bank"])


def lead(found: dict[str, Any]) -> str:
    """What the explorer does with this model, in a sentence or two."""
    latents, active = found["latents"], len(found["units"])
    if not playable(found):
        return f"There is none for this model: {found['reason']}, and its images are too large to bring along."
    if found["map"]:
        outside, total = found["map"]["outside"], found["map"]["total"]
        count = found["map"]["points"]["shape"][0] + outside
        shown = f"{count:,} test images" if count == total else f"{count:,} of {total:,} test images"
        shown += f" ({outside} lie further out)" if outside else ""
        then = "the nearest image of those decoded beforehand is shown" if found["bank"] else "is decoded as you go"
        then = f"for the place under the pointer, {then}" if found["bank"] else f"the place under the pointer {then}"
        how = f"The posterior means of {shown}. Move over the map: {then}."
    elif found["bank"]:
        how = "Start from a test image, or draw from the prior."
    else:
        idle = latents - active
        each = f"each of the {active} active latents, the most active first" if active != 1 else "the one active latent"
        how = f"A slider for {each}."
        if not active:
            how = "No latent is active, so that the image hardly changes whatever you do: the posterior has collapsed."
        elif idle:
            how += f" {idle} more carry nothing and are left out."
    return how + (f" They are images, not the decoder itself: {found['reason']}." if found["bank"] else "")


def curves(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The curves' panels: a line for each split."""
    panels = []
    for term, title in PANELS.items():
        lines = {
            split: [(-1 if term == "elbo" else 1) * row[f"{split}/{term}"] for row in rows]
            for split in sections.SPLITS
            if f"{split}/{term}" in rows[-1]
        }
        panels.append({"title": title, "lines": {split: [round(v, 4) for v in line] for split, line in lines.items()}})
    return {"epochs": [row["epoch"] for row in rows], "panels": panels}
