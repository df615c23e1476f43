#!/usr/bin/env bash
# Exim, with GnuTLS. PORT offers STARTTLS; PORT+1 does not, to anyone; PORT+2 speaks TLS from the first byte.
. "$(dirname "$0")/lib.sh"
need exim4 exim4-daemon-light
need_root
work=$1 pki=$2 port=$3
jail "$work" usr/sbin/exim4
cp "$pki/rsa.pem" "$pki/rsa.key" "$work"
printf '%s\n' 'root:x:0:0::/:' 'Debian-exim:x:64001:64001::/:' >"$work/etc/passwd"
echo 'Debian-exim:x:64001:' >"$work/etc/group"
mkdir "$work/spool"
chown 64001:64001 "$work/spool"
cat >"$work/etc/exim.conf" <<END
primary_hostname = mx.test
spool_directory = /spool
log_file_path = /spool/%slog
exim_user = Debian-exim
exim_group = Debian-exim
pid_file_path = /spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = $port : $((port + 1)) : $((port + 2))
tls_on_connect_ports = $((port + 2))
tls_advertise_hosts = \${if ={\$received_port}{$((port + 1))}{}{*}}
tls_certificate = /rsa.pem
tls_privatekey = /rsa.key
END
LD_LIBRARY_PATH="" exec chroot "$work" /usr/sbin/exim4 -C /etc/exim.conf -bdf
