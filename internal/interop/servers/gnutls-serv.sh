#!/usr/bin/env bash
# gnutls-serv; the first option names its certificate, and files in the others are those of the PKI. It listens on every
# address.
. "$(dirname "$0")/lib.sh"
need gnutls-serv gnutls-bin
cd "$2"
exec gnutls-serv --quiet --echo --port "$3" --x509certfile "$4.pem" --x509keyfile "$4.key" "${@:5}"
