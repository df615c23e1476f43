#!/usr/bin/env bash
# Dovecot: imap, pop3, lmtp and sieve, then imaps and pop3s; the option is whether it has TLS: yes or no.
. "$(dirname "$0")/lib.sh"
need dovecot dovecot-core
need usr/lib/dovecot/imap-login dovecot-imapd
need usr/lib/dovecot/pop3-login dovecot-pop3d
need usr/lib/dovecot/lmtp dovecot-lmtpd
need usr/lib/dovecot/managesieve-login dovecot-managesieved
need_root
work=$1 pki=$2 port=$3
libraries usr/lib/dovecot
lib=usr/lib/dovecot
programs=$(find "$(path $lib)" -maxdepth 1 -type f ! -name '*.so*' -printf "$lib/%f ")
jail "$work" usr/sbin/dovecot usr/bin/doveconf $programs $lib/modules/{libssl_iostream_openssl.so,old-stats,settings}
cp "$pki/rsa.pem" "$pki/rsa.key" "$work"
cat >"$work/etc/passwd" <<END
root:x:0:0::/:
dovecot:x:64001:64001::/:
dovenull:x:64002:64002::/:
END
cat >"$work/etc/group" <<END
dovecot:x:64001:
dovenull:x:64002:
END
mkdir "$work/etc/dovecot"
cat >"$work/etc/dovecot/dovecot.conf" <<END
base_dir = /run
log_path = /dev/stderr
protocols = imap pop3 lmtp sieve
listen = 127.0.0.1
passdb {
	driver = static
}
ssl = $4
ssl_cert = </rsa.pem
ssl_key = </rsa.key
service imap-login {
	inet_listener imap {
		port = $port
	}
	inet_listener imaps {
		port = $((port + 4))
	}
}
service pop3-login {
	inet_listener pop3 {
		port = $((port + 1))
	}
	inet_listener pop3s {
		port = $((port + 5))
	}
}
service lmtp {
	inet_listener lmtp {
		port = $((port + 2))
	}
}
service managesieve-login {
	inet_listener sieve {
		port = $((port + 3))
	}
}
END
LD_LIBRARY_PATH="" exec chroot "$work" /usr/sbin/dovecot -F
