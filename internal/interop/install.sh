#!/usr/bin/env bash
# Fetches the Debian packages that the scripts in servers/ need and unpacks them into _build/interop/root, each with all
# that it depends on, whatever the system has installed. Nothing is installed: no service starts, nothing outside _build
# changes, packages that conflict lie side by side, and it needs no root. What cannot be fetched the system may have;
# otherwise the tests skip it by name.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")"
. ./packages.sh

missing=$(for script in servers/*.sh; do
	complete "$root" "$script" || sed -n 's/^need [^ ]* //p' "$script"
done | sort -u)
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
	printf 'no apt-get to fetch the package %s\n' $missing >&2
	exit 0
fi

# Lists, archives and the record of what is installed are kept beside those of the system. As installed count only the
# packages that no system is without: those that are essential or required, and what they depend on.
apt=$(dirname "$root")/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
essential=$(dpkg-query -W -f '${Essential} ${Priority} ${Package}\n' | awk '$1 == "yes" || $(NF-1) == "required" { print $NF }')
everywhere=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks \
	--no-replaces --no-enhances $essential | sed -n 's/^\([a-z0-9][^: ]*\)$/\1/p' | sort -u)
dpkg-query --status $everywhere >"$apt/status" 2>/dev/null || true # alternatives that are not installed are among them

apt() {
	apt-get -qq -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
		-o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" "$@"
}
apt update || echo "apt-get update failed" >&2
for package in $missing; do # one by one, as they may conflict
	echo "fetching $package"
	apt install --download-only --no-install-recommends "$package" || echo "package $package cannot be fetched" >&2
done
for deb in "$apt"/cache/archives/*.deb; do
	dpkg-deb -x "$deb" "$root"
	rm "$deb"
done
