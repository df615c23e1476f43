#!/usr/bin/env bash
# INN's nnrpd. PORT knows STARTTLS.
. "$(dirname "$0")/lib.sh"
need usr/lib/news/bin/nnrpd inn2
need_root
work=$1 pki=$2 port=$3
libraries usr/lib/news
jail "$work" usr/lib/news/bin/nnrpd usr/lib/news/bin/innbind usr/lib/news/bin/makehistory
cp "$pki/rsa.pem" "$pki/rsa.key" "$work"
chmod 640 "$work/rsa.key"
mkdir -p "$work/db" "$work/run" "$work/spool/articles" "$work/spool/overview"
: >"$work/db/active"
: >"$work/spool/tradspool.map"
cat >"$work/etc/storage.conf" <<END
method tradspool {
	newsgroups: *
	class: 0
}
END
cat >"$work/etc/readers.conf" <<END
auth all {
	hosts: "*"
	default: "<all>"
}
access all {
	users: "<all>"
	newsgroups: "*"
}
END
echo 'news:x:64001:64001::/:' >"$work/etc/passwd"
echo 'news:x:64001:' >"$work/etc/group"
cat >"$work/etc/inn.conf" <<END
mta: "/bin/true %s"
organization: t
ovmethod: tradindexed
hismethod: hisv6
pathhost: news.test
domain: test
fromhost: news.test
nnrpdloadlimit: 0
runasuser: news
runasgroup: news
enableoverview: true
pathnews: /usr/lib/news
pathetc: /etc
pathdb: /db
pathrun: /run
pathlog: /run
pathtmp: /tmp
pathspool: /spool
tlscertfile: /rsa.pem
tlskeyfile: /rsa.key
tlscapath: /etc
END
chown -R 64001:64001 "$work"
export LD_LIBRARY_PATH="" INNCONF=/etc/inn.conf
inside=(chroot --userspec=64001:64001 "$work")
"${inside[@]}" /usr/lib/news/bin/makehistory -x -O -s 1 # nnrpd wants to see its empty files
exec "${inside[@]}" /usr/lib/news/bin/nnrpd -D -f -4 127.0.0.1 -p "$port"
