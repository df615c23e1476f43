#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for the time that is given: fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:?usage: fuzz.sh TIME}

# A line for each target: its package and its name.
targets=$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')

# None may be missed, whatever it is called and wherever it is.
declared=$(grep -rEho --include='*_test.go' '^func Fuzz\w+' . | awk '{ print $2 }' | sort)
found=$(awk '{ print $2 }' <<<"$targets" | sort)
if [ -z "$found" ] || [ "$declared" != "$found" ]; then
	printf 'declared in test files, but not found by go test -list, or the other way round:\n'
	diff <(echo "$declared") <(echo "$found") || true
	exit 1
fi

# In Go 1.26 the end of the time may count as a failure, which is reported in these words alone: golang/go#75804, fixed
# in Go 1.27.
only_time_is_up() {
	[ "$(sed -n '/^--- FAIL/,/^FAIL/p' "$1" | sed '1d;$d')" = '    context deadline exceeded' ]
}

status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
while read -r package name; do
	if go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" >"$log" 2>&1 || only_time_is_up "$log"; then
		printf 'passed  %-32s %s\n' "$name" "$(sed -n 's/.*elapsed: \([^,]*\), \(execs: [0-9]*\).*total: \([0-9]*\)).*/\1, \2, corpus of \3/p' "$log" | tail -1)"
	else
		status=1
		printf 'FAILED  %s in %s\n' "$name" "$package"
		cat "$log"
	fi
done <<<"$targets"
exit $status
