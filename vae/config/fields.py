"""Every knob of a run: its default, help text and bounds. The command line is generated from here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from vae.config.knobs import knob

OWN = ("folder", "arrays")  # data sets of people's own, at --data_dir
DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "digits", *OWN)
ACTIVATIONS = ("relu", "leaky_relu", "elu", "silu", "gelu", "tanh")
SEED_MAX = 2**63 - 1
# By `--recon_loss`: its words in the protocol, where it isn't the usual Bernoulli.
LIKELIHOODS = {
    "bce": "",
    "mse": "squared error (σ² = 1/2, no constant)",
    "continuous_bernoulli": "continuous Bernoulli",
}
PLACES = ("run_name", "output_dir", "log_dir", "overwrite", "quiet")  # a repetition of a run has its own
GROUPS = {group: group for group in ("preset", "data", "model", "objective", "training", "output", "machine")}
GROUPS["output"] = "what a run leaves"  # the heading in --help

data_knob, model_knob, objective_knob = (partial(knob, group=group) for group in ("data", "model", "objective"))
training_knob, output_knob, machine_knob = (partial(knob, group=group) for group in ("training", "output", "machine"))


@dataclass(frozen=True)
class Fields:
    """The knobs themselves; a `Config` is a set of them that has been checked."""

    preset: str = knob("mlp-2d", "preset to start from; --list_presets shows all", group="preset", metavar="NAME")

    dataset: str = data_knob("auto", "auto: MNIST, or digits if it can't be downloaded", choices=DATASETS)
    data_dir: str = data_knob(
        "data", "folder of data sets, of your images (--dataset folder), or an .npz or .npy (arrays)", metavar="PATH"
    )
    val_split: float = data_knob(0.0, "fraction of training images held out to choose best.pt", low=0, below=1)
    image_size: int = data_knob(28, "height and width that images are scaled to, cropped to squares", low=4, high=256)
    binarize: str = data_knob(
        "none",
        "make pixels 0 or 1: dynamic draws them anew every epoch, static draws them once, threshold cuts at 0.5",
        choices=("none", "dynamic", "static", "threshold"),
    )

    arch: str = model_knob(
        "mlp",
        "dense nets, convolutions, or mixer: dense nets whose decoder ends in layers that all patches share",
        choices=("mlp", "conv", "mixer"),
    )
    latent_dim: int = model_knob(2, "number of latent variables", low=1, high=4096)
    hidden_dims: tuple[int, ...] = model_knob(
        (512,),
        "mlp and mixer: widths of the encoder's hidden layers, which the decoder mirrors",
        low=1,
        high=65536,
        most=1000,
    )
    base_channels: int = model_knob(64, "conv: channels of each hidden layer", low=1, high=4096)
    activation: str = model_knob("relu", "activation function between layers", choices=ACTIVATIONS)
    negative_slope: float = model_knob(0.01, "leaky_relu: slope below 0", low=0, below=1)
    block: str = model_knob(
        "plain",
        "mlp and mixer: kind of hidden layer; a residual block has a norm and two linear layers",
        choices=("plain", "gated", "residual"),
    )
    conditional: bool = model_knob(False, "show the class to encoder and decoder")
    mean_bias: bool = model_knob(False, "start the decoder from the mean training image")
    prior: str = model_knob(
        "standard",
        "p(z): standard normal, or learned: vamp, a mixture of the posteriors of learned images; flow, a RealNVP",
        choices=("standard", "vamp", "flow"),
    )
    num_pseudo_inputs: int = model_knob(500, "vamp: number of learned images", low=1, high=100_000)
    num_couplings: int = model_knob(6, "flow: number of coupling layers", low=1, high=256)
    prior_width: int = model_knob(256, "flow: width of each coupling's hidden layers", low=1, high=65536)
    augment_labels: bool = model_knob(
        False,
        "flow: condition it on how --augment distorted an image; scores and samples are of undistorted ones",
    )
    mixer_blocks: int = model_knob(1, "mixer: blocks in which patches exchange features", low=0, high=1000)
    patch_width: int = model_knob(96, "mixer: features of each patch", low=1, high=65536)
    mixture_components: int = model_knob(
        1,
        "mlp and mixer, binary pixels: mixture components of every patch; with 1, pixels are independent given z",
        low=1,
        high=256,
    )
    patch_size: int = model_knob(4, "mixtures and mixers: height and width of a patch", low=1, high=256)
    nets: str = model_knob(
        "",
        "run your own Python file, whose function returns the model (docs/extending.md)",
        metavar="FILE.py:FUNCTION",
    )

    recon_loss: str = objective_knob(
        "bce",
        "Bernoulli, squared error (a Gaussian of variance 1/2) or continuous Bernoulli, summed over pixels",
        choices=tuple(LIKELIHOODS),
    )
    objective: str = objective_knob(
        "elbo",
        "bound to maximise: the ELBO, or the importance-weighted bound with its own (iwae) or DReG gradients",
        choices=("elbo", "iwae", "dreg"),
    )
    num_samples_train: int = objective_knob(1, "posterior samples per image and step", low=1, high=10_000)
    elbo_until: float = objective_knob(
        0.0, "iwae, dreg: fraction of the run that begins with the ELBO of one sample, which is faster", low=0, below=1
    )
    beta: float = objective_knob(1.0, "weight of the KL in the loss; in the ELBO it is 1", low=0)
    kl_warmup_epochs: float = objective_knob(0.0, "epochs over which the weight of the KL grows from 0", low=0)
    tc_weight: float = objective_knob(
        1.0, "weight of the total correlation, the part of the KL that latents share; above 1 to disentangle", low=0
    )
    free_bits: float = objective_knob(0.0, "nats of KL per latent that cost nothing", low=0, high=1e6)

    num_epochs: int = training_knob(60, "passes over the training set", low=1, high=1_000_000)
    batch_size: int = training_knob(64, "images per step", low=1, high=1_000_000)
    optimizer: str = training_knob("adamw", "adam has no weight decay", choices=("adam", "adamw"))
    lr: float = training_knob(1e-3, "learning rate", above=0)
    lr_schedule: str = training_knob(
        "constant", "cosine lowers the learning rate to 0 at the end", choices=("constant", "cosine")
    )
    lr_warmup_epochs: float = training_knob(0.0, "epochs over which the learning rate grows from 0", low=0)
    weight_decay: float = training_knob(1e-2, "adamw: decoupled weight decay", low=0)
    grad_clip: float = training_knob(0.0, "largest norm of the gradient; 0 for no limit", low=0)
    ema: float = training_knob(
        0.0, "decay of the averaged weights that are scored and drawn; 0 for none", low=0, below=1
    )
    augment: float = training_knob(
        0.0, "strength of random shifts and distortions of the training images", low=0, high=10
    )
    augment_until: float = training_knob(1.0, "fraction of the run that --augment lasts", above=0, high=1)
    seed: int = training_knob(0, "seed of the weights, the batches and the noise", low=0, high=SEED_MAX)

    run_name: str = output_knob("", "name of the run's folders (default: time and model)", metavar="NAME")
    output_dir: str = output_knob("outputs", "folder for checkpoints, metrics and pictures", metavar="DIR")
    log_dir: str = output_knob("runs", "folder for TensorBoard logs", metavar="DIR")
    overwrite: bool = output_knob(False, "replace the earlier run of that name, its whole folder")
    checkpoint_every: int = output_knob(0, "also keep epoch_NNN.pt every N epochs; 0 for never", low=0)
    sample_every: int = output_knob(
        5, "draw samples and reconstructions every N epochs; 0 for never; --gif makes the default 1", low=0
    )
    tsne_samples: int = output_knob(2000, "test images in the t-SNE picture at the end", low=10, high=100_000)
    side_by_side: bool = output_knob(
        False, "load the saved model again and draw its reconstructions to the right of the originals"
    )
    gif: bool = output_knob(False, "animate the pictures of --sample_every and, with two latents, the scatter plot")
    final_eval: bool = output_knob(
        False, "end with importance-weighted likelihoods and the quality of latents and samples"
    )
    num_importance_samples: int = output_knob(5000, "--final_eval: samples per image", low=1, high=10_000_000)
    quiet: bool = output_knob(False, "print only warnings and errors")

    device: str = machine_knob("auto", "auto (the best available), cpu, mps, cuda or cuda:N")
    precision: str = machine_knob(
        "auto",
        "number format of the training step; auto: bf16 if the hardware supports it, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: str = machine_knob(
        "auto",
        "compile the training step after the first epoch; auto: if there is a compiler and the run is long",
        choices=("auto", "on", "off"),
    )
    threads: int = machine_knob(0, "CPU threads; 0 for PyTorch's default", low=0, high=1024)
