#!/bin/sh
# restore.sh - turns this directory of SQL back into a PostgreSQL database.
# usage: sh restore.sh --target CONNINFO [options]
#   --target CONNINFO   the database to create, for example "host=/tmp dbname=shop_restored"; as a superuser
#   --until-time T      up to the last transaction whose commit time is not after T, in UTC unless T names a zone
#   --until-lsn L       up to commit LSN L, inclusive
#   --until-xid X       up to and including transaction X
#   --until-mark NAME   up to and including the newest transaction with this mark (incr_mark())
#   --allow-earlier     if the archive ends before that time or LSN: up to its end
#   --chain N           from chain-N (default: the newest with a base before the requested point)
#   --base NAME         from this base (default: the newest before the requested point)
#   --dry-run           choose and check only; the target is not touched
# Exit status: 0 when everything up to the requested point was applied, 1 when not, 2 for wrong use.
#
# Roles come first, as with pg_dump: execute globals.sql with psql. Those that are missing are created NOLOGIN.
# Needs sh, psql, awk, sha256sum and the usual small tools; gzip or zstd for compressed files, and pg_restore for a
# base in directory format. README.txt beside it tells what the files are, and how to restore without this script. It
# is exact and simple, but slow, and refuses what is rare: the program pg_incrbackup does more, and faster.

# Two rules carry it. A base names the snapshot it was dumped under (xmin:xmax:xip); a transaction that this snapshot
# sees is in the dump and is skipped, every other one is applied. And whatever passes on its way to psql keeps its
# line number, so that an error names the line of the file.
set -eu
export LC_ALL=C PGCLIENTENCODING=SQL_ASCII CDPATH= PG_COLOR=never     # bytes are bytes in any encoding
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }
say() { printf '%s\n' "$*"; }
warn() { printf 'restore.sh: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }
wrong_use() { warn "$*"; usage >&2; failed=2; exit 2; }
printable() { tr '\001-\011\013-\037\177' '?'; }

# ---- 1. Command line and server -------------------------------------------------------------------------------
target='' until_time='' until_lsn='' until_xid='' until_mark='' chain='' base='' dry_run='' allow_earlier=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --*=*) option=$1; shift; set -- "${option%%=*}" "${option#*=}" "$@" ;;
    --dry-run | --allow-earlier) option=$1; shift; set -- "$option" yes "$@" ;;
    esac
    case $1 in
    --target | --until-time | --until-lsn | --until-xid | --until-mark | --chain | --base | --dry-run | --allow-earlier) ;;
    *) wrong_use "unknown argument: $1 (the program pg_incrbackup may have it)" ;;
    esac
    [ -n "${2:-}" ] || wrong_use "$1 needs a value"
    eval "$(say "${1#--}" | tr - _)=\$2"        # --until-lsn sets until_lsn
    shift 2
done
chain=${chain#chain-} base=${base%/} base=${base##*/}
case ${until_time:+t}${until_lsn:+l}${until_xid:+x}${until_mark:+m} in ??*) wrong_use "more than one --until-..." ;; esac
case $until_xid$chain in *[!0-9]*) wrong_use "--until-xid and --chain take a number" ;; esac
[ -n "$target" ] || { [ -n "$dry_run" ] && [ -z "$until_time" ]; } || wrong_use "--target is missing"
database=$(say "$target" |
    sed -n "s/^\(.* \)\{0,1\}dbname *= *\('\{0,1\}\)\([A-Za-z0-9_.-]\{1,53\}\)\2\( .*\)\{0,1\}$/\3/p")
restoring=$database.restoring           # its name until it is complete: nobody mistakes it
[ -n "$database" ] || [ -z "$target" ] || wrong_use "--target must be of the form keyword=value and have dbname=NAME," \
    "of at most 53 letters, digits, _, . and - (ALTER DATABASE ... RENAME gives it another name afterwards)"

here=$(cd "$(dirname "$0")" && pwd)
exec 9<"$here"
flock -s 9 2>/dev/null || :             # retention removes nothing while we read; a copy needs no lock
work=$(mktemp -d "${TMPDIR:-/tmp}/restore.XXXXXX")
is_half_made='' is_stale=''
at_exit() {     # psql and awk have exit statuses of their own
    [ $? != 0 ] || failed=0
    [ -z "$is_half_made" ] ||
        warn "the database is incomplete; drop it, and the roles that were created: DROP DATABASE \"$restoring\";"
    rm -rf "$work"
    exit "${failed:-1}"
}
trap at_exit EXIT; trap 'exit 1' INT TERM HUP
random=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
[ ${#random} -eq 32 ] || die "could not read a random number from /dev/urandom"
say "\\restrict $random" >"$work/restrict.sql"          # psql obeys no backslash command behind this
ours=restore_sh_$random                 # our schema in the target while it is being restored
literal() { printf '$r%s$' "$random"; cat "$1"; printf '$r%s$' "$random"; }     # FILE -> its text in SQL

# Our sessions start with settings that override those of roles and databases: nothing interrupts them, and names
# refer to the objects of PostgreSQL only.
for setting in search_path=pg_catalog,pg_temp role=none session_replication_role=replica row_security=off \
    default_transaction_read_only=off default_transaction_deferrable=off client_min_messages=warning \
    'default_transaction_isolation=read\ committed' standard_conforming_strings=on array_nulls=on \
    transform_null_equals=off statement_timeout=0 lock_timeout=0 idle_session_timeout=0 \
    idle_in_transaction_session_timeout=0 session_preload_libraries= local_preload_libraries=; do
    PGOPTIONS="${PGOPTIONS:-} -c $setting"
done; export PGOPTIONS
sql() { psql -X -q -A -t -w -v ON_ERROR_STOP=1 "$@"; }
server() { sql -d "$target dbname=postgres" "$@"; }
db() { sql -d "$target dbname=$restoring" -v dbname="$restoring" -o /dev/null "$@"; }
ensure_free() {
    [ -z "$(server -c "SELECT 1 FROM pg_database WHERE datname IN ('$database', '$restoring')")" ] || die "$database" \
        "exists already, or is being restored, or was left by an earlier restore: DROP DATABASE \"$restoring\";"
}
if [ -n "$target" ]; then
    newer="$PGOPTIONS -c transaction_timeout=0 -c event_triggers=off"            # 17 and later
    ! PGOPTIONS=$newer server -c 'SELECT 1' >/dev/null 2>&1 || PGOPTIONS=$newer
    state=$(server -c "SELECT current_setting('search_path') || current_setting('is_superuser')") || state=''
    [ "$state" = pg_catalog,pg_tempon ] || die "could not connect to the database postgres of the server as a superuser" \
        "(with options in PGOPTIONS, not in the connection string)"
    [ -n "$dry_run" ] || ensure_free
fi
if [ -n "$until_time" ]; then
    until_time=$(say "SET TimeZone = 'UTC'; SELECT to_char(CAST(:'time' AS timestamptz),
        'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"');" | server -v time="$until_time") ||
        die "the server could not parse the time (the program pg_incrbackup knows more forms)"
    case $until_time in [0-9][0-9][0-9][0-9]-*Z) ;; *) die "the time is not in the years 1 to 9999" ;; esac
    say "time requested: $until_time"
fi

# ---- 2. Reading the archive -----------------------------------------------------------------------------------
# Structural comments begin with the random key of their segment; the lines of a DDL block, an effect or a COPY block
# are content, whatever they look like. walk() sets part to what a line is, and kind for a comment. An LSN is compared
# as text, "L" and 16 hex digits, and so is an xid: awk may print numbers from 2^31 on as 2.14748e+09.
awk_walk='
    function pad(hex) { return substr("00000000", length(hex) + 1) toupper(hex) }
    function lsn16(text,  part) {
        split(text, part, "/")
        text = text ~ /^[0-9A-Fa-f]+\/[0-9A-Fa-f]+$/ ? "L" pad(part[1]) pad(part[2]) : ""
        return length(text) == 17 ? text : ""
    }
    function value(name,  at, rest) {           # of name=... in the structural comment in $0, percent-encoded
        at = index($0, " " name "=")
        rest = at ? substr($0, at + length(name) + 2) : ""
        sub(/ .*/, "", rest)
        return rest
    }
    function sees(xid) {                        # is the transaction in the base?
        return xid + 0 < xmin + 0 || (xid + 0 < xmax + 0 && !index("," xip ",", "," xid ","))
    }
    function walk() {
        kind = ""
        if (ddl_lines > 0) { ddl_lines--; part = "ddl"; return }
        if (in_copy) { in_copy = ($0 != "\\."); part = "row"; return }
        if (NR == 2 && /^-- @[0-9a-f]+ header /) mark = $1 " " $2 " "
        if (mark != "" && index($0, mark) == 1) {
            part = "comment"
            kind = $3
            if (kind == "transaction" || kind == "sequences") block = kind
            if (kind == "ddl" || kind == "effect") ddl_lines = value("lines") + 0
        } else if (block == "") part = "setting"
        else if ($0 == "BEGIN;" || $0 == "COMMIT;") part = $0
        else { in_copy = /^COPY .* FROM stdin;$/; part = in_copy ? "copy" : "statement" }
    }
'
shown() { say "$1" | sed 's/^L\(.\{8\}\)\([^ ]*\).*/\1\/\2/'; }               # LSN, of which awk made a text
is_after() { awk 'BEGIN { exit !(ARGV[1] "" > ARGV[2] "") }' "$1" "$2"; }       # LSNs, or times
text() {        # FILE -> its text; of a segment, which may be closed or compressed meanwhile, without its suffix
    for file in "$1" "$1.gz" "$1.zst" "$1.partial"; do [ ! -e "$file" ] || break; done
    case $file in *.gz) gzip -dc <"$file" ;; *.zst) zstd -dcq <"$file" ;;
    # After a crash of the machine the open segment may end in zeros: it is read up to the first one.
    *.partial) tr '\n\000' '\000\n' <"$file" | head -n 1 | tr '\000' '\n' ;;
    *) cat "$file" ;;
    esac
}
is_open() { [ ! -e "$increments/$1" ] && [ ! -e "$increments/$1.gz" ] && [ ! -e "$increments/$1.zst" ]; }
value() {       # KEY FILE -> a value of metadata.json or chain.json; empty for null
    sed -n "s/^ *\"$1\": \"\{0,1\}\(.*\)/\1/p" "$2" | sed 's/"\{0,1\},\{0,1\}$//; s/^null$//; q' | printable
}
listed() {      # FILE -> its sha256 in the manifest, whose last line about it counts; "expired" if retention removed it
    sed -n "\|\"file\":\"$1\"|{s/.*\"expired_at\":\"[^\"]*\".*/expired/p;s/.*\"set_apart_at\":.*/expired/p;s/.*,\"sha256\":\"\([0-9a-f]*\)\".*}$/\1/p;}" \
        "$work/manifest" | tail -n 1
}
check_sealed() { # DIRECTORY: every file as SHA256SUMS has it, none besides, and that as the manifest's
    (cd "$1" && find . ! -type d ! -path ./SHA256SUMS -exec sha256sum {} +) | sed 's|  \./|  |' | sort >"$work/there"
    sort "$1/SHA256SUMS" | diff - "$work/there" >&2 || die "$1 is damaged: it is not what SHA256SUMS lists"
    sum=$(sha256sum <"$1/SHA256SUMS") sealed=$(listed "${1#"$chain_dir/"}")
    [ "${sealed:-${sum%% *}}" = "${sum%% *}" ] || die "$1 is damaged: SHA256SUMS is not what the manifest lists"
}

# ---- 3. Chain and base ----------------------------------------------------------------------------------------
upto=Lz base_dir=''     # up to this commit LSN, all of them; a time, an xid or a mark becomes one further below
[ -z "$until_lsn" ] || upto=$(awk "$awk_walk"'BEGIN { print lsn16(ARGV[1]); exit }' "$until_lsn")
[ -n "$upto" ] || wrong_use "--until-lsn takes an LSN, like 16/B374D848"
chains=${chain:-$(ls "$here" | sed -n 's/^chain-\([0-9][0-9]*\)$/\1/p' | sort -rn)}
for chain in $chains; do
    chain_dir=$here/chain-$chain increments=$here/chain-$chain/incremental
    for f in "$chain_dir/manifest.jsonl" "$chain_dir"/manifest-*; do [ ! -f "$f" ] || cat "$f"; done >"$work/manifest"
    ls "$increments" 2>/dev/null | sed -n 's/^\([0-9A-F]*-[0-9TZ]*\.sql\)\(\.[a-z]*\)\{0,1\}$/\1/p' | uniq >"$work/named"
    sed -n 's|.*"file":"incremental/\([^"]*\)".*"set_apart_at":.*|\1|p' "$work/manifest" >"$work/apart"
    say - >>"$work/apart"           # of an empty file greps differ
    grep -vxFf "$work/apart" "$work/named" >"$work/all" || :
    while read -r oldest && [ "$(listed "incremental/$oldest")" = expired ]; do :; done <"$work/all"
    # The newest base that is not after the requested point, and that the manifest lists (or --base).
    for dir in "$chain_dir"/base/*Z; do
        at=${dir##*/}
        [ "${base:-$at}" = "$at" ] && [ -f "$dir/metadata.json" ] && ! is_after "L${at%%-*}" "$upto" || continue
        [ -z "$until_time" ] || ! is_after "$(value taken_at "$dir/metadata.json")" "$until_time" || continue
        # Where the transaction of an xid or a mark is will only be known later: the oldest base that segments follow.
        [ -z "$until_xid$until_mark" ] || { [ -z "$base_dir" ] && ! is_after "${oldest%%-*}" "${at%%-*}"; } || continue
        case $base,$(listed "base/$at"),$(grep -c '"file":"base/' "$work/manifest") in
        *,expired,*) ;;
        ,,[1-9]*) warn "manifest.jsonl of chain-$chain does not list base $at: it is skipped; --base takes it" ;;
        *) base_dir=$dir ;;
        esac
    done
    [ -z "$base_dir" ] || break
    warn "chain-$chain has no finished base ${base:+$base }at or before the requested point"
done
[ -n "$base_dir" ] || die "no base can be used; retention removes old bases, and chains of which nothing is kept"
[ -z "$until_lsn" ] || [ "$chains" = "$chain" ] ||
    die "an LSN may come again in another chain: choose one, like --chain $chain, the newest with a base before it"
metadata=$base_dir/metadata.json base_lsn=${base_dir##*/} snapshot=$(value snapshot "$base_dir/metadata.json")
base_lsn=L${base_lsn%%-*} encoding=$(value encoding "$metadata") taken_at=$(value taken_at "$metadata")
xmin=${snapshot%%:*} xmax=${snapshot#*:} xip=${snapshot##*:} xmax=${xmax%%:*}
say "base: chain-$chain/base/${base_dir##*/} (snapshot $snapshot)"
check_sealed "$base_dir"
[ ! -f "$base_dir/stand-ins.sql" ] || die "a table uses functions of pg_incrbackup: restore with the program"

# ---- 4. Segments ----------------------------------------------------------------------------------------------
# Reading starts at the last segment that was opened before any transaction from xmin on was written; not at the open
# one, if there are others: no checksum covers what it says of itself.
first=''
for name in $(sort -r "$work/all"); do
    [ "$(listed "incremental/$name")" != expired ] || break
    first=$name next_xid=$(text "$increments/$name" | sed -n '2{s/.* next_xid=\([0-9]*\) .*/\1/p;q;}')
    is_open "$name" || [ "${next_xid:-0}" -gt "$xmin" ] || break
done
awk_check='
    NR == 1 && /^-- pg_incrbackup segment format=/ && !/=[12]$/ { print "facts newer" }
    NR == 1 && !/^-- pg_incrbackup segment format=[12]$/ { exit } { walk() }
    kind == "header" { start = end = lsn16(value("start_lsn")); next_xid = value("next_xid") }
    kind == "header" { previous = value("previous") " " value("previous_sha256") }
    kind == "header" { left = value("switched_at"); left = left == "" ? start : lsn16(left) }
    kind == "header" && value("timeline") + 0 > timeline + 0 && left < base_lsn { print "facts left" }
    kind == "transaction" { lsn = lsn16(value("commit_lsn")); time = value("commit_time") }
    kind == "transaction" { xid = value("xid"); has_mark = 0 }
    kind == "mark" && value("name") == until_mark { has_mark = 1 }
    kind == "flag" && value("lost") != "" { print kind, lsn, xid, end, value("reason") }
    kind ~ /^(role|role_renamed|left_out)$/ { print kind, lsn, xid, value("name") value("object") }
    kind == "ddl" && value("role") != "" { print "role", lsn, xid, value("role") }
    kind == "position" { complete = NR; end = lsn16(value("lsn")); last = value("at") }
    kind == "footer" { closed = value("transactions") == transactions + 0 && lsn16(value("end_lsn")) == end }
    part == "setting" && /^\\unrestrict / { complete = NR }
    part == "COMMIT;" && block == "transaction" {
        transactions++
        end = lsn
        if (time > last && time != "none") last = time
        if (has_mark || xid "" == until_xid "" || time <= until_time) print "reached", lsn
    }
    part == "COMMIT;" { complete = NR; block = "" }
    END { if (start != "") print "facts", start, end, next_xid, complete + 0, closed + 0, transactions + 0, \
        (last == "" ? "none" : last), previous }
'
mark=$(printf %s "$until_mark" | od -An -v -tu1 | awk '{ for (i = 1; i <= NF; i++) {
    c = $i < 128 ? sprintf("%c", $i + 0) : ""
    printf "%s", (c == "/" || c ~ /[A-Za-z0-9._:+-]/ ? c : sprintf("%%%02X", $i))      # as in the comments
} }')
before='' end=$base_lsn total=0 applied=0 last_time=$taken_at
: >"$work/use" >"$work/notes"
while read -r name; do
    [ -n "$before" ] || [ "$name" = "$first" ] || continue
    if is_open "$name"; then was_open=yes; else was_open=''; fi      # it may be closed from now on
    text "$increments/$name" | cut -b 1-1000000 | awk -v until_xid="$until_xid" -v until_time="$until_time" \
        -v until_mark="$mark" -v timeline="$(value timeline "$metadata")" -v base_lsn="$base_lsn" \
        "$awk_walk$awk_check" >"$work/facts"
    grep '^facts ' "$work/facts" >"$work/fact" || [ -z "$was_open" ] || break    # torn before its first transaction
    end_before=$end
    read -r what start end next_xid complete closed transactions last previous <"$work/fact" || start=''
    [ "$start" != left ] || die "the history of $name had left that of the base before it: the server was promoted, and" \
        "the manifest here does not say yet what was set apart; copy it again, or take an older base (--base)"
    [ "$start" = "L${name%%-*}" ] || die "$name is damaged, or its format is that of a newer version"
    if [ -n "$before" ]; then
        [ "$start" = "$end_before" ] || die "segments between $before and $name are missing: it starts at another LSN"
        [ "$previous" = "$before $sha256" ] || die "$before is damaged, or not the segment before $name"
    elif [ "$next_xid" -gt "$xmin" ] && [ "$previous" != 'none none' ]; then
        first=''                                        # retention has removed what comes before it
        break
    fi
    if [ -z "$was_open" ]; then
        sha256=$(text "$increments/$name" | sha256sum | cut -d ' ' -f 1)
        [ "$closed" = 1 ] || die "$name is damaged: its footer does not match its contents"
        case $(listed "incremental/$name") in '' | "$sha256") ;; *) die "$name is damaged: its checksum differs" ;; esac
    fi
    before=$name total=$((total + transactions))
    [ "$last" = none ] || ! is_after "$last" "$last_time" || last_time=$last
    # A segment that starts at the requested point or later is only needed to check the chain of checksums.
    is_after "$upto" "$start" || break
    say "$name $complete" >>"$work/use"; cat "$work/facts" >>"$work/notes"
done <"$work/all"
if [ -z "$first" ]; then
    [ -n "$base" ] && [ $upto = Lz ] && grep -q '"file":"incremental/.*"expired_at":' "$work/manifest" ||
        die "segments after base ${base_dir##*/} are missing; retention removes old ones. It can be restored alone," \
            "as of $taken_at, by --base ${base_dir##*/} without --until-..."
    warn "the segments after this base are not there: it is restored alone, as of $taken_at"
    upto=$base_lsn
elif [ -n "$until_time$until_xid$until_mark" ]; then
    upto=$(sed -n 's/^reached //p' "$work/notes" | tail -n 1)
    : "${upto:=${until_time:+L0}}"
    [ -n "$upto" ] ||
        die "${until_xid:+transaction $until_xid}${until_mark:+mark \"$until_mark\"} is not in the segments of chain-$chain"
fi
# An older state than requested is never restored silently.
why=$(value reason "$chain_dir/chain.json" | sed "s/^./chain-$chain has ended: &/")
! is_after "$base_lsn" "$end" || end=$base_lsn
missing=$(sed -n 's|.*"file":"incremental/\([^"]*\.sql\)".*|\1|p' "$work/manifest" | grep -vxFf "$work/apart" | sort | tail -n 1)
[ -n "$first" ] && is_after "$missing" "$(tail -n 1 "$work/all")" || missing=''
why=${missing:+the manifest lists $missing, which is missing}${missing:+${why:+; }}$why
if is_after "$until_time" "$last_time" || { [ -n "$until_lsn" ] && is_after "$upto" "$end"; } ||
    [ "$missing,$until_time$until_lsn" = "${missing:-none}," ]; then
    : "${why:=if its server is running, SELECT incr_flush() writes the latest changes}"
    why="the archive ends at $(shown "$end"), with what was committed up to $last_time: before that point; $why"
    [ -n "$allow_earlier" ] || die "$why; --allow-earlier restores to that end"
elif [ $upto != Lz ]; then why=''
fi
applied() {     # KIND -> what the segments say of it in the transactions to be applied
    awk -v kind="$1" -v upto="$upto" -v xmin="$xmin" -v xmax="$xmax" -v xip="$xip" "$awk_walk"'
        $1 == kind && $2 "" <= upto "" && !sees($3) { sub(/^[^ ]* [^ ]* [^ ]* /, ""); print }
    ' "$work/notes" | printable
}
lost=$(applied flag | head -n 1)
[ -z "$lost" ] || die "changes before the requested point were lost: ${lost#* }. The last point before that is" \
    "--until-lsn $(shown "$lost"); the program pg_incrbackup restores what can be applied behind it"
# A set of globals has the roles, and the properties of the database itself, as of a commit LSN: also what sessions in
# other databases did, which is in no segment. One behind the last commit to apply goes by its time.
set=$base_dir set_lsn=''
oids() { sed -n '/^  "roles_by_oid"/,/^  \]/s/^    "\([0-9]* .*\)",\{0,1\}$/\1/p' "$1"; }   # of roles, with names
oids "$metadata" >"$work/roles"
for dir in "$chain_dir"/globals/*Z; do
    lsn=${dir##*/} lsn=L${lsn%%-*}
    case $(listed "globals/${dir##*/}") in '' | expired) continue ;; esac
    [ -f "$dir/metadata.json" ] && is_after "$lsn" "$base_lsn" || continue
    ! is_after "$lsn" "$upto" || { [ -n "$until_time" ] &&
        ! is_after "$(value changed_at "$dir/metadata.json")" "$until_time"; } || continue
    check_sealed "$dir"
    oids "$dir/metadata.json" >>"$work/roles"
    set=$dir set_lsn=$lsn
done
renamed="$(applied role_renamed) $(sort -u "$work/roles" | cut -d ' ' -f 1 | uniq -d)"
[ "$renamed" = ' ' ] || die "a role was renamed ($renamed): restore with the program, or from a base taken after that"
say "segments: $(grep -c . "$work/use") from ${first:-none}, $total transactions; globals: ${set#"$here/"}"
[ -z "$why" ] || warn "$why"
[ -z "$dry_run" ] || { say "dry run: nothing was changed"; exit 0; }

# ---- 5. The target --------------------------------------------------------------------------------------------
{ say "SELECT format('CREATE DATABASE \"$restoring\" TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L
        LOCALE_PROVIDER ', m ->> 'encoding', m ->> 'lc_collate', m ->> 'lc_ctype') || CASE m ->> 'locale_provider'
    WHEN 'icu' THEN format('icu ICU_LOCALE %L', m ->> 'locale') || concat(' ICU_RULES ' || quote_literal(m ->> 'icu_rules'))
    WHEN 'builtin' THEN format('builtin BUILTIN_LOCALE %L', m ->> 'locale') ELSE 'libc' END FROM (SELECT"
  literal "$metadata"
  say "::json) AS metadata (m) \\gexec"
} | server || {
    ensure_free; warn "not with the source's locale, which the server may not know: this database sorts otherwise"
    server -c "CREATE DATABASE \"$restoring\" TEMPLATE template0 ENCODING '$encoding'"
}
is_half_made=yes
# Triggers, rules and event triggers that fire ALWAYS or in REPLICA mode still fire under session_replication_role =
# replica; but their effects at the source are in the segments. quiet() sets them to fire in origin mode; loud() sets
# them back, before DDL that may depend on it, and at the end.
sed "s/ours/$ours/g" <<'SQL' | db -f -
CREATE SCHEMA ours;
CREATE UNLOGGED TABLE ours.quieted (kind text, id oid, state "char");
CREATE VIEW ours.firing (kind, id, state, command, name, place) AS
    SELECT 'event', oid, evtenabled, 'ALTER EVENT TRIGGER %1$I ENABLE %3$s', evtname, '' FROM pg_event_trigger
    UNION ALL SELECT 'table', oid, ev_enabled, 'ALTER TABLE ONLY %2$s ENABLE %3$s RULE %1$I', rulename,
        ev_class::regclass::text FROM pg_rewrite
    UNION ALL SELECT 'table', oid, tgenabled, 'ALTER TABLE ONLY %2$s ENABLE %3$s TRIGGER %1$I', tgname,
        tgrelid::regclass::text FROM pg_trigger;
CREATE FUNCTION ours.quiet() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE r record; BEGIN
    FOR r IN SELECT * FROM ours.firing WHERE state IN ('A', 'R') ORDER BY kind LOOP
        EXECUTE format(r.command, r.name, r.place, '');
        INSERT INTO ours.quieted VALUES (r.kind, r.id, r.state);
    END LOOP; END $$;
CREATE FUNCTION ours.loud(kinds text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE r record; BEGIN
    FOR r IN WITH q AS (DELETE FROM ours.quieted WHERE kind = kinds RETURNING *)
        SELECT f.*, q.state AS was FROM q JOIN ours.firing AS f USING (kind, id) WHERE f.state = 'O' LOOP
        EXECUTE format(r.command, r.name, r.place, CASE r.was WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END);
    END LOOP; END $$;
CREATE UNLOGGED TABLE ours.roles (name text);
-- A materialized view may fail. An owner who must be a superuser, and is none, is made one for the statement.
CREATE FUNCTION ours.try(entry text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE owner text := substring(entry, ' OWNER TO ("(?:[^"]|"")*"|[^";\s]+);?\s*$');
BEGIN
    EXECUTE entry;
    EXCEPTION WHEN OTHERS THEN
        IF owner IS NULL THEN RAISE WARNING 'a materialized view was not refreshed: %', SQLERRM; RETURN; END IF;
        EXECUTE format('ALTER ROLE %s SUPERUSER', owner);
        EXECUTE entry;
        EXECUTE format('ALTER ROLE %s NOSUPERUSER', owner);
END $$;
SQL
{ say "SET client_encoding = UTF8;"
  for facts in "$metadata" "$set/metadata.json"; do
      say "INSERT INTO $ours.roles SELECT json_array_elements_text(("; literal "$facts"; say "::json) -> 'roles');"
  done
  say "SET client_encoding = '$encoding';"
  applied role | awk '/^([A-Za-z0-9._:+-]|\/|%[0-9A-F][0-9A-F])*$/ {
      gsub(/%/, "\\x"); print "INSERT INTO '"$ours"'.roles VALUES (E\047" $0 "\047);" }'
  say "SELECT DISTINCT format('DO \$r$random\$ BEGIN CREATE ROLE %1\$I NOLOGIN; RAISE WARNING USING MESSAGE =
      %2\$L; END \$r$random\$', name, format('created role %I NOLOGIN', name)) FROM $ours.roles
      WHERE name !~ '^(pg_.*|public|none)?\$' AND name NOT IN (SELECT rolname FROM pg_roles) \\gexec"
} | db -f - || die "could not create the missing roles"

# ---- 6. The base ----------------------------------------------------------------------------------------------
heard() {       # FILE: what psql said of lines in it
    sed "s|^psql:<stdin>:|$1:|" "$work/errors" >&2
    ! grep -q 'WARNING:  a materialized view was not refreshed: ' "$work/errors" || is_stale=yes
}
stopped() {     # FILE
    heard "$1"
    die "stopped; the program pg_incrbackup can do without an object that cannot be made"
}
dump=$base_dir/$(value dump "$metadata")
say "loading ${dump##*/}"
if [ -d "$dump" ]; then
    loud='^[0-9]*; [0-9 ]*((COMMENT|SECURITY.*LABEL) (- )?)?EVENT( |%20)TRIGGER'    # last: one may fire for the others
    { cat "$base_dir/dump.list" 2>/dev/null || pg_restore -l "$dump"; } |
        awk -v loud="$loud" '$0 ~ loud { late = late $0 "\n"; next } { print } END { printf "%s", late }' >"$work/list"
    pg_restore --exit-on-error -L "$work/list" -w -d "$target dbname=$restoring" "$dump" 2>"$work/errors" || stopped dump
else
    # psql has a parser of its own, which counts begin and end in CREATE FUNCTION begin(), and substitutes its variables
    # in x[1:PORT]. So every entry except rows is sent as one literal. (Old bases without dump.toc go unchanged.)
    toc=$base_dir/dump.toc; [ -f "$toc" ] || toc=/dev/null
    text "$dump" | awk -v toc="$toc" -v tag="$random" -v ours="$ours" -v loaded="$work/loaded" '
        FILENAME == toc {                       # first line, lines, offset, 3 ids, sql or data, type, schema, name
            end_of_all = $1 + $2 - 1
            last[$1] = $7 == "sql" ? end_of_all : 0
            if ($8 ~ /^(MATERIALIZED%20VIEW%20DATA|EVENT%20TRIGGER|FOREIGN%20DATA%20WRAPPER|(PUB|SUB)[A-Z]*)$/) tried[$1]
            if ($8 == "EVENT%20TRIGGER") after[$1] = " SELECT " ours ".quiet();"      # it may fire from now on
            next
        }
        { number++; end = "" }
        number in last {
            if ($0 != "--") { number = 0; exit }
            at = number
            if (last[at]) printf "DO $r%s$ BEGIN %s$s%s$", tag, \
                at in tried ? "PERFORM " ours ".try(" : "EXECUTE ", tag
        }
        at && number == last[at] { end = "$s" tag "$" (at in tried ? ")" : "") "; END $r" tag "$;" after[at] }
        { print $0 end }
        /^-- PostgreSQL database dump complete/ { is_complete = 1 }
        END { if (is_complete && number >= end_of_all + 0) print number >loaded }
    ' "$toc" - | db -f - 2>"$work/errors" || stopped "${dump##*/}"
    [ -s "$work/loaded" ] || die "${dump##*/} could not be read to its end, or dump.toc is of another dump"
fi
heard "${dump##*/}"
[ ! -f "$set/database.sql" ] ||
    db -f "$work/restrict.sql" -f "$set/database.sql" 2>"$work/errors" || stopped database.sql
db -c "SELECT $ours.quiet()"

# ---- 7. Replay ------------------------------------------------------------------------------------------------
# The input for psql from a segment: blank lines for what is skipped; UPDATE and DELETE so that they fail unless they
# hit exactly one row; DDL between loud() and quiet(), where it may matter.
awk_replay='
    function row(line,  verb) {
        verb = substr(line, 1, 6)
        if (verb != "UPDATE" && verb != "DELETE") return line
        return "WITH hit AS (" substr(line, 1, length(line) - 1) " RETURNING 1) SELECT CASE count(*) WHEN 1 THEN 1 " \
            "ELSE CAST(\047" verb " hit \047 || count(*) || \047 rows, not exactly one\047 AS integer) END FROM hit;"
    }
    function ddl(  i, text, word) {             # a block, which is held until its last line is there
        for (i = 1; i < held; i++) text = text " " toupper(line[i])
        if (verb == "refresh" || verb == "owner") {
            sub(/ EXECUTE \$s/, " PERFORM " ours ".try($s", line[1])
            sub(/\$; END /, "$); END ", line[held - 1])
        }
        if (line[1] !~ /^DO / && line[held - 2] == ";") {       # before 0.3.0 the text was not in a literal
            for (word = key; index(text, toupper("$s" word "$")) || index(text, toupper("$r" word "$"));) word = word "_"
            line[1] = "DO $r" word "$ BEGIN " line[1] " EXECUTE $s" word "$"
            line[held - 2] = "$s" word "$; END $r" word "$;"
        }
        if (is_text || text ~ /ENABLE|DISABLE|PARTITION|REPLACE (CONSTRAINT )?TRIGGER|REPLACE RULE/) {
            line[0] = "SELECT " ours ".loud(\047" (of ~ /event%20trigger/ ? "event" : "table") "\047);"
            line[held - 1] = line[held - 1] " SELECT " ours ".quiet();"
        }
        for (i = 0; i < held; i++) print (is_wanted ? line[i] : "")
        held = 0
    }
    NR > complete { exit } { walk() }
    kind == "header" { key = substr($2, 2) }
    kind == "transaction" || kind == "sequences" {
        lsn = lsn16(value(kind == "sequences" ? "lsn" : "commit_lsn"))
        on = lsn <= upto "" && (kind == "sequences" ? lsn > base_lsn "" : !sees(value("xid")))
    }
    kind == "ddl" || kind == "effect" {
        verb = value("verb"); of = tolower(value("class") value("command")); is_text = kind == "ddl"
        is_wanted = on && (value("class") != "database" || lsn > set_lsn "")
    }
    kind == "ddl" || kind == "effect" || part == "ddl" { line[held++] = $0; if (!ddl_lines) ddl(); next }
    NR == 1 { print "\\restrict " random; next }
    part == "setting" { print ($0 ~ /^\\(un)?restrict / ? "" : $0); next }
    { print (on && part != "comment" ? (part == "statement" ? row($0) : $0) : "") }
    part == "COMMIT;" { applied += on && block == "transaction"; block = "" }
    END { if (NR >= complete) print applied + 0 >count }
'
while read -r segment complete; do
    say "$segment"
    text "$increments/$segment" | awk -v upto="$upto" -v complete="$complete" -v base_lsn="$base_lsn" \
        -v set_lsn="$set_lsn" -v xmin="$xmin" -v xmax="$xmax" -v xip="$xip" -v random="$random" -v ours="$ours" \
        -v count="$work/$segment" "$awk_walk$awk_replay" | db -f - 2>"$work/errors" || stopped "$segment"
    heard "$segment"
    [ -s "$work/$segment" ] || die "$segment could not be read to its end"
    applied=$((applied + $(cat "$work/$segment")))
done <"$work/use"

# ---- 8. The end -----------------------------------------------------------------------------------------------
sed "s/ours/$ours/g" <<'SQL' | db -f -                         # event triggers last: they would fire
SELECT ours.loud('table');
SELECT 'DROP SCHEMA ours CASCADE' UNION ALL
    SELECT format(command, name, place, CASE q.state WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END)
    FROM ours.quieted AS q JOIN ours.firing AS f USING (kind, id) WHERE f.state = 'O' \gexec
SQL
is_half_made=''
server -c "ALTER DATABASE \"$restoring\" RENAME TO \"$database\"" || die "$restoring is complete, but not renamed"
[ ! -f "$base_dir/left-out.sql" ] || say "left out, because it needs pg_incrbackup: what $base_dir/left-out.sql has"
applied left_out | sed 's/^/left out, because it needs pg_incrbackup: /'
say "done: $applied transactions applied; run ANALYZE in $database before use"
[ -z "$is_stale" ] || die "materialized views stay without rows, or with older ones: the warnings above say why"
