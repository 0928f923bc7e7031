//! Operators, operator families and operator classes.

use crate::follow::Pair;

/// Shells, too, which pg_dump does not know.
const OPERATORS: &str = "SELECT o.oid::pg_catalog.regoperator, o.oprcode, o.oprcom::pg_catalog.regoperator, \
     o.oprnegate::pg_catalog.regoperator, o.oprcanmerge, o.oprcanhash, o.oprrest, o.oprjoin, o.oprowner::pg_catalog.regrole \
     FROM pg_catalog.pg_operator o WHERE o.oid >= 16384 ORDER BY o.oid::pg_catalog.regoperator::pg_catalog.text COLLATE \"C\"";

/// Members with what they go with.
const MEMBERS: &str = "SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0), \
     pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0), d.deptype FROM pg_catalog.pg_depend d \
     WHERE d.classid IN (2602, 2603) AND d.objid >= 16384 ORDER BY 1, 2, 3";

fn follow(pair: &mut Pair, statements: &[&str]) {
    for statement in statements {
        pair.follow(&[statement]);
        pair.assert_same_result(OPERATORS, statement);
        pair.assert_same_result(MEMBERS, statement);
    }
}

const FUNCTIONS: &[&str] = &[
    "CREATE SCHEMA s",
    "CREATE FUNCTION public.eq(int, int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true",
    "CREATE FUNCTION public.\"Eq\"(int, bigint) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true",
    "CREATE FUNCTION public.qe(bigint, int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true",
    "CREATE FUNCTION public.neg(int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true",
    "CREATE FUNCTION public.est(internal, oid, internal, int) RETURNS float8 LANGUAGE internal STABLE AS 'eqsel'",
];

#[test]
fn operators() {
    let mut pair = Pair::new();
    pair.follow(FUNCTIONS);
    follow(
        &mut pair,
        &[
            "CREATE OPERATOR public.@#@ (FUNCTION = public.eq, LEFTARG = int, RIGHTARG = int, COMMUTATOR = OPERATOR(public.@#@), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES)",
            "CREATE OPERATOR public.!! (FUNCTION = public.neg, RIGHTARG = int)",
            "COMMENT ON OPERATOR public.!! (NONE, int) IS 'it''s'",
            "ALTER OPERATOR public.!! (NONE, int) OWNER TO alice",
            "ALTER OPERATOR public.!! (NONE, int) SET SCHEMA s",
            "ALTER OPERATOR public.@#@ (int, int) SET (RESTRICT = public.est, JOIN = NONE)",
            "ALTER OPERATOR public.@#@ (int, int) SET (RESTRICT = NONE, JOIN = eqjoinsel)",
            // Both commutators and a negator at once; and one whose partner is completed later.
            "CREATE OPERATOR s.<< (FUNCTION = public.\"Eq\", LEFTARG = int, RIGHTARG = bigint, COMMUTATOR = OPERATOR(s.>>)); \
             CREATE OPERATOR s.>> (FUNCTION = public.qe, LEFTARG = bigint, RIGHTARG = int, COMMUTATOR = OPERATOR(s.<<))",
            "CREATE OPERATOR s.=== (FUNCTION = public.eq, LEFTARG = int, RIGHTARG = int, NEGATOR = OPERATOR(public.!==))",
            "ALTER OPERATOR s.=== (int, int) OWNER TO alice",
            "COMMENT ON OPERATOR public.!== (int, int) IS 'a shell'",
            "CREATE OPERATOR public.!== (FUNCTION = public.eq, LEFTARG = int, RIGHTARG = int, NEGATOR = OPERATOR(s.===))",
            // The other's link is set by CREATE, and taken by DROP.
            "CREATE OPERATOR public.~~@ (FUNCTION = public.\"Eq\", LEFTARG = int, RIGHTARG = bigint)",
            "CREATE OPERATOR public.@~~ (FUNCTION = public.qe, LEFTARG = bigint, RIGHTARG = int, COMMUTATOR = OPERATOR(public.~~@))",
            "DROP OPERATOR public.~~@ (int, bigint)",
            "CREATE OPERATOR public.~~@ (FUNCTION = public.\"Eq\", LEFTARG = int, RIGHTARG = bigint, COMMUTATOR = OPERATOR(public.@~~)); \
             DROP OPERATOR s.<< (int, bigint), s.>> (bigint, int)",
            "DROP OPERATOR public.~~@ (int, bigint); CREATE OPERATOR public.~~@ (FUNCTION = public.\"Eq\", LEFTARG = int, RIGHTARG = bigint, COMMUTATOR = OPERATOR(public.@~~))",
            // A shell that stays, and goes.
            "CREATE OPERATOR s.&& (FUNCTION = public.eq, LEFTARG = int, RIGHTARG = int, NEGATOR = OPERATOR(s.&&&))",
            "DROP OPERATOR s.&& (int, int)",
            "DROP OPERATOR s.&&& (int, int)",
            "DROP FUNCTION public.eq CASCADE",
        ],
    );
    if pair.cluster.version() >= 17 {
        follow(
            &mut pair,
            &[
                "CREATE OPERATOR s.|> (FUNCTION = public.\"Eq\", LEFTARG = int, RIGHTARG = bigint); \
                 CREATE OPERATOR s.<| (FUNCTION = public.qe, LEFTARG = bigint, RIGHTARG = int)",
                "ALTER OPERATOR s.|> (int, bigint) SET (COMMUTATOR = OPERATOR(s.<|))",
                "ALTER OPERATOR s.|> (int, bigint) SET (HASHES, MERGES, RESTRICT = eqsel, JOIN = eqjoinsel)",
            ],
        );
    }
    pair.follow_touching(&["schema"], &["ALTER SCHEMA s RENAME TO \"S s\""]);
    pair.follow(&["DROP SCHEMA \"S s\" CASCADE"]);
}

#[test]
fn families_and_classes() {
    let mut pair = Pair::new();
    pair.both(&["CREATE TYPE public.t AS (a int)"]);
    pair.follow(FUNCTIONS);
    follow(
        &mut pair,
        &[
            "CREATE OPERATOR FAMILY public.f USING btree",
            "ALTER OPERATOR FAMILY public.f USING btree ADD OPERATOR 1 < (int, int), OPERATOR 3 pg_catalog.= (int, bigint), FUNCTION 1 btint4cmp(int, int), FUNCTION 1 (int, bigint) btint48cmp(int, bigint)",
            "ALTER OPERATOR FAMILY public.f USING btree DROP OPERATOR 3 (int, bigint), FUNCTION 1 (int, bigint)",
            "ALTER OPERATOR FAMILY public.f USING btree DROP OPERATOR 1 (int, int); ALTER OPERATOR FAMILY public.f USING btree ADD OPERATOR 1 <= (int, int)",
            "ALTER OPERATOR FAMILY public.f USING btree RENAME TO \"F f\"",
            "ALTER OPERATOR FAMILY public.\"F f\" USING btree SET SCHEMA s",
            "ALTER OPERATOR FAMILY s.\"F f\" USING btree OWNER TO alice",
            "COMMENT ON OPERATOR FAMILY s.\"F f\" USING btree IS 'f'",
            "CREATE OPERATOR CLASS public.c FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int), FUNCTION 2 btint4sortsupport(internal), FUNCTION 4 btequalimage(oid)",
            "ALTER OPERATOR FAMILY public.c USING btree ADD OPERATOR 1 < (int, bigint), FUNCTION 1 btint48cmp(int, bigint)",
            "ALTER OPERATOR FAMILY public.c USING btree DROP FUNCTION 2 (int, int)",
            "ALTER OPERATOR FAMILY public.c USING btree ADD FUNCTION 2 (int, int) btint4sortsupport(internal)",
            "ALTER OPERATOR CLASS public.c USING btree RENAME TO \"C\"; ALTER OPERATOR CLASS public.\"C\" USING btree SET SCHEMA s",
            "ALTER OPERATOR CLASS s.\"C\" USING btree OWNER TO alice; COMMENT ON OPERATOR CLASS s.\"C\" USING btree IS 'c'",
            "ALTER OPERATOR FAMILY public.c USING btree SET SCHEMA s",
            // With a storage type, an order, and a family of its own or another's.
            "CREATE OPERATOR CLASS public.g FOR TYPE point USING gist AS STORAGE box, OPERATOR 15 <->(point, point) FOR ORDER BY pg_catalog.float_ops, FUNCTION 8 gist_point_distance(internal, point, smallint, oid, internal)",
            "CREATE OPERATOR CLASS public.e FOR TYPE int USING hash AS STORAGE int",
            "CREATE FUNCTION public.teq(public.t, public.t) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true; \
             CREATE FUNCTION public.th(public.t) RETURNS int LANGUAGE sql IMMUTABLE RETURN 1; \
             CREATE OPERATOR public.=== (FUNCTION = public.teq, LEFTARG = public.t, RIGHTARG = public.t); \
             CREATE OPERATOR CLASS public.d DEFAULT FOR TYPE public.t USING hash AS OPERATOR 1 public.===, FUNCTION 1 public.th(public.t)",
            "DROP OPERATOR CLASS public.d USING hash; CREATE OPERATOR CLASS public.d2 DEFAULT FOR TYPE public.t USING hash FAMILY public.d AS OPERATOR 1 public.===, FUNCTION 1 public.th(public.t)",
            "ALTER OPERATOR FAMILY s.\"F f\" USING btree ADD FUNCTION 1 (int, int2) btint42cmp(int, int2)",
            "DROP OPERATOR CLASS public.g USING gist",
            "DROP OPERATOR FAMILY s.\"F f\" USING btree",
            "DROP OPERATOR public.=== (public.t, public.t) CASCADE",
            "DROP OPERATOR FAMILY s.c USING btree CASCADE",
        ],
    );
    pair.follow(&["DROP SCHEMA s CASCADE"]);
}
