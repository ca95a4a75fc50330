import statistics

from recorded_runs import record_run

from vae.runs.catalog import find_runs
from vae.runs.comparison import (
    DRAWN_TESTS,
    SAMPLES_DIFFER,
    UNRANKED,
    as_dict,
    cells,
    differences,
    group_comparable,
    mean_rows,
    notes,
)

DYNAMIC = "dynamically binarised, test images drawn once with seed 0"


def groups_of(folder):
    return group_comparable(find_runs(folder)[0])


def best(group, name):
    return [entry.label for entry in group.best(name)]


def test_likelihoods_are_ranked_only_within_the_same_data_and_pixels(tmp_path):
    record_run(tmp_path / "grey", (150.0,))
    record_run(tmp_path / "grey_better", (140.0,), latent_dim=3)
    record_run(tmp_path / "dynamic", (80.0,), protocol=DYNAMIC, binarize="dynamic")
    record_run(tmp_path / "fashion", (230.0,), dataset="Fashion-MNIST")
    groups = {group.title: group for group in groups_of(tmp_path)}
    assert groups.keys() == {"MNIST, grey pixels", f"MNIST, {DYNAMIC}", "Fashion-MNIST, grey pixels"}
    assert best(groups["MNIST, grey pixels"], "loss") == ["grey_better"]
    assert [entry.label for entry in groups["MNIST, grey pixels"].entries] == ["grey_better", "grey"]
    assert not best(groups[f"MNIST, {DYNAMIC}"], "loss")  # nothing to rank
    assert notes(list(groups.values())) == [UNRANKED]


def test_comparable_runs_need_no_note(tmp_path):
    record_run(tmp_path / "a")
    record_run(tmp_path / "b", latent_dim=3)
    assert notes(groups_of(tmp_path)) == []


def test_nlls_are_ranked_only_at_the_same_number_of_samples(tmp_path):
    for name, latent_dim, nll in (("a", 2, (90.0, 5000)), ("b", 3, (91.0, 5000)), ("c", 4, (80.0, 100))):
        record_run(tmp_path / name, latent_dim=latent_dim, nll=nll)
    record_run(tmp_path / "d", latent_dim=5)
    (group,) = groups_of(tmp_path)
    assert best(group, "nll") == ["a"] and notes([group]) == [SAMPLES_DIFFER]
    texts = {entry.label: cells(entry, group)["NLL"] for entry in group.entries}
    assert texts == {
        "a": ("90.00 (K=5,000)", True),
        "b": ("91.00 (K=5,000)", False),
        "c": ("80.00 (K=100)", False),
        "d": ("", False),
    }


def test_equal_figures_are_all_the_lowest(tmp_path):
    for latent_dim, loss in ((2, 150.001), (3, 150.0), (4, 150.01)):
        record_run(tmp_path / f"d{latent_dim}", (loss,), latent_dim=latent_dim)
    (group,) = groups_of(tmp_path)
    assert sorted(best(group, "loss")) == ["d2", "d3"]


def test_seeds_without_a_mean_nll_say_why(tmp_path):
    for seed, nll in enumerate(((90.0, 100), None, (91.0, 100))):
        record_run(tmp_path / "g" / f"seed-{seed}", seed=seed, nll=nll)
    for seed in (0, 1):
        record_run(tmp_path / "h" / f"seed-{seed}", seed=seed, latent_dim=3, nll=(90.0, 100 + seed))
    assert notes(groups_of(tmp_path)) == [
        "g has no mean NLL, as none was measured for seed 1.",
        "h has no mean NLL, as K differs: 100 (seed 0), 101 (seed 1).",
    ]


def test_recon_and_kl_alone_are_never_best(tmp_path):
    record_run(tmp_path / "a")
    record_run(tmp_path / "b", latent_dim=3)
    (group,) = groups_of(tmp_path)
    for entry in group.entries:
        row = cells(entry, group)
        assert not row["recon"][1] and not row["KL"][1]


def test_test_images_that_depend_on_the_seed_are_named(tmp_path):
    for seed in (0, 1):
        record_run(tmp_path / f"s{seed}", dataset="my photos", seed=seed)
        path = tmp_path / f"s{seed}" / "config.json"
        path.write_text(path.read_text().replace('"dataset": "mnist"', '"dataset": "folder"'))
    assert notes(groups_of(tmp_path)) == [DRAWN_TESTS]


def test_only_the_knobs_that_differ_are_listed(tmp_path):
    for seed in (0, 1):
        record_run(tmp_path / "g" / f"seed-{seed}", seed=seed)
    record_run(tmp_path / "wide", hidden_dims=(512, 256), lr=2e-3)
    assert differences(groups_of(tmp_path)) == {
        "hidden_dims": {"g": "512", "wide": "512 256"},
        "lr": {"g": "0.001", "wide": "0.002"},
        "seed": {"g": "0, 1", "wide": "0"},
    }


def test_curves_of_seeds_are_means_with_deviations_at_beta_one(tmp_path):
    for seed, last in enumerate((150.0, 154.0)):
        record_run(tmp_path / f"s{seed}", (160.0, last), seed=seed)
    ((entry,),) = (group.entries for group in groups_of(tmp_path))
    rows = mean_rows(entry)
    assert rows[0]["test/loss"] == (160.0, 0.0) and rows[1]["test/loss"] == (152.0, statistics.stdev((150, 154)))
    assert rows[1]["train/loss"][0] == 151.0 and rows[1]["test/kl"] == (6.0, 0.0)


def test_a_stopped_run_stands_beside_a_finished_one_with_its_epochs(tmp_path):
    record_run(tmp_path / "done")
    record_run(tmp_path / "stopped", finished=False)
    (group,) = groups_of(tmp_path)
    assert {entry.label: cells(entry, group)["epochs"][0] for entry in group.entries} == {"done": "2", "stopped": "2/5"}


def test_the_file_holds_what_the_tables_do(tmp_path):
    record_run(tmp_path / "a", nll=(90.0, 10))
    record_run(tmp_path / "b", (149.0,), latent_dim=3)
    content = as_dict(groups_of(tmp_path))
    (group,) = content["groups"]
    assert [entry["label"] for entry in group["entries"]] == ["b", "a"]
    assert group["entries"][0]["lowest"] == ["loss"] and group["entries"][1]["test"]["nll"]["mean"] == 90.0
    assert content["differences"].keys() == {"latent_dim", "num_epochs"}
