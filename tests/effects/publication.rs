//! Publications.

use crate::follow::Pair;

#[test]
fn publications() {
    let mut pair = Pair::new();
    pair.both(&[
        "CREATE TABLE public.t (a int PRIMARY KEY, \"B c\" text, d int)",
        "CREATE SCHEMA \"S\"",
        "CREATE TABLE \"S\".\"Odd \"\"täble\" (a int)",
        "CREATE TABLE public.p (a int) PARTITION BY LIST (a)",
        "CREATE TABLE public.p1 PARTITION OF public.p DEFAULT",
        "ALTER ROLE alice SUPERUSER",
    ]);
    pair.follow(&[
        "CREATE PUBLICATION e",
        "CREATE PUBLICATION \"all\" FOR ALL TABLES WITH (publish = '')",
        "CREATE PUBLICATION \"Odd \"\"püblication\" FOR TABLE ONLY public.p, public.t (\"B c\", a) WHERE (a > 1 AND \"B c\" <> 'it''s \\n') WITH (publish = 'insert,delete', publish_via_partition_root)",
        "CREATE PUBLICATION s FOR TABLES IN SCHEMA \"S\", public; COMMENT ON PUBLICATION s IS 's'",
        "ALTER PUBLICATION e ADD TABLE public.t, \"S\".\"Odd \"\"täble\"; ALTER PUBLICATION e OWNER TO alice",
        "ALTER PUBLICATION e SET (publish = 'truncate, update', publish_via_partition_root = true)",
        "ALTER PUBLICATION e SET (publish_via_partition_root = false)",
        "ALTER PUBLICATION e SET TABLE public.t (a), public.p",
        "ALTER PUBLICATION e SET TABLE public.t (d, a), public.p",
        "ALTER PUBLICATION e SET TABLE public.t WHERE (d IS NULL)",
        "ALTER PUBLICATION e SET TABLE public.t WHERE (d IS NOT NULL)",
        "ALTER PUBLICATION e SET TABLES IN SCHEMA \"S\"",
        "ALTER PUBLICATION e SET TABLE public.t (a)",
        "ALTER PUBLICATION s DROP TABLES IN SCHEMA public; ALTER PUBLICATION s ADD TABLE public.p1",
        "ALTER PUBLICATION e RENAME TO tmp; ALTER PUBLICATION s RENAME TO e; COMMENT ON PUBLICATION tmp IS 's'",
        "ALTER PUBLICATION tmp RENAME TO s",
        "CREATE SCHEMA new; ALTER PUBLICATION e ADD TABLES IN SCHEMA new; CREATE PUBLICATION n FOR TABLES IN SCHEMA new",
        "DROP SCHEMA new",
        "DROP PUBLICATION s; CREATE PUBLICATION s",
        "DROP PUBLICATION e, \"all\", \"Odd \"\"püblication\"",
    ]);
    if pair.cluster.installation().version >= 18 {
        pair.follow(&[
            "CREATE PUBLICATION g FOR ALL TABLES WITH (publish_generated_columns = stored)",
            "ALTER PUBLICATION g SET (publish_generated_columns = none)",
        ]);
    }
    pair.both(&["SET allow_system_table_mods = on"]);
    pair.assert_unhandled(
        "UPDATE pg_catalog.pg_publication SET puballtables = true WHERE pubname = 's'",
        "publication",
    );
}
