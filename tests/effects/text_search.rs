//! Text search parsers, templates, dictionaries and configurations.

use crate::follow::Pair;

/// What pg_dump puts in one line, with the order of dictionaries.
const MAPS: &str = "SELECT c.cfgname, m.maptokentype, m.mapseqno, m.mapdict::pg_catalog.regdictionary \
     FROM pg_catalog.pg_ts_config_map m JOIN pg_catalog.pg_ts_config c ON c.oid = m.mapcfg WHERE c.oid >= 16384 \
     ORDER BY 1, 2, 3";

#[test]
fn text_search_objects() {
    let mut pair = Pair::new();
    for statement in [
        "CREATE SCHEMA s",
        "CREATE TEXT SEARCH PARSER public.p (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline)",
        "CREATE TEXT SEARCH PARSER public.q (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
        "COMMENT ON TEXT SEARCH PARSER public.p IS 'p'",
        "ALTER TEXT SEARCH PARSER public.p RENAME TO \"P \"\"p\"; ALTER TEXT SEARCH PARSER public.\"P \"\"p\" SET SCHEMA s",
        "CREATE TEXT SEARCH TEMPLATE public.t (INIT = dsimple_init, LEXIZE = dsimple_lexize)",
        "CREATE TEXT SEARCH TEMPLATE public.\"select\" (LEXIZE = dsimple_lexize)",
        "COMMENT ON TEXT SEARCH TEMPLATE public.\"select\" IS ''",
        "ALTER TEXT SEARCH TEMPLATE public.t RENAME TO u; ALTER TEXT SEARCH TEMPLATE public.\"select\" RENAME TO t",
        "ALTER TEXT SEARCH TEMPLATE public.u SET SCHEMA s",
        "CREATE TEXT SEARCH DICTIONARY public.d (TEMPLATE = s.u)",
        "CREATE TEXT SEARCH DICTIONARY public.\"D d\" (TEMPLATE = pg_catalog.simple, STOPWORDS = english, ACCEPT = false)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" (ACCEPT = true)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" (STOPWORDS, ACCEPT = true)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" (STOPWORDS = english)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" (ACCEPT = true)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" (ACCEPT, STOPWORDS)",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" OWNER TO alice; COMMENT ON TEXT SEARCH DICTIONARY public.\"D d\" IS 'd'",
        "ALTER TEXT SEARCH DICTIONARY public.d RENAME TO e; ALTER TEXT SEARCH DICTIONARY public.e SET SCHEMA s",
        "CREATE TEXT SEARCH CONFIGURATION public.c (PARSER = pg_catalog.\"default\")",
        "ALTER TEXT SEARCH CONFIGURATION public.c ADD MAPPING FOR word, asciiword, numword WITH s.e, simple",
        "ALTER TEXT SEARCH CONFIGURATION public.c ALTER MAPPING FOR asciiword WITH english_stem",
        "ALTER TEXT SEARCH CONFIGURATION public.c ALTER MAPPING FOR word WITH simple, s.e",
        "ALTER TEXT SEARCH CONFIGURATION public.c ALTER MAPPING REPLACE s.e WITH public.\"D d\"",
        "ALTER TEXT SEARCH CONFIGURATION public.c DROP MAPPING FOR numword, word",
        "CREATE TEXT SEARCH CONFIGURATION public.\"C\" (COPY = english)",
        "ALTER TEXT SEARCH CONFIGURATION public.\"C\" OWNER TO alice; COMMENT ON TEXT SEARCH CONFIGURATION public.\"C\" IS 'c'",
        "ALTER TEXT SEARCH CONFIGURATION public.c RENAME TO k; ALTER TEXT SEARCH CONFIGURATION public.k SET SCHEMA s",
        "CREATE TEXT SEARCH CONFIGURATION s.own (PARSER = s.\"P \"\"p\"); ALTER TEXT SEARCH CONFIGURATION s.own ADD MAPPING FOR url, email WITH s.e",
        // One replaced by another, and a dictionary with what uses it.
        "DROP TEXT SEARCH CONFIGURATION s.own; CREATE TEXT SEARCH CONFIGURATION s.own (PARSER = public.q); ALTER TEXT SEARCH CONFIGURATION s.own ADD MAPPING FOR word WITH public.\"D d\"",
        "ALTER TEXT SEARCH DICTIONARY public.\"D d\" RENAME TO f; ALTER TEXT SEARCH CONFIGURATION s.own ADD MAPPING FOR email WITH public.f",
        "DROP TEXT SEARCH DICTIONARY public.f CASCADE",
        "DROP TEXT SEARCH TEMPLATE s.u CASCADE",
        "DROP TEXT SEARCH PARSER public.q, s.\"P \"\"p\"",
        "DROP TEXT SEARCH TEMPLATE public.t; DROP TEXT SEARCH CONFIGURATION public.\"C\"",
    ] {
        pair.follow(&[statement]);
        pair.assert_same_result(MAPS, statement);
    }
}
