//! Aggregates.

use crate::follow::Pair;

#[test]
fn aggregates() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', COMBINEFUNC = int4pl, PARALLEL = safe)",
        "CREATE AGGREGATE public.counted(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0', SSPACE = 100)",
        "CREATE AGGREGATE public.greatest_of(a int) (SFUNC = int4larger, STYPE = int, SORTOP = >, FINALFUNC = int4abs, FINALFUNC_MODIFY = SHAREABLE)",
        "CREATE AGGREGATE public.moved(int8) (SFUNC = int8pl, STYPE = int8, MSFUNC = int8pl, MINVFUNC = int8mi, MSTYPE = int8, MSSPACE = 8, MINITCOND = '1', MFINALFUNC = int8abs, MFINALFUNC_MODIFY = READ_WRITE)",
        "CREATE AGGREGATE public.\"Pct x\"(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA = true)",
        "CREATE AGGREGATE public.ranked(VARIADIC \"any\" ORDER BY VARIADIC \"any\") (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA = true, HYPOTHETICAL)",
        "CREATE AGGREGATE public.avgd(numeric) (SFUNC = numeric_avg_accum, STYPE = internal, FINALFUNC = numeric_avg, COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize, PARALLEL = restricted)",
        "CREATE OR REPLACE AGGREGATE public.total(int) (SFUNC = int4larger, STYPE = int, PARALLEL = restricted)",
        "COMMENT ON AGGREGATE public.counted(*) IS 'it''s'; COMMENT ON AGGREGATE public.\"Pct x\"(float8 ORDER BY anyelement) IS 'p'",
        "GRANT EXECUTE ON FUNCTION public.counted() TO bob WITH GRANT OPTION; REVOKE ALL ON FUNCTION public.\"Pct x\"(float8, anyelement) FROM PUBLIC; \
         GRANT EXECUTE ON FUNCTION public.ranked(VARIADIC \"any\") TO alice",
        "ALTER AGGREGATE public.counted(*) OWNER TO alice; ALTER AGGREGATE public.ranked(VARIADIC \"any\" ORDER BY VARIADIC \"any\") OWNER TO bob",
        "CREATE SCHEMA s",
        "ALTER AGGREGATE public.counted(*) SET SCHEMA s; ALTER AGGREGATE s.counted(*) RENAME TO \"select\"",
        "CREATE TYPE public.e AS ENUM ('a'); CREATE FUNCTION public.later(public.e, public.e) RETURNS public.e LANGUAGE sql RETURN $2; \
         CREATE AGGREGATE public.last_e(public.e) (SFUNC = public.later, STYPE = public.e)",
        "ALTER TYPE public.e SET SCHEMA s; ALTER FUNCTION public.later RENAME TO \"Later\"; ALTER AGGREGATE public.last_e(s.e) RENAME TO last",
        "CREATE FUNCTION public.other(s.e, s.e) RETURNS s.e LANGUAGE sql RETURN $1; CREATE OR REPLACE AGGREGATE public.last(s.e) (SFUNC = public.other, STYPE = s.e); DROP FUNCTION public.\"Later\"",
        "DROP FUNCTION public.other CASCADE",
        "DROP AGGREGATE public.total(int); CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int)",
        "DROP AGGREGATE public.total(int); CREATE FUNCTION public.total(int) RETURNS int LANGUAGE sql RETURN 1",
        "DROP AGGREGATE public.\"Pct x\"(float8 ORDER BY anyelement), public.ranked(VARIADIC \"any\" ORDER BY VARIADIC \"any\"), public.moved(int8)",
    ]);
}
