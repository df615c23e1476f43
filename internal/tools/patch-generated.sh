#!/usr/bin/env bash
# Changes what mdatagen v0.159.0 generates, where its configuration cannot: patch-generated.sh DIR
#
# v0.159.0 is the newest release that can be built outside of its repository: v0.161.0 requires the module
# cmd/mdatagen/internal/schemagen, which is not published.
#
# In generated_metrics.go the attributes of each new point get the room that they need from the start. Otherwise they
# grow by doubling: recording a probe of one certificate then allocates 8057 bytes instead of 6650, in 150 pieces
# instead of 134. Reserving room has no issue of its own upstream; the code came
# with open-telemetry/opentelemetry-collector#10726, which made the set of attributes configurable.
set -euo pipefail
file=${1:?usage: patch-generated.sh DIR}/generated_metrics.go

fail() {
	printf '%s: %s; see internal/tools/patch-generated.sh\n' "$file" "$1" >&2
	exit 1
}

! grep -q 'Attributes().EnsureCapacity' "$file" || fail 'mdatagen reserves room for attributes by now'
grep -q 'dp := pmetric.NewNumberDataPoint()$' "$file" || fail 'no new points where there is room to reserve'
awk '{ print }
	/dp := pmetric.NewNumberDataPoint\(\)$/ { print "\tdp.Attributes().EnsureCapacity(len(m.config.EnabledAttributes))" }' \
	"$file" >"$file.new"
mv "$file.new" "$file"
