//! "It will fail in the middle." What a role may not make is known before the first row, and a superuser can make it
//! later.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::Cluster;

use crate::program_rights::{assert_same, dumped, Plain};

/// What only a superuser makes, and what depends on it.
const OBJECTS: &str = "
    CREATE FUNCTION fire@() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
    CREATE EVENT TRIGGER event@ ON ddl_command_end EXECUTE FUNCTION fire@(); COMMENT ON EVENT TRIGGER event@ IS 'e';
    CREATE FOREIGN DATA WRAPPER wrapper@; CREATE SERVER server@ FOREIGN DATA WRAPPER wrapper@;
    CREATE FOREIGN TABLE foreign@ (a int) SERVER server@;
    CREATE FUNCTION internal@(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs';
    CREATE VIEW view@ AS SELECT internal@(1) AS a; CREATE VIEW over@ AS SELECT * FROM view@;
    CREATE TYPE type@; CREATE FUNCTION type@_in(cstring) RETURNS type@ LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
    CREATE FUNCTION type@_out(type@) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
    CREATE TYPE type@ (INPUT = type@_in, OUTPUT = type@_out, LIKE = int4);
    CREATE TABLE of_type@ (a type@); COMMENT ON TABLE of_type@ IS 'x;';
    CREATE CAST (type@ AS int) WITHOUT FUNCTION;
    CREATE OPERATOR FAMILY family@ USING btree;
    CREATE OPERATOR CLASS class@ FOR TYPE int USING btree FAMILY family@ AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int);
    CREATE TEXT SEARCH TEMPLATE template@ (LEXIZE = dsimple_lexize, INIT = dsimple_init);
    CREATE TEXT SEARCH PARSER parser@ (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
    CREATE TEXT SEARCH CONFIGURATION configuration@ (PARSER = parser@);
    CREATE ACCESS METHOD method@ TYPE TABLE HANDLER heap_tableam_handler;
    CREATE FUNCTION proof@(int) RETURNS bool LANGUAGE sql IMMUTABLE LEAKPROOF AS $$ SELECT $1 > 0 $$;
    CREATE VIEW of_proof@ AS SELECT proof@(1);
    CREATE FUNCTION setting@() RETURNS int LANGUAGE sql SET session_replication_role = replica AS $$ SELECT 1 $$;
    CREATE PUBLICATION everything@ FOR ALL TABLES; CREATE PUBLICATION some@ FOR TABLE of_proof;
    CREATE SUBSCRIPTION subscription@ CONNECTION 'host=/nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false);
    INSERT INTO of_proof VALUES (@);";

/// Each of them, as the plan must name it.
const NAMED: [&str; 19] = [
    "event trigger event@",
    "foreign-data wrapper wrapper@",
    "server server@",
    "foreign table public.foreign@",
    "function public.internal@(",
    "view public.view@",
    "view public.over@",
    "type public.type@",
    "table public.of_type@",
    "cast (",
    "operator family public.family@",
    "operator class public.class@",
    "text search template public.template@",
    "text search parser public.parser@",
    "text search configuration public.configuration@",
    "access method method@",
    "function public.proof@(",
    "function public.setting@(",
    "publication everything@",
];

fn with_objects() -> Cluster {
    let c = Cluster::builder().start();
    c.sql("CREATE TABLE of_proof (a int PRIMARY KEY); ALTER DATABASE app SET log_min_messages = 'error'");
    // Of these only the first is trusted.
    c.sql("CREATE EXTENSION hstore; CREATE TABLE of_hstore (h hstore); INSERT INTO of_hstore VALUES ('a=>1');
        CREATE EXTENSION pageinspect; CREATE VIEW of_page AS SELECT lower FROM page_header('')");
    c.sql(&OBJECTS.replace('@', "1"));
    c.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
    c.flush();
    c.sql(&OBJECTS.replace('@', "2"));
    c.sql("CREATE EXTENSION pgstattuple; CREATE VIEW of_tuple AS SELECT tuple_count FROM pgstattuple('of_proof')");
    // Neither these: they are made and dropped again.
    c.sql(&OBJECTS.replace('@', "3"));
    c.sql("DROP EVENT TRIGGER event3; DROP FUNCTION fire3(); DROP FOREIGN DATA WRAPPER wrapper3 CASCADE; DROP FUNCTION internal3(int) CASCADE;
        DROP TYPE type3 CASCADE; DROP TABLE of_type3; DROP OPERATOR FAMILY family3 USING btree CASCADE; DROP TEXT SEARCH TEMPLATE template3;
        DROP TEXT SEARCH PARSER parser3 CASCADE; DROP ACCESS METHOD method3; DROP FUNCTION proof3(int) CASCADE; DROP FUNCTION setting3();
        DROP PUBLICATION everything3, some3; DROP SUBSCRIPTION subscription3");
    c.sql(
        "ALTER EVENT TRIGGER event1 DISABLE; DROP VIEW over1; CREATE VIEW over1 AS SELECT 1 AS one",
    );
    c.flush();
    c
}

/// As pg_dump names them in an entry, and as an effect does.
fn is_named(text: &str, name: &str) -> bool {
    let text = text
        .to_lowercase()
        .replace("foreign-data", "foreign data")
        .replace("base type", "type");
    let name = name.replace("foreign-data", "foreign data");
    text.contains(&name) || text.contains(&name.replace("public.", ""))
}

#[test]
fn what_a_role_may_not_make_is_named_before_the_first_row_and_made_by_a_superuser_later() {
    let c = with_objects();
    let target = Cluster::builder().start();
    let plain = Plain::new(&target, "shop");
    let options = ["--no-owner", "--no-privileges"];
    // A dry run says the same, and leaves nothing.
    let (status, text) = plain.restore(&c, &["--no-owner", "-x", "--dry-run"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("event trigger event2"), "{text}");
    assert_eq!(
        target.sql_in(
            "shop",
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ),
        "0"
    );
    assert!(!plain.left_out().exists());
    // Nothing is overwritten.
    fs::write(plain.left_out(), "mine").expect("it can be written");
    let (status, text) = plain.restore(&c, &options);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("exists, and what this server refuses"),
        "{text}"
    );
    assert_eq!(
        target.sql_in(
            "shop",
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ),
        "0"
    );
    fs::remove_file(plain.left_out()).expect("it is there");
    let (status, text) = plain.restore(&c, &options);
    assert_eq!(status, 1, "{text}");
    let before = &text[..text.find("applied ").expect("it ends")];
    for name in NAMED {
        for nth in ["1", "2"] {
            let name = name.replace('@', nth);
            let is_back = name == "view public.over1";
            assert_ne!(is_named(before, &name), is_back, "{name}: {text}");
        }
        assert!(
            !name.contains('@') || !is_named(&text, &name.replace('@', "3")),
            "{name}: {text}"
        );
    }
    for name in [
        "subscription subscription2",
        "extension pageinspect",
        "view public.of_page",
        "create extension",
        "view public.of_tuple",
    ] {
        assert!(is_named(before, name), "{name}: {text}");
    }
    assert_eq!(
        target.sql_in("shop", "SELECT h FROM of_hstore"),
        "\"a\"=>\"1\""
    );
    // What could be made is there, with its rows.
    let made = "SELECT string_agg(a::text, ',' ORDER BY a), (SELECT count(*) FROM of_proof1), (SELECT one FROM over1) FROM of_proof";
    assert_eq!(target.sql_in("shop", made), "1,2,3|1|1");
    let mode = fs::metadata(plain.left_out())
        .expect("it was written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let script = fs::read(plain.left_out()).expect("it was written");
    let output = target.psql_bytes("shop", &script);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&script)
    );
    assert_same(
        &dumped(&c, "app", &options),
        &dumped(&target, "shop", &options),
    );
    assert_eq!(
        target.sql_in("postgres", "SELECT setconfig FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase WHERE datname = 'shop'"),
        "{log_min_messages=error}"
    );
}

#[test]
fn what_a_superuser_has_prepared_is_used() {
    let c = Cluster::backed_up();
    c.sql("CREATE EXTENSION pageinspect; CREATE VIEW of_page AS SELECT lower FROM page_header('');
        CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER DATABASE app SET log_min_messages = 'error'");
    c.flush();
    let target = Cluster::builder().start();
    let plain = Plain::new(&target, "prepared");
    target.sql_in("prepared", "CREATE EXTENSION pageinspect");
    let (status, text) = plain.restore(&c, &["--no-owner", "-x"]);
    assert_eq!(status, 1, "{text}");
    assert!(
        !text.contains("of_page") && !text.contains("pageinspect"),
        "{text}"
    );
    assert_eq!(
        target.sql_in("prepared", "SELECT a, to_regclass('of_page') FROM t"),
        "1|of_page"
    );
    // A database that the role creates itself has its name in the file.
    target.sql_in("postgres", "ALTER ROLE plain CREATEDB");
    let made = Plain {
        cluster: &target,
        database: "made".to_owned(),
    };
    let (status, text) = made.restore(&c, &["--no-owner", "-x"]);
    assert_eq!(status, 1, "{text}");
    let script = fs::read(made.left_out()).expect("it was written");
    let output = target.psql_bytes("made", &script);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&script)
    );
    assert_same(
        &dumped(&c, "app", &["-O", "-x"]),
        &dumped(&target, "made", &["-O", "-x"]),
    );
    let setting = "SELECT setconfig FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase WHERE datname = 'made'";
    assert_eq!(
        target.sql_in("postgres", setting),
        "{log_min_messages=error}"
    );
}

#[test]
fn who_may_make_nothing_is_told_before_anything() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int)");
    c.flush();
    let target = Cluster::builder().start();
    let plain = Plain::new(&target, "of_others");
    target.sql_in("postgres", "ALTER DATABASE of_others OWNER TO postgres");
    let (status, text) = plain.restore(&c, &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("does not own the database"), "{text}");
    let missing = Plain {
        cluster: &target,
        database: "missing".to_owned(),
    };
    let (status, text) = missing.restore(&c, &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("may not create the database"), "{text}");
    // Rows that contradict a foreign key: it is made for new rows, and that is told.
    c.sql("CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE k (a int CONSTRAINT key REFERENCES p); SET session_replication_role = replica; INSERT INTO k VALUES (1)");
    c.flush();
    let orphans = Plain::new(&target, "orphans");
    let (status, text) = orphans.restore(&c, &["--no-owner", "-x"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("NOT VALID"), "{text}");
    let valid =
        "SELECT convalidated, (SELECT count(*) FROM k) FROM pg_constraint WHERE conname = 'key'";
    assert_eq!(target.sql_in("orphans", valid), "f|1");
}
