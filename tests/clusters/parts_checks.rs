//! "Some of my rows contradict a CHECK." Such rows in a part.

use harness::Cluster;

use crate::parts::{assert_nothing_left, restored};
use crate::program_restore::restore;

#[test]
fn rows_of_a_part_that_a_check_refuses() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE FUNCTION is_at_home(int) RETURNS bool LANGUAGE sql AS $$ SELECT current_database() = 'app' $$;
         CREATE TABLE guarded (a int CONSTRAINT at_home CHECK (public.is_at_home(a))); INSERT INTO guarded VALUES (1);
         CREATE TABLE old (a int); INSERT INTO old VALUES (-1);
         ALTER TABLE old ADD CONSTRAINT positive CHECK (a > 0) NOT VALID; INSERT INTO old VALUES (5);
         COMMENT ON CONSTRAINT positive ON old IS 'of a table';
         CREATE DOMAIN small AS int; CREATE TABLE of_domain (a small); INSERT INTO of_domain VALUES (100);
         ALTER DOMAIN small ADD CONSTRAINT below CHECK (VALUE < 10) NOT VALID; INSERT INTO of_domain VALUES (1);
         COMMENT ON CONSTRAINT below ON DOMAIN small IS 'of a domain'",
    );
    c.sql("SELECT incr_dump(); INSERT INTO guarded VALUES (2)");
    c.flush();
    let valid = "SELECT convalidated FROM pg_constraint WHERE conname = ";
    // One that is NOT VALID at the source holds for new rows there, and nowhere for those that it had.
    restored(&c, "old", &["--table", "old"]);
    assert_eq!(c.sql_in("old", "SELECT sum(a) FROM old"), "4");
    assert_eq!(c.sql_in("old", &format!("{valid}'positive'")), "f");
    restored(&c, "of_domain", &["--table", "of_domain"]);
    assert_eq!(c.sql_in("of_domain", "SELECT sum(a) FROM of_domain"), "101");
    assert_eq!(c.sql_in("of_domain", &format!("{valid}'below'")), "f");
    for database in ["old", "of_domain"] {
        let comments = "SELECT count(*) FROM pg_description WHERE classoid = 'pg_constraint'::regclass AND description ~ '^of a'";
        assert_eq!(c.sql_in(database, comments), "1");
    }
    let (status, text) = restore(&c, "never", &["--table", "guarded"]);
    assert!(status == 1 && text.contains("at_home"), "{text}");
    let skip = ["--table", "guarded", "--skip-check", "at_home"];
    let (status, text) = restore(&c, "skipped", &skip);
    assert!(
        status < 2 && text.contains("stays NOT VALID"),
        "{status} {text}"
    );
    assert_eq!(c.sql_in("skipped", "SELECT sum(a) FROM guarded"), "3");
    assert_eq!(c.sql_in("skipped", &format!("{valid}'at_home'")), "f");
    // Where there are no rows, there is nothing to skip.
    for sections in [
        &["--schema-only"][..],
        &["--section", "pre-data"],
        &["--section", "pre-data", "--section", "post-data"],
    ] {
        let (status, text) = restore(&c, "never", &[&skip, sections].concat());
        assert!(status == 2 && text.contains("--skip-check"), "{text}");
    }
    restored(&c, "definitions", &["--table", "guarded", "--schema-only"]);
    assert_eq!(c.sql_in("definitions", &format!("{valid}'at_home'")), "t");
    assert_nothing_left(&c);
}
