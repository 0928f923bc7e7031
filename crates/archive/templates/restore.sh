#!/bin/sh
# restore.sh - turns this directory of SQL back into a PostgreSQL database.
#
# Needs sh, psql, awk, sha256sum and the usual small tools; gzip or zstd for compressed files, and
# pg_restore for a base in directory format. Nothing of pg_incrbackup is needed. README.txt beside
# this file tells what the files are and how to restore without this program.
#
# What it does, in this order (each step is a section below):
#   1. reads the command line
#   2. finds the target's server
#   3. chooses a chain, a base backup and the segments that lead from it to the requested point, and
#      checks checksums and continuity of all of them, before anything is touched
#   4. creates the target database, under another name until all is done, or makes sure that it is
#      empty; creates missing roles
#   5. loads the base
#   6. replays every transaction that the base does not contain, in commit order, and between them each
#      set of globals: what became of roles, and of the database itself, elsewhere
#
# Two rules carry it. A base names the snapshot it was dumped under (xmin:xmax:xip); a transaction
# that this snapshot sees is in the dump and is skipped, every other one is applied. And whatever
# passes on its way to psql keeps its line number, so that an error names the segment's own line.

set -eu
LC_ALL=C                        # bytes are bytes, whatever encoding the database has
export LC_ALL
unset PGDATABASE
PGCLIENTENCODING=SQL_ASCII      # also to psql, until what it reads says which
export PGCLIENTENCODING
umask 077

usage() {
    cat <<'USAGE'
usage: sh restore.sh --target CONNINFO [options]
       sh restore.sh --list

  --target CONNINFO   the database to create, as a libpq connection string or URI, for example
                      "host=/tmp dbname=shop_restored". It is created where it is missing and must
                      be empty otherwise. Connect as a superuser; passwords come from ~/.pgpass.
  --list              show which points can be restored, chain by chain; needs no target
  --until-time T      up to the last transaction whose commit time is not after T: any timestamp that
                      the target's server understands, UTC unless T names a zone; a time of day alone
                      (the last one that has passed), '10 minutes ago', or @ and seconds since 1970
  --until-lsn L       up to commit LSN L, inclusive
  --until-xid X       up to and including transaction X
  --until-mark NAME   up to and including the newest transaction with a mark of this name (incr_mark())
  --allow-earlier     if the archive ends before the requested time or LSN, restore to its end instead of failing
  --chain N           from chain-N (default: the newest that holds the requested point)
  --base NAME         from this base (default: the newest that is not after the requested point). A base whose
                      segments retention has removed can only be restored by its name, and alone; one that
                      manifest.jsonl does not name, while it names others, is taken only by its name
  --search-path PATH  for expressions in indexes and constraints whose functions name no schemas. A
                      restore evaluates them, like pg_dump's, under an empty search path otherwise
  --skip-check NAME   load rows without the CHECK constraint of this name (of any table; may be given
                      more than once): one that depends on the time, on who asks or on other tables
                      can refuse rows that it once took. At the end it is there again, and NOT VALID
                      where rows contradict it
  --globals           also make roles with passwords, memberships and settings, and tablespaces, as the sets
                      of globals up to the requested point have them, each at its place between the transactions.
                      A role that is there before is left as it is
  --dry-run           choose and check only; the target is not touched
  --help              this text

A moment in a stretch in which something was lost (see --list: between a flag and the next base) is restored
as far as the segments go: what cannot be applied is left out and listed, and the exit status is 1.

Exit status: 0 when everything up to the requested point was applied, 1 when not, 2 for wrong use.
USAGE
}

say() { printf '%s\n' "$*"; }
warn() { printf 'restore.sh: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }
printable() { tr '\001-\037\177' '?' | sed 's/?$//'; }
wrong_use() { warn "$*"; usage >&2; exit 2; }

# ---- 1. Command line ------------------------------------------------------------------------------

target='' until_time='' until_lsn='' until_xid='' until_mark='' chain='' base='' search_path='' skip_checks='' globals=no dry_run=no list=no allow_earlier=no

while [ $# -gt 0 ]; do
    case $1 in
    --globals) globals=yes; shift; continue ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --list) list=yes; shift; continue ;;
    --allow-earlier) allow_earlier=yes; shift; continue ;;
    --help | -h) usage; exit 0 ;;
    --*=*) option=${1%%=*} value=${1#*=}; shift ;;
    --*) option=$1; [ $# -ge 2 ] || wrong_use "$1 needs a value"; value=$2; shift 2 ;;
    *) wrong_use "unknown argument: $1" ;;
    esac
    [ -n "$value" ] || wrong_use "$option needs a value"
    case $option in
    --target) target=$value ;;
    --until-time) until_time=$value ;;
    --until-lsn) until_lsn=$value ;;
    --until-xid) until_xid=$value ;;
    --until-mark) until_mark=$value ;;
    --chain) chain=${value#chain-} ;;
    --base) base=${value%/} base=${base##*/} ;;
    --search-path) search_path=$value ;;
    --skip-check) skip_checks="$skip_checks${skip_checks:+, }'$(say "$value" | sed "s/'/''/g")'" ;;
    *) wrong_use "unknown option: $option" ;;
    esac
done

[ $list = no ] || target='' until_time='' until_lsn='' until_xid='' until_mark='' base=''
[ -n "$target" ] || [ $list$dry_run != nono ] || wrong_use "--target is missing"
case ${until_time:+t}${until_lsn:+l}${until_xid:+x}${until_mark:+m} in
??*) wrong_use "only one of --until-time, --until-lsn, --until-xid and --until-mark can be given" ;;
t) [ -n "$target" ] || wrong_use "--until-time needs --target, whose server reads the time" ;;
esac
case $until_xid in *[!0-9]*) wrong_use "--until-xid takes a number" ;; esac
by_transaction=$until_xid$until_mark     # the point is a transaction that must be found
case $chain in *[!0-9]*) wrong_use "--chain takes a number" ;; esac
for tool in psql awk sha256sum; do
    command -v $tool >/dev/null || die "$tool is not installed or not in PATH"
done

here=$(cd "$(dirname "$0")" && pwd)
# Retention removes nothing while this lock is held. (A copy of the archive needs none.)
if command -v flock >/dev/null && (: <"$here") 2>/dev/null; then
    exec 9<"$here"
    flock -s 9 2>/dev/null || :
fi

# Drills restore on a throwaway server as a role that is not a superuser. Everything that only a superuser can
# do there (roles, tablespaces, what RESTORE_SH_PREPARE names) is done by this connection, before anything is
# restored; every superuser of the source is an ordinary role. An object that the role is not permitted to
# create stops a drill with status 4 (in the base) or 5 (in the segments), or is left out: of the base, or of
# everything, which is then executed statement by statement.
superuser=${RESTORE_SH_SUPERUSER:-} leave_out=${RESTORE_SH_LEAVE_OUT:-nothing}
[ -z "$superuser" ] || globals=no

work=$(mktemp -d "${TMPDIR:-/tmp}/restore.XXXXXX")
half_made=''                    # the statement that drops what is not complete yet
at_exit() {
    if [ $? != 0 ] && [ -n "$half_made" ]; then
        warn "database $dbname is incomplete: drop it before trying again: $half_made"
        [ ! -s "$work/made_roles" ] || warn "also drop the roles that it created, which the next restore would leave as they are: $(cat "$work/made_roles")"
    fi
    rm -rf "$work"
}
trap at_exit EXIT
trap 'exit 130' INT TERM HUP

# ---- Awk programs, used below ---------------------------------------------------------------------

# Values. xmin, xmax and xip are those of a snapshot. An LSN is compared as text, "L" and 16 hex digits, so
# that awk never treats it as a number.
awk_values='
    function pad(hex) { return substr("00000000", length(hex) + 1) toupper(hex) }
    function lsn16(text,  part) {
        if (text !~ /^[0-9A-Fa-f]+\/[0-9A-Fa-f]+$/) return ""
        split(text, part, "/")
        return "L" pad(part[1]) pad(part[2])
    }
    function shown(lsn,  high, low) {
        high = substr(lsn, 2, 8); low = substr(lsn, 10)
        sub(/^0*/, "", high); sub(/^0*/, "", low)
        return (high == "" ? "0" : high) "/" (low == "" ? "0" : low)
    }
    function value(name,  at, rest) {           # of name=... in the structural comment in $0
        at = index($0, " " name "=")
        if (!at) return ""
        rest = substr($0, at + length(name) + 2)
        sub(/ .*/, "", rest)
        return rest
    }
    # Is the transaction in the base? The xid remains a string: mawk prints numbers from 2^31 on as
    # 2.14748e+09, and would not find them in the list.
    function sees(xid) {
        return xid + 0 < xmin + 0 || \
            (xid + 0 < xmax + 0 && !index("," xip ",", "," xid ","))
    }
    function or_none(text) { return text == "" ? "none" : text }
    function encode(text,  i, c, out) {         # percent-encoding, as in the comments
        if (!("a" in code)) for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            out = out (c ~ /[A-Za-z0-9._:\/+-]/ ? c : sprintf("%%%02X", code[c]))
        }
        return out
    }
    function digit(hex) { return index("0123456789ABCDEF", toupper(hex)) - 1 }
    function decode(text,  i, c, out) {
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c == "%") {
                c = sprintf("%c", digit(substr(text, i + 1, 1)) * 16 + digit(substr(text, i + 2, 1)))
                i += 2
            }
            out = out c
        }
        return out
    }
    function unquoted(text,  i, c, out) {       # a string of JSON
        gsub(/^ *"|",?$/, "", text)
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c == "\\") {
                c = substr(text, ++i, 1)
                if (c == "u") { c = sprintf("%c", digit(substr(text, i + 3, 1)) * 16 + digit(substr(text, i + 4, 1))); i += 4 }
                else if (c in escape) c = escape[c]
            }
            out = out c
        }
        return out
    }
    BEGIN { escape["n"] = "\n"; escape["r"] = "\r"; escape["t"] = "\t"; escape["b"] = "\b"; escape["f"] = "\f" }
    function doubled(text, mark) { gsub(mark, mark mark, text); return text }
    function literal(text) { return "\047" doubled(text, "\047") "\047" }
    function ident(text) { return "\"" doubled(text, "\"") "\"" }
    function one_line(text,  i, c, out) {       # a literal without a raw line end
        if (text !~ /[\047\\\n\r]/) return "E\047" text "\047"
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            out = out (c == "\n" ? "\\n" : c == "\r" ? "\\r" : c == "\\" || c == "\047" ? c c : c)
        }
        return "E\047" out "\047"
    }
    function readable(encoded,  name) {         # for a message: control characters stay encoded
        name = decode(encoded)
        return name ~ /[\001-\037\177]/ ? encoded : ident(name)
    }
'

# Walks through a segment, line by line: sets part to the kind of the line, and kind for a structural one.
# Structural lines contain the random key of their segment; the lines of a DDL block or a COPY block are
# content, whatever they look like.
#
# A DDL block, and an effect (the change of a statement, as SQL of our own), has its text in a literal, which
# psql does not parse:
#     DO $rKEY$ BEGIN ... EXECUTE $sKEY$
#     ...
#     $sKEY$; END $rKEY$;
# KEY may be followed by as many "_" as necessary for the tag not to occur in the text. in_text is set within
# the lines of the literal.
awk_walk='
    function walk() {
        kind = ""
        if (ddl_lines > 0) {
            ddl_lines--
            if (part == "comment") opens_text()
            else if (in_text && (index($0, run_tag) || index($0, text_tag))) in_text = 0
            part = "ddl"
            return
        }
        if (in_copy) { in_copy = ($0 != "\\."); part = "row"; return }
        if (NR == 2 && /^-- @[0-9a-f]+ / && substr($0, 21, 1) == " ") mark = substr($0, 1, 21)      # "-- @" KEY " "
        if (NR >= 2 && substr($0, 1, 21) == mark) {
            part = "comment"
            kind = substr($0, 22)
            sub(/ .*/, "", kind)
            if (kind == "transaction" || kind == "sequences") block = kind
            if (kind == "ddl" || kind == "effect") ddl_lines = value("lines") + 0
        } else if (block == "") part = "setting"
        else if ($0 == "BEGIN;") part = "begin"
        else if ($0 == "COMMIT;") part = "commit"
        else {
            in_copy = (substr($0, 1, 5) == "COPY " && substr($0, length($0) - 11) == " FROM stdin;")
            part = in_copy ? "copy" : "statement"
        }
    }
    function opens_text(  word) {
        word = substr($0, 6)
        word = substr(word, 1, index(word, "$") - 1)
        run_tag = "$r" word "$"; text_tag = "$s" word "$"
        in_text = word ~ /^[0-9a-f]+_*$/ && index($0, "DO " run_tag " BEGIN ") == 1 && \
            ends_with($0, " EXECUTE " text_tag) && !index(substr($0, 4 + length(run_tag)), run_tag)
    }
    function ends_with(text, end) {
        return length(text) >= length(end) && substr(text, length(text) - length(end) + 1) == end
    }
    # Does psql execute this line, so that meta-commands run from here on? The one after the footer may.
    function unrestricts(  text, at) {
        if (in_text || !(at = index($0, "\\unrestrict")) || (part == "row" && at > 1)) return 0
        text = $0
        sub(/[ \t\r\f\v;]+$/, "", text)
        return ends_with(text, substr(mark, 5, 16))
    }
'

# Does the grammar permit this line in a segment? Checked for segments without a known checksum: their
# contents must not reach psql as meta-commands, nor confuse its parsing of quotes and brackets.
awk_grammar='
    function bare(line,  count, piece, i, end, text, in_text, escapes, has_closed, in_name) {
        count = split(line, piece, "\047")      # -> the line without its texts and quoted names
        for (i = 1; i <= count; i++) {
            end = length(piece[i])
            if (in_text) {
                if (escapes) while (end && substr(piece[i], end, 1) == "\\") end--
                if (!escapes || (length(piece[i]) - end) % 2 == 0) { in_text = 0; has_closed = 1 }
                continue
            }
            if (!has_closed || end || in_name) {
                text = text piece[i]
                if (gsub(/"/, "&", piece[i]) % 2) in_name = !in_name
                end = substr(text, length(text) - 1)
                escapes = (end ~ /[ (,=\[]E$/)
                if (!escapes && end ~ /[Ee&]$/ && i < count && !in_name) return "\\"
            }
            has_closed = 0
            if (i < count && !in_name) { in_text = 1; text = text " " }
        }
        gsub(/"[^"]*"/, "", text)
        return in_text || in_name ? "\\" : text
    }
    function is_plain(line,  tag, at, text, depth) {        # one statement, and nothing around it?
        if (match(line, /^DO \$[a-z_]*\$/)) {
            tag = substr(line, 4, RLENGTH - 3)
            line = substr(line, RLENGTH + 1)
            at = index(line, tag)
            return substr(line, at) == tag ";"
        }
        text = bare(line)
        if (text !~ /;$/ || index(text, ";") != length(text) || text ~ /\\|\$|--|\/\*|^ *[Cc][Rr][Ee][Aa][Tt][Ee]/) return 0
        while (match(text, /[()]/)) {
            depth += substr(text, RSTART, 1) == "(" ? 1 : -1
            if (depth < 0) return 0
            text = substr(text, RSTART + 1)
        }
        return depth == 0
    }
    function is_known() {
        if (part == "statement" || part == "copy") return is_plain($0)
        if (part == "comment" && NR > 2) is_settled = 1
        if (part != "setting" || NR == 1) return 1
        if (/^SET / && is_settled) return 0
        return $0 == "\\restrict " substr(mark, 5, 16) || $0 == "\\unrestrict " substr(mark, 5, 16) || \
            $0 == "SET client_encoding = \047" encoding "\047;" || $0 == "SET standard_conforming_strings = on;" || \
            $0 == "SET session_replication_role = replica;" || $0 ~ known_setting
    }
    BEGIN {
        known_setting = "^SET (escape_string_warning|client_min_messages|DateStyle|IntervalStyle|TimeZone|" \
            "extra_float_digits|bytea_output|lc_monetary|xmloption|array_nulls|transform_null_equals|" \
            "check_function_bodies|row_security|search_path|default_tablespace|default_table_access_method|" \
            "default_transaction_(isolation|read_only|deferrable)|synchronous_commit|statement_timeout|lock_timeout|" \
            "idle_in_transaction_session_timeout) = ([a-z0-9]+|\047[A-Za-z, ]*\047);$"
    }
'

# Summarizes a segment as far as it is complete; appends the roles that its DDL needs to a file.
awk_scan='
    NR == 1 && !/^-- pg_incrbackup segment format=[12]$/ { exit }
    {
        walk()
        if (foul == "" && unrestricts() && !(was_footer && part == "setting")) foul = NR
        was_footer = (kind == "footer")
        if (encoding != "" && !odd && !is_known()) odd = NR
        if (kind == "header") {
            start = end = lsn16(value("start_lsn")); next_xid = value("next_xid")
            previous = value("previous"); previous_sha256 = value("previous_sha256")
        } else if (kind == "transaction") {
            xid = value("xid"); lsn = lsn16(value("commit_lsn")); time = value("commit_time"); is_marked = 0
        } else if (kind == "mark") {
            is_marked = is_marked || (ENVIRON["UNTIL_MARK"] != "" && decode(value("name")) == ENVIRON["UNTIL_MARK"])
        } else if (kind == "flag" && value("lost") != "") {
            print lsn, xid, time, value("lost"), value("class"), value("oid"), "=" value("identity"), value("reason") >> lost
        } else if (kind == "position" && value("at") ~ /Z$/) {
            complete = NR; end = lsn16(value("lsn"))
            if (value("at") > latest) latest = value("at")      # all that committed before is in the files
        }
        else if (kind == "ddl" && value("role") != "") print value("role"), "unknown" >> roles
        else if (kind == "role") print value("name"), value("superuser") >> roles
        else if (kind == "tablespace") print value("name") >> tablespaces
        else if (kind == "tablespace_renamed") print value("to"), value("name") >> tablespaces
        else if (kind == "footer") { footer = lsn16(value("end_lsn")) " " value("transactions") }
        else if (part == "setting" && substr($0, 1, 12) == "\\unrestrict ") {
            complete = NR
            closed = (footer == end " " (transactions + 0))
        } else if (part == "commit") {
            complete = NR
            if (block == "transaction") {
                transactions++
                end = lsn
                if (time == "none") timeless = 1
                else if (time > latest) latest = time
                if (until_time != "" && time <= until_time) { reached = lsn; beyond = "" }
                else if (beyond == "") beyond = lsn
                if (xid == until_xid || is_marked) found = lsn
            }
            block = ""
        }
    }
    END {
        print or_none(start), or_none(end), or_none(next_xid), or_none(previous), \
            or_none(previous_sha256), complete + 0, closed + 0, transactions + 0, \
            or_none(reached), or_none(beyond), or_none(found), timeless + 0, or_none(latest), \
            (odd <= complete ? odd + 0 : 0), or_none(foul)
    }
'

# What a flag says is lost, as text.
awk_lost='
    function lost_in_words(what, class, oid, identity) {
        if (oid == "0" && identity == "") return what == "rows" ? "rows" : "the schema of an unknown object"
        return (what == "rows" ? "rows of " : "") decode(class) " " (identity == "" ? "with OID " oid : decode(identity))
    }
'

# The input for psql from a segment: blank lines for what is skipped; UPDATE and DELETE so that their
# transaction fails unless each hit exactly one row; around DDL the disabling of triggers (section 6).
#
# For speed, statements are joined (psql sends statements joined by \; at once), small transactions that only
# change rows share one transaction, and statements of one shape are prepared: parsed and planned once.
#
# With "only", the transactions from that commit LSN on, a statement at a time and without a COMMIT.
# With "apart", statement by statement, and rows of a missing table are sent to a substitute for it. From the
# commit LSN "lost_from" on ("lenient": from the start) also statement by statement, each of which may fail:
# psql continues after errors, and each row of a COPY block is sent as an INSERT, so that none makes others
# fail. With "at", the file "tell" gets the commit LSN of the first source transaction in the transaction of
# that line.
awk_replay='
    function put(line) {
        if (!on) line = ""
        else if (pending != "") { line = pending " " line; pending = "" }
        emit(line)
    }
    function emit(line) {                       # one line late: the last one may have to close a group
        if (++lines > 1) print last
        last = line
        if (lines == at) print (closing == "" ? first : closing) >tell
        closing = ""
    }
    # Each row that is hit draws the next number, which must be that of its statement. If a statement hits
    # none, or several, the next one, or the check at the end, finds a wrong number.
    function row(line,  verb) {
        verb = substr(line, 1, 6)
        if (verb == "INSERT") return only == "" && !apart ? insert(line) : line
        if (verb != "UPDATE" && verb != "DELETE") return line
        line = substr(line, 1, length(line) - 1)
        if (only == "" && !apart) return prepared(line, ++hits)
        return "WITH hit AS (" line " RETURNING 1) SELECT CASE count(*) WHEN 1 THEN 1 ELSE CAST(\047" verb \
            " hit \047 || count(*) || \047 rows, not exactly one\047 AS integer) END FROM hit;"
    }
    function draws(number) { return " AND pg_temp.draw(\047pg_temp." ENVIRON["HITS"] "\047) = " number }
    # A shape is a statement without its values. It is prepared at its third occurrence, and again from time
    # to time: a plan made for a small table is not kept for a large one.
    function execute(shape, values,  text, count) {
        if (!(shape in times) && ++shapes > 1000) forget()
        count = ++times[shape]
        if (count < 3) return ""
        if (count == 3) {
            if (++prepared_shapes > 200) { forget(); return "" }
            name_of[shape] = "restore_sh_" prepared_shapes
        }
        if (count == 3 || count == 10 || count == 100 || count == 1000 || count % 10000 == 0) {
            text = "PREPARE " name_of[shape] " AS " shape "\\; "
            if (count > 3) text = "DEALLOCATE " name_of[shape] "\\; " text
            if (is_forgotten) text = "DEALLOCATE ALL\\; " text
            is_forgotten = 0
        }
        return text "EXECUTE " name_of[shape] "(" values ");"
    }
    function forget() { split("", times); prepared_shapes = shapes = 0; is_forgotten = 1 }
    function insert(line,  at_values, shape, names, i, text) {
        at_values = index(line, " VALUES (")
        if (!at_values || length(line) > 4096) return line
        shape = substr(line, 1, at_values + 8)
        if (!(shape in parameters)) {           # as many as there are names of columns
            names = shape
            gsub(/"[^"]*"/, "q", names)
            parameters[shape] = names ~ /"/ ? 0 : gsub(/, /, "&", names) + 1
            for (i = 1; i <= parameters[shape]; i++) list[shape] = list[shape] (i > 1 ? ", $" : "$") i
        }
        if (!parameters[shape]) return line
        text = execute(shape list[shape] ")", substr(line, at_values + 9, length(line) - at_values - 10))
        return text == "" ? line : text
    }
    # The values after " = " are replaced by parameters. A piece that begins with a string continues if the
    # string contains " = ". A statement that may be parsed incorrectly is not prepared.
    function prepared(line, number,  plain, count, piece, i, rest, shape, values, nth, text) {
        plain = line draws(number) ";"
        if (length(line) > 4096) return plain
        count = split(line, piece, " = ")
        shape = piece[1]
        if (shape ~ /\047/ || is_odd(shape, "\"")) return plain
        for (i = 2; i <= count; i++) {
            rest = piece[i]
            if (rest ~ /^[EB]?\047/) {
                while (is_odd(rest, "\047") && i < count) rest = rest " = " piece[++i]
                match(rest, /^[EB]?\047([^\047]|\047\047)*\047/)
            } else if (!match(rest, /^-?[0-9][0-9.]*(e[-+]?[0-9]+)?/) && !match(rest, /^(null|true|false)/))
                RLENGTH = 0
            if (RLENGTH > 0) {
                values = values substr(rest, 1, RLENGTH) ", "
                rest = "$" ++nth substr(rest, RLENGTH + 1)
            }
            if (rest ~ /\047/ || is_odd(rest, "\"")) return plain
            shape = shape " = " rest
        }
        if (!nth) return plain
        shape = shape draws("$" (nth + 1))
        text = execute(shape, values number)
        return text == "" ? plain : text
    }
    function is_odd(text, mark) { return index(text, mark) && gsub(mark, "", text) % 2 }
    function joined(line) {
        if (line ~ /^-- /) return line
        if (only != "" || apart || ++statements == 200 || (bytes += length(line)) > 65536) {
            statements = bytes = 0
            return line
        }
        return substr(line, 1, length(line) - 1) "\\;"
    }
    function alone(line) {
        if (statements) line = "; " line
        statements = bytes = 0
        return line
    }
    function ended(  line) {
        line = "COMMIT;"
        if (hits > hits_before) line = "SELECT pg_temp.hit(" ++hits ")\\; " line
        hits_before = hits
        statements = bytes = 0
        return line
    }
    # The lines of a transaction are held back until it is known whether it is a small one that only changes
    # rows.
    function hold(line) {
        held_line[held_lines++] = line
        if (held_lines > 60 || (held_bytes += length(line)) > 16384) let_go()
    }
    function let_go(  i, text) {                # it is a transaction of its own
        if (!held_lines) return
        look_for_help()
        text = close_group() help()
        first = lsn
        put(text joined("BEGIN;"))
        for (i = 1; i < held_lines; i++) put(joined(row(held_line[i])))
        held_lines = held_bytes = 0
    }
    function join_group(  i) {
        look_for_help()
        if (group_size) put("")
        else { first = lsn; put(help() joined("BEGIN;")) }
        for (i = 1; i < held_lines; i++) put(joined(row(held_line[i])))
        group_size += held_lines
        group_bytes += held_bytes
        held_lines = held_bytes = 0
        put(group_size >= 200 || group_bytes > 65536 || wanted_help != "" ? close_group() : "")
    }
    function close_group() {                    # -> what goes before the next line
        if (!group_size) return ""
        group_size = group_bytes = 0
        closing = first
        return ended() " "
    }
    # Tables without a key whose rows are frequently searched get a temporary index, before a transaction
    # begins: one created after its own updates would not help it.
    function look_for_help(  i, at_name, name) {
        for (i = 1; i < held_lines; i++) {
            if (!(at_name = index(held_line[i], "ctid = (SELECT ctid FROM "))) continue
            name = substr(held_line[i], at_name + 25)
            name = substr(name, 1, index(name, " WHERE ") - 1)
            if (++sought[name] == 20) wanted_help = wanted_help "SELECT pg_temp.help(" literal(name) "); "
        }
    }
    function help(  text) {                     # -> what goes before BEGIN
        if (wanted_help == "") return ""
        text = wanted_help
        wanted_help = ""
        is_helped = 1
        return text
    }
    function follow(kind, name, other) {        # what became of a role or a tablespace at the source
        name = decode(name); other = decode(other)
        if (ENVIRON["FOLLOWS"] == "" || name == "") return "--"
        return "SELECT pg_temp.follow(" literal(kind) ", " one_line(name) ", " one_line(other) ");"
    }
    function put_ddl(  i, loud) {               # a DDL block is held until its last line is there
        for (i = 1; i < held; i++) if (tolower(line[i]) ~ /trigger|rule|partition/) loud = "LOUD_TABLE"
        if (toupper(line[0]) ~ /EVENT%20TRIGGER/) loud = "LOUD_EVENT"
        forget()
        line[0] = follow("role", role, "")
        if (on && is_helped) line[0] = "SELECT pg_temp.end_help(); " line[0]
        if (on) { is_helped = 0; wanted_help = ""; split("", sought) }
        if (loud != "") line[0] = ENVIRON[loud] " " line[0]
        if (is_quiet) line[0] = ENVIRON["LOUD_CHECKS"] " " line[0]
        if (on) is_quiet = 0
        if (on && command != "" && command !~ /^(REWRITE$|(CREATE|ALTER|DROP)%20(EXTENSION|SUBSCRIPTION)$|CREATE%20ROLE)/) line[0] = ENVIRON["FILL"] " " line[0]
        if (verb == "refresh") hand("fill_later")       # they get their rows at the end
        if (verb == "owner" && class ~ /^(event%20trigger|foreign-data%20wrapper|publication|subscription)$/) hand("own")
        if (search_path != "") sub(/SET LOCAL search_path = \047\047;/, "SET LOCAL search_path = " search_path ";", line[held - 1])
        if (line[1] !~ /^DO / && held > 4 && line[held - 2] == ";") wrap(held - 2)
        for (i = 0; i < held; i++) put(line[i])
        held = 0
        if (on) pending = ENVIRON["QUIET"]
    }
    # Passes the text of an effect to a function.
    function hand(receiver) {
        sub(/ EXECUTE \$s[0-9a-f_]+\$$/, " PERFORM pg_temp." receiver "(&", line[1])
        sub(/\( EXECUTE /, "(", line[1])
        sub(/\$; END /, "$); END ", line[held - 1])
    }
    # Before version 0.3.0 the text was not in a literal, but between the settings and a line ";".
    function wrap(end,  word, i) {
        word = key
        for (i = 1; i < end; i++)
            while (index(line[i], "$r" word "$") || index(line[i], "$s" word "$")) { word = word "_"; i = 0 }
        line[1] = "DO $r" word "$ BEGIN " line[1] " EXECUTE $s" word "$"
        line[end] = "$s" word "$; END $r" word "$;"
    }
    function copied(line,  count, field, i, text, out) {    # a row of a COPY block
        if (line == "\\.") return "--"
        count = split(line, field, "\t")
        if (!count) field[count = 1] = ""
        for (i = 1; i <= count; i++) {
            text = field[i]
            if (text == "\\N") { out = out ", NULL"; continue }
            gsub(/\047/, "\047\047", text)
            if (index(text, "\\v")) text = without_v(text)
            out = out ", E\047" text "\047"
        }
        return "INSERT INTO " copy_head " OVERRIDING SYSTEM VALUE VALUES (" substr(out, 3) ");"
    }
    function without_v(text,  out, pair) {      # of the escapes of COPY the only one that E\047\047 has not
        while (match(text, /\\./)) {
            pair = substr(text, RSTART, 2)
            out = out substr(text, 1, RSTART - 1) (pair == "\\v" ? "\\x0B" : pair)
            text = substr(text, RSTART + 2)
        }
        return out text
    }
    # Of consecutive sets of globals without a transaction between them, only the last is executed: it
    # includes the others.
    function set(number) { return ENVIRON["SETS"] number ".sql\047" }
    BEGIN {
        on = is_quiet = is_forgotten = is_helped = 1
        if (lenient) apart = 1
        while (sets != "" && (getline entry <sets) > 0) set_lsn[++last_set] = substr(entry, 1, 17)
        due = passed += 0
        last_set += 0
    }
    NR > complete { exit }
    {
        walk()
        if (kind == "transaction") {
            lsn = lsn16(value("commit_lsn")); time = value("commit_time"); flags = 0
            on = (lsn <= upto && !sees(value("xid")) && lsn >= only "")
            while (due < last_set && lsn > set_lsn[due + 1]) due++
            is_later = due > passed
            is_lost = lost_from != "" && on && lsn >= lost_from "" && !lenient
            if (is_later || is_lost) {                      # in the place of this line and of BEGIN
                emit(close_group() "\\unrestrict " key)
                forget()
                placing = (is_later ? set(due) " " : "") (is_lost ? ENVIRON["LENIENT"] " " : "")
                if (is_later) print passed = due >placed
                if (is_lost) { lenient = apart = 1; print "" >told }
                next
            }
        } else if (kind == "sequences") {
            lsn = lsn16(value("lsn"))
            on = (only == "" && lsn > base_lsn && lsn <= upto)
        } else if (kind == "flag") flags += (value("lost") == "")
        else if (kind == "ddl" || kind == "effect") { role = value("role"); command = value("command"); verb = value("verb"); class = value("class") }
        # Constraints are only disabled for rows, not around each of many DDL statements.
        if (on && !is_quiet && (part == "copy" || part == "statement" && /^(INSERT|UPDATE|DELETE) /)) {
            pending = (pending == "" ? "" : pending " ") ENVIRON["QUIET_CHECKS"]
            is_quiet = 1
        }
        is_held = held_lines && (part == "statement" || part == "commit" || kind == "flag")
        if (!is_held) let_go()
        if (placing != "" && part == "begin") {
            emit(placing "\\restrict " key)
            first = lsn
            if (on) pending = (pending == "" ? "" : pending " ") "BEGIN;"
            placing = ""
        } else if (only != "" && on && (part == "begin" || part == "commit")) put(begun++ ? "" : "BEGIN;")
        else if (on && part == "begin") hold("BEGIN;")
        else if (is_held && part == "commit") join_group()
        else if (is_held) hold($0)
        else if (kind == "ddl" || kind == "effect" || part == "ddl") { line[held++] = $0; if (!ddl_lines) put_ddl() }
        else if (on && part == "statement") put(joined(row($0)))
        else if (on && lenient && part == "copy") { copy_head = substr($0, 6, length($0) - 17); put("--") }
        else if (on && lenient && part == "row") put(copied($0))
        else if (on && part == "copy") { forget(); put(apart ? stand_in($0) $0 : alone($0)) }
        else if (on && part == "commit") put(ended())
        else if (NR == 1) put("SELECT pg_catalog.setval(\047pg_temp." ENVIRON["HITS"] "\047, 1, false);")
        else if (kind == "left_out") {
            if (on && counts != "/dev/null") print value("object") >>(counts ".left_out")
            put($0)
        } else if (kind == "footer") put(close_group() $0)
        else if (kind == "role") put(follow(kind, value("name"), value("superuser")))
        else if (kind == "member") put(follow(kind, value("name"), value("of")))
        else if (kind ~ /^(role_renamed|role_dropped|tablespace_renamed)$/) put(follow(kind, value("name"), value("to")))
        else if (part == "setting" && /^\\unrestrict /) { closed = 1; put($0) }
        else if (part == "setting" && /^\\restrict /) { key = $2; put($0) }
        else if (part == "setting" && search_path != "" && /^SET search_path = /) put("SET search_path = " search_path ";")
        else put($0)
        if (part == "commit") {
            if (on && block == "sequences") sequences++
            else if (on) { applied++; last_lsn = lsn; last_time = time; flagged += flags }
            else if (block == "transaction" && lsn <= upto) skipped++
            block = ""
            on = 1
        }
    }
    END {
        if (lines) print close_group() last
        if (passed < last_set && is_last) {
            if (!closed && key != "") print "\\unrestrict " key
            print set(last_set)
        }
        if (NR >= complete) print applied + 0, skipped + 0, sequences + 0, flagged + 0, \
            or_none(last_lsn), or_none(last_time) >> counts
    }
'

# The name of the database in a connection string, by the rules of libpq; followed by an x, because the shell
# would remove a newline at its end.
awk_dbname='
    function blank(c) { return c == "" || c ~ /[ \t\n\r\f\v]/ }
    function word(  c, quote, out) {            # a keyword or a value, from position i on
        while (i <= length(conn) && blank(substr(conn, i, 1))) i++
        if (substr(conn, i, 1) == "\047") { quote = 1; i++ }
        for (; i <= length(conn); i++) {
            c = substr(conn, i, 1)
            if (quote ? c == "\047" : blank(c) || (c == "=" && !in_value)) break
            if (c == "\\" && in_value) c = substr(conn, ++i, 1)
            out = out c
        }
        if (quote) i++
        return out
    }
    BEGIN {
        conn = ENVIRON["TARGET"]
        if (conn ~ /^postgres(ql)?:\/\//) {
            sub(/^[a-z]+:\/\//, "", conn)
            count = split(conn, part, /[?&]/)
            if (index(part[1], "/")) name = decode(substr(part[1], index(part[1], "/") + 1))
            for (i = 2; i <= count; i++)
                if (index(part[i], "dbname=") == 1) name = decode(substr(part[i], 8))
        } else if (!index(conn, "=")) name = conn
        else for (i = 1; i <= length(conn);) {
            in_value = 0
            key = word()
            while (i <= length(conn) && substr(conn, i, 1) != "=") i++
            i++
            in_value = 1
            found = word()
            if (key == "dbname") name = found
        }
        printf "%sx", name
    }
'

# ---- 2. The server ---------------------------------------------------------------------------------

# Our sessions start with settings that override those of roles and databases: nothing interrupts them, and
# names refer to the objects of PostgreSQL only.
neutral=${PGOPTIONS:-}
for setting in search_path=pg_catalog,pg_temp role=none session_replication_role=origin row_security=off \
    default_transaction_read_only=off default_transaction_deferrable=off \
    'default_transaction_isolation=read\ committed' standard_conforming_strings=on \
    array_nulls=on transform_null_equals=off client_min_messages=warning statement_timeout=0 lock_timeout=0 idle_session_timeout=0 \
    idle_in_transaction_session_timeout=0; do
    neutral="$neutral -c $setting"
done
export PGOPTIONS

sql() { psql -X -q -A -t -w -v ON_ERROR_STOP=1 "$@"; }

beside() {      # DATABASE -> the connection string of another database of the target's server
    case $target in
    postgres://* | postgresql://*)
        name=$(awk "$awk_values"'BEGIN { print encode(ARGV[1]); exit }' "$1")
        case $target in *\?*) say "$target&dbname=$name" ;; *) say "$target?dbname=$name" ;; esac ;;
    *=*) say "$target dbname='$(say "$1" | sed "s/[\\\\']/\\\\&/g")'" ;;
    *) say "dbname='$(say "$1" | sed "s/[\\\\']/\\\\&/g")'" ;;
    esac
}

# From 17 on there is an additional timeout, and there are login triggers, but not on the server of a drill:
# there an event trigger of the drill gives objects to their owners.
[ -n "$superuser" ] || neutral="$neutral -c lc_messages=C -c session_preload_libraries= -c local_preload_libraries="
newer_neutral="$neutral -c transaction_timeout=0"
[ -n "$superuser" ] || newer_neutral="$newer_neutral -c event_triggers=off"
can_connect() { # CONNINFO
    PGOPTIONS=$newer_neutral
    ! sql -d "$1" -c 'SELECT 1' >/dev/null 2>&1 || return 0
    PGOPTIONS=$neutral
    sql -d "$1" -c 'SELECT 1' >/dev/null 2>"$work/refusal"
}

is_there() { [ -n "$(say "SELECT 1 FROM pg_database WHERE datname = :'name';" | sql -d "$server" -v name="$1")" ]; }
quoted() { awk "$awk_values"'BEGIN { print ident(ARGV[1]); exit }' "$1"; }

if [ -n "$target" ]; then
    dbname=$(TARGET=$target awk "$awk_values$awk_dbname")
    dbname=${dbname%x}
    final_name=$dbname
    [ -n "$dbname" ] || wrong_use "--target does not name a database (dbname=...)"
    [ ${#dbname} -le 63 ] || die "the name of the target database is longer than 63 bytes"
    exists=no server=''
    if can_connect "$target"; then
        exists=yes server=$target
    else
        for other in postgres template1; do
            other=$(beside $other)
            can_connect "$other" || continue
            server=$other
            break
        done
        [ -n "$server" ] || die "could not connect: $(cat "$work/refusal")"
    fi
    pinned=$(sql -d "$server" -c "SELECT pg_catalog.current_setting('search_path')")
    [ "$pinned" = pg_catalog,pg_temp ] ||
        die "the server does not accept the settings in PGOPTIONS: if the connection string has options, put them into PGOPTIONS"
    if [ $exists = no ] && is_there "$dbname"; then
        sql -d "$target" -c 'SELECT 1' >/dev/null 2>"$work/refusal" || :
        die "could not connect: $(cat "$work/refusal")"
    fi
    is_superuser=$(sql -d "$server" -c "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    [ "$is_superuser" = t ] || [ -n "$superuser" ] || die "connect as a superuser: replay sets session_replication_role and roles"
    # A database that we create has another name until it is complete. A truncated name includes a checksum.
    if [ $exists = no ]; then
        [ ${#dbname} -le 53 ] || dbname=$(awk 'BEGIN { name = substr(ARGV[1], 1, 44); sub(/[\200-\377]+$/, "", name); print name; exit }' \
            "$dbname").$(say "$dbname" | sha256sum | cut -c 1-8)
        dbname=$dbname.restoring
        [ $dry_run = yes ] || ! is_there "$dbname" || die "an earlier restore has left the database $dbname, or another one is running. If none is running: DROP DATABASE $(quoted "$dbname");"
    fi
fi

if [ -n "$until_time" ]; then
    requested=$until_time
    case $requested in
    @*) time="to_timestamp(CAST(substr(:'requested', 2) AS float8))" ;;
    *[!A-Za-z_/][Aa][Gg][Oo]) time="now() + CAST(:'requested' AS interval)" ;;
    *) time="CAST(:'requested' AS timestamptz)" ;;
    esac
    # A time of day refers to the last day on which it has passed.
    if say "$requested" | grep -Eiqv '[^a-z_/]ago$' && say "$requested" | grep -Eiq '^[0-9]?[0-9]:[0-9][0-9](:[0-9][0-9]([.][0-9]+)?)?( ?[ap]m)?( ?([+-][0-9:]+|z|[a-z]{3,4}|[a-z_]+/[a-z_/]+))?$'; then
        time="max(time) FROM (SELECT CAST(to_char(day, 'YYYY-MM-DD ') || :'requested' AS timestamptz)
            FROM generate_series(current_date - 2, current_date + 1, interval '1 day') AS day) AS days (time) WHERE time <= now()"
    fi
    until_time=$(say "SET TimeZone = 'UTC'; SELECT to_char(time, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM (SELECT $time) AS read (time);" |
        sql -d "$server" -v requested="$requested") || die "the server could not parse the time $requested"
    case $until_time in
    [0-9][0-9][0-9][0-9]-*Z) say "time requested: $(say "$requested" | printable), that is $until_time" ;;
    *) die "the time $requested is not in the years 1 to 9999" ;;
    esac
fi

# ---- 3. Chain, base, segments ----------------------------------------------------------------------

lsn16() { awk "$awk_values"'BEGIN { print lsn16(ARGV[1]); exit }' "$1"; }
show() { awk "$awk_values"'BEGIN { print shown(ARGV[1]); exit }' "$1"; }
is_after() { awk 'BEGIN { exit !(ARGV[1] "" > ARGV[2] "") }' "$1" "$2"; }       # LSNs, or times

metadata() {    # KEY [FILE] -> a value of the base's metadata.json; empty for null. Two blanks lead inside
    awk -v key="$1" "$awk_values"'BEGIN { sub(/^ */, "  &\"", key); key = key "\": " }
        index($0, key) == 1 {
        found = substr($0, length(key) + 1)
        sub(/,$/, "", found)
        if (found == "null") found = ""
        if (found ~ /^"/) found = unquoted(found)
        print found
        exit }' "${2:-$base_dir/metadata.json}"
}

listed_in() {   # KEY FILE... -> the strings of a list in metadata.json, a line each, percent-encoded
    key=$1; shift
    awk -v key="$key" "$awk_values"'index($0, "  \"" key "\": [") == 1 && !/\]/ { in_list = 1; next }
        /^  \]/ { in_list = 0 }
        in_list { print encode(unquoted($0)) }' "$@"
}

text() {        # FILE -> its plain text
    file=$1
    [ -e "$file" ] || file=${1%.partial}        # it was closed since we looked
    for other in "$file.gz" "$file.zst"; do     # or compressed
        [ -e "$file" ] || [ ! -e "$other" ] || file=$other
    done
    case $file in
    *.gz) gzip -dc <"$file" ;;
    *.zst) zstd -dcq <"$file" ;;
    # After a crash of the machine the open segment may end in zeros: it is read up to the first one.
    *.partial) tr '\n\000' '\000\n' <"$file" | head -n 1 | tr '\000' '\n' ;;
    *) cat "$file" ;;
    esac
}

scan() {        # SEGMENT [ENCODING] -> one line of facts, as awk_scan prints them; with its grammar checked
    # Otherwise the beginnings of lines are sufficient, and mawk is slow with lines of many megabytes.
    text "$increments/$1" | if [ -n "${2:-}" ]; then cat; else cut -b 1-1000000; fi |
        UNTIL_MARK=$until_mark awk -v until_time="$until_time" -v until_xid="${until_xid:-none}" -v encoding="${2:-}" \
            -v roles="$work/roles" -v tablespaces="$work/tablespaces" -v lost="$work/lost" "$awk_values$awk_walk$awk_grammar$awk_scan"
}

# The chains of this archive, and the facts about one that are needed before its files are used.

chains() {      # their numbers; a copy in the making may lack files of one
    for number in $(ls "$here" | sed -n 's/^chain-\([0-9][0-9]*\)$/\1/p' | sort -n); do
        for file in "$here/chain-$number/chain.json" "$here/chain-$number/base/"*Z/metadata.json; do
            [ ! -f "$file" ] || { say "$number"; break; }
        done
    done
}

# Expired files are ignored, whatever a crash left of them. The expired segments were the oldest.
open_chain() {  # NUMBER: what follows is about this chain
    chain=$1 chain_dir=$here/chain-$1 increments=$here/chain-$1/incremental base_dir=''
    [ -f "$chain_dir/chain.json" ] || die "there is no chain-$chain in $here (retention removes a chain when nothing of it is kept)"
    # For each file in the manifest: file, sha256, end LSN, next_xid, and whether it has expired. The last
    # line about a file counts.
    : >"$work/named"
    # A copy has the manifest in parts.
    : >"$work/manifest"
    for file in "$chain_dir/manifest.jsonl" "$chain_dir"/manifest-*.jsonl; do
        [ -f "$file" ] || continue
        cat "$file" >>"$work/manifest" || die "could not read $file"
        echo >>"$work/manifest"
    done
    awk -v out="$work/named" '
        function field(name,  at, rest) {
            at = index($0, ",\"" name "\":")
            if (!at) return "none"
            rest = substr($0, at + length(name) + 4)
            sub(/^"/, "", rest); sub(/[",}].*/, "", rest)
            return rest
        }
        /^."kind":"[a-z]*","file":"/ && /}$/ {
            file = field("file")
            if (field("expired_at") != "none") expired[file] = 1
            if (!(file in line)) name[++count] = file
            line[file] = field("sha256") " " field("end_lsn") " " field("next_xid")
        }
        END { for (i = 1; i <= count; i++) print name[i], line[name[i]], (name[i] in expired) ? "expired" : "kept" >out }
        ' "$work/manifest"
    # All segments, in replay order, each with its values in the manifest: sha256, end LSN, next_xid, or "-".
    present incremental | awk -v list="$work/named" "$awk_values"'
        BEGIN {
            while ((getline line <list) > 0) {
                if (split(line, word, " ") != 5) continue
                sub(/^incremental\//, "", word[1])
                end = lsn16(word[3])
                of[word[1]] = word[2] " " (end == "" ? "- -" : end " " (word[4] ~ /^[0-9]+$/ ? word[4] : "-"))
            }
        }
        /^[0-9A-F]+-[0-9TZ]+\.sql(\.gz|\.zst|\.partial)?$/ {
        stem = $0; sub(/\.sql.*/, "", stem)
        if (!(stem in name)) order[++count] = stem
        # A copy may contain one from before it was closed.
        if (!(stem in name) || name[stem] ~ /partial$/) name[stem] = $0 }
        END { for (i = 1; i <= count; i++) {
            stem = order[i]
            print name[stem], (name[stem] !~ /partial$/ && ((stem ".sql") in of)) ? of[stem ".sql"] : "- - -" } }' >"$work/all"
    last_expired=$(sed -n 's/^incremental\/.* expired$/&/p' "$work/named" | sort | tail -n 1)
    expired_to=$(say "$last_expired" | cut -d ' ' -f 3)
    # Files after one that is kept have not expired, except where a copy has a gap.
    odd=$({ sed 's/\.sql.*/.sql kept/' "$work/all"; sed -n 's/^incremental\/\([^ ]*\) .* /\1 /p' "$work/named"
        ls "$increments" 2>/dev/null | sed -n 's/\.sql\(\.gz\|\.zst\|\.partial\)\{0,1\}$/.sql there/p'; } | sort | awk '
        $2 == "kept" { is_behind = 1; last = "" }
        $2 == "expired" && is_behind { now = $1; if (last == "") last = $1 }
        $2 == "there" && $1 == now && odd == "" { odd = $1 }
        END { print odd == "" ? last : odd }')
    [ -z "$odd" ] || die "manifest.jsonl of chain-$chain is damaged: it marks $odd as expired, but not the file before it"
}
present() {     # ROOM -> the names in it
    ls "$chain_dir/$1" 2>/dev/null | awk -v room="$1/" -v list="$work/named" '
        BEGIN { while ((getline line <list) > 0) if (sub(/ .* expired$/, "", line)) expired[line] = 1; close(list) }
        { file = room $0; sub(/\.sql.*/, ".sql", file) }
        !(file in expired)'
}
listed() {      # FILE, COLUMN -> what the manifest has of it, if it has a line there
    awk -v file="$1" -v column="${2:-2}" '$1 == file { print $column; exit }' "$work/named"
}
bases() { present base | grep '^[0-9A-F]*-[0-9TZ]*Z$'; }
ended() {       # KEY -> how the chain ended; nothing where it goes on
    metadata "  $1" "$chain_dir/chain.json" | printable
}

# The newest base that is not after the requested point. One that the manifest does not list may be the result
# of a crash, or of somebody else: older ones have the same result. (An incomplete copy may have bases but no
# lines yet.)
is_named() { [ -n "$(listed "base/$1")" ] || ! grep -q '^base/' "$work/named"; }
find_base() {
    base_dir='' passed_over=''
    for name in $(bases); do
        [ "${base:-$name}" = "$name" ] || continue
        file=$chain_dir/base/$name/metadata.json
        [ -f "$file" ] || continue              # a copy that is not finished
        ! is_after "L${name%%-*}" "$upto" || continue
        [ -z "$until_time" ] || ! is_after "$(metadata taken_at "$file")" "$until_time" || continue
        if [ -z "$base" ] && ! is_named "$name"; then passed_over=$name; continue; fi
        base_dir=$chain_dir/base/$name passed_over=''
    done
    [ -n "$base_dir" ]
}

# The end of the segments in a list: the LSN, and the time up to which they are complete.
find_end() {    # FILE
    end_lsn='' end_time=''
    sort -r "$1" >"$work/backwards"
    while read -r segment rest; do
        scan "$segment" | cut -d ' ' -f 2,13 >"$work/facts"
        read -r scanned latest <"$work/facts"
        [ "$scanned" != none ] || continue
        end_lsn=${end_lsn:-$scanned}
        if [ "$latest" != none ]; then end_time=$latest; return; fi
    done <"$work/backwards"
}

# ---- List

list_stretch() {        # segments that join, in "stretch": what of them can be restored
    find_end "$work/stretch"
    for base in $(bases); do
        file=$chain_dir/base/$base/metadata.json
        is_named "$base" && [ -f "$file" ] || continue
        ! is_after "$stretch_start" "L${base%%-*}" && [ -n "$end_lsn" ] && ! is_after "L${base%%-*}" "$end_lsn" || continue
        xmin=$(metadata snapshot "$file") xmin=${xmin%%:*}
        [ "$xmin" -ge "$stretch_xid" ] || [ -n "$is_whole" ] || continue
        from=$(metadata taken_at "$file")
        say "  every moment from $from ($(metadata lsn "$file")) to ${end_time:-$from} ($(show "$end_lsn"))"
        return
    done
    say "  no base joins the segments from $(show "$stretch_start") on"
}
list_flags() {          # the stretches in which something is lost, up to the first base that sees the last flag
    [ -f "$chain_dir/flags.jsonl" ] || return 0
    for name in $(bases); do
        file=$chain_dir/base/$name/metadata.json
        [ ! -f "$file" ] || say "$name $(metadata taken_at "$file") $(metadata snapshot "$file")"
    done >"$work/snapshots"
    awk "$awk_values$awk_lost"'
        function field(name,  at, rest) {
            at = index($0, "\"" name "\":")
            if (!at) return ""
            rest = substr($0, at + length(name) + 3)
            sub(/^"/, "", rest); sub(/[",}].*/, "", rest)
            return rest
        }
        FILENAME ~ /snapshots$/ { base[++count] = $2; snapshot[count] = $3; next }
        {
            end = "now"
            for (i = count; i; i--) {
                split(snapshot[i], part, ":")
                xmin = part[1]; xmax = part[2]; xip = part[3]
                if (sees(field("last_xid"))) end = base[i]
            }
            print "  lost from " field("first_at") " (" field("first_lsn") ") to " end ": " \
                lost_in_words(field("lost"), field("class"), field("oid"), field("identity")) ": " decode(field("reason"))
        }' "$work/snapshots" "$chain_dir/flags.jsonl" | tr '\001-\011\013-\037\177' '?'
}
list_chain() {
    say "chain-$chain, begun $(metadata started_at "$chain_dir/chain.json") at $(metadata slot_start_lsn "$chain_dir/chain.json")"
    for name in $(bases); do
        file=$chain_dir/base/$name/metadata.json
        [ -f "$file" ] || continue
        note=''
        [ -n "$(listed "base/$name")" ] || note=', which manifest.jsonl does not list'
        say "  base $name of $(metadata taken_at "$file") ($(metadata lsn "$file"))$note"
    done
    list_flags
    [ -z "$expired_to" ] || say "  retention has removed the segments before $expired_to: an older base is a single point, restored by --base NAME"
    : >"$work/stretch"
    before='' is_whole=$([ -n "$expired_to" ] || say yes)
    while read -r name rest end next_xid; do
        start=L${name%%-*}
        if [ "$next_xid" = - ]; then
            scan "$name" >"$work/facts"
            read -r start end next_xid rest <"$work/facts"
            [ "$start" != none ] || continue
        fi
        if [ -n "$before" ] && [ "$before" != "$start" ]; then
            list_stretch
            say "  gap: nothing between $(show "$before") and $(show "$start")"
            : >"$work/stretch"
            is_whole=''
        fi
        [ -s "$work/stretch" ] || stretch_start=$start stretch_xid=$next_xid
        say "$name" >>"$work/stretch"
        before=$end
    done <"$work/all"
    [ ! -s "$work/stretch" ] || list_stretch
    [ -z "$(ended at)" ] || say "  ended $(ended at) at $(ended last_lsn): $(ended reason)"
}
if [ $list = yes ]; then
    for number in ${chain:-$(chains)}; do open_chain "$number"; list_chain; done
    say "(--list checks no checksums; --dry-run reads and checks all that a restore needs)"
    exit 0
fi

# ---- Choice

# The requested point as a commit LSN; "Lz" is after all. A requested time is converted further below.
upto=Lz
if [ -n "$until_lsn" ]; then
    upto=$(lsn16 "$until_lsn")
    [ -n "$upto" ] || wrong_use "--until-lsn takes an LSN, like 16/B374D848"
fi
find_transaction() {    # sets upto to its commit LSN, the last one with the mark; none where the chain does not have it
    upto=none
    while [ $upto = none ] || [ -n "$until_mark" ] && read -r name rest; do
        at=$(scan "$name" | cut -d ' ' -f 11)
        [ "$at" = none ] || upto=$at
    done <"$work/all"
    rm -f "$work/roles" "$work/tablespaces"
    [ $upto != none ]
}
is_in_chain() { # does the chain that was opened reach the requested point, which is not before its base?
    [ -n "$until_time$until_lsn" ] || return 0
    find_end "$work/all"
    rm -f "$work/roles" "$work/tablespaces"
    is_after "L${base_dir##*/}" "$end_lsn" && end_lsn=L${base_dir##*/} end_lsn=${end_lsn%%-*}
    [ -z "$until_lsn" ] || ! is_after "$upto" "$end_lsn" || return 1
    [ -z "$until_time" ] || ! is_after "$until_time" "${end_time:-$(metadata taken_at)}"
}

# The newest chain that contains the point; otherwise the newest with a base before it.
newer='' nearest='' found=''
[ -n "$(chains)" ] || die "no chain in $here has a finished base"
for number in ${chain:-$(chains | sort -rn)}; do
    open_chain "$number"
    [ -z "$by_transaction" ] || find_transaction || continue
    if ! find_base; then
        [ -z "$until_mark" ] || die "mark \"$until_mark\" is in chain-$number, which has no finished base before it; --chain N looks in another one"
        [ -n "$nearest" ] || newer=$number
        continue
    fi
    nearest=${nearest:-$number}
    is_in_chain || continue
    [ -z "$found" ] || die "both chain-$found and chain-$number hold $until_lsn: choose one with --chain N"
    found=$number
    [ -n "$until_lsn" ] || break
done
[ -n "$nearest$newer" ] ||
    die "${until_xid:+transaction $until_xid}${until_mark:+mark \"$until_mark\"} is not in the segments of any chain${expired_to:+; retention has removed those before $expired_to}"
if [ "${found:-${nearest:-$newer}}" != "$chain" ]; then
    open_chain "${found:-${nearest:-$newer}}"
    [ -z "$by_transaction" ] || find_transaction || :
    find_base || :
fi
if [ -z "$base_dir" ]; then
    [ -n "$base$until_time$until_lsn$by_transaction$passed_over" ] || die "chain-$chain has no base, and no other chain that was looked at has a finished base"
    note=${passed_over:+; manifest.jsonl does not list $passed_over, which --base uses all the same}
    for name in $([ -z "$expired_to" ] || bases | head -n 1); do
        note="; retention has removed older ones. The oldest one left is $name"
    done
    die "chain-$chain has no base${base:+ $base} at or before the requested point$note"
fi
[ -z "$passed_over" ] || warn "manifest.jsonl of chain-$chain does not list base $passed_over: it is skipped"
[ -z "$newer" ] || newer="chain-$newer, which came later, has no base${until_time:+ as early}${until_lsn:+ as early}"
[ -n "$(listed "base/${base_dir##*/}")" ] || warn "manifest.jsonl of chain-$chain does not list base ${base_dir##*/}: it is used all the same"
base_lsn=$(lsn16 "$(metadata lsn)")
snapshot=$(metadata snapshot)
xmin=${snapshot%%:*} xmax=${snapshot#*:} xip=${snapshot##*:} xmax=${xmax%%:*}
[ -n "$base_lsn" ] && [ -n "$xmin" ] && [ -n "$xmax" ] || die "$base_dir/metadata.json is damaged"

sha256() { sha256sum | cut -d ' ' -f 1; }
check_sealed() { # DIRECTORY, what it is: every file as SHA256SUMS has it, none besides, and that as the manifest's
    listed_sha256=$(listed "${1#"$chain_dir/"}")
    [ "${listed_sha256:-none}" = "$(sha256 <"$1/SHA256SUMS")" ] || [ -z "$listed_sha256" ] ||
        die "SHA256SUMS of $2 is damaged: its checksum does not match manifest.jsonl"
    (cd "$1" && sha256sum --check --strict --quiet SHA256SUMS) >&2 || die "$2 is damaged"
    (cd "$1" && find . ! -type d ! -path ./SHA256SUMS) | sed 's/^..//' | sort >"$work/there"
    cut -c 67- "$1/SHA256SUMS" | sort | cmp -s "$work/there" - || die "$2 is damaged: it has a file that SHA256SUMS does not list"
}

say "base: chain-$chain/base/${base_dir##*/} (snapshot $snapshot)"
check_sealed "$base_dir" "the base"

# The first segment: the last one that was opened before any transaction from xmin of the snapshot on was
# written; the first one of the chain if none is that old.
first='' first_xid=''
while read -r name rest rest next_xid; do
    [ "$next_xid" != - ] || next_xid=$(text "$increments/$name" | sed -n '2{s/.* next_xid=\([0-9]*\) .*/\1/p;q;}')
    case $next_xid,$name in
    ,*.partial) break ;;                    # torn in its header
    ,*) die "$name is damaged: its header could not be parsed" ;;
    *.partial) [ -z "$first" ] || break ;;  # no checksum covers what it says of itself
    esac
    if [ -z "$first" ] || [ "$next_xid" -le "$xmin" ]; then first=$name first_xid=$next_xid; else break; fi
done <"$work/all"

# Retention removes segments from the oldest on, and keeps some older bases without segments, each a single
# point.
if [ -n "$expired_to" ] && { [ -z "$first" ] ||
        { [ "$first_xid" -gt "$xmin" ] && [ "L${first%%-*}" = "$(lsn16 "$expired_to")" ]; }; }; then
    alone=${base_dir##*/}
    if [ -z "$base" ] || [ $upto != Lz ] || [ -n "$until_time" ]; then
        from=''
        for name in $(bases); do
            file=$chain_dir/base/$name/metadata.json
            other=$(metadata snapshot "$file")
            [ -n "$first" ] && [ -z "$from" ] && [ "${other%%:*}" -ge "$first_xid" ] || continue
            from="; every point from $(metadata taken_at "$file") ($(metadata lsn "$file")) on can be restored"
        done
        die "retention has removed the segments of chain-$chain before $expired_to. The base before the requested point can only be restored as of $(metadata taken_at), by --base $alone without --until-...$from"
    fi
    say "retention has removed the segments after this base: it is restored alone, as of $(metadata taken_at)"
    first='' upto=$base_lsn
    : >"$work/all"
fi

# A segment that the manifest does not list, the open one or one whose line is missing after a crash, must
# follow the last one that it lists, and only its grammar can be checked. (A copy may also contain old ones
# whose lines retention has removed: the next segment has their checksum.)
last_named=$(sed -n 's/^incremental\///p' "$work/named" | sort | tail -n 1 | cut -d ' ' -f 1,2)
check_segment() {       # the facts of $name against its name, its checksum and the segment before
    [ "$start" = "L${name%%-*}" ] || die "$name does not start where its name says"
    if [ -z "$listed_sha256" ]; then
        [ "$odd" = 0 ] || die "$name is not listed in manifest.jsonl, and its line $odd is not valid in a segment"
        [ -n "$before" ] || [ ! -f "$chain_dir/manifest.jsonl" ] || is_after "$last_named" "$stem" ||
            [ "$previous $previous_sha256" = "${last_named:-none none}" ] ||
            die "$name is not listed in manifest.jsonl, and does not follow the last segment that is"
    fi
    if [ -z "$before" ]; then
        [ "$next_xid" -le "$xmin" ] || [ "$previous" = none ] ||
            die "segments before $name that the base needs are missing"
    else
        [ "$start" = "$end_before" ] ||
            die "$name starts at $(show "$start"), $before ends at $(show "$end_before")"
        [ "$previous $previous_sha256" = "$before $sha256" ] ||
            die "$before is damaged, or not the segment before $name"
    fi
    sha256=''
    case $name in *.partial) return ;; esac
    [ "$closed" = 1 ] || die "$name is damaged: its footer does not match its contents"
    sha256=$(text "$increments/$name" | sha256)
    [ "${listed_sha256:-$sha256}" = "$sha256" ] || die "$name is damaged: its checksum does not match the manifest"
}

# All segments from the first on, up to the requested point. "use" lists them with the number of complete
# lines: an open segment may end in the middle of a transaction.
: >"$work/use"
: >>"$work/roles"; : >>"$work/tablespaces"; : >"$work/lost"
before='' end='' sha256='' reached='' beyond=none total=0 last_time=$(metadata taken_at)
while read -r name listed_sha256 rest; do
    [ -n "$before" ] || [ "$name" = "$first" ] || continue
    stem=${name%%.sql*}.sql end_before=$end
    [ "$listed_sha256" != - ] || listed_sha256=''
    scan "$name" "$([ -n "$listed_sha256" ] || metadata encoding)" >"$work/facts"
    read -r start end next_xid previous previous_sha256 complete closed transactions \
        reached_here beyond_here found timeless latest odd foul <"$work/facts"
    [ "$start" != none ] || case $(text "$increments/$name" | head -n 1) in
    *" segment format="[3-9]*) die "$name has a format of a newer version, which this restore.sh does not support" ;;
    esac
    case $start,$name in
    none,*.partial) end=$end_before; break ;;           # torn before its first transaction
    none,*) die "$name is damaged" ;;
    esac
    [ "$foul" = none ] || die "$name:$foul: unexpected \\unrestrict"
    check_segment
    if [ -n "$until_time" ]; then
        [ "$timeless" = 0 ] || die "$name has transactions without a commit time (track_commit_timestamp was off): use --until-lsn"
        if [ "$reached_here" != none ]; then reached=$reached_here beyond=none; fi
        [ "$beyond" != none ] || beyond=$beyond_here
    fi
    [ "$latest" = none ] || ! is_after "$latest" "$last_time" || last_time=$latest
    before=$stem total=$((total + transactions))
    # A segment that starts at the requested point or later is only needed to check the chain of checksums.
    is_after "$upto" "$start" || break
    say "$name $complete" >>"$work/use"
done <"$work/all"

# An older state than requested is never restored silently.
[ -n "$end" ] && ! is_after "$base_lsn" "$end" || end=$base_lsn
why=$(ended reason) requested=''
[ -z "$why" ] || why="chain-$chain has ended: $why"
[ -z "$until_time" ] || ! is_after "$until_time" "$last_time" || requested=$until_time
[ -z "$until_lsn" ] || ! is_after "$upto" "$end" || requested=$until_lsn
if [ -n "$requested" ]; then
    why=${why:-the chain has not ended: if its server is running, SELECT incr_flush() writes the latest changes to the files}
    last_word="the archive ends at $(show "$end"), with all that was committed up to $last_time, before the requested point $requested; $why${newer:+; $newer}"
    [ $allow_earlier = yes ] || die "$last_word; --allow-earlier restores to that end"
elif [ -n "$until_time$until_lsn$by_transaction" ]; then last_word=''
else last_word=$why${newer:+${why:+; }$newer}
fi
if [ -n "$until_time" ]; then      # the last commit not after T; what commits next must not be in the base
    upto=${reached:-L0}
    [ "$beyond" = none ] || is_after "$beyond" "$base_lsn" ||
        die "the base contains transactions of a later commit time: use an older --base"
fi
files=$(awk 'END { print NR }' "$work/use")

# Losses in what is to be applied, each object once. A base newer than the flag would contain them.
awk -v upto="$upto" -v xmin="$xmin" -v xmax="$xmax" -v xip="$xip" "$awk_values$awk_lost"'
    $1 "" <= upto && !sees($2) && !seen[$4 " " $5 " " $6 ($6 == "0" ? $7 : "")]++ {
        print $1, "since " $3 " (" shown($1) "): " lost_in_words($4, $5, $6, substr($7, 2)) ": " decode($8)
    }' "$work/lost" | printable >"$work/flagged"
lost_from=$(sed -n '1s/ .*//p' "$work/flagged")
if [ -n "$lost_from" ]; then
    warn "changes before the requested point are incomplete; what cannot be applied is left out:"
    sed 's/^[^ ]*/   /' "$work/flagged" >&2
    [ -z "$superuser" ] || die "a drill cannot verify such a point"
fi

# Sets of globals: roles, tablespaces, and the properties of the database itself, as of a commit LSN. They
# contain changes made by sessions in other databases, which are in no segment. "sets" lists the newest one
# that is not after the base, with number 0, and all between it and the requested point. One between the last
# commit to apply and the next is selected by the requested time.
present globals | awk -v upto="$upto" -v base="$base_lsn" -v time="$until_time" -v beyond="$beyond" -v named="$work/named" '
    BEGIN { while ((getline line <named) > 0) { split(line, word, " "); is_named[word[1]] = 1 } }
    !/^[0-9A-F]+-[0-9TZ]+Z$/ { next }
    { lsn = "L" substr($0, 1, 16); sure = lsn <= upto }
    !sure && (time == "" || (beyond != "none" && lsn >= beyond)) { next }
    { print sure && lsn <= base ? "first" : sure ? "sure" : "maybe", lsn, $0, ("globals/" $0 in is_named) }' >"$work/found"
first_set='' sets=0
: >"$work/later"
while read -r what lsn name is_named; do
    [ -f "$chain_dir/globals/$name/metadata.json" ] || continue
    [ "$is_named" = 1 ] || { warn "manifest.jsonl does not list the set of globals $name: it is skipped"; continue; }
    [ $what != maybe ] || ! is_after "$(metadata changed_at "$chain_dir/globals/$name/metadata.json")" "$until_time" || continue
    if [ $what = first ]; then first_set=$name; else sets=$((sets + 1)); say "$lsn $name" >>"$work/later"; fi
done <"$work/found"
{ [ -z "$first_set" ] || say "L${first_set%%-*} $first_set"; cat "$work/later"; } >"$work/sets"
if [ -s "$work/sets" ]; then
    say "globals: $(sed -n '$s/.* //p' "$work/sets"), the last of $(grep -c . "$work/sets") sets of chain-$chain/globals"
    (cd "$chain_dir/globals" && awk -v named="$work/named" '
        BEGIN { while ((getline line <named) > 0) { split(line, word, " "); sha256[word[1]] = word[2] } }
        {
            file = $2 "/SHA256SUMS"
            print sha256["globals/" $2] "  " file
            while ((getline line <file) > 0) print substr(line, 1, 66) $2 "/" substr(line, 67)
            close(file)
        }' "$work/sets" | sha256sum --check --strict --quiet >&2) ||
        die "a set of globals is damaged: its checksum does not match manifest.jsonl"
fi
set_files() {   # LIST FILE [WITHOUT] -> the paths of that file of the sets in a list
    awk -v room="$chain_dir/globals/" -v file="$2" '{ print room $2 "/" file }' "$work/$1"
}

say "segments: $files from ${first:-none}, $total transactions"

if [ $dry_run = yes ]; then
    say "dry run: nothing was changed"
    [ -z "$last_word" ] || warn "$last_word"
    exit 0
fi

# ---- 4. Target database and roles ------------------------------------------------------------------

if [ $exists = no ]; then
    case $(metadata locale_provider) in
    icu) locale="LOCALE_PROVIDER icu ICU_LOCALE :'locale'"
        [ -z "$(metadata icu_rules)" ] || locale="$locale ICU_RULES :'rules'" ;;
    builtin) locale="LOCALE_PROVIDER builtin BUILTIN_LOCALE :'locale'" ;;
    *) locale='LOCALE_PROVIDER libc' ;;
    esac
    say "CREATE DATABASE :\"dbname\" TEMPLATE template0 ENCODING :'encoding'
         LC_COLLATE :'collate' LC_CTYPE :'ctype' $locale;" |
        sql -d "$server" -v dbname="$dbname" -v encoding="$(metadata encoding)" \
            -v collate="$(metadata lc_collate)" -v ctype="$(metadata lc_ctype)" \
            -v locale="$(metadata locale)" -v rules="$(metadata icu_rules)" ||
        die "could not create the database; an empty one that you created with other locales can be used instead"
    target=$(beside "$dbname")
    say "created database $dbname, which becomes $final_name at the end"
else
    found=$(sql -d "$target" <<'SQL'
SELECT count(*) FROM (
    SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE extname <> 'plpgsql'
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_largeobject_metadata'::regclass, oid FROM pg_largeobject_metadata
) AS present (class, id)
WHERE id >= 16384 AND NOT EXISTS (SELECT FROM pg_depend, pg_extension AS e
    WHERE classid = class AND objid = id AND deptype = 'e' AND refobjid = e.oid AND extname = 'plpgsql');
SQL
    )
    [ "$found" = 0 ] || die "the target database is not empty: it has $found objects"
fi
half_made="DROP DATABASE $(quoted "$dbname");"

# An existing database keeps its name, and PUBLIC may not connect to it until it is complete. Afterwards
# PUBLIC has the same privilege as before, or that in database.sql of the source: sections 5 and 6 execute
# that.
let_in='' keep_out='' lets_in=''
if [ $exists = yes ]; then
    keep_out='DO $out$ BEGIN
        PERFORM pg_catalog.set_config($$restore_sh.lets_in$$, (SELECT count(*) FROM pg_catalog.pg_database AS d,
            pg_catalog.aclexplode(coalesce(datacl, pg_catalog.acldefault($$d$$, datdba))) AS a
            WHERE datname = pg_catalog.current_database() AND grantee = 0 AND privilege_type = $$CONNECT$$)::text, false);
        EXECUTE pg_catalog.format($$REVOKE CONNECT ON DATABASE %I FROM PUBLIC$$, pg_catalog.current_database());
        END $out$;'
    let_in='DO $in$ BEGIN IF pg_catalog.current_setting($$restore_sh.lets_in$$) <> $$0$$ THEN
        EXECUTE pg_catalog.format($$GRANT CONNECT ON DATABASE %I TO PUBLIC$$, pg_catalog.current_database());
        END IF; END $in$;'
    lets_in=$(say "$keep_out SHOW restore_sh.lets_in;" | sql -d "$target")
fi

# The contents of globals.sql, as rows of VALUES: the kind of a statement, its subject, the other role, the
# grantor, the statement. A name may contain anything, including line ends, so complete statements are parsed:
# a line that continues a quoted name or string is not a separate statement. A setting of a role in one
# database belongs to that database.
awk_globals='
    function name(  c, out) {                   # takes an identifier off the front of rest
        if (substr(rest, 1, 1) != "\"") {
            match(rest, /^[^ ;]+/)
            out = substr(rest, 1, RLENGTH)
            rest = substr(rest, RLENGTH + 1)
            return out
        }
        while ((rest = substr(rest, 2)) != "") {
            c = substr(rest, 1, 1)
            if (c == "\"") { rest = substr(rest, 2); if (substr(rest, 1, 1) != "\"") break }
            out = out c
        }
        return out
    }
    function is_open(line,  at) {               # is a quoted name or text open behind this line?
        while (match(line, quote == "" ? "[\"\047]|--" : quote)) {
            at = substr(line, RSTART, RLENGTH)
            if (at == "--") break
            quote = quote == "" ? at : ""
            line = substr(line, RSTART + RLENGTH)
        }
        return quote != ""
    }
    function said(text) {                       # the same again and again, in set after set
        if (!(text in known)) known[text] = one_line(text)
        return known[text]
    }
    function row(kind, subject, other, grantor, text) {
        print comma "(" said(kind) ", " said(subject) ", " said(other) ", " said(grantor) ", " said(text) ")" >out
        comma = ", "
        if (kind == "create" && !(subject in role)) { role[subject] = 1; print encode(subject) >>(work "/cluster") }
        if (number > 0) return
        if (kind == "create") print encode(subject) >>(work "/first_roles")
        if (kind == "member") print encode(subject), encode(other) >>(work "/members")
    }
    function strange(text) {
        print "globals.sql has a statement of a kind that this restore.sh does not know: " substr(text, 1, 40) >>(work "/unknown")
    }
    # The statement is executed unchanged. Old versions of pg_dumpall did not escape names in their comments
    # (CVE-2025-8715).
    function is_one(text) {
        gsub(/\047([^\047]|\047\047)*\047|"([^"]|"")*"/, "", text)
        return text !~ /;./
    }
    function statement(text,  subject, other, at, place) {
        if (!is_one(text) && text !~ /^--/) { strange(text); return }
        if (text ~ /^(--.*|SET [^S].*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)?$/) return
        if (text ~ /^SET SESSION AUTHORIZATION /) { rest = substr(text, 27); auth = name(); return }
        if (text ~ /^RESET SESSION AUTHORIZATION;/) { auth = ""; return }
        if (text ~ /^CREATE ROLE /) { rest = substr(text, 13); row("create", name(), "", "", ""); return }
        if (text ~ /^(ALTER|COMMENT ON) ROLE /) {
            rest = substr(text, index(text, " ROLE ") + 6)
            subject = name()
            if (rest ~ /^ IN DATABASE /) return
            row("of", subject, "", "", text)
            if (number <= 0 && text ~ /^ALTER/ && rest ~ /^ WITH SUPERUSER /) print encode(subject), "on" >>(work "/superusers")
            return
        }
        if (text ~ /^SECURITY LABEL FOR /) {
            rest = substr(text, 20)
            name()
            if (sub(/^ ON ROLE /, "", rest)) { row("of", name(), "", "", text); return }
            if (sub(/^ ON TABLESPACE /, "", rest)) { row("space", name(), "", "", text); return }
        }
        if (match(text, /^(GRANT|REVOKE)( GRANT OPTION FOR)? [A-Z, ]+ ON (TABLESPACE|PARAMETER) /)) {
            rest = substr(text, RLENGTH + 1)
            at = substr(text, RLENGTH - 10, 10) == "TABLESPACE"
            place = name()
            sub(/^ (TO|FROM) /, "", rest)
            other = rest ~ /^PUBLIC[ ;]/ ? "" : name()
            if (at) row("space", place, other, auth, text)
            else if (other != "") row("parameter", place, other, auth, text)
            return
        }
        if (text ~ /^GRANT /) {
            rest = substr(text, 7)
            subject = name()
            if (sub(/^ TO /, "", rest)) {
                other = name()
                text = "GRANT " ident(subject) " TO " ident(other)
                at = index(rest, " GRANTED BY ")
                text = text (at ? substr(rest, 1, at - 1) : substr(rest, 1, length(rest) - 1))
                rest = at ? substr(rest, at + 12) : ""
                row("member", subject, other, at ? name() : "", text)
                return
            }
        }
        if (text ~ /^CREATE TABLESPACE /) {
            rest = substr(text, 19)
            place = name()
            print encode(place) >>last_spaces
            if (sub(/^ OWNER /, "", rest)) {
                other = name()
                row("space", place, other, "", "ALTER TABLESPACE " ident(place) " OWNER TO " ident(other))
            }
            if (sub(/^ LOCATION /, "", rest) && !(place in space)) {
                sub(/;$/, "", rest)
                if (rest !~ /^\047([^\047\\]|\047\047)*\047$/) { strange(text); return }
                space[place] = 1
                print encode(place), encode(rest) >>(work "/cluster_spaces")
            }
            return
        }
        if (text ~ /^(ALTER|COMMENT ON) TABLESPACE /) {
            rest = substr(text, index(text, " TABLESPACE ") + 12)
            row("space", name(), "", "", text)
            return
        }
        if (text != "") strange(text)
    }
    {                                           # NUMBER FILE, its path to the end of the line
        number = $1 + 0
        file = substr($0, length($1) + 2)
        out = work "/values." number
        printf "" >out
        comma = whole = quote = auth = ""
        last_spaces = work "/last_spaces"
        printf "" >last_spaces
        close(last_spaces)
        while ((getline line <file) > 0) {
            whole = whole line
            if (is_open(line)) { whole = whole "\n"; continue }
            statement(whole)
            whole = ""
        }
        if (whole != "") print file >>(work "/torn")
        close(file)
        close(out)
        close(last_spaces)
    }
'
# The roles that the base and the segments need, and whether they were superusers.
awk_roles='
    FILENAME ~ /first_roles$/ { cluster[$1] = 1; next }
    FILENAME ~ /superusers$/ { superuser[$1] = 1; next }
    FILENAME ~ /renames$/ { if ($4 == "new") becomes[$3] = 1; next }
    FILENAME ~ /needed$/ { needed[$1] = 1; known = 1 }
    FILENAME ~ /roles$/ && !($1 in becomes) { needed[$1] = 1; if ($2 == "on") superuser[$1] = 1 }
    END {
        if (!known || globals == "yes") for (role in cluster) needed[role] = 1
        for (role in needed) if (role !~ /^(pg_.*|public|none)?$/) {
            print comma "(" literal(role) ", " literal(decode(role)) ", " \
                literal(role in superuser && !plain ? " SUPERUSER" : "") ")"
            comma = ", "
        }
    }
'
maker=$target           # who makes what all of the cluster has
[ -z "$superuser" ] || maker="$superuser dbname='$(sql -d "$target" -c 'SELECT current_database()')'"
# The globals as of the base; also the later ones, if roles are to be as in them.
globals_sql=$base_dir/globals.sql
[ -z "$first_set" ] || globals_sql=$chain_dir/globals/$first_set/globals.sql
for file in first_roles superusers members cluster cluster_spaces last_spaces unknown torn renames; do : >"$work/$file"; done
{ [ ! -f "$globals_sql" ] || say "$globals_sql"; [ $globals = no ] || set_files later globals.sql; } |
    awk -v first=$([ ! -f "$globals_sql" ] || say -1) '{ print first + NR, $0 }' |
    awk -v work="$work" "$awk_values$awk_globals"
[ ! -s "$work/torn" ] || die "$(sed 1q "$work/torn") ends within a quoted string: it is not used"
[ ! -s "$work/unknown" ] || { sort -u "$work/unknown" | printable >&2; }
# Roles renamed from one set to the next: the number of the set, the old name, the new one, and whether it is
# new. They are identified by OID.
{ if [ -n "$first_set" ]; then set_files sets metadata.json; else say "$base_dir/metadata.json"; set_files later metadata.json; fi; } |
    awk "$awk_values"'{
        in_list = 0
        while ((getline line <$0) > 0) {
            if (line ~ /^  "roles_by_oid": \[$/) in_list = 1
            else if (line ~ /^  \]/) in_list = 0
            else if (in_list) {
                line = unquoted(line)
                oid = substr(line, 1, index(line, " ") - 1)
                name = encode(substr(line, length(oid) + 2))
                if (oid in was && was[oid] != name) print NR - 1, was[oid], name, (name in before) ? "again" : "new"
                was[oid] = name
                now[name]
            }
        }
        close($0)
        for (name in now) before[name]
    }' >"$work/renames"
# Roles in database.sql of a later set.
set_files later metadata.json >"$work/values"
[ ! -s "$work/values" ] || while read -r file; do listed_in roles "$file"; done <"$work/values" | sort -u | sed 's/$/ unknown/' >>"$work/roles"
listed_in roles "$base_dir/metadata.json" >"$work/needed"
[ $globals = no ] || { : >"$work/roles"; : >"$work/members"; }   # those of later come when they come
awk -v globals=$globals -v plain="${superuser:+1}" "$awk_values$awk_roles" \
    "$work/first_roles" "$work/superusers" "$work/renames" "$work/needed" "$work/roles" >"$work/values"
encoding="SET standard_conforming_strings = on; SET client_encoding = '$(metadata encoding)';"
awk "$awk_values"'{ print comma "(" literal($1) ", " literal(decode($1)) ")"; comma = ", " }' "$work/cluster" >"$work/names"
: >"$work/kept"
[ $globals = no ] || [ ! -s "$work/names" ] || sql -d "$target" >"$work/kept" <<SQL
$encoding
SELECT encoded FROM (VALUES $(cat "$work/names")) AS said (encoded, role) WHERE role IN (SELECT rolname FROM pg_roles) ORDER BY 1;
SQL
: >"$work/missing"
[ ! -s "$work/values" ] || sql -d "$target" >"$work/missing" <<SQL
$encoding
SELECT encoded || superuser FROM (VALUES $(cat "$work/values")) AS needed (encoded, role, superuser)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) ORDER BY 1;
SQL
awk "$awk_values"'
    FILENAME ~ /missing$/ { print "CREATE ROLE " ident(decode($1)) " NOLOGIN " $2 ";"; made[$1] = 1 }
    FILENAME ~ /members$/ && ($1 in made) && ($2 in made) {
        print "GRANT " ident(decode($1)) " TO " ident(decode($2)) ";"
    }
' "$work/missing" "$work/members" >"$work/roles.sql"
{ say "$encoding"; cat "$work/roles.sql"; } | sql -d "$maker" || die "could not create the missing roles"
[ $globals = no ] || grep -vxFf "$work/kept" "$work/cluster" | awk "$awk_values"'{ printf "%s%s", (NR > 1 ? ", " : "DROP ROLE IF EXISTS "), readable($1) }
    END { if (NR) print ";" }' >"$work/made_roles"
awk "$awk_values"'{ print "created role " readable($1) " NOLOGIN " $2 }' "$work/missing"

# Missing tablespaces are created inside the data directory: their locations belong to the machine of the
# source. (With --globals they are created at the location of the source, if possible.) One that is the result
# of a RENAME is created by that, unless the other one existed before.
listed_in tablespaces "$base_dir/metadata.json" >"$work/spaces"
[ $globals = yes ] || : >"$work/cluster_spaces"
awk "$awk_values"'
    FILENAME ~ /cluster_spaces$/ { place[$1] = $2 }
    $1 in known { next }
    { known[$1] = 1; from = FILENAME ~ /\/tablespaces$/ ? $2 : ""
      print comma "(" literal($1) ", " literal(decode($1)) ", " literal(decode(from)) ", " literal(place[$1]) ")"; comma = ", " }
' "$work/cluster_spaces" "$work/spaces" "$work/tablespaces" >"$work/values"
: >"$work/missing_spaces"
[ ! -s "$work/values" ] || sql -d "$target" -F ' ' >"$work/missing_spaces" <<SQL
$encoding
WITH there AS (SELECT spcname FROM pg_tablespace)
SELECT encoded, place FROM (VALUES $(cat "$work/values")) AS spaces (encoded, name, renamed_from, place)
WHERE name NOT IN (SELECT spcname FROM there) AND (renamed_from = '' OR renamed_from IN (SELECT spcname FROM there)) ORDER BY 1;
SQL
while read -r encoded place; do     # a name may hold anything: it stays encoded until it is quoted
    create() {  # PLACE
        awk "$awk_values"'BEGIN { print "CREATE TABLESPACE " ident(decode(ARGV[1])) " LOCATION " ARGV[2] ";"; exit }' "$encoded" "$1" |
            { say "$encoding SET allow_in_place_tablespaces = on;"; cat; } | sql -d "$maker"
    }
    where='inside the data directory'
    place=$(awk "$awk_values"'BEGIN { print decode(ARGV[1]); exit }' "$place")
    if [ "$place" != "${place#\'/}" ] && create "$place"; then where="at $place"
    else create "''" || die "could not create the missing tablespace $encoded"; fi
    awk "$awk_values"'BEGIN { print "created tablespace " readable(ARGV[1]) " " ARGV[2]; exit }' "$encoded" "$where"
done <"$work/missing_spaces"

made() {        # LETTER CATALOG COLUMN, encoded names -> the letter and the OID of each
    awk "$awk_values"'{ print comma literal(decode($1)); comma = ", " }' >"$work/values"
    [ ! -s "$work/values" ] || sql -d "$target" <<SQL
$encoding
SELECT concat('$1', oid) FROM $2 WHERE $3 IN ($(cat "$work/values"));
SQL
}
MADE=$(made r pg_roles rolname <"$work/missing" | tr '\n' ' ')
MADE=$MADE$(made t pg_tablespace spcname <"$work/missing_spaces" | tr '\n' ' ')
MADE=${MADE% }
[ -z "$superuser" ] || MADE=drill       # roles and tablespaces are all made for it
FOLLOWS=$([ -z "$MADE" ] && [ $globals = no ] && [ ! -s "$work/renames" ] || say yes)   # not all of it: an environment has limits
export FOLLOWS
# Changes the roles and tablespaces that this restore created to the state in a globals.sql: they are created
# and dropped with all their properties, with privileges on parameters, and with memberships in each other and
# in the predefined roles of PostgreSQL. Existing ones are not changed, and get no members: a role that is a
# member of one at the source is not a member here. What has not changed since the last globals.sql is not
# repeated: a setting of the session contains a hash of it.
globals_functions='CREATE FUNCTION pg_temp.attempt(subject text, other text, statement text) RETURNS void LANGUAGE plpgsql AS $attempt$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = other) THEN EXECUTE format($$SET LOCAL ROLE %I$$, other); END IF;
    EXECUTE statement;
    SET LOCAL ROLE NONE;
    EXCEPTION WHEN OTHERS THEN RAISE WARNING $$globals of %: %$$, subject, SQLERRM;
END $attempt$;
CREATE FUNCTION pg_temp.globals(is_first boolean, kinds text[], subjects text[], others text[], grantors text[], statements text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $globals$
DECLARE
    made text[] := string_to_array(current_setting($$restore_sh.made$$), $$ $$);
    applied jsonb := coalesce(nullif(current_setting($$restore_sh.applied$$, true), $$$$), $${}$$)::jsonb;
    has_grantors boolean := current_setting($$server_version_num$$)::integer >= 160000;
    roles text[] := ARRAY(SELECT subject FROM unnest(kinds, subjects) AS s (kind, subject) WHERE kind = $$create$$);
    changed text[];
    hashes text[];
    members text;
    parameters text;
    r record;
    one record;
    statement text;
BEGIN
    FOR r IN SELECT name FROM unnest(roles) AS s (name) WHERE name NOT IN (SELECT rolname FROM pg_roles) LOOP
        EXECUTE format($$CREATE ROLE %I NOLOGIN$$, r.name);
        made := made || concat($$r$$, (SELECT oid FROM pg_roles WHERE rolname = r.name));
    END LOOP;
    FOR r IN SELECT a.oid, a.rolname, array_agg(s.statement ORDER BY n) AS said, md5(string_agg(s.statement, $$;$$ ORDER BY n)) AS hash
        FROM unnest(kinds, subjects, statements) WITH ORDINALITY AS s (kind, subject, statement, n)
        JOIN pg_roles AS a ON rolname = subject
        WHERE kind = $$of$$ AND concat($$r$$, a.oid) = ANY (made) GROUP BY a.oid, a.rolname LOOP
        CONTINUE WHEN applied ->> concat($$r$$, r.oid) = r.hash;
        EXECUTE format($$ALTER ROLE %1$I RESET ALL; ALTER ROLE %1$I CONNECTION LIMIT -1 PASSWORD NULL; COMMENT ON ROLE %1$I IS NULL$$, r.rolname);
        UPDATE pg_authid SET rolvaliduntil = NULL WHERE oid = r.oid AND rolvaliduntil IS NOT NULL;
        FOR one IN SELECT provider FROM pg_shseclabel WHERE objoid = r.oid AND classoid = $$pg_authid$$::regclass LOOP
            EXECUTE format($$SECURITY LABEL FOR %I ON ROLE %I IS NULL$$, one.provider, r.rolname);
        END LOOP;
        FOREACH statement IN ARRAY r.said LOOP PERFORM pg_temp.attempt(r.rolname, $$$$, statement); END LOOP;
        changed := changed || concat($$r$$, r.oid); hashes := hashes || r.hash;
    END LOOP;
    SELECT coalesce(md5(string_agg(concat_ws($$;$$, subject, other, grantor, s.statement), $$;$$ ORDER BY n)), $$none$$) INTO parameters
        FROM unnest(kinds, subjects, others, grantors, statements) WITH ORDINALITY AS s (kind, subject, other, grantor, statement, n)
        JOIN pg_roles AS a ON rolname = other WHERE kind = $$parameter$$ AND concat($$r$$, a.oid) = ANY (made);
    IF applied ->> $$parameters$$ IS DISTINCT FROM parameters THEN
        FOR r IN SELECT DISTINCT parname, grantee::regrole AS grantee FROM pg_parameter_acl, aclexplode(paracl)
            WHERE concat($$r$$, grantee) = ANY (made) LOOP
            EXECUTE format($$REVOKE ALL ON PARAMETER %I FROM %s CASCADE$$, r.parname, r.grantee);
        END LOOP;
        FOR r IN SELECT other, grantor, s.statement
            FROM unnest(kinds, others, grantors, statements) WITH ORDINALITY AS s (kind, other, grantor, statement, n)
            JOIN pg_roles AS a ON rolname = other
            WHERE kind = $$parameter$$ AND concat($$r$$, a.oid) = ANY (made) ORDER BY n LOOP
            PERFORM pg_temp.attempt(r.other, r.grantor, r.statement);
        END LOOP;
    END IF;
    SELECT coalesce(md5(string_agg(concat_ws($$;$$, grantor, s.statement), $$;$$ ORDER BY n)), $$none$$) INTO members
        FROM unnest(kinds, grantors, statements) WITH ORDINALITY AS s (kind, grantor, statement, n) WHERE kind = $$member$$;
    IF applied ->> $$members$$ IS DISTINCT FROM members THEN
        FOR r IN SELECT * FROM pg_auth_members AS m WHERE concat($$r$$, member) = ANY (made) LOOP
            CONTINUE WHEN NOT EXISTS (SELECT FROM pg_auth_members AS m
                WHERE m.roleid = r.roleid AND m.member = r.member AND m.grantor = r.grantor);
            EXECUTE format($$REVOKE %s FROM %s$$, r.roleid::regrole, r.member::regrole) ||
                CASE WHEN has_grantors THEN format($$ GRANTED BY %s CASCADE$$, r.grantor::regrole) ELSE $$$$ END;
        END LOOP;
    END IF;
    FOR r IN SELECT rolname FROM pg_roles WHERE NOT is_first AND concat($$r$$, oid) = ANY (made) AND rolname <> ALL (roles) LOOP
        BEGIN
            EXECUTE format($$DROP ROLE %I$$, r.rolname);
            EXCEPTION WHEN dependent_objects_still_exist THEN
                EXECUTE format($$ALTER ROLE %I NOLOGIN NOSUPERUSER PASSWORD NULL$$, r.rolname);
        END;
    END LOOP;
    FOR r IN SELECT s.*, EXISTS (SELECT FROM pg_roles WHERE rolname = grantor) AS has_grantor
        FROM unnest(kinds, subjects, others, grantors, statements) WITH ORDINALITY AS s (kind, subject, other, grantor, statement, n)
        JOIN pg_roles AS a ON a.rolname = subject JOIN pg_roles AS b ON b.rolname = other
        WHERE kind = $$member$$ AND applied ->> $$members$$ IS DISTINCT FROM members AND concat($$r$$, b.oid) = ANY (made)
            AND (concat($$r$$, a.oid) = ANY (made) OR subject ~ $$^pg_$$) ORDER BY n LOOP
        BEGIN
            EXECUTE r.statement || CASE WHEN r.has_grantor THEN format($$ GRANTED BY %I$$, r.grantor) ELSE $$$$ END;
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING $$globals of %: not as granted by %: %$$, r.other, r.grantor, SQLERRM;
                PERFORM pg_temp.attempt(r.other, $$$$, r.statement);
        END;
    END LOOP;
    FOR r IN SELECT * FROM pg_tablespace JOIN (SELECT subject, array_agg(grantor ORDER BY n) AS grantors,
                array_agg(s.statement ORDER BY n) AS said, md5(string_agg(concat(grantor, $$;$$, s.statement), $$;$$ ORDER BY n)) AS hash
            FROM unnest(kinds, subjects, grantors, statements) WITH ORDINALITY AS s (kind, subject, grantor, statement, n)
            WHERE kind = $$space$$ GROUP BY subject) AS said ON spcname = subject
        WHERE concat($$t$$, oid) = ANY (made) LOOP
        CONTINUE WHEN applied ->> concat($$t$$, r.oid) = r.hash;
        EXECUTE format($$COMMENT ON TABLESPACE %I IS NULL$$, r.spcname);
        FOR one IN SELECT split_part(item, $$=$$, 1) AS name FROM unnest(r.spcoptions) AS item LOOP
            EXECUTE format($$ALTER TABLESPACE %I RESET (%I)$$, r.spcname, one.name);
        END LOOP;
        FOR one IN SELECT DISTINCT CASE grantee WHEN 0 THEN $$PUBLIC$$ ELSE grantee::regrole::text END AS grantee FROM aclexplode(r.spcacl) LOOP
            EXECUTE format($$REVOKE ALL ON TABLESPACE %I FROM %s CASCADE$$, r.spcname, one.grantee);
        END LOOP;
        EXECUTE format($$GRANT ALL ON TABLESPACE %I TO %s$$, r.spcname, r.spcowner::regrole);
        FOR i IN 1 .. cardinality(r.said) LOOP PERFORM pg_temp.attempt(r.spcname, r.grantors[i], r.said[i]); END LOOP;
        changed := changed || concat($$t$$, r.oid); hashes := hashes || r.hash;
    END LOOP;
    changed := changed || ARRAY[$$members$$, $$parameters$$]; hashes := hashes || ARRAY[members, parameters];
    PERFORM set_config($$restore_sh.made$$, array_to_string(made, $$ $$), false),
        set_config($$restore_sh.applied$$, (applied || jsonb_object(changed, hashes))::text, false);
END $globals$;'
call_globals() {    # NUMBER OF A SET, is_first
    [ ! -s "$work/values.$1" ] || {
        say "SELECT pg_temp.globals($2, array_agg(kind), array_agg(subject), array_agg(other), array_agg(grantor), array_agg(statement)) FROM (VALUES"
        cat "$work/values.$1"
        say ") AS said (kind, subject, other, grantor, statement);"
    }
}
: >"$work/warnings"
[ $globals = no ] || cat "$work/unknown" >"$work/warnings"
if [ $globals = yes ] && [ -s "$work/values.0" ]; then
    { say "$encoding SET restore_sh.made = '$MADE';$globals_functions"; call_globals 0 true; } |
        sql -d "$maker" -o /dev/null 2>"$work/errors" || die "could not restore the roles: $(cat "$work/errors")"
    cat "$work/errors" >&2
    grep ' WARNING: .*globals of ' "$work/errors" >>"$work/warnings" || :
    say "roles, memberships and tablespaces are as ${globals_sql#"$here/"} has them"
fi
[ -z "${RESTORE_SH_PREPARE:-}" ] || sql -d "$maker" -o /dev/null -f "$RESTORE_SH_PREPARE" 2>"$work/errors" ||
    die "could not prepare the target: $(cat "$work/errors")"
# A drill removes what was created, also if this program is killed.
[ -z "${RESTORE_SH_MADE:-}" ] || say "$MADE" >"$RESTORE_SH_MADE"

# A CHECK that is to be skipped is dropped, and added again as NOT VALID, around everything that may evaluate
# it. One that is already NOT VALID, or such a NOT NULL (18 and later), is kept, since dropping it would
# affect keys and inheriting tables: only the flag in the catalog of the table is cleared meanwhile. The rows
# of a rewritten table are inserted again, and may violate it. A row has passed the checks of its domains at
# the source, but an UPDATE evaluates those of the columns that it sets: one that is NOT VALID is disabled as
# well, and one that calls a function, whose result may have changed. A setting of the session records how to
# restore them.
SKIP_CHECKS=${skip_checks:-NULL}
quiet_checks='DO $checks$ DECLARE r record; off text; again text; BEGIN
    FOR r IN SELECT nspname, relname, conrelid, conkey, conname, contype, conname IN (NAMES) IS TRUE AS is_skipped,
            pg_catalog.pg_get_constraintdef(c.oid) AS definition, pg_catalog.obj_description(c.oid, $$pg_constraint$$) AS comment
        FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_class AS t ON t.oid = conrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace
        WHERE contype = $$c$$ AND coninhcount = 0 AND conname IN (NAMES)
            OR contype IN ($$c$$, $$n$$) AND NOT convalidated AND conname IN (NAMES) IS NOT TRUE
        ORDER BY is_skipped DESC, c.oid LOOP
        IF r.contype = $$n$$ THEN
            off := pg_catalog.format($$UPDATE pg_catalog.pg_attribute SET attnotnull = false WHERE attrelid = %s AND attnum = %s; $$,
                r.conrelid, r.conkey[1]);
            again := pg_catalog.replace(off, $$false$$, $$true$$);
        ELSIF NOT r.is_skipped THEN
            off := pg_catalog.format($$UPDATE pg_catalog.pg_class SET relchecks = 0 WHERE oid = %s; $$, r.conrelid);
            again := pg_catalog.replace(off, $$= 0$$, pg_catalog.format($$= (SELECT pg_catalog.count(*)
                FROM pg_catalog.pg_constraint WHERE conrelid = %s AND contype = %L)$$, r.conrelid, r.contype));
        ELSE
            off := pg_catalog.format($$ALTER TABLE %I.%I DROP CONSTRAINT %I$$, r.nspname, r.relname, r.conname);
            again := pg_catalog.format($$ALTER TABLE %I.%I ADD CONSTRAINT %I %s NOT VALID; COMMENT ON CONSTRAINT %I ON %I.%I IS %L; $$,
                r.nspname, r.relname, r.conname,
                CASE WHEN r.definition LIKE $$% NOT VALID$$ THEN pg_catalog.left(r.definition, -10) ELSE r.definition END,
                r.conname, r.nspname, r.relname, r.comment);
        END IF;
        EXECUTE off;
        PERFORM pg_catalog.set_config($$restore_sh.checks$$,
            pg_catalog.concat(again, pg_catalog.current_setting($$restore_sh.checks$$, true)), false);
    END LOOP;
    FOR r IN SELECT c.oid FROM pg_catalog.pg_constraint AS c WHERE contypid <> 0 AND contype = $$c$$
        AND (NOT convalidated OR pg_catalog.current_setting($$is_superuser$$) = $$on$$ AND EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 2606 AND d.objid = c.oid AND refclassid = 1255
                AND refobjid >= 16384)) LOOP
        again := pg_catalog.format($$UPDATE pg_catalog.pg_constraint SET contype = %L WHERE oid = %s; $$, $$c$$, r.oid);
        EXECUTE pg_catalog.format($$UPDATE pg_catalog.pg_constraint SET contype = %L WHERE oid = %s$$, $$t$$, r.oid);
        PERFORM pg_catalog.set_config($$restore_sh.checks$$,
            pg_catalog.concat(again, pg_catalog.current_setting($$restore_sh.checks$$, true)), false);
    END LOOP; END $checks$;'
loud_checks='DO $checks$ BEGIN
    EXECUTE pg_catalog.concat(pg_catalog.current_setting($$restore_sh.checks$$, true), $$SELECT 1$$);
    PERFORM pg_catalog.set_config($$restore_sh.checks$$, $$$$, false); END $checks$;'
valid_checks='DO $checks$ DECLARE r record; BEGIN
    FOR r IN SELECT conrelid::pg_catalog.regclass AS relation, conname FROM pg_catalog.pg_constraint
        WHERE contype = $$c$$ AND conrelid <> 0 AND coninhcount = 0 AND NOT convalidated AND conname IN (NAMES) LOOP
        BEGIN
            EXECUTE pg_catalog.format($$ALTER TABLE %s VALIDATE CONSTRAINT %I$$, r.relation, r.conname);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING $$rows of % contradict its constraint %, which stays NOT VALID$$, r.relation, r.conname;
        END;
    END LOOP; END $checks$;'
named() { say "$1" | NAMES=$SKIP_CHECKS awk '{
    while (at = index($0, "NAMES")) $0 = substr($0, 1, at - 1) ENVIRON["NAMES"] substr($0, at + 5)
    gsub(/ +/, " "); printf "%s", $0 }'; }
QUIET_CHECKS=" $(named "$quiet_checks")" LOUD_CHECKS=$(named "$loud_checks")
export SKIP_CHECKS QUIET_CHECKS LOUD_CHECKS

# ---- 5. Base ---------------------------------------------------------------------------------------

PGOPTIONS="$PGOPTIONS -c session_replication_role=replica"

stopped() {     # WHERE: what psql said, then the end
    sed "s|^psql:<stdin>:|$1:|" "$work/errors" >&2
    if may_be_left_out; then
        warn "stopped at an object that the restoring role is not permitted to create"
        case $1 in segment) exit 5 ;; *) exit 4 ;; esac
    fi
    [ "$1" != segment ] || name_object
    die "stopped"
}

error_at() {    # -> name and line of where psql met the last error
    at=$(sed -n 's/^\([^:]*\):\([0-9][0-9]*\): .*/\1 \2/p' "$work/errors" | tail -n 1)
    name=${at% *} line=${at#* }
    [ -f "$increments/$name" ]
}

name_object() { # says of which object the effect is that the error was in
    error_at || return 0
    object=$(text "$increments/$name" | head -n "$line" | cut -b 1-1000000 | awk "$awk_values$awk_walk"'
        { walk() }
        part == "comment" { what = kind != "effect" ? "" : \
            decode(value("verb")) " " decode(value("class")) " " decode(value("identity")) }
        END { if (part == "ddl") print what }' | printable)
    [ -z "$object" ] || warn "failed schema change: $object"
}

# Are all errors of a kind that a drill permits: the role was refused something (42501), an object existed
# already (schemas, extensions), or, once something is left out, an object is missing?
may_be_left_out() {
    [ -n "$superuser" ] || return 1
    cat "$work/left_out" "$work/errors" | awk '
        function judge(code) {
            if (code ~ /^(42501|42P06|42710)$/) refused = 1
            else if (!refused || code !~ /^(42P01|42883|42704|3F000|42703|42804|42809|42P07|42723|42P16|42P17|55000)$/) bad = 1
        }
        /^[^ ]*:[0-9]+: (ERROR|FATAL|PANIC):  [0-9A-Z]+: / { judge(substr($3, 1, 5)); next }
        /^pg_restore: error: could not execute query: ERROR:  (permission denied|must be |only superuser)/ { judge("42501"); next }
        /^pg_restore: error: could not execute query: ERROR:  .* already exists$/ { judge("42710"); next }
        /^pg_restore: error: could not execute query: ERROR:  .* does not exist$/ { judge("42P01"); next }
        /^(psql|pg_restore): error: |^[^ ]*:[0-9]+: (error|FATAL|PANIC): / { bad = 1 }
        END { exit bad || !refused }'
}
: >"$work/left_out"

# The SQLSTATE identifies what a drill leaves out.
verbosity=''
[ -z "$superuser" ] || verbosity='-v VERBOSITY=verbose'
# After a statement that may fail, the next one is executed: rows of a missing table are sent to a substitute
# for it, so that psql does not parse them as statements. In a drill, psql executes no meta-command of a dump.
on_error='-v ON_ERROR_STOP=1'
[ "$leave_out" = nothing ] || on_error='-v ON_ERROR_STOP=0'
restricted=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
say "\\restrict $restricted" >"$work/restrict.sql"
awk_stand_in='
    function stand_in(line,  count, piece, i, at, name, columns) {  # line: COPY name (columns) FROM stdin;
        count = split(substr(line, 6, length(line) - 18), piece, "\"")
        for (i = 1; i <= count; i += 2) {
            if (name == "" && (at = index(piece[i], " ("))) {
                name = columns substr(piece[i], 1, at - 1)
                columns = ""
                piece[i] = substr(piece[i], at + 2)
            }
            if (name != "") gsub(/, /, " pg_catalog.text, ", piece[i])
            columns = columns piece[i] (i < count ? "\"" piece[i + 1] "\"" : "")
        }
        if (name == "" || columns == "") return ""
        return "CREATE TABLE IF NOT EXISTS " name " (" columns " pg_catalog.text); "
    }
'
# A foreign key that rows violate (created under session_replication_role = replica, for example) is as valid
# here as at the source. One of a partitioned table takes over those of its partitions.
foreign_key='CREATE FUNCTION pg_temp.foreign_key(entry text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $key$
DECLARE
    statement text := rtrim(regexp_replace(entry, $$^(--[^\n]*\n|\s)*$$, $$$$), concat($$ ;$$, chr(10)));
    start text := substring(statement, $$^ALTER TABLE (?:ONLY )?$$);
    place text := substring(substr(statement, length(start) + 1),
        $$^(?:"(?:[^"]|"")*"|[^".\s]+)\.(?:"(?:[^"]|"")*"|[^".\s]+)$$);
    action text := substr(statement, length(start) + length(place) + 1);
    leaf regclass;
    others oid[];
BEGIN
    EXECUTE entry;
    EXCEPTION WHEN foreign_key_violation THEN
        IF action ~ $$^\s+ADD CONSTRAINT $$ IS NOT TRUE THEN RAISE; END IF;
        FOR leaf IN SELECT relid FROM pg_partition_tree(place) WHERE isleaf
            UNION SELECT oid FROM pg_class WHERE oid = place::regclass AND relkind = $$r$$ LOOP
            others := ARRAY(SELECT oid FROM pg_constraint WHERE conrelid = leaf AND contype = $$f$$);
            EXECUTE format($$ALTER TABLE ONLY %s%s NOT VALID$$, leaf, action);
            UPDATE pg_constraint SET convalidated = true WHERE conrelid = leaf AND contype = $$f$$ AND oid <> ALL (others);
        END LOOP;
        IF EXISTS (SELECT FROM pg_class WHERE oid = place::regclass AND relkind = $$p$$) THEN EXECUTE entry; END IF;
        RAISE WARNING $$rows contradict a foreign key, here as at the source: %$$, SQLERRM;
END $key$;'
# Only superusers can own an event trigger, a foreign-data wrapper, or a publication of all tables: an owner
# that no longer is a superuser is made one for the statement, which is not visible to others.
own='CREATE FUNCTION pg_temp.own(entry text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $own$
DECLARE
    owner text := substring(entry, $$ OWNER TO ("(?:[^"]|"")*"|[^";\s]+);?\s*$$ || chr(36));
BEGIN
    EXECUTE entry;
    EXCEPTION WHEN insufficient_privilege THEN
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR
            NOT EXISTS (SELECT FROM pg_roles WHERE oid = to_regrole(owner) AND NOT rolsuper) THEN RAISE; END IF;
        EXECUTE format($$ALTER ROLE %s SUPERUSER$$, owner);
        EXECUTE entry;
        EXECUTE format($$ALTER ROLE %s NOSUPERUSER$$, owner);
END $own$;'
# Materialized views are refreshed once, at the end: the base shows which are populated. A setting of the
# session lists their OIDs.
: >"$work/fill.sql"
dump=$base_dir/$(metadata dump)
say "loading ${dump##*/}"
if [ -d "$dump" ]; then
    [ -z "$skip_checks" ] || die "--skip-check needs a base in plain format"
    set -- "$dump"
    # If there is a list, it determines what of the dump is restored: foreign keys are restored separately,
    # rows of materialized views at the end.
    list=$base_dir/dump.list
    [ -f "$list" ] || { list=$work/dump.list; pg_restore -l "$dump" | grep '^[0-9]' >"$list" || :; }
    for part in first tables rest keys behind views; do : >"$work/$part.list"; done
    places=''
    [ ! -f "$base_dir/stand-ins.sql" ] || places=$base_dir/stand-ins.sql
    awk -v work="$work" -v list="$list" '
        FILENAME != list { if (/^-- Before entry /) first = $4 ";"; next }
        {
            kind = $0
            sub(/^[0-9]+; ([0-9]+ [0-9]+ )?/, "", kind)
            gsub(/%20/, " ", kind)
        }
        $1 == first { part = 1 }
        part && kind ~ /^(TABLE DATA|SEQUENCE SET|BLOBS?|BLOB METADATA) / { part = 2 }
        kind ~ /^FK CONSTRAINT / { has_keys = 1; print >(work "/keys.list"); next }
        kind ~ /^MATERIALIZED VIEW DATA / { print >(work "/views.list"); next }
        has_keys { print >(work "/behind.list"); next }
        { print >(work "/" (first == "" ? "rest" : part == 0 ? "first" : part == 1 ? "tables" : "rest") ".list") }
    ' $places "$list"
    stops=--exit-on-error
    [ "$leave_out" = nothing ] || stops=--no-data-for-failed-tables
    load_directory() {      # LIST, a file to run behind it: what of the dump is to be restored, by pg_restore
        awk -v list="$work/$1.list" '
            { is_own = /^[0-9]+; ([0-9]+ [0-9]+ )?(EVENT( |%20)TRIGGER|FOREIGN( |%20)DATA( |%20)WRAPPER|PUBLICATION|SUBSCRIPTION) / && !/SCRIPTION TABLE|PUBLICATION TABLE/ }
            NR == 1 || is_own != was { close(part); part = list "." ++count (is_own ? ".own" : ""); print part; was = is_own }
            { print >part }' "$work/$1.list" >"$work/parts"
        while read -r part; do
            case $part in
            *.own) load_by own "$part" ;;
            *) pg_restore -w $stops -d "$target" -L "$part" "$dump" ;;
            esac || [ "$leave_out" != nothing ] || return
        done <"$work/parts"
        [ $# -eq 1 ] || sql $on_error $verbosity -d "$target" -o /dev/null -f "$base_dir/$2"
    }
    entry() {               # LINE OF A LIST -> its text alone
        say "$1" >"$work/one.list"
        pg_restore -f - -L "$work/one.list" "$dump" | awk '
            !from && /^-- Name: / { from = NR }
            /^-- PostgreSQL database dump complete$/ { to = NR - 1 }
            from { line[NR] = $0 }
            END { for (i = from; i < to; i++) print line[i] }'
    }
    load_keys() {           # all at once; where rows contradict one, one after the other
        [ -s "$work/keys.list" ] || return 0
        pg_restore -w -d "$target" -L "$work/keys.list" "$dump" 2>"$work/again" && return
        [ "$leave_out" = nothing ] || { cat "$work/again" >&2; return 0; }
        load_by foreign_key "$work/keys.list" ' EXCEPTION WHEN duplicate_object THEN NULL;'
    }
    load_by() {             # FUNCTION LIST [HANDLER]: what of the dump is to go through a function of ours
        tag=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
        { say "$encoding $foreign_key$own"
            while read -r line; do
                say "DO \$r$tag\$ BEGIN PERFORM pg_temp.$1(\$s$tag\$"
                entry "$line"
                say "\$s$tag\$);${3:-} END \$r$tag\$;"
            done <"$2"
        } | sql $on_error $verbosity -d "$target" -o /dev/null -f -
    }
    # The names are data.
    [ ! -s "$work/views.list" ] || pg_restore -f - -L "$work/views.list" "$dump" | awk "$awk_values"'
        !whole && /^REFRESH MATERIALIZED VIEW / { whole = 1; text = "" }
        whole { text = text $0 "\n" }
        whole && /;$/ { print "SELECT pg_temp.fill_later(" one_line(text) ");"; whole = 0 }' >"$work/fill.sql"
    if [ -n "$places" ]; then
        load_directory first stand-ins.sql && load_directory tables stand-ins-end.sql && load_directory rest && load_keys && load_directory behind
    else
        load_directory rest && load_keys && load_directory behind
    fi 2>"$work/errors" || { [ "$leave_out" != nothing ] && may_be_left_out; } || stopped dump
else
    # psql has a parser of its own, which counts begin and end in CREATE FUNCTION begin(), and substitutes its
    # variables in x[1:PORT]. Therefore every entry except rows is sent to the server as one literal, whose
    # tag cannot occur in a dump: it is random. The line numbers do not change, so that an error shows the
    # line of the dump. (A base without dump.toc, of an earlier release, is passed to psql unchanged.)
    toc=$base_dir/dump.toc stand_ins=''
    # While tables and domains are created, stand-ins replace missing functions.
    [ ! -f "$base_dir/stand-ins.sql" ] || stand_ins=1
    [ -f "$toc" ] || { toc=$work/dump.toc; : >"$toc"; }
    tag=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    [ ${#tag} -eq 32 ] || die "could not read a random number from /dev/urandom"
    restrict=''
    [ -z "$superuser" ] || text "$dump" | head -n 40 | grep -q '^\\restrict ' || restrict="-f $work/restrict.sql"
    text "$dump" | LEAVE_OUT=$leave_out awk -v toc="$toc" -v tag="$tag" -v misfit="$work/misfit" -v fill="$work/fill.sql" \
        -v make="$base_dir/stand-ins.sql" -v unmake="$base_dir/stand-ins-end.sql" "$awk_stand_in"'
        FILENAME == make && /^-- Before entry / { begin_id = $4; next }
        FILENAME == make { made = made $0 " "; next }
        FILENAME == unmake { unmade = unmade $0 " "; next }
        FILENAME == toc {                       # first line, lines, offset, 3 ids, sql or data, type, schema, name
            first[++count] = $1; last[count] = $1 + $2 - 1
            is_sql[count] = ($7 == "sql"); is_table[count] = ($8 == "TABLE"); is_rows[count] = ($8 == "TABLE%20DATA")
            receiver[count] = $8 == "FK%20CONSTRAINT" ? "foreign_key" : $8 ~ /^(EVENT%20TRIGGER|FOREIGN%20DATA%20WRAPPER|PUBLICATION|SUBSCRIPTION)$/ ? "own" : ""
            is_view[count] = ($8 == "MATERIALIZED%20VIEW%20DATA")
            if ($4 == begin_id && !begin) begin = count
            if ($7 == "data" && begin && !end) end = count
            first[count + 1] = $1 + $2          # what pg_dump says at the end
            next
        }
        function wrong(why) {
            print why >misfit
            print "\\.\nDO $$ BEGIN RAISE \047" why "\047; END $$;"     # rows may be open, or a literal
            failed = 1
            exit
        }
        # Rows must not be checked by a CHECK that is to be skipped.
        function checks() { return ENVIRON["SKIP_CHECKS"] == "NULL" ? "" : ENVIRON["QUIET_CHECKS"] }
        function stand_in_first() {
            if (ENVIRON["LEAVE_OUT"] != "nothing" && /^COPY .* FROM stdin;$/) $0 = stand_in($0) $0
        }
        { number++ }
        count {
            if (number == first[at + 1]) {
                at++
                if ($0 != "--") wrong("the dump does not match dump.toc")
                is_open = is_sql[at]
                if (at == begin) printf "%s", made
                if (at == end) printf "%s", unmade
                if (is_open && is_view[at]) printf "SELECT pg_temp.fill_later($s%s$", tag >fill
                else if (is_open) printf "DO $r%s$ BEGIN %s$s%s$", tag, receiver[at] != "" ? "PERFORM pg_temp." receiver[at] "(" : "EXECUTE ", tag
            }
            if (is_open && index($0, tag)) wrong("the dump contains a random tag that was generated just now")
            if (is_view[at] && is_sql[at]) {
                print $0 (number == last[at] ? "$s" tag "$);" : "") >fill
                $0 = ""
                is_open = is_open && number != last[at]
            }
            if (is_open && number == last[at]) {
                is_open = 0
                $0 = $0 "$s" tag "$" (receiver[at] != "" ? ")" : "") "; END $r" tag "$;" (is_table[at] ? checks() : "")
                if (begin && at == count && !end) $0 = $0 " " unmade
            } else if (is_rows[at] && number <= first[at] + 6) stand_in_first()
            print
            next
        }
        /^CREATE TABLE / { table = 1 }
        table && /;$/ { table = 0; $0 = $0 checks() }
        { stand_in_first(); print }
        END { if (count && !failed && at <= count) wrong("the dump ends before dump.toc does") }
    ' ${stand_ins:+"$base_dir/stand-ins.sql" "$base_dir/stand-ins-end.sql"} "$toc" - | sql $on_error $verbosity -d "$target" -o /dev/null -c "$foreign_key$own" $restrict -f - -c "$LOUD_CHECKS" 2>"$work/errors" || {
        [ ! -f "$work/misfit" ] || warn "${dump##*/}: $(cat "$work/misfit")"
        stopped "${dump##*/}"
    }
    [ ! -f "$work/misfit" ] || die "${dump##*/}: $(cat "$work/misfit")"
fi
left_out() {    # WHERE: where statements could fail, those that did must have done so for want of a right
    [ "$leave_out" != nothing ] || return 0
    ! grep -qE '^(psql|pg_restore):.*(ERROR|error|FATAL|PANIC):' "$work/errors" || may_be_left_out || stopped "$1"
    cat "$work/errors" >>"$work/left_out"
}
left_out dump
cat "$work/errors" >&2          # warnings
if [ -f "$base_dir/database.sql" ]; then
    lets_in=$(sql $on_error $verbosity -d "$target" -v dbname="$dbname" ${let_in:+-c "SET restore_sh.lets_in = '$lets_in'" -c "$let_in"} -f "$work/restrict.sql" -f - \
        ${keep_out:+-c "$keep_out" -c 'SHOW restore_sh.lets_in'} <"$base_dir/database.sql" 2>"$work/errors") || stopped database.sql
fi
left_out database.sql

# ---- 6. Replay -------------------------------------------------------------------------------------

# Under session_replication_role = replica only triggers and rules that are set to fire ALWAYS or in REPLICA
# mode still fire. Their effects at the source are in the segments, so they must not fire: they are set to
# fire in origin mode, and their original state is recorded in a setting of the session ("quiet"). DDL may
# create new ones, therefore this is repeated after each DDL block. DDL that may depend on the state (ENABLE
# TRIGGER, a partition that inherits triggers) must find the original one, which is restored before it
# ("loud"), and also at the end. Event triggers come first when disabling and last when restoring: ALTER TABLE
# would fire them. A command is a format string, in which a % in a name is doubled.
firing='(SELECT kind, id, state, pg_catalog.format(command, pg_catalog.replace(name, $$%$$, $$%%$$),
        pg_catalog.replace(place, $$%$$, $$%%$$)) AS command
    FROM (SELECT $$event$$ AS kind, oid AS id, evtenabled AS state, $$ALTER EVENT TRIGGER %1$s ENABLE %%s$$ AS command,
        pg_catalog.quote_ident(evtname) AS name, $$$$ AS place
    FROM pg_catalog.pg_event_trigger WHERE evtname <> $$pg_incrbackup_drill$$
    UNION ALL SELECT $$rule$$, oid, ev_enabled, $$ALTER TABLE ONLY %2$s ENABLE %%s RULE %1$s$$,
        pg_catalog.quote_ident(rulename), ev_class::pg_catalog.regclass::pg_catalog.text
    FROM pg_catalog.pg_rewrite
    UNION ALL SELECT $$trigger$$, oid, tgenabled, $$ALTER TABLE ONLY %2$s ENABLE %%s TRIGGER %1$s$$,
        pg_catalog.quote_ident(tgname), tgrelid::pg_catalog.regclass::pg_catalog.text
    FROM pg_catalog.pg_trigger) AS every) AS firing'
quiet='DO $quiet$ DECLARE r record; BEGIN
    FOR r IN SELECT * FROM FIRING WHERE state IN ($$A$$, $$R$$) ORDER BY kind, id LOOP
        EXECUTE pg_catalog.format(r.command, $$$$);
        PERFORM pg_catalog.set_config($$restore_sh.quiet$$,
            pg_catalog.concat(pg_catalog.current_setting($$restore_sh.quiet$$, true),
                r.kind, $$:$$, r.id, r.state, $$ $$), false);
    END LOOP; END $quiet$;'
loud='DO $loud$ DECLARE r record; noted text := pg_catalog.current_setting($$restore_sh.quiet$$, true); BEGIN
    FOR r IN SELECT * FROM FIRING JOIN (SELECT m[1] AS kind, m[2]::pg_catalog.oid AS id, m[3] AS was
            FROM pg_catalog.regexp_matches(noted, $$([a-z]+):(\d+)([AR]) $$, $$g$$) AS m) AS was_quiet USING (kind, id)
        WHERE noted <> $$$$ AND state = $$O$$ AND kind ~ $$KINDS$$ ORDER BY kind DESC, id LOOP
        EXECUTE pg_catalog.format(r.command, CASE r.was WHEN $$A$$ THEN $$ALWAYS$$ ELSE $$REPLICA$$ END);
    END LOOP;
    PERFORM pg_catalog.set_config($$restore_sh.quiet$$,
        pg_catalog.regexp_replace(noted, $$(KINDS):\d+. $$, $$$$, $$g$$), false);
    END $loud$;'
one_line() {    # TEXT KINDS
    say "$1" | awk -v firing="$firing" -v kinds="$2" '{
        gsub(/FIRING/, firing); gsub(/KINDS/, kinds); gsub(/[ \n]+/, " "); printf "%s", $0 }'
}
QUIET=$(one_line "$quiet" '') LOUD_TABLE=$(one_line "$loud" 'rule|trigger') LOUD_EVENT=$(one_line "$loud" event)
export QUIET LOUD_TABLE LOUD_EVENT

# Roles and tablespaces that this restore created are changed as at the source, so that statements permitted
# there are permitted here; those that existed before are not changed. A setting of the session lists the
# created ones: r and the OID of a role, t and that of a tablespace.
follow="SELECT pg_catalog.set_config('restore_sh.made', '$MADE', false);"'
CREATE FUNCTION pg_temp.follow(kind text, subject text, object text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $follow$
DECLARE
    made text[] := string_to_array(current_setting($$restore_sh.made$$), $$ $$);
    role oid := (SELECT oid FROM pg_roles WHERE rolname = subject);
    other oid := (SELECT oid FROM pg_roles WHERE rolname = object);
    space oid := (SELECT oid FROM pg_tablespace WHERE spcname = subject);
    command text;
    renames jsonb := current_setting($$restore_sh.renames$$)::jsonb;
    entry jsonb;
BEGIN
    IF kind = $$role$$ AND role IS NULL THEN            -- somebody was renamed elsewhere a moment ago?
        entry := (SELECT value FROM jsonb_array_elements(renames) WITH ORDINALITY JOIN pg_roles AS a ON rolname = value ->> 1
            WHERE value ->> 2 = subject AND concat($$r$$, a.oid) = ANY (made) ORDER BY ordinality LIMIT 1);
        IF entry IS NOT NULL THEN PERFORM pg_temp.follow($$role_renamed$$, entry ->> 1, subject); END IF;
        made := string_to_array(current_setting($$restore_sh.made$$), $$ $$);
        role := (SELECT oid FROM pg_roles WHERE rolname = subject);
    ELSIF kind = $$role_renamed$$ THEN
        PERFORM pg_temp.note_renamed(subject, object);
    END IF;
    IF kind = $$role$$ AND role IS NULL THEN
        EXECUTE format($$CREATE ROLE %I NOLOGIN$$, subject);
        role := (SELECT oid FROM pg_roles WHERE rolname = subject);
        made := made || concat($$r$$, role);
        PERFORM set_config($$restore_sh.made$$, array_to_string(made, $$ $$), false);
    END IF;
    IF kind = $$tablespace_renamed$$ AND space IS NOT NULL THEN
        IF EXISTS (SELECT FROM pg_tablespace WHERE spcname = object) THEN
            FOREACH command IN ARRAY ARRAY[$$TABLE$$, $$INDEX$$, $$MATERIALIZED VIEW$$] LOOP
                EXECUTE format($$ALTER %s ALL IN TABLESPACE %I SET TABLESPACE %I$$, command, subject, object);
            END LOOP;
        ELSIF concat($$t$$, space) = ANY (made) THEN
            EXECUTE format($$ALTER TABLESPACE %I RENAME TO %I$$, subject, object);
        END IF;
    END IF;
    IF concat($$r$$, role) <> ALL (made) THEN
        RETURN;
    END IF;
    CASE kind
    WHEN $$role$$ THEN
        IF object <> $$on$$ OR (SELECT rolsuper FROM pg_roles WHERE oid = role) THEN RETURN; END IF;
        EXECUTE format($$ALTER ROLE %I SUPERUSER$$, subject);
    WHEN $$member$$ THEN
        IF concat($$r$$, other) <> ALL (made) AND object !~ $$^pg_$$ OR pg_has_role(role, other, $$MEMBER$$) THEN RETURN; END IF;
        IF pg_has_role(other, role, $$MEMBER$$) THEN        -- it was the other way round before
            EXECUTE format($$REVOKE %I FROM %I$$, subject, object);
        END IF;
        EXECUTE format($$GRANT %I TO %I$$, object, subject);
    WHEN $$role_renamed$$ THEN
        BEGIN       -- made too early, since later DDL names it
            IF concat($$r$$, other) = ANY (made) THEN EXECUTE format($$DROP ROLE %I$$, object); other := NULL; END IF;
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
        IF other IS NULL THEN
            EXECUTE format($$ALTER ROLE %I RENAME TO %I$$, subject, object);
        ELSE
            RAISE WARNING $$role % was renamed to %, which existed before: it gets the objects, but not the privileges$$, subject, object;
            EXECUTE format($$REASSIGN OWNED BY %I TO %I$$, subject, object);
        END IF;
    WHEN $$role_dropped$$ THEN
        BEGIN
            EXECUTE format($$DROP ROLE %I$$, subject);
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
    ELSE NULL;
    END CASE;
    PERFORM set_config($$restore_sh.applied$$, $$$$, false);
END $follow$;'
# The renames in the sets of globals; what remains of one when it is also in the segments, completely or in
# part.
renamed='CREATE FUNCTION pg_temp.note_renamed(subject text, object text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $note$ BEGIN
    PERFORM set_config($$restore_sh.renames$$, coalesce(jsonb_agg(
        CASE WHEN n = 1 AND value ->> 1 = subject THEN jsonb_set(value, $${1}$$, to_jsonb(object)) ELSE value END ORDER BY ordinality)
        FILTER (WHERE NOT (n = 1 AND value ->> 1 = subject AND value ->> 2 = object)), $$[]$$)::text, false)
        FROM (SELECT *, row_number() OVER (PARTITION BY value ->> 1 ORDER BY ordinality) AS n
            FROM jsonb_array_elements(current_setting($$restore_sh.renames$$)::jsonb) WITH ORDINALITY) AS every;
END $note$;
CREATE FUNCTION pg_temp.renamed(upto integer) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $renamed$
DECLARE
    number integer;
    entry jsonb;
BEGIN
    FOR number IN SELECT DISTINCT (value ->> 0)::integer FROM jsonb_array_elements(current_setting($$restore_sh.renames$$)::jsonb)
        WHERE (value ->> 0)::integer <= upto ORDER BY 1 LOOP
        FOR entry IN SELECT value FROM jsonb_array_elements(current_setting($$restore_sh.renames$$)::jsonb)
            WHERE (value ->> 0)::integer = number AND value ->> 2 IN (SELECT a ->> 1    -- two may have changed names
                FROM jsonb_array_elements(current_setting($$restore_sh.renames$$)::jsonb) AS a WHERE a ->> 0 = value ->> 0) LOOP
            PERFORM pg_temp.follow($$role_renamed$$, entry ->> 1, concat($$restore_sh_$$, md5(entry ->> 1)));
        END LOOP;
        FOR entry IN SELECT value FROM jsonb_array_elements(current_setting($$restore_sh.renames$$)::jsonb)
            WHERE (value ->> 0)::integer = number ORDER BY value ->> 1 ~ $$^restore_sh_$$ LOOP
            PERFORM pg_temp.follow($$role_renamed$$, entry ->> 1, entry ->> 2);
        END LOOP;
    END LOOP;
END $renamed$;'
back_to_default='ALTER DATABASE :"dbname" RESET ALL;
ALTER DATABASE :"dbname" CONNECTION LIMIT -1;
COMMENT ON DATABASE :"dbname" IS NULL;
DO $default$ DECLARE r record; BEGIN
    FOR r IN SELECT rolname FROM pg_catalog.pg_db_role_setting AS s
        JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
        JOIN pg_catalog.pg_roles AS a ON a.oid = s.setrole WHERE datname = pg_catalog.current_database() LOOP
        EXECUTE pg_catalog.format($$ALTER ROLE %I IN DATABASE %I RESET ALL$$, r.rolname, pg_catalog.current_database());
    END LOOP;
    FOR r IN SELECT provider FROM pg_catalog.pg_shseclabel AS l JOIN pg_catalog.pg_database AS d ON d.oid = l.objoid
        WHERE classoid = $$pg_catalog.pg_database$$::pg_catalog.regclass AND datname = pg_catalog.current_database() LOOP
        EXECUTE pg_catalog.format($$SECURITY LABEL FOR %I ON DATABASE %I IS NULL$$, r.provider, pg_catalog.current_database());
    END LOOP;
    FOR r IN SELECT DISTINCT a.grantee, pg_catalog.pg_get_userbyid(a.grantee) AS name FROM pg_catalog.pg_database AS d,
        pg_catalog.aclexplode(d.datacl) AS a WHERE datname = pg_catalog.current_database() LOOP
        EXECUTE pg_catalog.format($$REVOKE ALL ON DATABASE %I FROM %s CASCADE$$, pg_catalog.current_database(),
            CASE r.grantee WHEN 0 THEN $$PUBLIC$$ ELSE pg_catalog.quote_ident(r.name) END);
    END LOOP;
    FOR r IN SELECT *, pg_catalog.pg_get_userbyid(datdba) AS owner FROM pg_catalog.pg_database
        WHERE datname = pg_catalog.current_database() AND datacl IS NOT NULL LOOP
        EXECUTE pg_catalog.format($$GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC$$, r.datname);
        EXECUTE pg_catalog.format($$GRANT ALL ON DATABASE %I TO %I$$, r.datname, r.owner);
    END LOOP;
END $default$;'
say "$QUIET" >"$work/prologue.sql"
[ $exists = no ] || say "SET restore_sh.lets_in = '$lets_in';" >>"$work/prologue.sql"
[ -z "$superuser" ] || follow='CREATE FUNCTION pg_temp.follow(kind text, subject text, object text) RETURNS void LANGUAGE plpgsql AS $follow$ BEGIN
    IF kind = $$role_renamed$$ THEN PERFORM pg_temp.note_renamed(subject, object); END IF;
    PERFORM pg_incrbackup_drill.follow(kind, subject, object);
END $follow$;'
{ say "$encoding SELECT pg_catalog.set_config('restore_sh.renames', coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(n, old, new)
        ORDER BY n), '[]')::text, false) FROM (VALUES (0, '', '')"
    awk "$awk_values"'{ print ", (" $1 ", " one_line(decode($2)) ", " one_line(decode($3)) ")" }' "$work/renames"
    say ") AS renamed (n, old, new) WHERE n > 0; $renamed $follow"
    [ $globals = no ] || say "$globals_functions"
    say "$own"
} >>"$work/prologue.sql"
# DDL of the source resolves unqualified names among temporary relations first: this name cannot occur in it.
HITS=hits_$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
export HITS
say "CREATE TEMPORARY SEQUENCE $HITS;"'
CREATE FUNCTION pg_temp.hit(expected bigint) RETURNS void LANGUAGE plpgsql AS $hit$ BEGIN
    IF pg_catalog.nextval($$pg_temp.'"$HITS"'$$) <> expected THEN
        RAISE $$a statement up to here did not hit exactly one row$$;
    END IF;
END $hit$;
-- nextval, so costly for the planner that it is asked last, of rows that all else has chosen.
CREATE FUNCTION pg_temp.draw(regclass) RETURNS bigint LANGUAGE internal STRICT VOLATILE COST 1000000 AS $$nextval_oid$$;' |
    if [ -z "$superuser" ]; then cat; else      # only a superuser makes functions in that language
        sed 's/LANGUAGE internal \(.*\) AS .*/LANGUAGE plpgsql \1 AS $$ BEGIN RETURN pg_catalog.nextval($1); END $$;/'
    fi >>"$work/prologue.sql"

# A row of a table without a key is found by its values. An index on the column with the most distinct values
# avoids a sequential scan for every row; it is not visible to DDL of the source, nor in the restored
# database.
say 'CREATE FUNCTION pg_temp.help(name text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $help$
DECLARE target oid; place text; wanted record;
BEGIN
    SELECT c.oid, format($$%I.%I$$, nspname, relname) INTO target, place FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE c.oid = to_regclass(regexp_replace(name, $$^ONLY $$, $$$$)) AND relkind = $$r$$ AND pg_relation_size(c.oid) >= 1048576;
    IF target IS NULL THEN RETURN; END IF;
    EXECUTE format($$ANALYZE %s$$, place);
    SELECT attnum, attname, CASE WHEN stadistinct < 0 THEN -stadistinct * reltuples ELSE stadistinct END AS values INTO wanted
        FROM pg_statistic JOIN pg_attribute ON attrelid = starelid AND attnum = staattnum
        JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type ON pg_type.oid = atttypid
        WHERE starelid = target AND NOT stainherit AND typnamespace = $$pg_catalog$$::regnamespace AND typtype = $$b$$
            AND typelem = 0 AND EXISTS (SELECT FROM pg_opclass WHERE opcintype = atttypid AND opcdefault
                AND opcmethod = (SELECT oid FROM pg_am WHERE amname = $$hash$$))
        ORDER BY values DESC, attnum LIMIT 1;
    IF wanted.values > 10 AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = target AND indkey[0] = wanted.attnum
            AND indisvalid AND indpred IS NULL) THEN
        EXECUTE format($$CREATE INDEX restore_sh_%s ON ONLY %s USING hash (%I)$$, target, place, wanted.attname);
        PERFORM set_config($$restore_sh.help$$, concat(current_setting($$restore_sh.help$$, true), $$ $$,
            (SELECT max(indexrelid::bigint) FROM pg_index WHERE indrelid = target)), false);
    END IF;
    EXCEPTION WHEN OTHERS THEN NULL;
END $help$;
CREATE FUNCTION pg_temp.end_help() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $help$
DECLARE made text;
BEGIN
    FOR made IN SELECT format($$%I.%I$$, nspname, relname) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE pg_class.oid = ANY (string_to_array(trim(current_setting($$restore_sh.help$$, true)), $$ $$)::oid[]) LOOP
        EXECUTE $$DROP INDEX $$ || made;
    END LOOP;
    PERFORM set_config($$restore_sh.help$$, $$$$, false);
END $help$;' >>"$work/prologue.sql"
say 'SELECT pg_temp.end_help();' >"$work/epilogue.sql"
one_line "$loud" 'event|rule|trigger' >>"$work/epilogue.sql"
# Materialized views: REFRESH records one, WITH NO DATA removes it from the list. At the end each is
# refreshed, after those that it reads; if the query of one fails it stays without rows, and the others are
# tried once more after it.
say 'CREATE FUNCTION pg_temp.fill_later(entry text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $later$
DECLARE
    name text := rtrim(regexp_replace(entry, $$^(--[^\n]*\n|\s)*REFRESH MATERIALIZED VIEW $$, $$$$), concat($$ ;$$, chr(10)));
    is_filled boolean := right(name, 13) <> $$ WITH NO DATA$$;
    view text := to_regclass(CASE WHEN is_filled THEN name ELSE left(name, -13) END)::oid;
    noted text[] := array_remove(string_to_array(current_setting($$restore_sh.fill$$, true), $$ $$), view);
BEGIN
    IF is_filled AND view IS NOT NULL THEN noted := noted || view; END IF;
    PERFORM set_config($$restore_sh.fill$$, array_to_string(noted, $$ $$), false);
END $later$;
CREATE PROCEDURE pg_temp.fill(is_alone boolean) LANGUAGE plpgsql AS $fill$
DECLARE
    noted text := pg_catalog.current_setting($$restore_sh.fill$$, true);
    pending oid[] := pg_catalog.string_to_array(noted, $$ $$);
    again oid[];
    reasons text[];
    view oid;
BEGIN
    IF NOT is_alone AND noted IS NOT DISTINCT FROM pg_catalog.current_setting($$restore_sh.filled$$, true) THEN RETURN; END IF;
    PERFORM pg_catalog.set_config($$restore_sh.filled$$, noted, false);
    pending := ARRAY(WITH RECURSIVE reached (view, over) AS (
        SELECT oid, oid FROM pg_catalog.pg_class WHERE oid = ANY (pending) AND relkind = $$m$$
        UNION SELECT r.view, d.refobjid FROM reached AS r JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.over
            JOIN pg_catalog.pg_depend AS d ON d.classid = 2618 AND d.objid = w.oid AND d.refclassid = 1259
        ) SELECT r.view FROM reached AS r GROUP BY r.view ORDER BY pg_catalog.count(*), r.view);
    LOOP
        again := NULL; reasons := NULL;
        FOREACH view IN ARRAY pending LOOP
            BEGIN
                EXECUTE pg_catalog.format($$REFRESH MATERIALIZED VIEW %s$$, view::pg_catalog.regclass);
                EXCEPTION WHEN OTHERS THEN again := again || view; reasons := reasons || SQLERRM;
            END;
            IF is_alone THEN COMMIT; END IF;
        END LOOP;
        EXIT WHEN again IS NULL OR again = pending;
        pending := again;
    END LOOP;
    FOR i IN 1 .. CASE WHEN is_alone THEN coalesce(pg_catalog.cardinality(again), 0) ELSE 0 END LOOP
        RAISE WARNING $$materialized view % stays without rows: %$$,
            (SELECT pg_catalog.format($$%I.%I$$, nspname, relname) FROM pg_catalog.pg_class AS c
                JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = again[i]), reasons[i];
    END LOOP;
END $fill$;' >>"$work/prologue.sql"
[ ! -s "$work/fill.sql" ] || { say "$encoding"; cat "$work/fill.sql"; } >>"$work/prologue.sql"
FILL='CALL pg_temp.fill(false);'        # before DDL that travels as text, which may read them
export FILL
say "$QUIET_CHECKS" >>"$work/prologue.sql"
say "$LOUD_CHECKS" 'CALL pg_temp.fill(true);' "$let_in" >>"$work/epilogue.sql"
[ -z "$skip_checks" ] || named "$valid_checks" >>"$work/epilogue.sql"

# Changes by sessions in other databases to roles, and to this database (ALTER DATABASE, GRANT, COMMENT), are
# in no segment: each set of globals is executed at its place, between the last commit that it may include and
# the next, so that the following segments find its effects. Since its database.sql only contains the
# resulting state, everything else is reset first. psql reads it in the middle of the segment, whose \restrict
# is suspended for it (\unrestrict takes a whole line), and the name of the database is not kept in a
# variable, which psql would substitute in any text.
SETS="\\i '$(say "$work" | sed "s/\\\\/&&/g; s/'/''/g")/set."
export SETS
number=0
while read -r lsn name; do
    number=$((number + 1))
    {
        say "$encoding BEGIN;" "SELECT pg_temp.renamed($number);"
        [ $globals = no ] || call_globals $number false
        say 'COMMIT; SELECT pg_catalog.current_database() AS dbname \gset'
        say "\\restrict $restricted"
        say "$back_to_default"
        cat "$chain_dir/globals/$name/database.sql"
        say "
\\unrestrict $restricted"
        say "$keep_out"
        say '\unset dbname'
    } >"$work/set.$number.sql"
done <"$work/later"

# From the first flag on (the argument of \set ends at the next backslash).
LENIENT='\set ON_ERROR_STOP 0 \set ON_ERROR_ROLLBACK on \set VERBOSITY verbose'
export LENIENT

replay() {      # SEGMENT [settings for awk] -> what psql gets of it
    replayed=$1; shift
    text "$increments/$replayed" | awk "$@" -v base_lsn="$base_lsn" -v xmin="$xmin" -v xmax="$xmax" -v xip="$xip" \
        -v search_path="$search_path" -v apart="$apart" "$awk_values$awk_stand_in$awk_walk$awk_replay"
}

feed() {        # all segments, one after the other; "starts" notes where each begins in the stream
    line=0 number=0 lenient='' passed=0
    while read -r name complete; do
        number=$((number + 1))
        say "[$number/$files] $name" >&3
        say "$line $name" >>"$work/starts"
        line=$((line + complete))
        say "$name $passed" >>"$work/passed"
        replay "$name" -v complete="$complete" -v upto="$upto" -v counts="$work/counts" \
            -v placed="$work/placed" -v sets="$work/later" -v passed="$passed" -v is_last=$((number == files)) \
            -v lost_from="$lost_from" -v told="$work/lenient" -v lenient="$lenient" || return
        [ ! -e "$work/lenient" ] || lenient=1
        [ ! -e "$work/placed" ] || passed=$(tail -n 1 "$work/placed")
    done <"$work/use"
    [ $number -gt 0 ] || [ $sets = 0 ] || say "$SETS$sets.sql'"
}

# An error among joined statements is reported by psql with the line of the last of them. All statements of
# its transaction are executed once more, one by one, and rolled back, to find the exact line.
find_statement() {
    error_at || return 0
    : >"$work/first"
    replay "$name" -v complete="$(sed -n "s/^$name //p" "$work/use")" -v upto="$upto" -v counts=/dev/null \
        -v placed=/dev/null -v sets="$work/later" -v passed="$(sed -n "s/^$name //p" "$work/passed")" -v at="$line" -v tell="$work/first" >/dev/null
    read -r only <"$work/first" || return 0
    replay "$name" -v complete="$line" -v upto="$upto" -v only="$only" -v counts=/dev/null |
        sql -d "$target" -o /dev/null -f "$work/prologue.sql" -f - 2>"$work/again" && return
    sed "s|^psql:<stdin>:|$name:|" "$work/again" >"$work/errors"
}

# After a loss: is every error that of a statement which does not fit the restored state? A temporary lack of
# resources on the server (space, memory, shutdown) is no reason to leave something out, nor is an error
# outside the segments.
may_be_lost() {
    awk '
        /^[^:]*:[0-9]+: ERROR:  [0-9A-Z]+: / && $1 !~ /^psql:/ { if (substr($3, 1, 2) ~ /^(08|25|40|53|57|58|F0|XX)$/) bad = 1; next }
        /^[^ ]*: ?(ERROR|FATAL|PANIC|error|fatal): |^psql: / { bad = 1 }
        END { exit bad }' "$work/errors"
}
# Lists what was left out, by object.
list_lost() {
    sed -n 's/^\([^:]*\):\([0-9][0-9]*\): ERROR:  [0-9A-Z]*: \(.*\)$/\1 \2 \3/p' "$work/errors" >"$work/lost_at"
    for name in $(cut -d ' ' -f 1 "$work/lost_at" | uniq); do
        text "$increments/$name" | cut -b 1-1000000 | awk -v list="$work/lost_at" -v name="$name" "$awk_values$awk_walk"'
            BEGIN {
                while ((getline line <list) > 0) {
                    if (index(line, name " ") != 1) continue
                    split(line, word, " ")
                    why[word[2]] = substr(line, length(word[1] word[2]) + 3)
                }
            }
            function subject(line) {            # the start of a statement, up to the name of its table
                if (match(line, /^(INSERT INTO|COPY) /)) sub(/ \(.*/, "", line)
                else sub(/ (SET|WHERE) .*/, "", line)
                return line
            }
            {
                walk()
                if (part == "comment")
                    what = kind == "effect" ? decode(value("verb")) " " decode(value("class")) " " decode(value("identity")) : \
                        kind == "ddl" ? decode(value("command")) : ""
                if (part == "copy") rows_of = subject($0)
                if (NR in why)
                    print (part == "ddl" ? what : part == "row" ? rows_of : subject($0)) "\t" name ":" NR ": " why[NR]
            }'
    done | tr '\001-\010\013-\037\177' '?' >"$work/not_applied"
}

: >"$work/counts"; : >"$work/starts"
exec 3>&1                       # for progress: feed's own output goes to psql
apart=''
on_error='-v ON_ERROR_STOP=1'
if [ "$leave_out" = all ]; then apart=1 on_error='-v ON_ERROR_STOP=0 -v ON_ERROR_ROLLBACK=on'; fi
feed | sql $on_error $verbosity -d "$target" -o /dev/null -f "$work/prologue.sql" -f - -f "$work/epilogue.sql" \
    2>"$work/errors" || failed=yes
[ "$leave_out" != all ] || may_be_left_out || ! grep -qE '^psql:.*(ERROR|error|FATAL|PANIC):' "$work/errors" || failed=yes
awk -F : '                      # line numbers of the stream become those of the segments
    FILENAME ~ /starts$/ { split($0, part, " "); start[++count] = part[1]; name[count] = part[2]; next }
    /^psql:<stdin>:[0-9]+:/ {
        for (i = count; i > 1 && start[i] >= $3; i--);
        sub(/^psql:<stdin>:[0-9]+/, name[i] ":" ($3 - start[i]))
    }
    { print }' "$work/starts" "$work/errors" >"$work/messages"
mv "$work/messages" "$work/errors"
[ -z "$lost_from" ] || may_be_lost || failed=yes
[ -z "${failed:-}" ] || { may_be_left_out || find_statement; stopped segment; }
: >"$work/not_applied"
if [ -n "$lost_from" ]; then list_lost; grep ': WARNING: ' "$work/errors" >&2 || :; else cat "$work/errors" >&2; fi
[ "$(awk 'END { print NR }' "$work/counts")" = "$files" ] || die "a segment could not be read to its end"

grep ' WARNING: .*globals of ' "$work/errors" >>"$work/warnings" || :
# A tablespace that was created, and that the source has emptied since, was dropped there too; except one
# created for --globals.
[ $globals = yes ] || : >"$work/last_spaces"
sql -d "$target" >"$work/spaces" <<SQL
$encoding
SELECT oid FROM pg_tablespace WHERE concat('t', oid) = ANY (string_to_array('$MADE', ' '))
    AND spcname NOT IN (''$(awk "$awk_values"'{ print ", " literal(decode($1)) }' "$work/last_spaces"));
SQL
while read -r oid; do
    say "SELECT quote_ident(spcname) FROM pg_tablespace WHERE oid = $oid;
        SELECT format('DROP TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = $oid \\gexec" |
        sql -d "$target" >"$work/dropped" 2>/dev/null || continue
    say "dropped tablespace $(tr '\001-\037\177' '?' <"$work/dropped" | sed 's/?$//'), which is empty"
done <"$work/spaces"
if [ -s "$work/kept" ]; then
    say "existing roles were left unchanged, and no role was made a member of them:"
    awk "$awk_values"'{ print "    " readable($1) }' "$work/kept"
fi

awk "$awk_values"'
    { applied += $1; skipped += $2; sequences += $3; flagged += $4; if ($5 != "none") { lsn = $5; time = $6 } }
    END {
        print "applied " applied + 0 " transactions, skipped " skipped + 0 " that the base holds, " \
            sequences + 0 " sequence positions"
        if (lsn != "") print "last commit: " shown(lsn) " at " time
        if (flagged) print "attention: " flagged " places are marked that could not be carried (flag comments)"
    }' "$work/counts"
# What the base left out because it needs the extension, which a restored database does not contain.
listed_in left_out "$base_dir/metadata.json" >"$work/base_left_out"
[ ! -s "$work/base_left_out" ] || {
    say "left out, because they need pg_incrbackup itself; $base_dir/left-out.sql has their definitions:"
    awk "$awk_values"'{ name = decode($0); print "    " (name ~ /[\001-\037\177]/ ? $0 : name) }' "$work/base_left_out"
}
if [ -s "$work/counts.left_out" ]; then
    say "left out, because they depend on objects of pg_incrbackup or of an ended session (left_out comments have their definitions):"
    sort -u "$work/counts.left_out" | awk "$awk_values"'{ print "    " decode($0) }' | tr '\001-\011\013-\037\177' '?'
fi
if [ -s "$work/not_applied" ]; then
    say "left out, because earlier changes are incomplete:"
    awk -F '\t' '{ if (!($1 in count)) { order[++n] = $1; first[$1] = $2 }; count[$1]++ }
        END { for (i = 1; i <= n; i++) print "    " order[i] " (" count[order[i]] "): " first[order[i]] }' "$work/not_applied"
fi
half_made=''
if [ $exists = no ]; then
    say 'ALTER DATABASE :"dbname" RENAME TO :"final";' | sql -d "$server" -v dbname="$dbname" -v final="$final_name" ||
        die "everything is restored into $dbname; it remains to run ALTER DATABASE $(quoted "$dbname") RENAME TO $(quoted "$final_name");"
fi
say "done: $final_name is restored; run ANALYZE in it before use"
[ -z "$last_word" ] || warn "$last_word"
[ -z "$lost_from" ] || die "$final_name is incomplete: changes before the requested point were lost, see above"
[ ! -s "$work/warnings" ] || die "$final_name is complete, but some roles or tablespaces could not be restored as --globals asks: see above"
