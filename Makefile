# CONTRIBUTING.md has a table of what runs where. Everything that the tests need besides Go, make, a C
# compiler (for the race detector and PKCS#11), the openssl command (to be checked against), SoftHSM
# and PostgreSQL comes as Go modules. As root on Debian and Ubuntu, SoftHSM and PostgreSQL are installed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
.NOTPARALLEL:
ifeq (,$(filter oneshell,$(.FEATURES)))
$(error GNU make 3.82 or later is needed; on macOS: brew install make, then gmake)
endif

# With -trimpath a clone in another folder takes what was built in this one.
export GOFLAGS += -trimpath

GO           ?= go
FUZZTIME     ?= 30s
SHARE        ?= 1
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: test test-all test-rest race plain long fips test-hsm2 needs lint nocgo cross bench fuzz campaign corpus mutants cover vuln golangci

# For people: every package, with the race detector, and all that a change is likely to break; at
# most 4 minutes. CONTRIBUTING.md has a table of what runs where.
test: lint race plain

# For machines: what make test does, and the rest of it, once. It takes a quarter of an hour.
test-all: test test-rest
test-rest: long fips nocgo cross

# Tests write to disks and wait for them: where there is memory for it they have it instead.
IN_MEMORY := .ci/inmemory

# Lint has run all of vet, and so the tests do not.
# What a test run prints while it runs. A limit is for one package, and has room for a machine four
# times as slow.
GO_TEST := $(IN_MEMORY) $(GO) test -json -vet=off
SHOW    := | $(GO) run ./internal/testlog

# Tests that take more than some seconds each, and look for what a change seldom breaks: kills, faults
# at every call, random histories. They run in long: NOT_RACING without the race detector, because
# other tests look for the races that they could find, and FIRST not at all: a change does break these,
# so they run in plain.
LONG := ^(TestModel|TestLinearizable|TestKilledUnderLoad|TestServerKilled|TestShredKilled|TestOneWinner|TestStaleness|TestNetworkFaults|TestTLS|TestGarbled|TestEvents|TestEveryAnswer|TestEveryAnswerOfConnecting|TestOwnIV|TestManyKeys|TestAttacks|TestHardwareSpecs|TestLifecycleCells|TestLifecycleCellsExpired|TestLifecycleUsages|TestModelFindsBugs|TestNoSecretIsPrinted|TestSweepFinds|TestRecordIsFull|TestRestoreHistories|TestForensics|TestForensicsOrder|TestStoreFaults|TestStoreFaultsElsewhere|TestClockMatrix|TestClockWalks|TestBackupRearranged|TestMadeUpNamesFillNothing|TestRotationInterleaved|TestRotationAtRandom)$$
NOT_RACING := ^(TestModel|TestNoSecretIsPrinted|TestRecordIsFull|TestRestoreHistories|TestForensics|TestForensicsOrder|TestStoreFaults|TestStoreFaultsElsewhere|TestModelFindsBugs|TestClockMatrix|TestClockWalks|TestBackupRearranged|TestMadeUpNamesFillNothing|TestRotationInterleaved|TestRotationAtRandom)$$
FIRST := ^(TestLifecycleCells|TestLifecycleUsages)$$

# Packages of tests of one goroutine each: arithmetic, parsers, commands.
PLAIN := $(GO) list ./... | grep -E '/(internal/(wycheproof|kwp|walks|drawing|testlog|mutants|campaign|collision|leaktest|reach|wrapping|systemtest/memory)|legacy/(internal/vectors|legacytest)|provider/providertest)$$'
RACING := $(GO) list ./... | grep -vxF "$$($(PLAIN))"

# The race detector and PKCS#11 need cgo.
race:
	@echo "== the tests, with the race detector"
	@pkgs=$$($(RACING)); CGO_ENABLED=1 $(GO_TEST) -race -timeout 15m -skip '$(LONG)' $$pkgs $(SHOW)

plain:
	@echo "== the tests of one goroutine"
	@pkgs=$$($(PLAIN)); failed=0; { $(GO_TEST) -timeout 10m -skip '$(LONG)' $$pkgs || failed=1; \
	$(GO_TEST) -timeout 10m -run '$(FIRST)' . || failed=1; exit $$failed; } $(SHOW)

long:
	@echo "== the long tests, with the race detector or without"
	@pkgs=$$($(GO) list ./...); failed=0; { \
	CGO_ENABLED=1 $(GO_TEST) -race -timeout 30m -run '$(LONG)' -skip '$(NOT_RACING)|$(FIRST)' $$pkgs || failed=1; \
	$(GO_TEST) -timeout 30m -run '$(NOT_RACING)' $$pkgs || failed=1; exit $$failed; } $(SHOW)

# What tests need besides Go: a token, a program that looks at it from outside, and programs of
# a database server. With KEYHOLD_ALL=1 no test may be left out for want of them.
race plain long fips bench campaign mutants cover: export KEYHOLD_ALL := 1
race plain long fips bench campaign mutants cover: needs
needs:
	@have() { command -v "$$1" >/dev/null; }; missing=; \
	have softhsm2-util || missing="$$missing softhsm2"; have pkcs11-tool || missing="$$missing opensc"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb || missing="$$missing postgresql"; \
	[ -z "$$missing" ] || \
	{ export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } || \
	{ echo "install these first:$$missing (as root with apt; or: brew install softhsm opensc postgresql). go test ./... skips what lacks them." >&2; exit 1; }

# Hardware keys in a second module, openCryptoki, in a chroot: needs root, and takes minutes
# the first time.
test-hsm2:
	.ci/hsm2

# With FIPS 140-3 cryptography alone. The setting is given to the tests, not to the go command. Packages
# that do no cryptography of their own are left out, and so are the long tests that are about order,
# kills and failures.
FIPS := $(GO) list ./... | grep -vE '/(keystore|examples/(ownstore|fleet)|internal/(walks|drawing|testlog|mutants|campaign|systemtest/(killed|clock|rotation)))(/|$$)'
NOT_AGAIN := ^(TestModel|TestKilledUnderLoad|TestServerKilled|TestLinearizable|TestNetworkFaults|TestOneWinner|TestStaleness|TestEvents|TestEveryAnswer|TestEveryAnswerOfConnecting|TestOwnIV|TestManyKeys|TestLifecycleCellsExpired)$$
fips:
	@echo "== the tests, with FIPS 140-3 cryptography alone"
	@pkgs=$$($(FIPS)); $(GO_TEST) -timeout 20m -skip '$(NOT_AGAIN)|$(NOT_RACING)' -exec 'env GODEBUG=fips140=only' $$pkgs $(SHOW)

# The module compiles for Windows, tests included.
cross:
	GOOS=windows CGO_ENABLED=0 $(GO) vet ./...

nocgo:
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) test ./hsm

lint:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted by gofmt:" $$files >&2; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod verify

# Known vulnerabilities of what is used, the Go toolchain among it.
vuln:
	.ci/vuln

# How much of the root package and of the packages behind its seams is run by their tests and by those
# of the whole service, and whether it is what is owed.
SEAMS := ./internal/keyid ./internal/wire ./internal/sealing ./internal/frames ./internal/fresh ./internal/wrapping
comma := ,
cover:
	@mkdir -p .cache
	$(IN_MEMORY) $(GO) test -timeout 20m -coverpkg=.,$(subst $() ,$(comma),$(SEAMS)) -coverprofile=.cache/cover.out . $(SEAMS) ./internal/systemtest/...
	.ci/cover .cache/cover.out

# Not part of test, because it takes long to build: the same rules for an editor.
golangci:
	$(GO) run $(GOLANGCI) config verify
	$(GO) run $(GOLANGCI) run ./...

# This module beside its floors and its peers, as ratios, with a plot. The peers are in the go.mod
# of bench alone. BENCHFLAGS="-write ../docs/results.md -svg ../docs/speed.svg" keeps both.
bench:
	cd bench && $(GO) vet ./... && $(GO) test ./... && $(GO) run . $(BENCHFLAGS)

# Guards that are broken one at a time, in a copy of the module: the tests have to notice each.
mutants:
	$(GO) run ./internal/mutants

# All fuzz targets, as lines of package and name. None at all is a failure.
define fuzz_targets
$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 } \
	END { if (!NR || n) exit 1 }'
endef

# fuzz_one PACKAGE NAME TIME. At the end of its time Go 1.26 sometimes calls a target failed
# of which no input failed (golang/go#75804, mended in Go 1.27): that is a pass.
define fuzz_one
fuzz_one() { \
	local log failed=0; log=$$(mktemp); \
	$(GO) test -run '^$$' -fuzz "^$$2\$$" -fuzztime "$$3" -fuzzminimizetime 20x -timeout 0 "$$1" </dev/null 2>&1 | tee "$$log" || failed=1; \
	if [ $$failed = 1 ] && grep -q '^ *context deadline exceeded$$' "$$log" && ! grep -q 'Failing input written' "$$log"; then \
		echo "time over, no input failed (golang/go#75804)"; failed=0; \
	fi; \
	rm -f "$$log"; return $$failed; \
}
endef

# Each fuzz target for FUZZTIME.
fuzz:
	@$(fuzz_one); targets=$$($(fuzz_targets)); [ -n "$$targets" ] || { echo "no fuzz target found" >&2; exit 1; }; \
	while read -r pkg name; do \
		echo "== $$pkg $$name, $(FUZZTIME)"; \
		fuzz_one "$$pkg" "$$name" $(FUZZTIME); \
	done <<<"$$targets"

# The long run: the tests that KEYHOLD_CAMPAIGN makes long, package by package, then each fuzz
# target for 20 minutes. SHARE=0.1 does a tenth of it. What passed at this commit is not done again,
# so that an interrupted campaign resumes.
campaign:
	@$(fuzz_one); done=.cache/campaign/$$(git rev-parse HEAD)-$(SHARE); mkdir -p "$$done"; \
	each=$$(awk 'BEGIN { printf "%ds", 1200 * $(SHARE) }'); \
	targets=$$($(fuzz_targets)); [ -n "$$targets" ] || { echo "no fuzz target found" >&2; exit 1; }; \
	steps=$$($(GO) list ./... | sed 's/$$/ -/'; echo "$$targets"); \
	total=$$(wc -l <<<"$$steps"); n=0; \
	while read -r pkg name; do \
		n=$$((n + 1)); stamp="$$done/$${pkg//\//_}.$$name"; \
		if [ -e "$$stamp" ]; then echo "== $$n/$$total $$pkg $$name: done before"; continue; fi; \
		echo "== $$n/$$total $$pkg $$name, begun $$(date -u +%FT%TZ)"; \
		if [ "$$name" = - ]; then \
			KEYHOLD_CAMPAIGN=$(SHARE) $(GO) test -count=1 -v -timeout 0 "$$pkg" </dev/null; \
		else \
			fuzz_one "$$pkg" "$$name" "$$each"; \
		fi; \
		touch "$$stamp"; \
	done <<<"$$steps"; \
	echo "== all $$total done at $$(git rev-parse --short HEAD), share $(SHARE)"

# After a campaign, by hand: of what each fuzz target found worth keeping, up to CORPUS bytes,
# the smallest first, go from Go's cache to testdata/fuzz, where go test runs them for everybody.
CORPUS ?= 20000
corpus:
	@targets=$$($(fuzz_targets)); cache=$$($(GO) env GOCACHE)/fuzz; \
	while read -r pkg name; do \
		from=$$cache/$$pkg/$$name; to=$$($(GO) list -f '{{.Dir}}' "$$pkg")/testdata/fuzz/$$name; \
		[ -d "$$from" ] || { echo "$$pkg $$name: nothing in the cache"; continue; }; \
		mkdir -p "$$to"; \
		find "$$from" -type f -printf '%s %f\n' | sort -n | awk -v most=$(CORPUS) '(sum += $$1) <= most { print $$2 }' | \
			while read -r file; do cp "$$from/$$file" "$$to/"; done; \
		echo "$$pkg $$name: $$(ls "$$to" | wc -l) inputs kept"; \
	done <<<"$$targets"
