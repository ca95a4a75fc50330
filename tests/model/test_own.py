"""Parts of one's own in a VAE, and functions that make one: taken, tried and refused."""

import math

import pytest
import torch
from torch import nn

from vae import VAE, Likelihood, Prior
from vae.config import Config
from vae.config.presets import configure
from vae.data import Split
from vae.model.build import build_model, start_from_images
from vae.model.networks import MLPDecoder, MLPEncoder
from vae.model.objective import Batch, Objective
from vae.model.own import NetsError, call_nets, check_own, load_nets, missing_nets, name_of
from vae.model.priors import StandardNormal, VampPrior
from vae.system.errors import UsageError

SHAPE = (1, 8, 8)
SMALL = {"hidden_dims": (8,), "image_shape": SHAPE}


class Encoder(nn.Module):
    def __init__(self, inputs=64, outputs=3):
        super().__init__()
        self.mu, self.logvar = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x, y=None):
        h = x.flatten(1) if y is None else torch.cat([x.flatten(1), y], dim=1)
        return self.mu(h), self.logvar(h)


class Gaussian(Likelihood):
    """Mean and log variance of every pixel from the decoder."""

    name = "Gaussian"
    outputs_per_pixel = 2

    def recon(self, logits, x):
        mean, logvar = logits.chunk(2, dim=-3)
        square = (mean - x).square() * torch.exp(-logvar)
        return 0.5 * (square + logvar + math.log(2 * math.pi)).sum((-3, -2, -1))

    def mean(self, logits):
        return logits.chunk(2, dim=-3)[0]


class Wide(Prior):
    """N(0, 4 I)."""

    def __init__(self, latent_dim=3):
        super().__init__()
        self.latent_dim = latent_dim

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)

    def from_noise(self, eps):
        return 2 * eps


def decoder(inputs=3):
    return nn.Sequential(nn.Linear(inputs, 64), nn.Unflatten(1, SHAPE))


OWN = {
    "encoder": lambda: {"encoder": Encoder()},
    "decoder": lambda: {"decoder": decoder()},
    "prior": lambda: {"prior": Wide()},
    "likelihood": lambda: {"likelihood": Gaussian()},
}


@pytest.mark.parametrize("part", OWN)
@pytest.mark.parametrize("objective", ["elbo", "dreg"])
def test_each_part_can_be_given_alone_and_is_trained(part, objective):
    model = VAE(3, **OWN[part](), **SMALL)
    built_in = {"encoder": MLPEncoder, "decoder": MLPDecoder, "prior": StandardNormal}
    for name, kind in built_in.items():
        assert (type(getattr(model, name)) is kind) == (name != part)
    check_own(model, Config())
    config = Config(objective=objective, num_samples_train=2, precision="bf16")
    x, eps = torch.rand(5, *SHAPE), torch.randn(2, 5, 3)
    loss, recon, kl = Objective(model, config)(Batch(x, torch.zeros(5, dtype=torch.int64), eps), 1.0)
    assert loss.shape == recon.shape == kl.shape == (5,) and recon.dtype == torch.float32
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    images = model.sample(4)
    assert images.shape == (4, *SHAPE) and images.min() >= 0 and images.max() <= 1
    assert model.reconstruct(x).shape == x.shape and model.own


def test_a_conditional_model_gives_its_classes_to_nets_of_one_s_own():
    model = VAE(3, encoder=Encoder(inputs=64 + 2), num_classes=2, **SMALL)
    check_own(model, Config(conditional=True))
    x, y = torch.rand(2, *SHAPE), torch.tensor([0, 1])
    assert not torch.equal(model.encode(x[:1], y[:1])[0], model.encode(x[:1], y[1:])[0])


def test_a_vamp_prior_takes_its_components_from_an_encoder_of_one_s_own():
    model = VAE(3, encoder=Encoder(), prior="vamp", num_pseudo_inputs=4, **SMALL)
    assert isinstance(model.prior, VampPrior)
    mu, _ = model.prior.components()
    torch.testing.assert_close(mu, model.encoder(torch.sigmoid(model.prior.pseudo_logits))[0])


def test_a_prior_derived_from_the_standard_one_has_no_closed_form():
    class Narrow(StandardNormal):
        def log_prob(self, z):
            return super().log_prob(2 * z)

    assert VAE(3, **SMALL).has_closed_form_kl and not VAE(3, prior=Narrow(3), **SMALL).has_closed_form_kl


def test_what_is_no_part_is_refused():
    with pytest.raises(ValueError, match=r"encoder is a function: expected a torch\.nn\.Module"):
        VAE(3, encoder=lambda x: x)
    with pytest.raises(
        ValueError, match=r"the prior Linear lacks log_prob, sample, quantiles: derive it from vae.Prior"
    ):
        VAE(3, prior=nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"encoder": Encoder(outputs=2)}, r"the encoder's mu gives a tensor of shape \(2, 2\): expected \(2, 3\)"),
        ({"encoder": nn.Flatten()}, "the encoder gives a Tensor: expected two tensors, mu and logvar"),
        ({"decoder": nn.Linear(3, 64)}, r"the decoder gives a tensor of shape \(2, 64\): expected \(2, 1, 8, 8\)"),
        ({"decoder": nn.Flatten(0)}, "the decoder gives no tensor with a row for each"),
    ],
)
def test_a_part_of_another_shape_is_refused_in_one_line(parts, message):
    with pytest.raises(UsageError, match=message):
        check_own(VAE(3, **parts, **SMALL), Config())


def test_knobs_that_a_part_can_t_go_with_are_refused():
    for flag, value in {"free_bits": 0.1, "tc_weight": 6.0}.items():
        with pytest.raises(UsageError, match=f"--{flag} needs the KL in closed form"):
            check_own(VAE(3, prior=Wide(), **SMALL), Config(**{flag: value}))
    with pytest.raises(UsageError, match="Gaussian is not a likelihood of binary pixels"):
        check_own(VAE(3, likelihood=Gaussian(), **SMALL), Config(binarize="dynamic"))
    labels = Config(nets="my_nets.py:make", augment=0.5, augment_labels=True)
    for prior in (Wide(), "standard", "flow"):
        with pytest.raises(UsageError, match="--augment_labels needs the flow of VAE"):
            check_own(VAE(3, prior=prior, **SMALL), labels)
    check_own(VAE(3, prior="flow", augment_labels=True, **SMALL), labels)
    images = Split(torch.zeros(2, *SHAPE, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    for part in ("decoder", "likelihood"):
        with pytest.raises(UsageError, match="--mean_bias is for the built-in decoders"):
            start_from_images(VAE(3, **OWN[part](), **SMALL), images, Config(mean_bias=True))


def test_the_try_leaves_a_batch_norm_and_the_mode_alone():
    norm = nn.BatchNorm1d(64)
    model = VAE(3, decoder=nn.Sequential(nn.Linear(3, 64), norm, nn.Unflatten(1, SHAPE)), **SMALL)
    check_own(model, Config())
    assert model.training and norm.num_batches_tracked == 0


FILE = """
from dataclasses import dataclass
from neighbour import WIDTH
from vae import VAE
from vae.model.build import build_model

@dataclass
class Kept:
    value: int = WIDTH

def make(config, *, image_shape, num_classes):
    import later
    return VAE(config.latent_dim, hidden_dims=(Kept().value,), image_shape=image_shape, num_classes=num_classes)

def usual(config, **sizes):
    return build_model(config, **sizes)

def wrong(config, **sizes):
    return VAE(config.latent_dim + 1, image_shape=sizes["image_shape"])

def nothing(config, **sizes):
    pass

def missing(config, **sizes):
    open("no such file")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbour.py").write_text("WIDTH = 8\n")
    (tmp_path / "later.py").write_text("")
    (tmp_path / "my_nets.py").write_text(FILE)
    return tmp_path / "my_nets.py"


def test_a_file_is_run_with_its_folder_s_imports_and_leaves_nothing_beside_itself(file):
    before = sorted(file.parent.iterdir())
    model = build_model(Config(), image_shape=SHAPE, num_classes=2, nets=load_nets(f"{file}:make"))
    assert model.encoder.head.in_features == 8 and model.num_classes == 0  # not --conditional
    assert sorted(file.parent.iterdir()) == before
    config = configure({"nets": f"{file}:usual", "hidden_dims": (5,), "conditional": True})
    model = build_model(config, image_shape=SHAPE, num_classes=2, nets=load_nets(config.nets))
    assert model.encoder.head.in_features == 5 and model.num_classes == 2


def test_a_mistake_in_the_name_is_one_line(file):
    for name, message in (
        ("make", "expected FILE.py:FUNCTION"),
        (f"{file}:a.b", "expected FILE.py:FUNCTION"),
        (f"{file.parent}:make", "expected FILE.py:FUNCTION"),
        (f"{file.parent}/none.py:make", "no file"),
        (f"{file}:mak", r"has no function mak \(did you mean make\?\)"),
    ):
        with pytest.raises(UsageError, match=message):
            load_nets(name)
    for name, message in (("wrong", "a model with latent_dim 3: this run needs 2"), ("nothing", "returned a NoneType")):
        with pytest.raises(UsageError, match=message):
            call_nets(load_nets(f"{file}:{name}"), Config(), image_shape=SHAPE, num_classes=0)


def test_what_a_user_s_file_raises_is_one_line_that_names_its_place(file):
    with pytest.raises(NetsError, match=r"my_nets\.py, line \d+: FileNotFoundError: ") as failure:
        load_nets(f"{file}:missing")(Config())
    assert isinstance(failure.value.__cause__, FileNotFoundError)
    for text, message in (
        ("\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("import none_such", "line 1: ModuleNotFoundError: No module named 'none_such'"),
        ("\n\ndef make(:", "line 3: SyntaxError: "),
    ):
        file.write_text(text)
        with pytest.raises(NetsError, match=rf"my_nets\.py, {message}"):
            load_nets(f"{file}:make")
    file.write_text("def make(config): ...")
    with pytest.raises(NetsError, match=r"my_nets\.py: TypeError: .*unexpected keyword argument 'image_shape'"):
        load_nets(f"{file}:make")(Config(), image_shape=SHAPE)


def top_level(config, **sizes):
    return VAE()


def test_a_run_remembers_where_its_nets_are():
    assert name_of("a/my_nets.py:make") == "a/my_nets.py:make"
    assert name_of(top_level).endswith("test_own.py:top_level")
    assert name_of(lambda config: None) == "python:test_a_run_remembers_where_its_nets_are.<locals>.<lambda>"
    assert name_of(VAE(3, prior=Wide(), likelihood=Gaussian())) == "python:Wide+Gaussian"
    assert Config(nets="a/my_nets.py:make").model_name == "my_nets-make-2d"
    assert Config(nets="python:Wide+Gaussian", conditional=True).model_name == "Wide-Gaussian-2d-conditional"
    assert "give --nets 'my nets.py:make'" in missing_nets(Config(nets="my nets.py:make"))
    assert "open it there with nets=" in missing_nets(Config(nets="python:Wide"))
