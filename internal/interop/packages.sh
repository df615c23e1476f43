# Which files of Debian packages are there, for install.sh and for the scripts in servers/.

# Where install.sh unpacks packages.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/_build/interop/root

# programs FROM prints the folders that programs are in; FROM is $root, or empty for the system.
programs() {
	echo "$1/usr/bin:$1/usr/sbin:$1/bin:$1/sbin$([ -n "$1" ] || echo ":$PATH")"
}

# found FROM FILE reports whether a file of a package, given as below /, is below FROM. A name without a slash is that of
# a program.
found() {
	case $2 in
	*/*) [ -e "$1/$2" ] ;;
	*) PATH=$(programs "$1") type -P "$2" >/dev/null ;;
	esac
}

# complete FROM SCRIPT reports whether all that a script needs is below FROM.
complete() {
	local file
	for file in $(sed -n 's/^need \([^ ]*\) .*/\1/p' "$2"); do
		found "$1" "$file" || return
	done
}
