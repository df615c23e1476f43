#!/usr/bin/env bash
# Runs a command that finds the openssl of the servers' scripts in its PATH: with-openssl.sh COMMAND...
. "$(dirname "$0")/servers/lib.sh"
need openssl openssl
exec "$@"
