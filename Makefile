# The list of verbs. `make help` explains them.

GO       ?= go
FUZZTIME ?= 30s
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath
# Packages whose state is shared between goroutines: they run under the race detector too.
SHARED    = $(addprefix ./internal/,blob conn deliver deliver/learn directory dns imapd kv/memkv popd queue reports \
            scan scan/... server smtpd spam spam/unpack spam/words store tlspolicy trace)

# What bench-peers compares with, and the tracer that counts syncs.
PEERS     = dovecot-imapd dovecot-lmtpd dovecot-pop3d dovecot-sieve postfix strace

.PHONY: help run build test race lint fuzz e2e torture bench bench-peers bench-growth bench-spam

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build bin/tram and start the demo: a whole mail server on loopback
	@exec bin/tram demo

build: ## build bin/tram, static
	$(BUILD) -o bin/tram ./cmd/tram

test: build ## install what the tests need (as root), then vet, house rules and every test
	scripts/test-deps
	$(GO) vet ./...
	$(GO) test -timeout 14m ./...
	$(GO) test -race -timeout 14m $(SHARED)

race: ## every test under the race detector
	$(GO) test -race -timeout 60m ./...

lint: ## formatting, vet and staticcheck
	@test -z "$$(gofmt -l cmd internal mailtest imaptest e2e bench torture 2>/dev/null)" || \
		{ gofmt -l cmd internal mailtest imaptest e2e bench torture; echo "not formatted: run gofmt -w"; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fuzz: ## every fuzz target for FUZZTIME each (default 30s)
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd internal | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -d' ' -f2); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$pkg || exit 1; \
		done; \
	done

e2e: build ## the real binary with real programs
	scripts/test-deps
	$(GO) test -v -timeout 14m ./mailtest/... ./e2e/...

torture: build ## faults under load for half an hour; the table goes to docs/reliability.md
	scripts/test-deps e2fsprogs mount strace
	$(GO) run ./torture -tram bin/tram -long -markdown docs/reliability.md

bench: build ## load tests of bin/tram; the results go to bench/RESULTS.md
	$(GO) run ./bench -keep
	$(GO) run ./bench checks -keep

bench-peers: build ## the same work by bin/tram and by Debian's Postfix + Dovecot in turn, and their ratios
	scripts/test-deps $(PEERS)
	$(GO) run ./bench peers -keep

bench-spam: ## what the classifier of words finds in two corpora; npm fetches the English one
	$(GO) run ./bench spam -keep

bench-growth: build ## how cost grows with mailbox, accounts, store, queue and connections
	$(GO) run ./bench growth -keep
