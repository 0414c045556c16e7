.PHONY: setup check test slow bench docs

setup:  ## everything that tests and training need
	uv sync --group dev

check:  ## what CI checks before it tests
	uv run --group dev ruff check .
	uv run --group dev ruff format --check .
	uv run --group dev mypy --strict src

test:  ## the fast set
	uv run --group dev pytest

slow:  ## training runs, killed processes, large photos
	uv run --group dev pytest -m slow -n 0

bench:  ## quality and speed of the shipped model
	uv run --extra train python benchmarks/shipped_model.py
	uv run --extra train python benchmarks/speed.py

docs:  ## the example photos, the README's picture and table and the headers' scores, made again
	uv run --extra train python examples/make.py
	uv run --extra train python examples/picture.py
	uv run --extra train python benchmarks/table.py
	uv run --extra train python benchmarks/headers.py
