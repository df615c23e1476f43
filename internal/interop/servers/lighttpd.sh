#!/usr/bin/env bash
# lighttpd with Mbed TLS; the options are those of ssl-conf-cmd, such as CipherString=CAMELLIA.
. "$(dirname "$0")/lib.sh"
need lighttpd lighttpd
need usr/lib/lighttpd/mod_mbedtls.so lighttpd-mod-mbedtls
work=$1 pki=$2
cat "$pki/rsa.pem" "$pki/rsa.key" >"$work/rsa.pem"
{
	cat <<END
server.modules = ("mod_mbedtls")
server.document-root = "$work"
server.bind = "127.0.0.1"
server.port = $3
ssl.engine = "enable"
ssl.pemfile = "$work/rsa.pem"
ssl.openssl.ssl-conf-cmd = (
END
	for command in "${@:4}"; do
		echo "\"${command%%=*}\" => \"${command#*=}\","
	done
	echo ')'
} >"$work/lighttpd.conf"
exec lighttpd -D -f "$work/lighttpd.conf" -m "$(path usr/lib/lighttpd)"
