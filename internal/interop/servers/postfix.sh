#!/usr/bin/env bash
# Postfix. PORT offers STARTTLS; PORT+1 demands it; PORT+2 does not offer it; PORT+3 speaks TLS from the first byte;
# PORT+4 demands a client certificate.
. "$(dirname "$0")/lib.sh"
need usr/lib/postfix/sbin/smtpd postfix
need_root
work=$1 pki=$2 port=$3
mkdir "$work/etc" "$work/data" "$work/queue"
# Its own user and group are not there when the package is only unpacked. It takes any others that nobody else has.
chown proxy "$work/data"
cat >"$work/etc/main.cf" <<END
compatibility_level = 3.6
mail_owner = proxy
setgid_group = backup
queue_directory = $work/queue
data_directory = $work/data
daemon_directory = $(path usr/lib/postfix/sbin)
import_environment = MAIL_CONFIG MAIL_LOGTAG LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH
maillog_file = /dev/stdout
alias_maps =
myhostname = mx.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_tls_chain_files = $pki/rsa.key, $pki/rsa.pem
smtpd_tls_security_level = may
END
cat >"$work/etc/master.cf" <<END
$port inet n - n - - smtpd
$((port + 1)) inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
$((port + 2)) inet n - n - - smtpd -o smtpd_tls_security_level=none
$((port + 3)) inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
$((port + 4)) inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_tls_req_ccert=yes -o smtpd_tls_CAfile=$pki/clients.pem
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
END
libraries usr/lib/postfix
cd "$work/queue"
mkdir active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace
chown proxy -- */
chown root pid
chgrp backup maildrop public
exec "$(path usr/lib/postfix/sbin/master)" -d -c "$work/etc"
