#!/usr/bin/env bash
# vsftpd; the option is whether it has TLS: YES or NO.
. "$(dirname "$0")/lib.sh"
need vsftpd vsftpd
need_root
work=$1 pki=$2
mkdir "$work/empty"
cat >"$work/vsftpd.conf" <<END
listen=YES
listen_address=127.0.0.1
listen_port=$3
background=NO
anonymous_enable=YES
anon_root=$work/empty
secure_chroot_dir=$work/empty
ftp_username=nobody
nopriv_user=nobody
seccomp_sandbox=NO
xferlog_enable=NO
ssl_enable=$4
allow_anon_ssl=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
rsa_cert_file=$pki/rsa.pem
rsa_private_key_file=$pki/rsa.key
END
chown root "$work/vsftpd.conf"
exec vsftpd "$work/vsftpd.conf"
