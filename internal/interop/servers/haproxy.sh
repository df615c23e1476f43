#!/usr/bin/env bash
# haproxy. PORT has names and ALPN; PORT+1 refuses names that it does not know; PORT+2 demands a client certificate;
# PORT+3 speaks TLS 1.3 alone; PORT+4 waits for a header of the PROXY protocol first.
. "$(dirname "$0")/lib.sh"
need haproxy haproxy
work=$1 pki=$2 port=$3
for name in rsa b.test; do
	cat "$pki/$name.pem" "$pki/$name.key" >"$work/$name.pem"
done
printf '%s\n' "$work/rsa.pem localhost" "$work/b.test.pem b.test" >"$work/names"
cat >"$work/haproxy.cfg" <<END
global
	log stderr local0 info
defaults
	mode http
	timeout client 5s
	timeout server 5s
	timeout connect 5s
frontend names
	bind 127.0.0.1:$port ssl crt $work/rsa.pem crt-list $work/names alpn h2,http/1.1
	bind 127.0.0.1:$((port + 1)) ssl crt-list $work/names strict-sni
	bind 127.0.0.1:$((port + 2)) ssl crt $work/rsa.pem ca-file $pki/clients.pem verify required
	bind 127.0.0.1:$((port + 3)) ssl crt $work/rsa.pem ssl-min-ver TLSv1.3
	bind 127.0.0.1:$((port + 4)) ssl crt $work/rsa.pem accept-proxy
	http-request return status 200
END
exec haproxy -db -f "$work/haproxy.cfg"
