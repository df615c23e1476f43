#!/usr/bin/env bash
# Redis; the option says whether client certificates are wanted: no, optional or yes.
. "$(dirname "$0")/lib.sh"
need redis-server redis-server
exec redis-server --bind 127.0.0.1 --port 0 --tls-port "$3" --dir "$1" --save '' --tls-auth-clients "$4" \
	--tls-cert-file "$2/rsa.pem" --tls-key-file "$2/rsa.key" --tls-ca-cert-file "$2/clients.pem"
