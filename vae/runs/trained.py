"""A trained model, opened: what the commands do with it, as methods that return values.

Shapes: N images, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.config import options
from vae.config.config import Config
from vae.config.knobs import check
from vae.data.pixels import to_pixels
from vae.data.splits import Splits
from vae.evaluation.elbo import evaluate, posterior, sampled_posterior, score_images
from vae.evaluation.latents import evenly_spaced, information_per_dim
from vae.evaluation.reconstruction import Reconstructed, reconstruct
from vae.model import sampling
from vae.model.own import Nets
from vae.model.sampling import Interpolation, Samples, Traversal
from vae.runs.export import Exported, export
from vae.runs.inputs import Images, checked_digits, ends_of, label_for, pair_to_join, pixels_from
from vae.runs.opened import Opened
from vae.runs.summary import EVALUATION
from vae.system.checkpoint import CheckpointError
from vae.system.console import Console
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.errors import UsageError
from vae.system.program import PROGRAM

REFERENCE = 1000  # test images that an ELBO is compared with, each by one draw


class Embedding(NamedTuple):
    """q(z|x) of every image of a split, in its order."""

    mu: Tensor  # (N, D)
    logvar: Tensor  # (N, D)
    labels: Tensor  # (N,), all 0 if the data has no classes


class Trained(Opened):
    """A model on its device, in eval mode, with its configuration and its data; `open_run` makes one.

    Each command is a method with the words, defaults and bounds of its flags. What a method returns lies on the CPU.
    Nothing is drawn or written but by `export` and `report`. A mistake raises UsageError with a message of one line.

    Attributes:
        model: the VAE; its own methods (`encode`, `decode`, ...) take tensors on `device`.
        config: every knob of the run.
        epoch: after which the model was saved.
        path: the checkpoint.
        run_dir: the run's folder; `None` for a checkpoint outside of one.
    """

    def evaluate(
        self,
        num_importance_samples: int = 0,
        *,
        console: Console | None = None,
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> dict[str, Any]:
        """Score the test images and, where there are any, the validation images; the result fits into JSON.

        Args:
            num_importance_samples: 0 for the one-sample ELBO, which takes about a second: `["test"]` and `["val"]`
                have `elbo`, `recon` and `kl`, means over the images in nats, and `kl_per_dim`. With more, everything
                else that is measured stands in `["measured"]`: see `evaluation.measure.evaluate_all`.
            console: where progress is shown; `None` for a bar on stderr if that is a terminal.
            processes: they share the images; only the main one returns everything that is measured.
        """
        check(options.Evaluate, num_importance_samples=num_importance_samples)
        scores: dict[str, Any] = {
            "dataset": self.title,
            "protocol": self.protocol,
            "unit": "nats per image",
            "evaluation": EVALUATION,
            "epoch": self.epoch,
            "checkpoint": str(self.path),
            "device": str(self.device),
        }
        for name in ("val", "test"):
            if split := getattr(self.splits, name):
                scores[name] = {"images": len(split), **evaluate(self.model, split, processes=processes).as_dict()}
        if num_importance_samples:
            from vae.runs.scorecard import evaluate_fully

            scores["measured"] = evaluate_fully(
                self.model,
                self.splits,
                protocol=self.protocol,
                binarize=self.config.binarize,
                data_dir=self.data_dir if self.may_write_data else Path(Config.data_dir),
                num_importance_samples=num_importance_samples,
                console=console or Console(),
                processes=processes,
            )
        return scores

    def sample(
        self, num_samples: int = 64, *, digits: int | Sequence[int] = (), temperature: float = 1.0, seed: int = 0
    ) -> Samples:
        """Draw from the prior and decode, with `digits`, or else all classes, in turn if the model is conditional."""
        check(options.Sample, num_samples=num_samples, temperature=temperature, seed=seed)
        digits = checked_digits(self, digits)
        return _on_cpu(sampling.sample(self.model, num_samples, digits=digits, temperature=temperature, seed=seed))

    def reconstruct(self, images: Images, *, digits: int | Sequence[int] = ()) -> Reconstructed:
        """Encode and decode images, and score each.

        Args:
            images: indices of test images, a Split, or an array or tensor of what the model was trained on, uint8 or
                floats in [0, 1], (N, C, H, W), (N, H, W, C) or (N, H, W). Or pictures of any size, colour and
                background: files, folders and Pillow's images, which are prepared as the data set's were.
            digits: the class that a conditional model is given for all images, or one for each. Without it, test
                images have their own, others the likeliest. A folder's unusable pictures count too.

        Raises:
            DataError: a picture is unusable, or all pictures of a folder are.
        """
        digits = checked_digits(self, digits)
        x, y, pictures = pixels_from(self, images)
        if digits:
            count = len(pictures or x)
            if len(digits) not in (1, count):
                raise UsageError(f"{len(digits)} classes for {count} images: give one, or one for each")
            y = torch.tensor(digits).expand(count) if len(digits) == 1 else torch.tensor(digits)
            y = y[[index for index, picture in enumerate(pictures) if picture]] if pictures else y
        result = reconstruct(self.model, x.to(self.device), None if y is None else y.to(self.device))
        return _on_cpu(result._replace(pictures=tuple(picture for picture in pictures if picture)))

    def worse_than(self, elbo: Tensor) -> Tensor:
        """The share (N,), in [0, 1], of the first test images whose ELBO is larger than each of `elbo` (N,), nats."""
        test = self.split("test")
        test = test.take(torch.arange(min(REFERENCE, len(test))))
        reference = score_images(self.model, to_pixels(test.images), test.labels).elbo
        return (reference > elbo.unsqueeze(1)).double().mean(1)

    def interpolate(
        self,
        first: int | Tensor | None = None,
        last: int | Tensor | None = None,
        *,
        digits: Sequence[int] = (),
        random: bool = False,
        digit: int | None = None,
        path: str = "linear",
        steps: int = 12,
        seed: int = 0,
    ) -> Interpolation:
        """Decode a path through latent space from one end to another, both included.

        Args:
            first: an index of a test image, whose posterior mean is the end, or any latent (D,).
            last: as `first`. Without ends these are the first two test images that suit each other.
            digits: two classes in place of ends: from the most typical test image of each, see `typical`.
            random: go between two draws from the prior, of this `seed`.
            digit: the class that a conditional model decodes; without it, that of the ends.
            path: `linear`, or `spherical`, around the origin.
            steps: S.
            seed: of the two draws.
        """
        check(options.Interpolate, path=path, seed=seed)
        if (first is not None or last is not None) + bool(digits) + random > 1:
            raise UsageError("images, digits and random name different ends: give one of them")
        if random:
            first, last = self.sample(2, seed=seed).z
        elif digits:
            check(options.Interpolate, digits=tuple(digits))
            first, last = map(self.typical, digits)
        elif first is None and last is None:
            first, last = pair_to_join(self.split("test").labels, same_class=bool(self.model.num_classes))
        ends, indices = ends_of(self, first, last)
        y = label_for(self, digit, indices)
        z = sampling.path_between(*ends, steps=steps, path=path)
        return _on_cpu(Interpolation(sampling.decode_all(self.model, z, y), z, indices, y))

    def typical(self, digit: int) -> int:
        """The index of the most typical test image of a class: the nearest to its mean in latent space."""
        test = self.split("test")
        if not self.class_names:
            raise UsageError("digits: these images have no classes")
        members = (test.labels == digit).nonzero().flatten()
        if not len(members):
            raise UsageError(f"digit {digit}: no test image has that class")
        mu, _ = posterior(self.model, test.take(members))
        return int(members[(mu - mu.mean(0)).norm(dim=1).argmin()])

    def traverse(
        self,
        units: Sequence[int] | None = None,
        *,
        steps: int = 11,
        image: int | None = None,
        digit: int | None = None,
    ) -> Traversal:
        """Sweep latents, one at a time, over the prior's quantiles from 1 % to 99 %.

        Args:
            units: the latents, from 0 on; `None` for all of them, by falling `information`.
            steps: Q.
            image: the test image whose posterior mean the other latents keep; without it, they keep the prior's median.
            digit: the class that a conditional model decodes; without it, that of the image, or the first.
        """
        check(options.Traverse, steps=steps)
        units = self.information().argsort(descending=True).tolist() if units is None else list(units)
        if not units or not all(0 <= unit < self.model.latent_dim for unit in units):
            raise UsageError(f"units {units}: the latents are 0 to {self.model.latent_dim - 1}")
        indices = () if image is None else (image,)
        y = label_for(self, digit, indices)
        base = posterior(self.model, self.test_images(indices))[0][0] if indices else None
        probabilities = torch.linspace(0.01, 0.99, steps)
        images = sampling.traverse(self.model, units, probabilities, base=base, y=y)
        return _on_cpu(Traversal(images, units, probabilities, y))

    def information(self) -> Tensor:
        """I(x; z_d), what each latent tells of an image, nats, (D,): over the test images, as `evaluate` has it."""
        mu, logvar, z = sampled_posterior(self.model, self.split("test"))
        return information_per_dim(mu, logvar, z, rows=evenly_spaced(len(mu))).mean(0).cpu()

    def embed(self, split: str = "test") -> Embedding:
        """Encode the split `train`, `val` or `test`."""
        images = self.split(split)
        return _on_cpu(Embedding(*posterior(self.model, images), images.labels))

    def export(self, target: str | Path, *, format: str = "auto", overwrite: bool = False) -> Exported:
        """Write the model for other programs, and compare what was written with it.

        Args:
            target: a folder, or a file that names all files: digits.onnx makes digits_encoder.onnx and others.
            format: `torch` (programs of torch.export), `onnx`, `safetensors` (all weights and the configuration), or
                `auto`, as `target` ends, else torch.
            overwrite: replace existing files.

        Raises:
            ExportError: what was written differs from the model.
        """
        check(options.Export, format=format)
        format = options.export_format(str(target), format)
        return export(self.model, target, self.description, format=format, overwrite=overwrite)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the run's page, of a run that was stopped too: report.html in its folder, or `path`. Returns the file.

        Raises:
            FileError: a file of the run is damaged.
        """
        from vae.runs.report import write

        if self.run_dir is None:
            raise UsageError(f"{self.path} lies outside a run: a report shows what is in a run's folder")
        if not self.epoch:
            raise UsageError(f"{self.run_dir}: no epoch is done yet, so there is nothing to report")
        mu, _ = posterior(self.model, self.splits.test)
        path = None if path is None else Path(path)
        return write(self.run_dir, self.model, self.splits, mu, epoch=self.epoch, path=path)


def _on_cpu(result: Any) -> Any:
    """A NamedTuple with its tensors on the CPU."""
    return type(result)(*(part.cpu() if isinstance(part, Tensor) else part for part in result))


def open_run(
    path: str | Path = "outputs/latest",
    *,
    device: str = "auto",
    data_dir: str = "",
    nets: Nets | str | None = None,
    data: Splits | None = None,
) -> Trained:
    """Open a run's folder (its `checkpoints/last.pt`), a checkpoint file or an exported .safetensors.

    Args:
        path: `outputs/latest` is the newest run, even where links can't be made.
        device: auto (the best available), cpu, mps, cuda or cuda:N.
        data_dir: the folder of the data; empty for the one that the run used.
        nets: of a run with nets of its own, the function that makes them, or its place, `FILE.py:FUNCTION`.
        data: of a run whose data were given in Python, the same again.

    Raises:
        CheckpointError: there is nothing to open, or it is damaged; the message is one line.
    """
    path = Path(path)
    if path.name == "latest" and not path.is_dir():
        path = _newest(path.parent)
    if path.is_dir():
        last = path.resolve() / "checkpoints" / "last.pt"
        if not last.is_file():
            raise CheckpointError(f"{path} is not a run's folder: it has no checkpoints/last.pt")
        path = last
    elif not path.exists():
        raise CheckpointError(f"{path}: no such run or checkpoint")
    return Trained(path, device=device, data_dir=data_dir, nets=nets, data=data)


def _newest(output_dir: Path) -> Path:
    """The run in `output_dir` whose last checkpoint is the newest."""
    all_runs = (*output_dir.glob("*/checkpoints/last.pt"), *output_dir.glob("*/seed-*/checkpoints/last.pt"))
    checkpoints = sorted(all_runs, key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise CheckpointError(f"no run in {output_dir}: train one ({PROGRAM}), or name one (--run, --checkpoint)")
    return checkpoints[-1].parent.parent
