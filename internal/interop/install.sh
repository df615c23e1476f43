#!/usr/bin/env bash
# Fetches the Debian packages that the scripts in servers/ need and that are missing, and unpacks them into
# _build/interop/root. Nothing is installed: no service starts, nothing outside _build changes, packages that conflict
# lie side by side, and it needs no root. The tests skip by name what can't be had.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")"
. servers/lib.sh

missing=$(sed -n 's/^need //p' servers/*.sh | while read -r file package; do found "$file" || echo "$package"; done | sort -u)
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
	printf 'no apt-get to fetch the package %s\n' $missing >&2
	exit 0
fi

# Lists and archives are kept beside those of the system; what the system has installed is not fetched again.
apt=$(dirname "$root")/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
apt() {
	apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
		-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" "$@"
}
apt update || echo "apt-get update failed" >&2
for package in $missing; do # one by one, as they may conflict
	echo "fetching $package"
	apt install --download-only --no-install-recommends "$package" || echo "package $package can't be had" >&2
done
for deb in "$apt"/cache/archives/*.deb; do
	dpkg-deb -x "$deb" "$root"
	rm "$deb"
done
