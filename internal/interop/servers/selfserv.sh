#!/usr/bin/env bash
# selfserv, the test server of NSS, with an RSA certificate. It listens on every address.
# It serves the names of option -a that are the nickname of a certificate.
. "$(dirname "$0")/lib.sh"
need selfserv libnss3-tools
db=sql:$1
certutil -N -d "$db" --empty-password
certutil -A -d "$db" -n root -t ,, -i "$2/root.pem"
certutil -A -d "$db" -n clients -t T,, -i "$2/clients.pem"
openssl pkcs12 -export -in "$2/rsa.pem" -inkey "$2/rsa.key" -name localhost -passout pass: -out "$1/server.p12"
pk12util -d "$db" -i "$1/server.p12" -W ''
exec selfserv -d "$db" -p "$3" -n localhost "${@:4}"
