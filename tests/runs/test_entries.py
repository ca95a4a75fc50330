import statistics

from recorded_runs import record_run

from vae.runs.catalog import find_runs
from vae.runs.entries import Spread, group_by_seed


def test_runs_that_differ_in_the_seed_alone_are_one_entry(tmp_path):
    for seed, loss in enumerate((150.0, 151.0, 153.0)):
        record_run(tmp_path / "g" / f"seed-{seed}", (160.0, loss), seed=seed, nll=(loss - 5, 100))
    record_run(tmp_path / "wide", hidden_dims=(1024,))
    record_run(tmp_path / "short", (150.0,), seed=3)
    record_run(tmp_path / "again", seed=1, hidden_dims=(64,))
    record_run(tmp_path / "again2", seed=1, hidden_dims=(64,))
    record_run(tmp_path / "dynamic", seed=4, protocol="dynamically binarised")
    entries = {entry.label: entry for entry in group_by_seed(find_runs(tmp_path)[0])}
    assert entries.keys() == {"g", "wide", "short", "again", "again2", "dynamic"}
    assert [run.config.seed for run in entries["g"].runs] == [0, 1, 2]
    loss = entries["g"].spreads["loss"]
    assert loss == (statistics.mean((150, 151, 153)), statistics.stdev((150, 151, 153)), 3)
    assert str(loss) == "151.33 ± 1.53" and entries["g"].titles["nll"] == "NLL (K=100)"
    assert str(entries["wide"].spreads["loss"]) == "150.00" and "nll" not in entries["wide"].spreads


def test_nlls_of_different_sample_counts_have_no_mean(tmp_path):
    for seed in (0, 1):
        record_run(tmp_path / f"s{seed}", seed=seed, nll=(90.0, 100 + seed))
    (entry,) = group_by_seed(find_runs(tmp_path)[0])
    assert len(entry.runs) == 2 and "nll" not in entry.spreads and entry.num_samples == 0


def test_two_groups_in_one_folder_have_labels_of_their_own(tmp_path):
    for seed in range(4):
        record_run(tmp_path / "g" / f"seed-{seed}", (160.0, 150.0)[: 1 + seed // 2], seed=seed, num_epochs=9)
    labels = [entry.label for entry in group_by_seed(find_runs(tmp_path)[0])]
    assert len(set(labels)) == len(labels) == 2


def test_a_run_alone_with_a_seed_of_a_group_leaves_the_group_whole(tmp_path):
    for seed in range(3):
        record_run(tmp_path / "three" / f"seed-{seed}", seed=seed)
    record_run(tmp_path / "base", seed=0)
    entries = {entry.label: len(entry.runs) for entry in group_by_seed(find_runs(tmp_path)[0])}
    assert entries == {"three": 3, "base": 1}


def test_one_value_has_no_deviation():
    assert Spread.of([3.0]) == (3.0, None, 1) and str(Spread.of([3.0])) == "3.00"
    assert Spread.of([1.0, 2.0, 3.0]).std == 1.0  # n - 1
