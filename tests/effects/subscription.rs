//! Subscriptions. Neither side connects anywhere: nowhere is there a publisher.

use crate::follow::Pair;

#[test]
fn subscriptions() {
    let mut pair = Pair::new();
    pair.cluster
        .sql_in("postgres", "CREATE ROLE boss SUPERUSER");
    pair.follow(&[
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere password=it''s' PUBLICATION p WITH (connect = false)",
        "CREATE SUBSCRIPTION \"Odd s\" CONNECTION '' PUBLICATION \"P p\", q \
           WITH (connect = false, slot_name = NONE, binary, streaming, two_phase, disable_on_error, synchronous_commit = local)",
        "COMMENT ON SUBSCRIPTION s IS 's'; ALTER SUBSCRIPTION s OWNER TO boss",
        "ALTER SUBSCRIPTION s RENAME TO t; ALTER SUBSCRIPTION t SET (synchronous_commit = on, binary = true)",
        "ALTER SUBSCRIPTION t SKIP (lsn = '0/1'); ALTER SUBSCRIPTION t CONNECTION 'dbname=elsewhere'",
        "ALTER SUBSCRIPTION t SET (slot_name = NONE, streaming = true)",
        "ALTER SUBSCRIPTION t SET (slot_name = 'other', disable_on_error = true, binary = false)",
        "ALTER SUBSCRIPTION t ADD PUBLICATION z, a WITH (refresh = false)",
        "ALTER SUBSCRIPTION t DROP PUBLICATION p WITH (refresh = false)",
        "ALTER SUBSCRIPTION t SET PUBLICATION \"P p\", a WITH (refresh = false)",
        "ALTER SUBSCRIPTION t RENAME TO u; ALTER SUBSCRIPTION \"Odd s\" RENAME TO t",
        "ALTER SUBSCRIPTION u ENABLE; ALTER SUBSCRIPTION u DISABLE",
        "ALTER SUBSCRIPTION u SET (slot_name = NONE); DROP SUBSCRIPTION u",
        "DROP SUBSCRIPTION t; CREATE SUBSCRIPTION t CONNECTION '' PUBLICATION p WITH (connect = false)",
    ]);
    if pair.cluster.installation().version >= 16 {
        pair.follow(&[
            "ALTER SUBSCRIPTION t SET (streaming = parallel, origin = none, run_as_owner = true)",
            "ALTER SUBSCRIPTION t SET (streaming = off, origin = any, password_required = false)",
        ]);
    }
    if pair.cluster.installation().version >= 17 {
        pair.follow(&[
            "ALTER SUBSCRIPTION t SET (slot_name = NONE); DROP SUBSCRIPTION t; \
             CREATE SUBSCRIPTION t CONNECTION '' PUBLICATION p WITH (connect = false, failover)",
        ]);
    }
}

/// What only a publisher can be told of by ALTER SUBSCRIPTION, and what goes with a slot.
#[test]
fn options_of_a_slot_and_its_end() {
    let mut pair = Pair::new();
    pair.follow(&[
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, two_phase); COMMENT ON SUBSCRIPTION s IS 's'",
    ]);
    // The catalog is shared.
    let here = "subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";
    let one_phase = "UPDATE pg_catalog.pg_subscription SET subtwophasestate = 'd' WHERE";
    pair.follow(&[
        // As SET (two_phase = false) leaves it, from 18 on.
        &format!("{one_phase} {here}"),
        &format!("DELETE FROM pg_catalog.pg_description WHERE classoid = 6100; DELETE FROM pg_catalog.pg_subscription WHERE {here}"),
    ]);
}
