"""The report's sections as HTML: figures, what was expected of them, configuration, pictures, how to reproduce it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from vae.config.config import GROUPS, Config
from vae.config.presets import Expected, command_line, expectation
from vae.report.markup import escape, png, table, terms
from vae.system.files import FileError

CAPTIONS = {
    "reconstructions.png": ("Reconstructions", "Test images over what the model makes of them."),
    "samples.png": ("Samples", "Decoded draws from the prior."),
    "manifold.png": ("The latent plane", "What each place decodes to, at quantiles of the prior."),
    "latent_scatter.png": ("Posterior means", "Where the test images lie; classes that overlap are confused."),
    "tsne.png": ("t-SNE", "Posterior means in the plane; distances between clusters mean little."),
    "interpolation.png": ("Interpolation", "Straight lines between the posterior means of two test images."),
    "side_by_side.png": ("Side by side", "Originals left, reconstructions by the saved model right."),
}  # loss_curves.png is left out: the page draws these curves itself
UNMARKED = ("run_name", "precision")  # their defaults mean: choose for me
SPLITS = ("train", "val", "test")
Facts = dict[str, Any]


def notice(config: Config, facts: Facts, epoch: int) -> str:
    """What must not be overlooked: data that stand in for MNIST, a run that was stopped."""
    told = []
    if facts["fallback"]:
        told.append(f"MNIST could not be had: these figures say nothing about it. {facts['fallback']}")
    if epoch < config.num_epochs:
        told.append(f"This run stands at epoch {epoch} of {config.num_epochs}.")
    return "".join(f'<p class="notice">{escape(line)}</p>' for line in told)


def tiles(results: Facts) -> str:
    """The figures to see first."""
    test = results["test"]
    minutes, seconds = divmod(round(results["train_seconds"]), 60)
    pairs = [
        (f"{-test['elbo']:.2f}", f"test −ELBO, nats per image, {results['protocol']}"),
        (f"{test['recon']:.2f}", "of it reconstruction"),
        (f"{test['kl']:.2f}", f"of it KL, {test['active_units']} of {len(test['kl_per_dim'])} latents active"),
        (f"{minutes} min {seconds} s" if minutes else f"{seconds} s", f"of training, {results['epoch']} epochs"),
    ]
    return "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(what)}</span></div>' for figure, what in pairs
    )


def results_section(config: Config, facts: Facts, results: Facts) -> str:
    """Every split's figures with their protocol, beside what is expected of the preset."""
    names = {"train": "train*", "val": "validation", "test": "test"}
    rows = [
        (names[split], *(f"{value:.2f}" for value in (-found["elbo"], found["recon"], found["kl"])))
        for split in SPLITS
        if (found := results.get(split))
    ]
    figures = table(["", "−ELBO", "reconstruction", "KL"], rows, kind="figures")
    protocol = [
        ("protocol", escape(results["protocol"])),
        ("evaluation", escape(results["evaluation"])),
        ("unit", f"{escape(results['unit'])}: sums over pixels and latents, means over images"),
        ("speed", f"{results['seconds_per_epoch']:.2f} s per epoch, {results['images_per_second']:,.0f} images/s"),
    ]
    if "best" in results:
        best = results["best"]
        told = f"epoch {best['epoch']}: validation {best['val/loss']:.2f}, test {best['test/loss']:.2f}"
        protocol.insert(2, ("best", escape(told)))
    about = [
        ("data", escape(facts["dataset"])),
        ("model", escape(f"{config.model_name}, {facts['parameters']:,} parameters")),
        ("recipe", escape(config.recipe)),
        ("device", escape(f"{facts['device']}; training {config.precision}, evaluation fp32")),
    ]
    note = '<p class="hint">* as the last epoch went by</p>'
    columns = f'<div class="columns"><div class="wide">{figures}{note}</div>{_expected(config, results)}</div>'
    return columns + terms([*about, *protocol])


def _expected(config: Config, results: Facts) -> str:
    expected, reason = expectation(config)
    if results["epoch"] < config.num_epochs:
        expected, reason = None, f"the run stands at epoch {results['epoch']} of {config.num_epochs}"
    if results["dataset"] != "MNIST":
        expected, reason = None, f"figures have been measured on MNIST only, and this is {results['dataset']}"
    title = escape(f"Expected of {config.preset}")
    if expected is None:
        return f'<aside class="expected"><h3>{title}</h3><p>No figure to compare with: {escape(reason)}.</p></aside>'
    loss = -results["test"]["elbo"]
    away = loss - expected.mean
    side = "above" if away > 0 else "below"
    told = (
        f"{expected.mean:.2f} ± {expected.std:.2f} on the test images, {results['protocol']}, after "
        f"{expected.num_epochs} epochs (mean and standard deviation over {expected.seeds} seeds). "
        f"This run: {loss:.2f}, {abs(away):.2f} {side} the mean, {abs(away) / expected.std:.1f} standard deviations."
    )
    return f'<aside class="expected"><h3>{title}</h3>{_gauge(expected, loss)}<p>{escape(told)}</p></aside>'


def _gauge(expected: Expected, loss: float) -> str:
    """A line with the expected mean, a band of one standard deviation to either side, and a dot for this run."""
    width, middle = 400, 30
    reach = max(3.5 * expected.std, 1.15 * abs(loss - expected.mean))

    def at(value: float) -> str:
        return f"{width / 2 + (value - expected.mean) / reach * (width / 2 - 24):.1f}"

    left, right = at(expected.mean - expected.std), at(expected.mean + expected.std)
    band = f'x="{left}" width="{float(right) - float(left):.1f}" y="{middle - 9}" height="18" rx="3"'
    return (
        f'<svg viewBox="0 0 {width} 58" aria-hidden="true">'
        f'<line class="axis" x1="0" x2="{width}" y1="{middle}" y2="{middle}"/><rect class="band" {band}/>'
        f'<line class="mean" x1="{width / 2}" x2="{width / 2}" y1="{middle - 9}" y2="{middle + 9}"/>'
        f'<text x="{width / 2}" y="{middle + 24}" text-anchor="middle">{expected.mean:.2f}</text>'
        f'<circle cx="{at(loss)}" cy="{middle}" r="6"/>'
        f'<text class="here" x="{at(loss)}" y="{middle - 14}" text-anchor="middle">{loss:.2f}</text></svg>'
    )


def epochs_table(rows: list[Facts]) -> str:
    """The figures behind the curves, an epoch a row."""
    found = [split for split in SPLITS if f"{split}/elbo" in rows[-1]]
    headings = ["epoch", *(f"{split} {name}" for split in found for name in ("−ELBO", "recon", "KL"))]
    cells = [
        (
            str(row["epoch"]),
            *(
                f"{sign * row[f'{split}/{term}']:.2f}"
                for split in found
                for sign, term in ((-1, "elbo"), (1, "recon"), (1, "kl"))
            ),
        )
        for row in rows
    ]
    return table(headings, cells, kind="figures")


def pictures(run_dir: Path) -> str:
    """The run's pictures, each with its caption, and the names of those that can't be shown."""
    shown, left_out = [], []
    for file, (title, caption) in CAPTIONS.items():
        if not (run_dir / file).exists():
            continue
        try:
            source = png(run_dir / file)
        except FileError as error:
            left_out.append(f'<p class="notice">Left out: {escape(error)}.</p>')
            continue
        shown.append(
            f'<figure><button type="button" class="picture" title="Enlarge"><img src="{source}" '
            f'alt="{escape(f"{title}: {caption}")}"></button>'
            f"<figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption></figure>"
        )
    none = "" if shown or left_out else '<p class="lead">None yet: pictures are drawn when a run ends.</p>'
    return "".join([*shown, *left_out]) or none


def configuration(config: Config) -> str:
    """Every knob with its value, its default and what it is; those that differ from their default also up front."""
    rows, changed = [], []
    for group in GROUPS:
        for field in dataclasses.fields(config):
            if field.metadata["group"] != group:
                continue
            value, default = (_told(it) for it in (getattr(config, field.name), field.default))
            if value == default or field.name in UNMARKED or (field.name, value) == ("dataset", "mnist"):
                shown = value
            else:
                shown = f'<mark title="not the default">{value}</mark>'
                changed.append((field.name, shown))
            rows.append((field.name, shown, default, escape(field.metadata["help"])))
    front = terms(changed) if changed else '<p class="lead">Every knob is at its default.</p>'
    every = table(["knob", "value", "default", "what it is"], rows, kind="knobs")
    return f"{front}<details><summary>All {len(rows)} knobs</summary>{every}</details>"


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(" ".join(map(str, value)) if isinstance(value, tuple) else value) or "–"


def reproduce(config: Config, facts: Facts) -> str:
    """The command, and what else the figures depend on."""
    command = f'<pre><code id="command">{escape(command_line(config))}</code></pre>'
    commit, _, changed = (facts["git_commit"] or "unknown").partition("+")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    pairs = [
        ("commit", f"<code>{escape(commit)}</code>" + (", with local changes" if changed else "")),
        ("seed", escape(facts["seed"])),
        ("device", escape(f"{facts['device']}, {config.precision}")),
        ("versions", escape(versions)),
    ]
    lead = "The same versions, device, precision and number of threads give the same figures; others come close."
    button = '<button type="button" id="copy">Copy</button>'
    return f'<p class="lead">{lead}</p><div class="command">{command}{button}</div>{terms(pairs)}'
