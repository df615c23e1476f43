#!/usr/bin/env bash
# PostgreSQL; the option is whether it has TLS: on or off.
. "$(dirname "$0")/lib.sh"
need usr/lib/postgresql/15/bin/postgres postgresql-15
need_root
work=$1 pki=$2 port=$3
# It refuses to be root, and another may not reach what root can.
bin=usr/lib/postgresql/15/bin lib=usr/lib/postgresql/15/lib
jail "$work" bin/sh $bin/postgres $bin/initdb $lib/plpgsql.so $lib/dict_snowball.so usr/share/postgresql/15
cp "$pki/rsa.pem" "$pki/rsa.key" "$work"
chmod 600 "$work/rsa.key"
echo 'nobody:x:64001:64001::/:' >"$work/etc/passwd"
mkdir "$work/data"
chown 64001 "$work/data" "$work/rsa.key"
export LD_LIBRARY_PATH=""
inside=(chroot --userspec=64001:64001 "$work")
"${inside[@]}" /$bin/initdb -D /data --auth=trust --no-sync --no-locale
exec "${inside[@]}" /$bin/postgres -D /data -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
	-c "ssl=$4" -c ssl_cert_file=/rsa.pem -c ssl_key_file=/rsa.key
