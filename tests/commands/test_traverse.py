from vae import open_run
from vae.plots import images as figures


def test_the_latents_are_ordered_and_labelled_by_their_information(use, conditional_run, tmp_path, monkeypatch, capsys):
    labels = []
    monkeypatch.setattr(figures, "draw_grid", lambda *args, **kwargs: labels.extend(kwargs["row_labels"]))
    assert use("traverse", conditional_run, "--top", 3, "--output", tmp_path) == 0
    information = open_run(conditional_run, device="cpu").information()
    order = information.argsort(descending=True)[:3].tolist()
    assert labels == [f"z{unit + 1}, {information[unit]:.2f} nats" for unit in order]
    assert "the 3 of 5 that carry most" in capsys.readouterr().out
