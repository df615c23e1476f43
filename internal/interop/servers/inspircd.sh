#!/usr/bin/env bash
# InspIRCd, with GnuTLS. PORT knows STARTTLS; PORT+1 speaks TLS from the first byte.
. "$(dirname "$0")/lib.sh"
need inspircd inspircd
need_root
work=$1 pki=$2 port=$3
modules=usr/lib/inspircd/modules
core=("$(path $modules)"/core_*.so)
jail "$work" usr/sbin/inspircd "${core[@]/#*core_/$modules/core_}" $modules/m_{ssl_gnutls,starttls}.so
cp "$pki/rsa.pem" "$pki/rsa.key" "$work"
cat >"$work/etc/inspircd.conf" <<END
<server name="irc.test" description="t" network="T" id="1AB">
<admin name="a" nick="a" email="a@test">
<path datadir="/" logdir="/" runtimedir="/">
<module name="ssl_gnutls">
<module name="starttls">
<sslprofile name="tls" provider="gnutls" cafile="" certfile="/rsa.pem" keyfile="/rsa.key">
<bind address="127.0.0.1" port="$port" type="clients">
<bind address="127.0.0.1" port="$((port + 1))" type="clients" sslprofile="tls">
<connect allow="*" resolvehostnames="no" useident="no">
<files motd="/dev/null">
<log method="stderr" type="*" level="default" target="stderr">
END
ulimit -c 0 # SIGTERM makes it end with a segmentation fault
LD_LIBRARY_PATH="" exec chroot "$work" /usr/sbin/inspircd --nofork --runasroot --config=/etc/inspircd.conf
