TOOLS := _build/tools
BINARY := _build/otelcol-tlscheck
QUICKSTART := examples/quickstart
CERTS := $(CURDIR)/_build/quickstart
RESOURCE_TEST := receiver/tlscheckreceiver/internal/metadata/generated_resource_test.go
METRICS := receiver/tlscheckreceiver/internal/metadata/generated_metrics.go
GO_DIRS := examples internal receiver
SOURCES := $(shell find receiver internal -type f ! -name '*_test.go' ! -name '*.md' ! -name '*.sh')

.PHONY: help generate fmt lint test race build acceptance test-interop bench bench-scale run clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

generate: $(TOOLS)/.built ## generate code and documentation from metadata.yaml
	@cd receiver/tlscheckreceiver && "$(CURDIR)/$(TOOLS)/mdatagen" metadata.yaml
	@# mdatagen v0.159.0 imports the wrong package there: open-telemetry/opentelemetry-collector#15760
	@sed 's,/confmap/xconfmap",/confmap",' $(RESOURCE_TEST) >$(RESOURCE_TEST).new && mv $(RESOURCE_TEST).new $(RESOURCE_TEST)
	@# without it each point's attributes grow by doubling, a fifth of the garbage of recording
	@awk '{ print } /dp := pmetric.NewNumberDataPoint\(\)/ { print "\tdp.Attributes().EnsureCapacity(len(m.config.EnabledAttributes))"; n++ } END { exit !n }' \
		$(METRICS) >$(METRICS).new && mv $(METRICS).new $(METRICS)

fmt: $(TOOLS)/.built ## format the Go code
	@$(TOOLS)/gofumpt -w $(GO_DIRS)

lint: $(TOOLS)/.built ## check formatting, go vet and staticcheck
	@files=$$($(TOOLS)/gofumpt -l $(GO_DIRS)) || exit; \
	test -z "$$files" || { echo "not formatted, run make fmt:"; echo "$$files"; exit 1; }
	@for tags in "" acceptance interop scale; do \
		go vet -tags "$$tags" ./... && $(TOOLS)/staticcheck -tags "$$tags" ./... || exit; \
	done
	@GOOS=darwin CGO_ENABLED=0 go vet ./... # make test has to pass there too

test: ## run the tests; needs Go only
	@go test ./...

race: ## run the tests with the race detector; needs a C compiler too
	@CGO_ENABLED=1 go test -race ./...

build: $(BINARY) ## build the collector distribution; takes minutes the first time
$(BINARY): $(SOURCES) go.mod go.sum builder-config.yaml $(TOOLS)/.built
	@$(TOOLS)/builder --config builder-config.yaml

acceptance: build ## test the built distribution
	@go test -tags acceptance -count=1 -timeout 2m ./internal/acceptance/...

test-interop: ## test against real servers, whose Debian packages it unpacks into _build
	@internal/interop/install.sh
	@go test -tags interop -count=1 ./internal/interop/...

bench: ## compare what a probe costs with a bare tls.Dialer loop
	@go test -run '^$$' -bench Probe -benchtime 1x ./receiver/tlscheckreceiver

bench-scale: build ## measure the built distribution with 10,000 targets; takes 20 minutes
	@go test -tags scale -count=1 -v -timeout 2h -run TestScale ./internal/scale

run: build ## try it on demo servers, or on TARGETS="example.com:443 [::1]:8443"
	@echo 'Metrics at http://localhost:9464/metrics. Ctrl-C ends it.'
ifdef TARGETS
	@exec $(BINARY) --config $(QUICKSTART)/config.yaml \
		--config 'yaml:receivers::tls_check::targets: [$(foreach t,$(TARGETS),{endpoint: "$(t)"},)]'
else
	@go run ./examples/quickstart "$(CERTS)"
	@CERTS="$(CERTS)" exec $(BINARY) --config $(QUICKSTART)/config.yaml --config $(QUICKSTART)/demo.yaml
endif

clean: ## delete everything that was built
	@rm -rf _build

$(TOOLS)/.built: internal/tools/go.mod internal/tools/go.sum
	@go build -C internal/tools -o "$(CURDIR)/$(TOOLS)/" tool
	@touch $@
