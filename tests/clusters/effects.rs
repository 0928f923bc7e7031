//! "It came back otherwise than it was made." Schema changes travel as what they did.

use harness::Cluster;

#[test]
fn what_is_understood_travels_as_its_effect() {
    let c = Cluster::backed_up();
    c.sql("CREATE SCHEMA s; CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    c.sql("ALTER SCHEMA s RENAME TO t; COMMENT ON FUNCTION t.f() IS 'x'; CREATE ROLE bob; GRANT ALL ON SCHEMA t TO bob");
    c.sql("CREATE TABLE t.a (a int PRIMARY KEY); INSERT INTO t.a VALUES (1)");
    let restored = c.assert_restores();
    let _ = restored;
    let mut text = String::new();
    for entry in std::fs::read_dir(c.chain_directory().join("incremental"))
        .expect("there")
        .flatten()
    {
        text.push_str(&std::fs::read_to_string(entry.path()).expect("readable"));
    }
    println!("{text}");
}
