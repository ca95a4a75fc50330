"""`export`: a model for other programs."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config.options import Export, export_format
from vae.system.console import short_path
from vae.system.files import is_folder_name

# A line of Python that uses the last of a format's files, with the classes of a conditional model.
USES = {
    "torch": "torch.export.load({file!r}).module()(z{y})",
    "onnx": "onnxruntime.InferenceSession({file!r}).run(None, {inputs})",
    "safetensors": "vae.load_model({file!r}{nets}).sample(16{y})",
}


def run(session: Session, options: Export) -> None:
    """Write a model for other programs and compare what was written with it."""
    trained, format = session.trained, export_format(options.output, options.format)
    is_file = options.output and not is_folder_name(options.output)
    target = options.output if is_file else session.folder(format)
    paths, difference = trained.export(target, format=format, overwrite=options.overwrite)
    extent = f"differ by at most {difference:.1e}" if difference else "are the same"
    session.console.say(f"loaded again and compared with the model: the numbers {extent}")
    y = ", y" if trained.model.num_classes else ""
    inputs = "{'z': z, 'y': y}" if y else "{'z': z}"
    nets = f", nets={trained.config.nets!r}" if trained.config.nets else ""
    use = USES[format].format(file=short_path(paths[-3]), y=y, inputs=inputs, nets=nets)
    session.console.say(f"use: {use}")
    if not trained.model.has_closed_form_kl:
        prior = type(trained.model.prior).__name__
        session.console.say(f"z comes from this model's own prior ({prior}), not from N(0, I)")
    session.wrote(*paths)
