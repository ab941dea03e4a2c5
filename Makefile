# Thin: each target calls a script of the same name in .make/.
.DEFAULT_GOAL := help
.PHONY: help demo test build pgo filters setup setup-tests lint bench bench-full clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: build filters ## a tour with real requests, then stays up; ONCE=1 ends after the tour
	@.make/demo

test: filters setup-tests ## formatting, clippy, documentation and every test
	@.make/test

build: filters ## target/release/tollgate, with the interpreters of scripts in it
	@.make/build

pgo: filters ## the same, laid out by what a trial run counted: less CPU, twice the time to build
	@.make/pgo

filters: setup ## the Wasm filters, into filters/dist/
	@.make/filters

setup: ## finds or fetches what the build needs (nothing outside this folder is replaced)
	@.make/setup

setup-tests: setup ## and what only the tests need
	@.make/setup tests

lint: setup ## formatting and clippy alone
	@.make/lint

bench: pgo ## load tests beside nginx, HAProxy, Envoy and others: a selection, some minutes (bench/README.md)
	@bench/setup
	@bench/run
	@bench/publish

bench-full: pgo ## all load tests: more than half an hour, ten minutes of it a soak
	@bench/setup
	@bench/run --full
	@bench/publish

clean: ## removes what was built; keeps .tools/
	@cargo clean --quiet
	@rm -rf filters/target filters/dist bench/target bench/out
