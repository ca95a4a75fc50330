from vae import open_run
from vae.evaluation.elbo import posterior
from vae.plots import images as figures


def test_the_latents_are_ordered_by_their_activity(use, conditional_run, tmp_path, monkeypatch, capsys):
    labels = []
    monkeypatch.setattr(figures, "draw_grid", lambda *args, **kwargs: labels.extend(kwargs["row_labels"]))
    assert use("traverse", conditional_run, "--top", 3, "--output", tmp_path) == 0
    trained = open_run(conditional_run, device="cpu")
    variance = posterior(trained.model, trained.split("test"))[0].var(0, correction=0)
    order = variance.argsort(descending=True)[:3].tolist()
    assert labels == [f"z{unit + 1}, var {variance[unit]:.2f}" for unit in order]
    assert "the 3 most active of 5" in capsys.readouterr().out
