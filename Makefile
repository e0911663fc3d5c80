# `make` or `make help` lists the targets. Automation runs exactly these.

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS     += --warn-undefined-variables --no-builtin-rules

TMP := .tmp
BIN := $(TMP)/bin
GO  ?= go

# Everything under a go.mod of its own, so that nothing of it enters users' go.sum.
MODULES := . $(patsubst %/go.mod,%,$(wildcard bench/go.mod examples/go.mod integration/go.mod overlay/grpcauth/go.mod overlay/otelweft/go.mod))

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(BIN)/golangci-lint-$(GOLANGCI_VERSION)

GOVULNCHECK_VERSION := v1.8.0
GOVULNCHECK         := $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)

# T is how long `make fuzz` spends on each fuzz test.
T ?= 30s
# RUN selects tests by name: make test RUN=TestDial
RUN ?=
# TIMEOUT ends a package's tests that hang, with all stacks.
TIMEOUT ?= 10m

# in_modules runs a command in each module, all of them even if one fails.
in_modules = failed=0; for m in $(MODULES); do echo "== $$m: $(1)"; (cd $$m && $(1)) || failed=1; done; exit $$failed

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: all
all: check test ## Everything before a commit: check, then test

.PHONY: build
build: ## Build the command into bin/weft
	$(GO) build -o bin/weft ./cmd/weft

.PHONY: demo
demo: ## Relay, server and client as three processes: one HTTP/2 answer over the overlay
	@GO="$(GO)" ./scripts/demo.sh

.PHONY: test
test: ## Every test of every module, with the race detector, in shuffled order
	@$(call in_modules,$(GO) test -race -shuffle=on -timeout $(TIMEOUT) -run '$(RUN)' ./...)
	$(GO) test -timeout $(TIMEOUT) -run Meshed ./relay
	$(GO) test -timeout $(TIMEOUT) ./internal/budget
	cd bench && $(GO) test -timeout $(TIMEOUT) -run Budget .

.PHONY: check
check: fmt vet lint vuln ## What can be checked without running: format, vet, modernity, lint, known vulnerabilities, layers, documents
	$(GO) test ./internal/arch

.PHONY: fmt
fmt: ## Fail if gofmt or go fix would change a file; `gofmt -w .` and `go fix ./...` change it
	@out=$$(gofmt -l .); \
	if [ -n "$$out" ]; then echo "not formatted with gofmt:"; echo "$$out"; exit 1; fi
	@$(call in_modules,$(GO) fix -diff ./...)

.PHONY: vet
vet: ## go vet
	@$(call in_modules,$(GO) vet ./...)

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint with the allow-list in .golangci.yml
	@$(call in_modules,$(CURDIR)/$(GOLANGCI) run ./...)

.PHONY: vuln
vuln: $(GOVULNCHECK) ## govulncheck in each module, where its database can be reached
	@./scripts/vuln.sh $(GOVULNCHECK) $(MODULES)

.PHONY: tools
tools: $(GOLANGCI) $(GOVULNCHECK) ## Build the tools that the other targets use into .tmp/bin

# Built from source through the module proxy: a minute or three, once.
$(GOLANGCI):
	@mkdir -p $(BIN)
	GOBIN=$(CURDIR)/$(TMP)/build $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TMP)/build/golangci-lint $@

$(GOVULNCHECK):
	@mkdir -p $(BIN)
	GOBIN=$(CURDIR)/$(TMP)/build $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(TMP)/build/govulncheck $@

.PHONY: fuzz
fuzz: ## Each fuzz test for T (make fuzz T=30s)
	@GO="$(GO)" ./scripts/fuzz.sh $(T)

.PHONY: cross
cross: ## Build and vet for Linux, macOS, Windows and FreeBSD on amd64 and arm64
	@GO="$(GO)" ./scripts/cross.sh

.PHONY: reproducible
reproducible: ## Check that two builds in different places give the same command
	@GO="$(GO)" ./scripts/reproducible.sh

.PHONY: corpus
corpus: ## Keep in testdata/fuzz what fuzzing has found interesting on this machine
	@GO="$(GO)" ./scripts/corpus.sh

.PHONY: bench
bench: ## Compare weft with TCP, TLS and its peers on this machine; writes docs/bench.md and its plots
	@cd bench && $(GO) run . -both -out ../docs

.PHONY: integ
integ: ## Only the integration tests: processes, sockets, faults, programs over every layer
	@cd integration && $(GO) test -race -shuffle=on -timeout $(TIMEOUT) -run '$(RUN)' -v ./...

.PHONY: cover
cover: ## Test coverage of the main module, by package and in .tmp/cover.html
	@mkdir -p $(TMP)
	$(GO) test -coverpkg=./... -coverprofile=$(TMP)/cover.out ./...
	$(GO) tool cover -func=$(TMP)/cover.out | tail -1
	$(GO) tool cover -html=$(TMP)/cover.out -o $(TMP)/cover.html

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf bin $(TMP)
