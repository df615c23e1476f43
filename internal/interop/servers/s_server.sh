#!/usr/bin/env bash
# openssl s_server with an RSA certificate, unless the options say otherwise; files in them are those of the PKI.
. "$(dirname "$0")/lib.sh"
need openssl openssl
cd "$2"
# -www answers HTTP requests and leaves the standard input alone.
exec openssl s_server -accept "127.0.0.1:$3" -www -cert rsa.pem -key rsa.key -cert_chain intermediate.pem "${@:4}"
