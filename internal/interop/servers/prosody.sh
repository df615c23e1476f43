#!/usr/bin/env bash
# Prosody, for the host localhost: PORT is for clients, PORT+1 for servers, PORT+2 for clients with TLS from the first byte.
. "$(dirname "$0")/lib.sh"
need prosody prosody
work=$1 pki=$2 port=$3
install -m 600 "$pki/rsa.key" "$work/key"
cat >"$work/prosody.cfg.lua" <<END
pidfile = "$work/pid"
data_path = "$work"
run_as_root = true
interfaces = { "127.0.0.1" }
c2s_ports = { $port }
s2s_ports = { $((port + 1)) }
c2s_direct_tls_ports = { $((port + 2)) }
modules_enabled = { "saslauth", "tls", "dialback" }
modules_disabled = { "http", "offline" }
c2s_require_encryption = true
s2s_require_encryption = true
certificates = "$work"
log = { info = "*console" }
ssl = { certificate = "$pki/rsa.pem", key = "$work/key" }
c2s_direct_tls_ssl = { certificate = "$pki/rsa.pem", key = "$work/key" }
VirtualHost "localhost"
END
# It looks for itself and for what it needs below /usr.
usr=$(path usr)
sed "s,'/usr/,'$usr/," "$(command -v prosody)" >"$work/prosody"
export LUA_PATH="$usr/share/lua/5.4/?.lua;$usr/share/lua/5.4/?/init.lua;;" LUA_CPATH=";;"
for modules in "$usr"/lib/*-linux-gnu/lua/5.4; do
	LUA_CPATH="$modules/?.so;$LUA_CPATH"
done
exec lua5.4 "$work/prosody" -F --config "$work/prosody.cfg.lua"
