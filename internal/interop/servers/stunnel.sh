#!/usr/bin/env bash
# stunnel. PORT is for everyone; PORT+1 demands a client certificate; PORT+2 has no certificate but a pre-shared key;
# PORT+3 speaks PostgreSQL's preamble first.
. "$(dirname "$0")/lib.sh"
need stunnel4 stunnel4
work=$1 pki=$2 port=$3
echo 'id:0123456789abcdef0123456789abcdef' >"$work/psk"
chmod 600 "$work/psk"
cat >"$work/stunnel.conf" <<END
foreground = yes
pid =
exec = /bin/cat
execArgs = cat
[everyone]
accept = 127.0.0.1:$port
cert = $pki/rsa.pem
key = $pki/rsa.key
[mutual]
accept = 127.0.0.1:$((port + 1))
cert = $pki/rsa.pem
key = $pki/rsa.key
CAfile = $pki/clients.pem
verifyChain = yes
requireCert = yes
[psk]
accept = 127.0.0.1:$((port + 2))
PSKsecrets = $work/psk
ciphers = PSK
sslVersionMax = TLSv1.2
[postgres]
accept = 127.0.0.1:$((port + 3))
protocol = pgsql
cert = $pki/rsa.pem
key = $pki/rsa.key
END
exec stunnel4 "$work/stunnel.conf"
