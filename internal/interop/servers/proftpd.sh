#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need proftpd proftpd-core
need usr/lib/proftpd/mod_tls.so proftpd-mod-crypto
