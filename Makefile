QUICKSTART := examples/quickstart
GO_DIRS := examples internal receiver
METADATA := receiver/tlscheckreceiver/internal/metadata
FUZZTIME ?= 30s

# The same flags for all that is compiled, so that nothing is compiled twice. Debugging information would be stripped.
export GOFLAGS := $(filter-out -trimpath -gcflags=%,$(shell go env GOFLAGS)) -trimpath -gcflags=all=-dwarf=false
export CGO_ENABLED := 0

# A tool is built when it is first needed. internal/tools/go.mod has the versions.
TOOL := go tool -modfile="$(CURDIR)/internal/tools/go.mod"
LINT := go tool -modfile="$(CURDIR)/internal/tools/golangci-lint/go.mod" golangci-lint

.PHONY: help run build gateway test race acceptance acceptance-gateway test-interop fuzz golden bench bench-scale generate fmt lint clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' Makefile

run: ## try it on demo servers, or on TARGETS="example.com:443 [::1]:8443"
	@# What needs no other modules is compiled while the others are fetched.
	@$(MAKE) --no-print-directory --jobs=2 modules packages
	@$(MAKE) --no-print-directory --jobs=2 _build/demo build
	@exec _build/demo _build/otelcol-tlscheck $(QUICKSTART) $(foreach t,$(TARGETS),'$(t)')

build: cmd/otelcol-tlscheck/components.go ## build _build/otelcol-tlscheck, the collector distribution
	@go build -C cmd/otelcol-tlscheck -ldflags='-s -w' -o "$(CURDIR)/_build/"

# A changed manifest is generated anew. What git checks out is not: builder-config.yaml comes before cmd in the alphabet.
cmd/otelcol-tlscheck/components.go: builder-config.yaml
	@$(TOOL) builder --config builder-config.yaml --skip-compilation

.PHONY: modules
modules: # fetches what build compiles
	@go list -C cmd/otelcol-tlscheck -deps . >/dev/null

.PHONY: packages
packages: # compiles what build and the demo share
	@go build ./receiver/... ./examples/quickstart

.PHONY: _build/demo
_build/demo:
	@go build -o $@ ./examples/quickstart

gateway: ## build _build/gateway/otelcol-tlscheck-gateway, which has discovery, OTTL and remote write too
	@mkdir -p _build
	@$(TOOL) builder --config builder-config.gateway.yaml

test: ## run the tests; needs Go only
	@go test -short ./...

race: ## run all of the tests with the race detector; needs a C compiler too
	@CGO_ENABLED=1 go test -race ./...

acceptance: build _build/demo ## test the built distribution
	@go test -tags acceptance -count=1 -timeout 2m -run '^TestScripts$$' ./internal/acceptance

acceptance-gateway: gateway ## test the built gateway
	@go test -tags acceptance -count=1 -timeout 2m -run '^TestGatewayScripts$$' ./internal/acceptance

test-interop: ## test against real servers, whose Debian packages it unpacks into _build
	@internal/interop/install.sh
	@go test -tags interop -count=1 ./internal/interop/...

fuzz: ## run each fuzz target for 30 s, or for another FUZZTIME
	@internal/tools/fuzz.sh $(FUZZTIME)

golden: ## write the golden files in testdata/golden anew
	@go test -count=1 -run '^TestGolden' ./receiver/tlscheckreceiver -update

bench: ## compare what a probe costs with a bare tls.Dialer loop
	@go test -run '^$$' -bench Probe -benchtime 1x ./receiver/tlscheckreceiver

bench-scale: build ## measure the built distribution with 10,000 targets; takes 20 minutes
	@go test -tags scale -count=1 -v -timeout 2h -run TestScale ./internal/scale

generate: ## generate code and documentation from metadata.yaml, and the distribution from builder-config.yaml
	@$(TOOL) builder --config builder-config.yaml --skip-compilation
	@cd receiver/tlscheckreceiver && $(TOOL) mdatagen metadata.yaml
	@# mdatagen imports the wrong package there: open-telemetry/opentelemetry-collector#15760
	@$(TOOL) goimports -w $(METADATA)/generated_resource_test.go
	@internal/tools/patch-generated.sh $(METADATA)

fmt: ## format the Go code
	@$(TOOL) gofumpt -w $(GO_DIRS)

lint: ## check the Go code; .golangci.yml says for what
	@$(LINT) run
	@GOOS=darwin go vet ./... # make test has to pass there too

clean: ## delete everything that was built
	@rm -rf _build
