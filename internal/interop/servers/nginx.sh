#!/usr/bin/env bash
# nginx. PORT has two certificates, ALPN and names; PORT+1 refuses names that it does not know; PORT+2 demands a client
# certificate; PORT+3 speaks HTTP without TLS.
. "$(dirname "$0")/lib.sh"
need nginx nginx
work=$1 pki=$2 port=$3
cat >"$work/nginx.conf" <<END
daemon off; master_process off; pid $work/pid; error_log stderr info;
events {}
http {
	access_log off;
	client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
	ssl_protocols TLSv1.2 TLSv1.3;
	server {
		listen 127.0.0.1:$port ssl http2;
		ssl_certificate $pki/rsa.pem; ssl_certificate_key $pki/rsa.key;
		ssl_certificate $pki/ecdsa.pem; ssl_certificate_key $pki/ecdsa.key;
	}
	server {
		listen 127.0.0.1:$port ssl http2; server_name b.test;
		ssl_certificate $pki/b.test.pem; ssl_certificate_key $pki/b.test.key;
	}
	server {
		listen 127.0.0.1:$((port + 1)) ssl default_server; ssl_reject_handshake on;
	}
	server {
		listen 127.0.0.1:$((port + 1)) ssl; server_name b.test;
		ssl_certificate $pki/b.test.pem; ssl_certificate_key $pki/b.test.key;
	}
	server {
		listen 127.0.0.1:$((port + 2)) ssl;
		ssl_certificate $pki/rsa.pem; ssl_certificate_key $pki/rsa.key;
		ssl_client_certificate $pki/clients.pem; ssl_verify_client on;
		return 200 "welcome\n";
	}
	server {
		listen 127.0.0.1:$((port + 3));
	}
}
END
exec nginx -e stderr -p "$work" -c "$work/nginx.conf"
