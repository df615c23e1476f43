#!/usr/bin/env bash
# ngIRCd. PORT does not know STARTTLS; PORT+1 speaks TLS from the first byte.
. "$(dirname "$0")/lib.sh"
need ngircd ngircd
work=$1 pki=$2 port=$3
cat >"$work/ngircd.conf" <<END
[Global]
Name = irc.test
Info = t
Listen = 127.0.0.1
Ports = $port
ServerUID = nobody
ServerGID = nogroup
MotdPhrase = t
[Options]
PAM = no
Ident = no
DNS = no
[SSL]
CertFile = $pki/rsa.pem
KeyFile = $pki/rsa.key
Ports = $((port + 1))
END
exec ngircd --nodaemon --config "$work/ngircd.conf"
