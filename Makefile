# etalon: set-up, build, demo and tests. Everything is built with one cargo profile (--release), so that each heavy
# dependency is compiled once.

SHELL  := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3

# libtorch_cpu.so of the wheel names the CUDA runtime and CUPTI, also where no GPU is used; the headers of both and of crt are for
# what is opened on a GPU only (src/nn/shim/graph.cpp).
TORCH := torch==2.11.0
PINS  := $(TORCH) nvidia-cuda-runtime==13.5.37 nvidia-cuda-cupti==13.5.25 nvidia-cuda-crt==13.5.37
# Its wheel holds a static ffmpeg program, which experiments on videos need.
FFMPEG := imageio-ffmpeg==0.8.1
# CUDA=1 adds the wheels that a GPU needs.
CUDA  ?=

.PHONY: setup toolchain libtorch ffmpeg build demo test test-recordings test-long check bench clean

setup: toolchain libtorch ffmpeg

# Provisions libtorch in .venv and links .libtorch to it; a LIBTORCH in the environment is used instead.
ifdef LIBTORCH
libtorch:
	@test -e "$(LIBTORCH)/lib/libtorch_cpu.so" || \
	  { echo "LIBTORCH=$(LIBTORCH) holds no lib/libtorch_cpu.so: point it at a libtorch 2.11.0, or unset it" >&2; exit 1; }
else
libtorch:
	@if [ "$$(cat .venv/etalon-pins 2>/dev/null || true)" != "$(PINS) cuda=$(CUDA)" ]; then \
	  [ -w . ] || { echo "$(CURDIR) cannot be written: set-up and build need a copy of the repository that can" >&2; exit 1; }; \
	  command -v $(PYTHON) >/dev/null || \
	    { echo "no $(PYTHON): install Python 3.10 or newer (it fetches libtorch), or set LIBTORCH to a libtorch 2.11.0" >&2; exit 1; }; \
	  echo "fetching libtorch ($(PINS))"; \
	  $(PYTHON) -m venv .venv || { echo "python3 has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }; \
	  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(PINS) || \
	    { echo "cannot fetch $(PINS): this needs PyPI once; or set LIBTORCH to a libtorch 2.11.0" >&2; exit 1; }; \
	  if [ -n "$(CUDA)" ]; then .venv/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH); fi; \
	  echo "$(PINS) cuda=$(CUDA)" > .venv/etalon-pins; \
	fi
	@ln -sfn "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch" .libtorch
	@test -e .libtorch/lib/libtorch_cpu.so || \
	  { echo "the wheel $(TORCH) holds no libtorch: remove .venv and run make setup again" >&2; exit 1; }
endif

# Provisions ffmpeg in .venv and links .ffmpeg to it; an ETALON_FFMPEG in the environment is used instead. All but
# experiments on videos works without, so that a machine which cannot fetch it is told so and built for all the same.
ifdef ETALON_FFMPEG
ffmpeg:
	@"$(ETALON_FFMPEG)" -version >/dev/null || \
	  { echo "ETALON_FFMPEG=$(ETALON_FFMPEG) does not run: point it at an ffmpeg program, or unset it" >&2; exit 1; }
else
ffmpeg: libtorch
	@if [ "$$(cat .venv/etalon-ffmpeg 2>/dev/null || true)" != "$(FFMPEG)" ] || [ ! -x .ffmpeg ]; then \
	  echo "fetching ffmpeg ($(FFMPEG))"; \
	  { [ -x .venv/bin/python ] || $(PYTHON) -m venv .venv; } && \
	  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(FFMPEG) && \
	  ln -sfn "$$(.venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" .ffmpeg && \
	  echo "$(FFMPEG)" > .venv/etalon-ffmpeg || \
	  echo "no ffmpeg: experiments on videos need it on PATH, or ETALON_FFMPEG set to it" >&2; \
	fi
endif

toolchain:
	@command -v cargo >/dev/null || { echo "no cargo: install Rust 1.90 or newer (https://rustup.rs)" >&2; exit 1; }
	@cargo --version >/dev/null 2>&1 || \
	  { echo "cargo does not run (HOME=$$HOME): install Rust 1.90 or newer there, or set RUSTUP_HOME to where it is" >&2; exit 1; }
	@mkdir -p "$${CARGO_HOME:-$$HOME/.cargo}" 2>/dev/null && [ -w "$${CARGO_HOME:-$$HOME/.cargo}" ] || \
	  { echo "cargo keeps packages in $${CARGO_HOME:-$$HOME/.cargo}, which cannot be written: set CARGO_HOME to a folder that can" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || \
	  { echo "no C++ compiler, which the libtorch bindings need: install one (Debian: apt install g++), or set CXX" >&2; exit 1; }

build: setup
	cargo build --release

# The whole protocol on the built-in corpus, and its report. An interrupted demo goes on where it stopped.
demo: build
	./target/release/etalon run experiments/demo.toml --store results/demo
	./target/release/etalon report results/demo --out results/demo/report
	@echo "the report is in $(CURDIR)/results/demo/report"

# The first tier: all that needs nothing beside the clone.
test: setup
	cargo test --release
	cargo test --release --no-default-features
	@names="$$(cargo test --release --quiet -- --list --ignored 2>/dev/null | grep ': test$$')"; \
	long="$$(grep -c every_long <<< "$$names")"; second="$$(grep -vc every_long <<< "$$names")"; \
	echo "not run: $$second tests of the second tier, which need recordings (make test-recordings), and $$long of the long tier (make test-long)"

# The second tier: on real recordings.
test-recordings: setup
	@[ -n "$${ETALON_SHARED:-}" ] && [ -d "$${ETALON_SHARED:-}" ] || \
	  { echo "ETALON_SHARED names no folder ($${ETALON_SHARED:-not set}): the second tier of tests reads recordings there" >&2; exit 2; }
	ETALON_SHARED="$$(cd "$$ETALON_SHARED" && pwd)" cargo test --release -- --ignored --skip every_long

# The long tier: commands of the guide that take minutes.
test-long: setup
	cargo test --release --test cli -- --ignored every_long

check: setup
	cargo fmt --check
	cargo clippy --release --all-targets --no-default-features -- -D warnings
	cargo clippy --release --all-targets -- -D warnings

bench: setup
	cargo bench

# Keeps results/.
clean:
	rm -rf target .venv .libtorch .ffmpeg
