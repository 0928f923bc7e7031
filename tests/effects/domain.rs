//! Domains.

use crate::follow::Pair;

#[test]
fn domains() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE DOMAIN public.d AS numeric(8,2)",
        "CREATE DOMAIN public.\"D x\" AS text COLLATE \"C\" DEFAULT 'it''s' NOT NULL CHECK (VALUE <> 'a') CONSTRAINT \"odd \"\"name\" CHECK (length(VALUE) < 10)",
        "CREATE DOMAIN public.arr AS int[] CHECK (cardinality(VALUE) < 3)",
        "CREATE DOMAIN public.over AS public.\"D x\" DEFAULT NULL",
        "ALTER DOMAIN public.d SET DEFAULT 1 + 1",
        "ALTER DOMAIN public.d SET NOT NULL",
        "ALTER DOMAIN public.d DROP NOT NULL; ALTER DOMAIN public.d DROP DEFAULT",
        "ALTER DOMAIN public.d ADD CONSTRAINT pos CHECK (VALUE > 0) NOT VALID; COMMENT ON CONSTRAINT pos ON DOMAIN public.d IS 'p'",
        "ALTER DOMAIN public.d VALIDATE CONSTRAINT pos",
        "ALTER DOMAIN public.d RENAME CONSTRAINT pos TO positive; ALTER DOMAIN public.d ADD CONSTRAINT pos CHECK (VALUE <> 5)",
        "ALTER DOMAIN public.d DROP CONSTRAINT pos; ALTER DOMAIN public.d RENAME CONSTRAINT positive TO pos",
        "COMMENT ON CONSTRAINT pos ON DOMAIN public.d IS NULL",
        "ALTER DOMAIN public.d DROP CONSTRAINT pos; ALTER DOMAIN public.d ADD CONSTRAINT pos CHECK (VALUE > 1)",
        "CREATE DOMAIN public.unchecked AS int; ALTER DOMAIN public.unchecked ADD CHECK (VALUE > 0) NOT VALID",
        "COMMENT ON DOMAIN public.d IS 'd'",
        "GRANT USAGE ON TYPE public.d TO bob WITH GRANT OPTION; REVOKE ALL ON DOMAIN public.d FROM PUBLIC",
        "ALTER DOMAIN public.d OWNER TO alice",
        "CREATE SCHEMA s",
        "ALTER DOMAIN public.d SET SCHEMA s; ALTER DOMAIN s.d RENAME TO \"d d\"",
        "CREATE FUNCTION public.ok(int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 > 0; CREATE DOMAIN public.checked AS int CHECK (public.ok(VALUE))",
        "ALTER DOMAIN public.unchecked ADD CONSTRAINT by_function CHECK (public.ok(VALUE)); ALTER DOMAIN public.unchecked SET DEFAULT 5",
        "ALTER DOMAIN public.unchecked DROP CONSTRAINT by_function; DROP DOMAIN public.checked; DROP FUNCTION public.ok",
        "CREATE FUNCTION public.ok(int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 > 0; ALTER DOMAIN public.unchecked ADD CONSTRAINT by_function CHECK (public.ok(VALUE))",
        "DROP FUNCTION public.ok CASCADE",
        "CREATE TYPE public.e AS ENUM ('a', 'b'); CREATE DOMAIN public.of_enum AS public.e DEFAULT 'a' CHECK (VALUE IN ('a', 'b'))",
        "CREATE DOMAIN public.of_array AS public.e[]",
    ]);
    // The text of their expressions changes, not they.
    pair.follow_touching(&["enum"], &["ALTER TYPE public.e RENAME VALUE 'a' TO 'A'"]);
    pair.follow(&[
        "ALTER TYPE public.e RENAME TO e2",
        "DROP TYPE public.e2 CASCADE",
        "DROP DOMAIN s.\"d d\", public.\"D x\", public.over",
        "CREATE DOMAIN public.over AS int; CREATE DOMAIN public.more AS public.over; CREATE DOMAIN public.arrays AS public.more[]",
        "DROP DOMAIN public.over CASCADE",
    ]);
}

#[test]
fn domains_with_named_not_null() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE DOMAIN public.d AS int CONSTRAINT nn NOT NULL",
        "ALTER DOMAIN public.d DROP NOT NULL; ALTER DOMAIN public.d SET NOT NULL",
        "ALTER DOMAIN public.d DROP NOT NULL",
        "CREATE SCHEMA s",
        "ALTER DOMAIN public.d SET NOT NULL; ALTER DOMAIN public.d SET SCHEMA s",
    ]);
    let version = pair.cluster.sql_in("postgres", "SHOW server_version_num");
    if version.trim() >= "170000" {
        pair.follow(&[
            "ALTER DOMAIN s.d RENAME CONSTRAINT d_not_null TO \"N n\"",
            "COMMENT ON CONSTRAINT \"N n\" ON DOMAIN s.d IS 'n'",
            "ALTER DOMAIN s.d DROP CONSTRAINT \"N n\"; ALTER DOMAIN s.d ADD CONSTRAINT other NOT NULL",
        ]);
    }
}

/// A base type's default is not a domain's that says otherwise; pg_dump does not tell.
#[test]
fn a_domain_without_the_default_of_its_base() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE DOMAIN public.d AS int DEFAULT 1",
        "CREATE DOMAIN public.without AS public.d; ALTER DOMAIN public.without DROP DEFAULT",
        "CREATE DOMAIN public.nothing AS public.d DEFAULT NULL",
        "CREATE DOMAIN public.with AS public.d",
    ]);
    let defaults = "SELECT string_agg(coalesce(typdefault, 'none'), ' ' ORDER BY oid) FROM pg_type WHERE typtype = 'd' AND oid >= 16384";
    assert_eq!(
        pair.cluster.sql_in("target", defaults).trim(),
        "1 none NULL::integer 1"
    );
}
