#!/bin/sh
# Installs the fonts of the benchmark set of characters on Debian or Ubuntu; a package that this release lacks is named and skipped.
set -eu
list="$(dirname "$0")/../eyesight/data/glyphs/fonts-debian.txt"
command -v apt-get >/dev/null || { echo "this is no Debian system: install fonts your own way, then name their folders in EYESIGHT_FONTS" >&2; exit 1; }
as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo"
$as_root apt-get update -qq
wanted=$(grep -v '^#' "$list")
# shellcheck disable=SC2086 # one word a package
known=$(apt-cache show --no-all-versions $wanted 2>/dev/null | sed -n 's/^Package: //p') || true
packages=""
for package in $wanted; do
    if echo "$known" | grep -qx "$package"; then
        packages="$packages $package"
    else
        echo "not in this release: $package" >&2
    fi
done
[ -n "$packages" ] || { echo "this release has none of these packages" >&2; exit 1; }
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages
