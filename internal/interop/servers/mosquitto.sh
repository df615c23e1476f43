#!/usr/bin/env bash
# Mosquitto. PORT is for everyone; PORT+1 demands a client certificate.
. "$(dirname "$0")/lib.sh"
need mosquitto mosquitto
cat >"$1/mosquitto.conf" <<END
user root
per_listener_settings true
listener $3 127.0.0.1
allow_anonymous true
certfile $2/rsa.pem
keyfile $2/rsa.key
listener $(($3 + 1)) 127.0.0.1
allow_anonymous true
certfile $2/rsa.pem
keyfile $2/rsa.key
cafile $2/clients.pem
require_certificate true
END
exec mosquitto -c "$1/mosquitto.conf"
