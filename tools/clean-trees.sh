#!/bin/sh
# Removes this checkout's private PostgreSQL trees and what tests keep beside them.
set -eu
. "$(dirname -- "$0")/paths.sh"
rm -rf "$checkout_prefix"
