# The developer's one door. `make check` is what CI holds every change to.
.PHONY: check test slow all lint format smoke docs notebooks results record bench

check: lint test

# What a plain pytest runs: two minutes on two cores, offline.
test:
	python -m pytest

# What it leaves out: browser, kills, full disks of many sizes, the notebooks. Minutes.
slow:
	python -m pytest -m slow

# All that CI runs.
all: check slow

lint:
	ruff check .
	ruff format --check .
	mypy

format:
	ruff check --fix .
	ruff format .

# A whole run in seconds, offline: look at what it leaves in outputs/latest.
smoke:
	python main.py --dataset digits --num_epochs 3 --tsne_samples 300

# The tables of flags in docs/options.md and docs/commands.md, from the knobs themselves.
docs:
	python docs/make_tables.py

# The notebooks again, from top to bottom on MNIST, with their outputs: five minutes. Then look at every picture.
notebooks:
	jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False examples/*.ipynb
	jupyter nbconvert --to notebook --inplace --CoalesceStreamsPreprocessor.enabled=True examples/*.ipynb

# Every preset over three seeds on MNIST; resumable. Writes benchmarks/results.json and docs/results.md.
results:
	python benchmarks/results.py

# The best likelihoods, three seeds: some eighteen hours on two cores. Writes results.json and docs/likelihoods.md,
# and draws outputs/gallery/time_to_quality.png.
record:
	python benchmarks/results.py --presets quick record record-mixer record-standard
	python benchmarks/time_to_quality.py

# Training speed against the usual script and the machine's matrix products, and of several processes; leave the machine
# alone meanwhile.
bench:
	python benchmarks/throughput.py --write
	python benchmarks/processes.py --write
	python benchmarks/scale_model.py --write
