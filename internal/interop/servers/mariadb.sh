#!/usr/bin/env bash
# MariaDB; the option is whether it has TLS: ssl or skip-ssl.
. "$(dirname "$0")/lib.sh"
need mariadbd mariadb-server
work=$1 pki=$2
user=()
if [ "$(id -u)" = 0 ]; then # it wants to be told that it may stay root
	user=(--user=root)
fi
mkdir "$work/data"
# It has no databases, not even its own; nobody gets that far.
exec mariadbd --no-defaults "${user[@]}" --datadir="$work/data" --skip-grant-tables --skip-networking=0 --skip-log-bin \
	--lc-messages-dir="$(path usr/share/mysql)" --character-sets-dir="$(path usr/share/mysql/charsets)" \
	--socket="$work/socket" --pid-file="$work/pid" --bind-address=127.0.0.1 --port="$3" \
	--ssl-cert="$pki/rsa.pem" --ssl-key="$pki/rsa.key" --"$4"
