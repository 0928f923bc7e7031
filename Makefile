# make demo       see it work: a throwaway cluster, a load, a crash, a restore, a comparison
# make            build the extension and the program for PG_CONFIG, as the user who has Rust
# make install    install what is built, as who may write there (sudo); builds it if it is not; DESTDIR=DIRECTORY
# make test       everything that a change must pass, on PostgreSQL 15 and 18, a third of it on 16 and 17
# make roundtrip  PostgreSQL's own tests, restored and compared: SUITE=regress, isolation or contrib, PG=15 or 18
# make fuzz       random transactions against the comparison: SECONDS=600, SEED=n, PG=15 or 18
# make torture    faults at random, every committed number counted: ROUNDS=200, SEED=n, PG=15 or 18, KIND=synchronous or failover
# make load       everything at once, with memory and lag watched: SECONDS=600, PG=15 or 18
# make bench      the capture beside its peers and the floor: BENCH_ONLY=drain, REPEATS=1, PG=15 or 18
# make containers-test  builds the container files of these packages, and runs them, without an engine (as root)
# make deny       licences, sources and duplicates of the dependencies: ADVISORIES=yes for RustSec's too
# make lint-workflows  the workflow files, by actionlint
# make packages   .deb, .rpm, source archive, SBOM and checksums in target/packages: PG_VERSIONS='15 18'
# make packages-check  builds them once more, elsewhere, and compares the bytes
# make packages-test   installs, uses, upgrades and removes them in a clean Debian (as root)
# make setup      what the other targets need (they call it; install and packages only what building needs)

PG_CONFIG ?= pg_config
PG ?= 15
PG_VERSIONS ?= 15 16 17 18
SUITE ?= regress

# For make fuzz, make torture and make load. No SEED: one from the time of day, which is printed.
export SECONDS_TO_RUN = $(SECONDS)
export SEED
export ROUNDS
export PG

.PHONY: all setup setup-build install test fuzz torture load demo roundtrip bench clean-trees \
    packages packages-check packages-test containers-test deny lint-workflows

all:
	@sh tools/setup.sh install "$$(command -v $(PG_CONFIG))"
	@sh tools/build.sh "$$(command -v $(PG_CONFIG))"
	@echo "built; sudo make install PG_CONFIG=$$(command -v $(PG_CONFIG)) installs it"

setup:
	@sh tools/setup.sh

setup-build:
	@sh tools/setup.sh build

install:
	@DESTDIR='$(DESTDIR)' sh tools/install.sh "$$(command -v $(PG_CONFIG))"

test: setup
	@sh tools/test.sh

fuzz: setup
	@sh tools/fuzz.sh

torture: setup
	@sh tools/torture.sh

load: setup
	@sh tools/load.sh

demo: setup-build
	@sh tools/demo.sh

roundtrip: setup
	@PG=$(PG) SUITE=$(SUITE) sh tools/roundtrip.sh

bench: setup
	@sh tools/bench.sh

packages:
	@sh tools/setup.sh packages $(PG_VERSIONS)
	@sh packaging/packages.sh $(PG_VERSIONS)

packages-check:
	@sh tools/setup.sh packages $(PG_VERSIONS)
	@sh packaging/reproduce.sh $(PG_VERSIONS)

packages-test:
	@sh packaging/test.sh

containers-test:
	@sh containers/test.sh

deny:
	@sh tools/deny.sh

lint-workflows:
	@sh tools/lint-workflows.sh

# Removes this checkout's private PostgreSQL trees; the next make setup makes them again.
clean-trees:
	@sh tools/clean-trees.sh
