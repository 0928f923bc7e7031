//! "I gave it four sessions, and now a row is missing, or two of them waited for each other for ever."

use harness::{assert_identical, Cluster};

/// Objects of many classes, with names that are no fun.
const OBJECTS: &str = include_str!("program_base.sql");

/// More rows and indexes than sessions, keys that refer to each other, and what pg_dump writes between them.
const MANY: &str = "
    DO $$ BEGIN FOR i IN 1 .. 12 LOOP
        EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, other int, b text DEFAULT %L)', i, 'x');
        EXECUTE format('INSERT INTO many_%s SELECT n, n %% 7 + 1, repeat(md5(n::text), 3) FROM generate_series(1, %s) n', i, 400 * i);
        EXECUTE format('CREATE INDEX ON many_%s (other); CREATE UNIQUE INDEX many_%s_b ON many_%s (b, id)', i, i, i);
        EXECUTE format('COMMENT ON INDEX many_%s_b IS %L', i, 'of ' || i);
    END LOOP;
    FOR i IN 1 .. 12 LOOP
        EXECUTE format('ALTER TABLE many_%s ADD FOREIGN KEY (other) REFERENCES many_%s', i, i % 12 + 1);
        EXECUTE format('ALTER TABLE many_%s ADD CONSTRAINT again FOREIGN KEY (id) REFERENCES many_%s', i, greatest(i, 12));
    END LOOP; END $$;
    CREATE TABLE divided (a int, b text, PRIMARY KEY (a)) PARTITION BY RANGE (a);
    CREATE TABLE divided_1 PARTITION OF divided FOR VALUES FROM (0) TO (500);
    CREATE TABLE divided_2 PARTITION OF divided FOR VALUES FROM (500) TO (1000);
    CREATE INDEX ON divided (b); INSERT INTO divided SELECT i, i::text FROM generate_series(0, 999) i;
    CREATE TABLE clustered (a int PRIMARY KEY, b int); CREATE UNIQUE INDEX clustered_b ON clustered (b);
    ALTER TABLE clustered CLUSTER ON clustered_pkey, ALTER b SET NOT NULL;
    ALTER TABLE clustered REPLICA IDENTITY USING INDEX clustered_b; INSERT INTO clustered VALUES (1, 2), (2, 1);
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM divided; CREATE UNIQUE INDEX ON counted (count);
    SELECT lo_from_bytea(900000 + i, decode(repeat(md5(i::text), 200), 'hex')) FROM generate_series(1, 5) i";

fn with_base(format: &str) -> Cluster {
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", &format!("'{format}'"))
        .start();
    c.sql(OBJECTS);
    c.sql(MANY);
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c
}

#[test]
fn a_base_of_either_format_is_the_same_by_four_sessions() {
    for format in ["plain", "compressed", "directory"] {
        let c = with_base(format);
        let restored = c.restore_by_program(&c, &["--jobs", "4"]);
        assert_identical((&c, c.database()), (&c, &restored.database));
    }
}
