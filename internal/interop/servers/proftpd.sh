#!/usr/bin/env bash
# ProFTPD. PORT knows AUTH TLS, PORT+1 does not.
. "$(dirname "$0")/lib.sh"
need proftpd proftpd-core
need usr/lib/proftpd/mod_tls.so proftpd-mod-crypto
work=$1 pki=$2 port=$3
# It wants a key that nobody else can read, and the certificates behind the first apart.
install -m 600 "$pki/rsa.key" "$work/key"
cat >"$work/proftpd.conf" <<END
ModulePath $(path usr/lib/proftpd)
LoadModule mod_tls.c
ServerName t
ServerType standalone
DefaultAddress 127.0.0.1
SocketBindTight on
Port $port
UseIPv6 off
User nobody
Group nogroup
WtmpLog off
TransferLog none
SystemLog $work/system.log
PidFile $work/pid
ScoreboardFile $work/scoreboard
DelayEngine off
TLSEngine on
TLSLog $work/tls.log
TLSProtocol TLSv1.2 TLSv1.3
TLSRSACertificateFile $pki/rsa.pem
TLSRSACertificateKeyFile $work/key
TLSCertificateChainFile $pki/intermediate.pem
<VirtualHost 127.0.0.1>
Port $((port + 1))
TLSEngine off
</VirtualHost>
END
exec proftpd --nodaemon --quiet --config "$work/proftpd.conf"
