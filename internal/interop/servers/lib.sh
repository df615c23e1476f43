# What the scripts beside this one share. Each is called as
#
#	NAME.sh WORK PKI PORT [OPTION...]
#
# and becomes the server, in the foreground: WORK is an empty folder for its own files, PKI the folder with the
# certificates (pki_test.go says what is in it), PORT the first of the ports of 127.0.0.1 that it listens on. By hand:
#
#	internal/interop/servers/nginx.sh "$(mktemp -d)" "$PWD/_build/pki" 20443
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../packages.sh"

# A server is the unpacked one, with everything that its packages depend on, or else the system's. from is where its files
# are: $root, or empty for the system.
from=
if complete "$root" "$0"; then
	from=$root
	for libraries in "$root"/usr/lib/*-linux-gnu "$root"/lib/*-linux-gnu; do
		export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
	done
fi
export PATH="$from/usr/bin:$from/usr/sbin:$from/bin:$from/sbin:$PATH"

# path FILE prints where a file of a package is, given as below /. Packages that no Debian system is without are not
# unpacked.
path() {
	if [ -e "$from/$1" ]; then echo "$from/$1"; else echo "/$1"; fi
}

if [ -e "$from/etc/ssl/openssl.cnf" ]; then
	export OPENSSL_CONF=$from/etc/ssl/openssl.cnf
fi

# libraries FOLDER adds a folder to those in which programs look for libraries.
libraries() {
	LD_LIBRARY_PATH=$(path "$1")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# need FILE PACKAGE ends the script where FILE is missing, in a way that the tests know. install.sh and complete read
# these lines.
need() {
	found "$from" "$1" || {
		echo "package $2 is not installed"
		exit 77
	}
}

# need_root ends the script in the same way for anybody but root.
need_root() {
	[ "$(id -u)" = 0 ] || {
		echo "$0 has to be started by root"
		exit 77
	}
}

# jail FOLDER FILE... puts files and folders of packages, given as below /, into a folder with the libraries that they
# load, where chroot can start a server that insists on where its files are or who its users are.
jail() {
	local jail=$1 file library
	mkdir -p "$jail/dev" "$jail/etc" "$jail/tmp"
	: >"$jail/dev/null"
	echo "127.0.0.1 localhost $HOSTNAME" >"$jail/etc/hosts"
	echo 'hosts: files' >"$jail/etc/nsswitch.conf"
	chmod 666 "$jail/dev/null"
	for file in "${@:2}"; do
		mkdir -p "$jail/${file%/*}"
		cp -rH "$(path "$file")" "$jail/$file"
	done
	# Some need what is not installed.
	{ find "$jail" -type f \( -perm -100 -o -name '*.so*' \) -exec ldd {} + 2>/dev/null || true; } |
		sed -n 's,^\t.* => \(/[^ ]*\) .*,\1,p; s,^\t\(/[^ ]*\) .*,\1,p' | sort -u | while read -r library; do
		file=${library#"$jail"} file=${file#"$from"}
		mkdir -p "$jail/${file%/*}"
		[ -e "$jail/$file" ] || cp "$library" "$jail/$file"
	done
}
