#!/usr/bin/env bash
# slapd; the option is what it does with client certificates, never or demand, or off: it has no TLS then.
. "$(dirname "$0")/lib.sh"
need slapd slapd
work=$1 pki=$2
echo "pidfile $work/pid" >"$work/slapd.conf"
if [ "$4" != off ]; then
	cat >>"$work/slapd.conf" <<END
TLSCertificateFile $pki/rsa.pem
TLSCertificateKeyFile $pki/rsa.key
TLSCACertificateFile $pki/clients.pem
TLSVerifyClient $4
END
fi
exec slapd -d stats -f "$work/slapd.conf" -h "ldap://127.0.0.1:$3"
