//! "Who may do what came back different." GRANT and REVOKE at random: the lists of both databases have to be
//! the same, grantors included.

use crate::follow::Pair;

const ROLES: &[&str] = &[
    "alice",
    "bob",
    "\"Odd role\"",
    "\"a,\"\"b=/\"",
    "\"select\"",
];

/// Every entry, its options and its grantor; nobody granted anything and what a new object has are the same.
const LISTS: &str = "SELECT o.name, a.grantor::pg_catalog.regrole, a.grantee, a.privilege_type, a.is_grantable \
     FROM (SELECT p.proname AS name, coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) AS acl \
           FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 \
           UNION ALL SELECT n.nspname, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)) \
           FROM pg_catalog.pg_namespace n WHERE n.oid >= 16384) o, pg_catalog.aclexplode(o.acl) a \
     ORDER BY 1, 2::pg_catalog.text, 3, 4";

fn one<'a>(random: &mut fastrand::Rng, list: &[&'a str]) -> &'a str {
    list[random.usize(..list.len())]
}

fn statement(random: &mut fastrand::Rng) -> String {
    let (object, privileges): (&str, &[&str]) = if random.bool() {
        ("FUNCTION public.f()", &["EXECUTE", "ALL"])
    } else {
        ("SCHEMA s", &["USAGE", "CREATE", "USAGE, CREATE", "ALL"])
    };
    let (role, privilege) = (one(random, ROLES), one(random, privileges));
    let grantee = match random.usize(..8) {
        0 => "PUBLIC".to_owned(),
        1 => format!("{role}, {}", one(random, ROLES)),
        _ => role.to_owned(),
    };
    let sql = match random.usize(..20) {
        0..=4 => format!("GRANT {privilege} ON {object} TO {grantee}"),
        5..=11 => format!("GRANT {privilege} ON {object} TO {grantee} WITH GRANT OPTION"),
        12..=15 => {
            let option = one(random, &["", "", "GRANT OPTION FOR "]);
            let cascade = one(random, &["", " CASCADE"]);
            format!("REVOKE {option}{privilege} ON {object} FROM {grantee}{cascade}")
        }
        16 => format!(
            "REVOKE ALL ON {object} FROM PUBLIC, {} CASCADE",
            ROLES.join(", ")
        ),
        _ => return format!("ALTER {object} OWNER TO {role}"),
    };
    match random.usize(..3) {
        0 => sql,
        _ => format!("SET SESSION AUTHORIZATION {}; {sql}", one(random, ROLES)),
    }
}

fn lists_are_the_same(seed: u64) {
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut pair = Pair::new();
    for role in &ROLES[3..] {
        pair.cluster
            .sql_in("postgres", &format!("CREATE ROLE {role}"));
    }
    // One inherits another's options.
    pair.cluster.sql_in("postgres", "GRANT bob TO \"select\"");
    pair.follow(&[
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE SCHEMA s AUTHORIZATION alice",
    ]);
    let mut steps = 0;
    while steps < 40 {
        // Some of them several at a time.
        let count = 1 + random.usize(..3);
        let all: Vec<String> = (0..count).map(|_| statement(&mut random)).collect();
        let all = all.join("; RESET SESSION AUTHORIZATION; ");
        if pair.try_follow(&all) {
            pair.assert_same_result(LISTS, &format!("seed {seed}: {all}"));
            steps += 1;
        }
    }
}

#[test]
fn privileges_at_random_are_the_same_on_both_sides() {
    lists_are_the_same(1);
}

#[test]
fn privileges_at_other_seeds_are_the_same_on_both_sides() {
    lists_are_the_same(2_000);
}

/// A member of the owner has the option by that, and can grant it to itself.
#[test]
fn a_role_that_grants_itself_an_option() {
    let mut pair = Pair::new();
    pair.cluster.sql_in("postgres", "GRANT bob TO alice");
    for statement in [
        "CREATE SCHEMA s AUTHORIZATION bob; GRANT CREATE ON SCHEMA s TO alice WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION alice; GRANT CREATE ON SCHEMA s TO alice WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION alice; GRANT CREATE ON SCHEMA s TO \"Odd role\"",
        "SET SESSION AUTHORIZATION bob; REVOKE CREATE ON SCHEMA s FROM alice",
        "ALTER SCHEMA s RENAME TO t; REVOKE GRANT OPTION FOR CREATE ON SCHEMA t FROM alice CASCADE",
        "ALTER SCHEMA t OWNER TO alice",
        "ALTER SCHEMA t OWNER TO bob",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(LISTS, statement);
    }
    lists_are_the_same(2_813_293_626_341_540_895);
}

#[test]
fn default_privileges_of_who_restores_add_nothing() {
    let mut pair = Pair::new();
    // The restorer is the superuser that psql connects as.
    pair.both(&[
        "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO bob WITH GRANT OPTION",
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO alice, PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE alice GRANT EXECUTE ON FUNCTIONS TO \"Odd role\"",
        "GRANT CREATE ON SCHEMA public TO alice",
    ]);
    for statement in [
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1",
        "SET SESSION AUTHORIZATION alice; CREATE FUNCTION public.g() RETURNS int LANGUAGE sql RETURN 1",
        "SET SESSION AUTHORIZATION alice; CREATE FUNCTION public.h() RETURNS int LANGUAGE sql RETURN 1; \
         REVOKE ALL ON FUNCTION public.h FROM alice, PUBLIC; GRANT EXECUTE ON FUNCTION public.h TO bob",
        "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO bob WITH GRANT OPTION; \
         SET SESSION AUTHORIZATION bob; GRANT USAGE ON SCHEMA s TO alice",
        "CREATE SCHEMA t AUTHORIZATION alice",
        "CREATE SCHEMA u AUTHORIZATION bob; REVOKE ALL ON SCHEMA u FROM bob, alice, PUBLIC",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(LISTS, statement);
    }
    // Nothing is left of a role's defaults, and that is a default, too.
    let mut pair = Pair::new();
    let role = pair.cluster.sql("SELECT quote_ident(current_user)");
    pair.both(
        format!(
            "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC, {}",
            role.trim()
        )
        .as_str(),
    );
    for statement in [
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION public.g TO PUBLIC; \
         ALTER FUNCTION public.g OWNER TO alice",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(LISTS, statement);
    }
}

#[test]
fn privileges_that_rest_on_a_membership() {
    let mut pair = Pair::new();
    pair.cluster.sql_in("postgres", "GRANT alice TO bob");
    for statement in [
        "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO alice, bob WITH GRANT OPTION; \
         SET SESSION AUTHORIZATION bob; GRANT USAGE ON SCHEMA s TO \"Odd role\"",
        // He has it by being a member: what he gave stays.
        "REVOKE USAGE ON SCHEMA s FROM bob",
        "ALTER SCHEMA s OWNER TO \"Odd role\"",
        "REVOKE ALL ON SCHEMA s FROM \"Odd role\"",
        "GRANT CREATE ON SCHEMA s TO bob",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(LISTS, statement);
    }
}
