#!/usr/bin/env bash
# dnsmasq, over UDP and TCP, with records of its own alone, which the options are. It logs what it is asked.
. "$(dirname "$0")/lib.sh"
need dnsmasq dnsmasq-base
: >"$1/empty"
exec dnsmasq --keep-in-foreground --conf-file="$1/empty" --pid-file= --user="$(id -un)" --listen-address=127.0.0.1 \
	--bind-interfaces --port="$3" --no-resolv --no-hosts --log-queries --log-facility=- "${@:4}"
